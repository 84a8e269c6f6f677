"""Compare items in quarantine with the hash lists, and mark those whose entries were withdrawn."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hashscan.lists.entries import ActiveVersion, open_active_version
from hashscan.lists.store import ListStore
from hashscan.model import ACTING_CATEGORIES, KNOWN_GOOD_CATEGORY, MATCHES_MAX, TEST_CATEGORY, Entry
from hashscan.quarantine.items import KEPT, MATCHED_AGAIN, WITHDRAWN, Item, list_or_empty
from hashscan.quarantine.store import Quarantine

_ACTING = ACTING_CATEGORIES - {TEST_CATEGORY}
_Match = Mapping[str, Any]
_Key = tuple[str, str]
"""The name of a list and the id of an entry."""


def find_withdrawn(
    quarantine: Quarantine, version_of: Callable[[str], str | None]
) -> tuple[tuple[str, ...], dict[str, str | None]]:
    """Compare kept items with their lists, and log changes. Return the ids that no entry supports any more,
    and the versions of the lists that were compared; `version_of` returns the active version of a list."""
    store = ListStore(quarantine.state.lists)
    items = [item for item in quarantine.items().values() if item.state in KEPT and not item.of_another]
    of_list: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        for name in {match["list"] for match in supporting_matches(item)}:
            of_list[name].append(item)
    gone = {item.id: _so_far(item) for item in items}
    marks: dict[str, str | None] = {}
    for name, matched in sorted(of_list.items()):
        # Read before the list, so that a version that becomes active meanwhile is compared the next time.
        marks[name] = version_of(name)
        ids = {m["entry"] for item in matched for m in supporting_matches(item) if m["list"] == name}
        with open_active_version(store, name) as now:
            entries = None if now is None else now.entries(ids)
            if now is None or entries is None:
                # A list that may become readable again gets no valid mark, so it is compared each time.
                marks[name] = marks[name] and ""
                continue
            by_id: dict[str, list[Entry]] = defaultdict(list)
            for entry in entries:
                by_id[entry.id].append(entry)
            for item in matched:
                _update_gone_entries(item, name, now, by_id, gone[item.id])
    withdrawn = tuple(item.id for item in items if _note(quarantine, item, gone[item.id]))
    quarantine.sync()
    return withdrawn, marks


def supporting_matches(item: Item) -> list[_Match]:
    """Return the matches for which an item is kept; empty for an item that was added by hand."""
    lists = _lists_of(item)
    supporting = [
        match
        for match in item.matches
        if match["list"] in lists
        and match["category"] != KNOWN_GOOD_CATEGORY
        and match["distance"] <= match["threshold"]
        and not {"excepted", "doubt", "withheld"} & match.keys()
    ]
    return [match for match in supporting if match["category"] in _ACTING] or supporting


def _lists_of(item: Item) -> dict[str, tuple[int, frozenset[str]]]:
    """Return the version and key ids of each list that had a match for an item, by list name."""
    return {
        info["name"]: (info["version"], frozenset(filter(_is_text, info.get("key_ids") or ())))
        for info in list_or_empty(item.record["accusation"].get("lists"))
        if isinstance(info, dict)
        and _is_text(info.get("name"))
        and isinstance(info.get("version"), int)
        and isinstance(info.get("key_ids"), list | None)
    }


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _update_gone_entries(
    item: Item, name: str, now: ActiveVersion, entries: Mapping[str, Sequence[Entry]], gone: dict[_Key, int]
) -> None:
    """Update which of an item's entries are gone from one list."""
    if not now.is_later_version_of(*_lists_of(item)[name]):
        return
    for match in supporting_matches(item):
        if match["list"] != name:
            continue
        key = (name, match["entry"])
        if any(_is_still(entry, match, item) for entry in entries.get(match["entry"], ())):
            gone.pop(key, None)
        else:
            gone.setdefault(key, now.version)


def _is_still(entry: Entry, match: _Match, item: Item) -> bool:
    """Return True if a later entry equals the matched one; an exact one must have this content's digest."""
    # A store may hold other bytes for an object than a scan was given.
    digest = None if item.is_object else item.record["digests"].get(entry.algorithm)
    return (
        entry.algorithm == match["algorithm"]
        and (entry.category in _ACTING or entry.category == match["category"])
        and (digest is None or digest == entry.value.hex())
    )


def _so_far(item: Item) -> dict[_Key, int]:
    return {(each["list"], entry): each["version"] for each in item.withdrawals for entry in each["entries"]}


def _note(quarantine: Quarantine, item: Item, gone: Mapping[_Key, int]) -> bool:
    """Log the changes of an item's entries, once; return True if no entry supports it any more."""
    standing = sorted({(match["list"], match["entry"]) for match in supporting_matches(item)} - gone.keys())
    # If there were very many matches, not all were recorded; the others may still be valid.
    whole = len(list_or_empty(item.record["accusation"].get("matches"))) < MATCHES_MAX
    withdrawn = bool(gone) and not standing and whole
    if gone.keys() == _so_far(item).keys():
        return withdrawn
    by_version: dict[tuple[str, int], list[str]] = defaultdict(list)
    for (name, entry), version in gone.items():
        by_version[name, version].append(entry)
    quarantine.log_event(
        WITHDRAWN if withdrawn else MATCHED_AGAIN,
        item.id,
        withdrawals=[
            {"list": name, "version": version, "entries": sorted(entries)}
            for (name, version), entries in sorted(by_version.items())
        ],
        standing=[{"list": name, "entry": entry} for name, entry in standing],
    )
    return withdrawn
