"""Limit the files that are moved because of one list, hub or service, which can be wrong or hostile.

Until a person has accepted a list, `MOVED_MAX` files are moved because of it, in all scans together. Of an
accepted list, entries that came within a `WINDOW` must not match more than `GROWTH` times as many files as
the list did otherwise, or `MOVED_MAX` where that is more; else `MOVED_MAX` files are moved because of them
until the list is accepted again, however old they get. A service does not say when an entry came, so all that
it names is new; what it matched when it was accepted is what it did otherwise. A file is not limited that a
list without such a limit justifies to move.

The log of the quarantine has the count: the record of a move says which limited lists it is charged to. So no
crash, lost state or second process makes it smaller, and files that were put back are counted. Until a list
is accepted, the moves of an earlier list of its name count, and those of one with its source: removing a
list and adding it again, by this or another name, makes the count no smaller.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

from hashscan.lists.acceptance import OWN_LISTS, WINDOW, NewEntries, read_acceptance
from hashscan.lists.store import ListStore
from hashscan.model import Action, HeldBy, Verdict
from hashscan.quarantine.captured_file import QuarantineRequest
from hashscan.quarantine.items import Item, State, list_or_empty
from hashscan.reports.records import Record
from hashscan.state_dir import StateDir
from hashscan.text import plural

MOVED_MAX = 10
"""Files that are moved because of a list that nobody has accepted, or of entries that match too much."""
GROWTH = 10
"""Times by which the files that new entries match may exceed those that the list matched otherwise."""

_CHARGED = "charged"
"""Key of an item's record: name and source of each list that the move is charged to, and the code of the
limit, which is empty for new entries that did not exceed it."""


class Origin(NamedTuple):
    """A list, and what it is trusted by; see `lists.acceptance.source_of`."""

    name: str
    source: str


class HeldMove(NamedTuple):
    """A move that is not made because of the limits of all lists that justify it."""

    code: HeldBy
    lists: tuple[str, ...]

    def record(self, finding: Record) -> Record:
        """Return the record of the finding, which is held."""
        why = (
            f"but nobody has accepted {' and '.join(self.lists)}"
            if self.code is HeldBy.UNACCEPTED
            else f"but new entries of {' and '.join(self.lists)} match far more files than it did before"
        )
        return {
            **finding,
            "verdict": Verdict.HELD.value,
            "action": Action.HELD.value,
            "breaker": self.code.value,
            "because": f"{finding['because']}; {why}",
        }


@dataclass(frozen=True, slots=True)
class LimitedList:
    """A list because of which matches are held."""

    name: str
    source: str
    code: HeldBy
    held: int

    @property
    def message(self) -> str:
        """The reason and the remedy, for people."""
        why = (
            f"is not accepted, so that {MOVED_MAX} files are moved because of it"
            if self.code is HeldBy.UNACCEPTED
            else "has new entries that match far more files than it did before"
        )
        held = f"{plural(self.held, 'file')} {'is' if self.held == 1 else 'are'} held"
        return (
            f"list {self.name} {why}: {held}. Compare some of them with its owner, who can look up the "
            f"entries; if they are right, run `hashscan lists accept {self.name}` and scan again"
        )

    def fields(self) -> dict[str, Any]:
        """Return the fields of the summary."""
        return {"list": self.name, "code": self.code.value, "held": self.held}


def _code_of(item: Item, origin: Origin) -> str | None:
    """Return the code with which a move was charged to a list; None if it was not."""
    for name, source, code in list_or_empty(item.record["accusation"].get(_CHARGED)):
        if (name, source) == origin:
            return str(code)
    return None


def moved_because_of(items: Iterable[Item], origin: Origin) -> set[bytes]:
    """Return the paths of the files that were moved in the last `WINDOW` because of a list."""
    since = datetime.now(UTC) - WINDOW
    return {item.path for item in items if _names(item, origin) and _time(item) >= since}


def moved_unaccepted(items: Iterable[Item], origin: Origin) -> int:
    """Return how many moves count for a list that nobody has accepted."""
    return sum(
        item.state is not State.LEFT
        and any(
            name == origin.name or (source and source == origin.source)
            for name, source, _ in list_or_empty(item.record["accusation"].get(_CHARGED))
        )
        for item in items
    )


def _names(item: Item, origin: Origin) -> bool:
    lists = list_or_empty(item.record["accusation"].get("lists"))
    return item.state is not State.LEFT and any(
        isinstance(info, dict) and (info.get("name"), info.get("source") or "") == origin for info in lists
    )


def _time(item: Item) -> datetime:
    return datetime.fromisoformat(str(item.record["time"]))


class _Tally:
    """The files of one list: what was moved, what this run matches, and what may be moved."""

    def __init__(self, origin: Origin, store: ListStore, items: Iterable[Item]) -> None:
        self.held = 0
        self.new = self._known = 0
        """Files of this run that only new entries match, and the others."""
        self._taken = self._moved = self._otherwise = 0
        """Files that were moved beyond a limit, that new entries have moved, and that the list matched
        otherwise."""
        self._exceeded = False
        """True if new entries have exceeded the limit since the list was accepted."""
        self._own = origin.name in OWN_LISTS
        self._accepted = None
        self._new_entries: NewEntries | None = None
        self._version = 0
        if self._own:
            return
        folder = store.folder(origin.name)
        self._accepted = read_acceptance(folder, origin.source)
        if self._accepted is None:
            self._taken = moved_unaccepted(items, origin)
            return
        charged = [(item, code) for item in items if (code := _code_of(item, origin)) is not None]
        accepted, now = datetime.fromisoformat(self._accepted.time), datetime.now(UTC)
        charged = [(item, code) for item, code in charged if _time(item) >= accepted]
        self._exceeded = any(code == HeldBy.GROWTH for _, code in charged)
        moved = [(_time(item), code) for item, code in charged if item.state is not State.LEFT]
        self._taken = sum(code == HeldBy.GROWTH for _, code in moved)
        self._moved = sum(time >= now - WINDOW for time, _ in moved)
        before = sum(now - 2 * WINDOW <= time < now - WINDOW for time, _ in moved)
        otherwise = sum(
            _names(item, origin) and _code_of(item, origin) is None and _time(item) >= now - WINDOW
            for item in items
        )
        self._otherwise = max(self._accepted.files, before, otherwise)
        if not folder.service.exists():
            self._new_entries = NewEntries(folder.added, ever=self._exceeded)
            self._version = folder.active_version()

    def is_limited(self, matches: Iterable[Mapping[str, Any]], version: int) -> bool:
        """Return True if a file that matches of a version of the list accuse counts for its limit."""
        if self._own:
            return False
        # What came with a version that another machine has and this one has not is not known.
        if self._accepted is None or self._new_entries is None or version > self._version:
            return True
        return all((match["algorithm"], match["entry"]) in self._new_entries for match in matches)

    def count(self, *, limited: bool) -> None:
        """Count a file that this run matches."""
        self.new += limited
        self._known += not limited

    @property
    def code(self) -> HeldBy | None:
        """The reason for which not all files may be moved; None if all may."""
        if self._own:
            return None
        if self._accepted is None:
            return HeldBy.UNACCEPTED
        most = max(MOVED_MAX, GROWTH * max(self._otherwise, self._known))
        return HeldBy.GROWTH if self._exceeded or self.new + self._moved > most else None

    def take(self) -> bool:
        """Return True if one more file may be moved, and count it."""
        self._taken += 1
        return self._taken <= MOVED_MAX


class ListLimits:
    """The limits of all lists in one run that moves files: count all requests first, then admit each."""

    def __init__(self, state: StateDir, items: Iterable[Item]) -> None:
        """Prepare the limits.

        Args:
            items: those of the quarantine, which must be locked until all were moved.
        """
        self._store = ListStore(state.lists)
        self._items = list(items)
        self._tallies: dict[Origin, _Tally] = {}

    def count(self, request: QuarantineRequest) -> None:
        """Count a file that is to be moved."""
        for _, tally, limited in self._lists_of(request):
            tally.count(limited=limited)

    def admit(self, request: QuarantineRequest) -> QuarantineRequest | HeldMove:
        """Return the request, with the limited lists that it is charged to; or the reason why it is held."""
        lists = list(self._lists_of(request))
        if not lists:
            return request
        charged: list[tuple[str, str, str]]
        free = [origin for origin, tally, limited in lists if not limited or tally.code is None]
        if free:
            # Later runs must know how many files new entries have moved within their limit.
            charged = [(*origin, "") for origin, _, limited in lists if limited and origin in free]
        else:
            charged = [(*origin, tally.code or "") for origin, tally, _ in lists if tally.take()]
            if not charged:
                for _, tally, _ in lists:
                    tally.held += 1
                code = lists[0][1].code
                assert code is not None
                return HeldMove(code, tuple(origin.name for origin, _, _ in lists))
        if not charged:
            return request
        return replace(request, accusation={**request.accusation, _CHARGED: [list(one) for one in charged]})

    def limited(self) -> list[LimitedList]:
        """Return the lists because of which matches were held."""
        return [
            LimitedList(origin.name, origin.source, tally.code, tally.held)
            for origin, tally in self._tallies.items()
            if tally.held and tally.code is not None
        ]

    def _lists_of(self, request: QuarantineRequest) -> Iterator[tuple[Origin, _Tally, bool]]:
        """Yield each list that justifies the move, with True if the file counts for its limit."""
        by_list: dict[str, list[Mapping[str, Any]]] = {}
        for match in request.acting:
            by_list.setdefault(str(match["list"]), []).append(match)
        infos = {info["name"]: info for info in request.accusation.get("lists", ())}
        for name, matches in by_list.items():
            info = infos.get(name, {})
            origin = Origin(name, info.get("source") or "")
            tally = self._tallies.get(origin)
            if tally is None:
                tally = self._tallies[origin] = _Tally(origin, self._store, self._items)
            yield origin, tally, tally.is_limited(matches, info.get("version") or 0)
