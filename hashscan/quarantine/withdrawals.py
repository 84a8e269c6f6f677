"""Flags what is kept on the word of entries that the owners of their lists have withdrawn since."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hashscan.errors import LockedError, OutputError
from hashscan.lists.durable import output_errors, replace_file
from hashscan.lists.latest import Latest, latest
from hashscan.lists.store import ListStore
from hashscan.model import ACTING_CATEGORIES, KNOWN_GOOD_CATEGORY, MATCHES_KEPT, TEST_CATEGORY, Entry
from hashscan.quarantine.items import ACCUSED, KEPT, WITHDRAWN, Item
from hashscan.quarantine.store import Quarantine, folder_of

_FILE = "compared.json"
_ACTING = ACTING_CATEGORIES - {TEST_CATEGORY}
_NAMED = 10
"""Items that an alarm names; `list` has the others."""

_Match = Mapping[str, Any]
_Key = tuple[str, str]
"""Of an entry: its list's name and its id."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """What is to be told whenever lists change, and by every sweep."""

    items: tuple[str, ...]
    """Ids of those that nothing accuses any more."""
    trouble: str = ""
    """Why they may be out of date, in words."""

    @property
    def words(self) -> tuple[str, ...]:
        """A line each."""
        lines = []
        if self.trouble:
            lines.append(
                f"WARNING: what is in quarantine could not be compared with the lists: {self.trouble}; "
                "the next sweep, pull or quarantine command tries again"
            )
        if self.items:
            names = ", ".join(self.items[:_NAMED])
            more = f" and {len(self.items) - _NAMED} more" if len(self.items) > _NAMED else ""
            lines.append(
                f"WARNING: {len(self.items)} in quarantine stand accused by nothing any more, since their "
                f"entries were withdrawn: {names}{more}; see `hashscan quarantine list --withdrawn`, put "
                "them back with `hashscan quarantine restore --withdrawn`"
            )
        return tuple(lines)


def alarm(state: Path, quarantine: Quarantine | None = None) -> Alarm:
    """What stands withdrawn by the lists as they are now; nothing is read where nothing has changed.

    Trouble is told and not raised, since nobody who pulls lists, sweeps or puts back is to fail for it.

    Args:
        state: the state folder.
        quarantine: its quarantine, where this process holds it.
    """
    try:
        known = _known(state)
        if known is not None:
            return Alarm(known)
        if quarantine is not None:
            return Alarm(compare(quarantine))
        with Quarantine(state) as opened:
            return Alarm(compare(opened))
    except (LockedError, OutputError) as error:
        return Alarm(_last_known(state), str(error))


def compare(quarantine: Quarantine) -> tuple[str, ...]:
    """Compare all that is kept with the lists that accused it, and log what has changed.

    Returns:
        Ids of the items that nothing accuses any more.

    Raises:
        OutputError: the log or the lists can't be read or written.
    """
    state = quarantine.folder.parent
    store = ListStore(state / "lists")
    items = [item for item in quarantine.items().values() if item.state in KEPT and not item.of_another]
    of_list: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        for name in {match["list"] for match in accusers(item)}:
            of_list[name].append(item)
    gone = {item.id: _so_far(item) for item in items}
    marks: dict[str, str | None] = {}
    for name, accused in sorted(of_list.items()):
        # Looked at first, so that a version that comes meanwhile is compared the next time.
        marks[name] = _mark(store, name)
        ids = {m["entry"] for item in accused for m in accusers(item) if m["list"] == name}
        with latest(store, name) as now:
            entries = None if now is None else now.entries(ids)
            if now is None or entries is None:
                # What can get well by itself has no mark, so it is looked at each time.
                marks[name] = marks[name] and ""
                continue
            by_id: dict[str, list[Entry]] = defaultdict(list)
            for entry in entries:
                by_id[entry.id].append(entry)
            for item in accused:
                _judge(item, name, now, by_id, gone[item.id])
    withdrawn = tuple(item.id for item in items if _note(quarantine, item, gone[item.id]))
    quarantine.settle()
    _remember(state, marks, withdrawn)
    return withdrawn


def accusers(item: Item) -> list[_Match]:
    """The matches on whose word an item is kept; none of one that was added by hand."""
    accusation = item.record["accusation"]
    lists = {info["name"] for info in accusation.get("lists", ())}
    speaking = [
        match
        for match in accusation.get("matches", ())
        if match["list"] in lists
        and match["category"] != KNOWN_GOOD_CATEGORY
        and match["distance"] <= match["threshold"]
        and "excepted" not in match
    ]
    return [match for match in speaking if match["category"] in _ACTING] or speaking


def _judge(
    item: Item, name: str, now: Latest, entries: Mapping[str, Sequence[Entry]], gone: dict[_Key, int]
) -> None:
    """Bring up to date which of an item's entries are gone from one list."""
    was = next(info for info in item.record["accusation"]["lists"] if info["name"] == name)
    if not now.follows(was["version"] or 0, was["key_ids"] or ()):
        return
    for match in accusers(item):
        if match["list"] != name:
            continue
        key = (name, match["entry"])
        if any(_is_still(entry, match, item) for entry in entries.get(match["entry"], ())):
            gone.pop(key, None)
        else:
            gone.setdefault(key, now.version)


def _is_still(entry: Entry, match: _Match, item: Item) -> bool:
    """Whether a later entry says what the one that matched said; of this very content where it is exact."""
    digest = item.record["digests"].get(entry.algorithm)
    return (
        entry.algorithm == match["algorithm"]
        and (entry.category in _ACTING or entry.category == match["category"])
        and (digest is None or digest == entry.value.hex())
    )


def _so_far(item: Item) -> dict[_Key, int]:
    return {(each["list"], entry): each["version"] for each in item.withdrawals for entry in each["entries"]}


def _note(quarantine: Quarantine, item: Item, gone: Mapping[_Key, int]) -> bool:
    """Log what has changed for an item, once; whether nothing accuses it any more."""
    standing = sorted({(match["list"], match["entry"]) for match in accusers(item)} - gone.keys())
    # Of very many matches not all were kept, and those that were not may speak still.
    whole = len(item.record["accusation"].get("matches", ())) < MATCHES_KEPT
    withdrawn = bool(gone) and not standing and whole
    if gone.keys() == _so_far(item).keys():
        return withdrawn
    by_version: dict[tuple[str, int], list[str]] = defaultdict(list)
    for (name, entry), version in gone.items():
        by_version[name, version].append(entry)
    quarantine.note(
        WITHDRAWN if withdrawn else ACCUSED,
        item.id,
        withdrawals=[
            {"list": name, "version": version, "entries": sorted(entries)}
            for (name, version), entries in sorted(by_version.items())
        ],
        standing=[{"list": name, "entry": entry} for name, entry in standing],
    )
    return withdrawn


def _mark(store: ListStore, name: str) -> str | None:
    """Tells the version that is in use from any other; None where there is none."""
    with output_errors(f"the list {name!r} can't be read"):
        active = store.folder(name).active()
    return None if active is None else active.name


def _remember(state: Path, marks: Mapping[str, str | None], withdrawn: tuple[str, ...]) -> None:
    """Keep what was found beside the log, with what it holds for; the log itself is what counts."""
    folder = folder_of(state)
    with output_errors("the quarantine can't be written"):
        size = (folder / "log.jsonl").stat().st_size
        document = {"log": size, "lists": marks, "withdrawn": withdrawn}
        replace_file(folder / _FILE, json.dumps(document).encode())


def _known(state: Path) -> tuple[str, ...] | None:
    """What was found last; None where the log or a list has changed since.

    Raises:
        OutputError: that can't be told.
    """
    folder = folder_of(state)
    with output_errors("the quarantine can't be read"):
        try:
            size = (folder / "log.jsonl").stat().st_size
        except FileNotFoundError:
            # What was moved is never forgotten by the log's loss, which whoever opens it will find.
            return None if (folder / "head").exists() else ()
        document = _read(folder)
    if document.get("log") != size:
        return None
    store = ListStore(state / "lists")
    if any(_mark(store, name) != mark for name, mark in document["lists"].items()):
        return None
    return tuple(document["withdrawn"])


def _last_known(state: Path) -> tuple[str, ...]:
    try:
        return tuple(_read(folder_of(state)).get("withdrawn", ()))
    except OSError:
        return ()


def _read(folder: Path) -> dict[str, Any]:
    """What was remembered; empty where there is none that can be understood, since all can be found anew."""
    try:
        document = json.loads((folder / _FILE).read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    sound = (
        isinstance(document, dict)
        and isinstance(document.get("lists"), dict)
        and isinstance(document.get("withdrawn"), list)
        and all(isinstance(name, str) for name in document["withdrawn"])
    )
    return document if sound else {}
