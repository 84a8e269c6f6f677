"""Hold the matches of list entries that match too many files in one scan: the circuit breaker.

Such an entry is probably wrong, so nothing is moved because of it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from hashscan.lists.services.adapter import NO_SINGLE_ENTRY
from hashscan.model import Action, HeldBy, Verdict
from hashscan.quarantine.trust_weakness import NOT_ACTED_ON, justifies_action
from hashscan.reports.records import Record
from hashscan.settings.matching import BreakerLimits

Key = tuple[str, str]
"""Name of a list, and id of one of its entries."""

Owner = int | str
"""A user's number, or the URL of a bucket."""


Inode = tuple[int | None, int, int]
"""Device, inode and, where the device is not known, ctime of a file."""

_UNCOUNTED = NOT_ACTED_ON - {"withheld"}
"""Markers of matches that don't count; a match that policy withholds counts, since it says as much about its
entry as any other.
"""


@dataclass(slots=True)
class Tally:
    """The files and owners that one entry matches."""

    files: int = 0
    """Hard links of one file count once, until there are more files than the limit."""
    linked: set[Inode] = field(default_factory=set)
    """The counted files that have other names or may have; at most one more than the limit."""
    owners: set[Owner] = field(default_factory=set)
    """At most one more than the limit; more would make no difference."""


class CircuitBreaker:
    """A counter of the files that each entry matches; it judges only after all files were counted."""

    def __init__(self, limits: BreakerLimits, services: Collection[str] = ()) -> None:
        """Begin to count.

        Args:
            services: names of the lists that are matching services. Where one names no single entry, the
                files count for the service alone, which has a limit of its own; see `list_limits`.
        """
        self._limits = limits
        self._services = services
        self._tallies: dict[Key, Tally] = {}

    def count(self, finding: Record, owner: Owner | None) -> None:
        """Count the accusing entries of one file, also where a match is withheld for another reason.

        Another hard link of a file that was counted is not counted: one owner could make thousands of links.

        Args:
            owner: of the file; None where it is not known.
        """
        for key in _accusing(finding, _UNCOUNTED):
            if self._names_no_entry(key):
                continue
            tally = self._tallies.setdefault(key, Tally())
            if (inode := _linked_inode(finding)) is not None and tally.files <= self._limits.files:
                if inode in tally.linked:
                    continue
                tally.linked.add(inode)
            tally.files += 1
            if owner is not None and len(tally.owners) <= self._limits.owners:
                tally.owners.add(owner)

    def judge(self, finding: Record) -> Record:
        """Return the final record of a finding: held if only entries accuse that match too many files.

        If other entries accuse as well it stays a match, without the entries that match too many files.
        Policy rules may have ordered a move because of these entries alone, so the action is then only to
        report.
        """
        if finding["verdict"] != Verdict.MATCH:
            return finding
        accusing = _accusing(finding, NOT_ACTED_ON)
        messages = [self._message_of(key) for key in accusing if self._holds(key)]
        if not messages:
            return finding
        if len(messages) < len(accusing):
            return self._without(finding, messages[0])
        return {
            **finding,
            "verdict": Verdict.HELD.value,
            "action": Action.HELD.value,
            "breaker": HeldBy.ENTRY.value,
            "because": f"{finding['because']}; but {messages[0]}{_too_much(len(messages))}",
        }

    def _without(self, finding: Record, message: str) -> Record:
        """Return the record of a finding with the entries withheld that match too many files."""
        matches = [
            {**match, "withheld": self._message_of(_key(match))}
            if justifies_action(match) and self._holds(_key(match))
            else match
            for match in finding["matches"]
        ]
        because = f"{finding['because']}; but {message}, so it causes no move"
        judged = {**finding, "matches": matches, "because": because}
        if finding.get("action") == Action.QUARANTINE:
            judged["action"] = Action.REPORT.value
        return judged

    @property
    def has_tripped(self) -> bool:
        """True if any entry matches too many files."""
        return any(map(self._has_tripped, self._tallies.values()))

    def said(self) -> list[str]:
        """Return a text for each entry that matches too many files, with their number."""
        return [self._message_of(key) for key, tally in self._tallies.items() if self._has_tripped(tally)]

    def fields(self) -> Iterator[dict[str, Any]]:
        """Yield the report's fields for each entry that matches too many files."""
        for (list_name, entry), tally in self._tallies.items():
            if self._has_tripped(tally):
                over = len(tally.owners) > self._limits.owners
                owners = {"owners_over": self._limits.owners} if over else {"owners": len(tally.owners)}
                yield {"list": list_name, "entry": entry, "files": tally.files, **owners}

    def _names_no_entry(self, key: Key) -> bool:
        return key[0] in self._services and key[1].startswith(NO_SINGLE_ENTRY)

    def _holds(self, key: Key) -> bool:
        return not self._names_no_entry(key) and self._has_tripped(self._tallies[key])

    def _has_tripped(self, tally: Tally) -> bool:
        return len(tally.owners) > self._limits.owners or tally.files > self._limits.files

    def _message_of(self, key: Key) -> str:
        tally = self._tallies[key]
        number = len(tally.owners)
        owners = f"more than {self._limits.owners}" if number > self._limits.owners else str(number)
        # A single owner may have created so many files on purpose, so the number of owners is stated.
        of = f" of {owners} owner{'s' * (number != 1)}" if number else ""
        return f"entry {key[1]} of list {key[0]} hits {tally.files} files{of}"


def limits_fields(limits: BreakerLimits) -> dict[str, int]:
    """Return the report's fields for the limits."""
    return {"owners": limits.owners, "files": limits.files}


def is_still_held(finding: Record, held: Record) -> bool:
    """Return True if a finding is the one that a breaker has held before, when all files were counted.

    Args:
        finding: its record, or one with its verdict and matches, without a breaker.
        held: the record of the one that was held.
    """
    if finding["verdict"] != Verdict.MATCH or held["verdict"] != Verdict.HELD or not held.get("breaker"):
        return False
    # If one more entry accuses it, it is not the same finding.
    return {*_accusing(finding, NOT_ACTED_ON)} <= {*_accusing(held, NOT_ACTED_ON)}


def owner_of(finding: Record) -> Owner | None:
    """Return the owner of a file, or the bucket of an object, as far as its record states it."""
    path = str(finding["path"])
    if not path.startswith("/"):
        return "/".join(path.split("/", 3)[:3])
    owner = finding.get("uid")
    return owner if isinstance(owner, int) else None


def _linked_inode(finding: Record) -> Inode | None:
    """Return what identifies a file under all its names; None if it has one name, or for an object."""
    inode = finding.get("inode")
    if inode is None or finding.get("links") == 1:
        return None
    device = finding.get("device")
    # A rescan does not know the device, and several filesystems have equal inodes, but not of one ctime.
    return device, inode, finding.get("ctime_ns", 0) if device is None else 0


def _too_much(entries: int) -> str:
    more = f", and so do {entries - 1} more entries" if entries > 1 else ""
    return f", which is too much to be right{more}"


def _accusing(finding: Record, without: frozenset[str]) -> list[Key]:
    """Return the entries that accuse a file by themselves, each once, except those marked by `without`."""
    keys = (_key(match) for match in finding.get("matches", ()) if justifies_action(match, without))
    return list(dict.fromkeys(keys))


def _key(match: Mapping[str, Any]) -> Key:
    return str(match["list"]), str(match["entry"])
