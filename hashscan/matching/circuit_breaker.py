"""Tells the entries that hit so much in one sweep that nothing may be done on their word."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from hashscan.model import Action, Verdict
from hashscan.quarantine.trust_weakness import SILENCED, accuses
from hashscan.reports.record_lines import Record
from hashscan.settings.policy import BreakerLimits

Key = tuple[str, str]
"""Names of a list and of an entry of it."""

Owner = int | str
"""A user's number, or the URL of a bucket."""


_UNCOUNTED = SILENCED - {"withheld"}
"""What is said of matches that don't count; one that policy withholds tells as much of its entry as any."""


@dataclass(slots=True)
class Tally:
    """What one entry hits."""

    files: int = 0
    owners: set[Owner] = field(default_factory=set)
    """One more than the limit at most; more would say nothing else."""


class Breaker:
    """Counts what every entry hits; asked only once all was counted."""

    def __init__(self, limits: BreakerLimits) -> None:
        self._limits = limits
        self._tallies: dict[Key, Tally] = {}

    def count(self, finding: Record, owner: Owner | None) -> None:
        """Count what accuses one file, also where it is withheld for another reason.

        Args:
            finding: its record.
            owner: None where nobody knows.
        """
        for key in _accusing(finding, _UNCOUNTED):
            tally = self._tallies.setdefault(key, Tally())
            tally.files += 1
            if owner is not None and len(tally.owners) <= self._limits.owners:
                tally.owners.add(owner)

    def judge(self, finding: Record) -> Record:
        """The record of a finding in the end: held, where only entries accuse that hit too much.

        Where others accuse as well it stays a match, but those that hit too much have no part in it. Rules of
        a policy may have had it moved on their word alone, so it is then only reported.
        """
        if finding["verdict"] != Verdict.MATCH:
            return finding
        accusing = _accusing(finding, SILENCED)
        words = [self._words(key) for key in accusing if self._has_tripped(self._tallies[key])]
        if not words:
            return finding
        if len(words) < len(accusing):
            return self._without(finding, words[0])
        return {
            **finding,
            "verdict": Verdict.HELD.value,
            "action": Action.HELD.value,
            "because": f"{finding['because']}; but {words[0]}{_too_much(len(words))}",
        }

    def _without(self, finding: Record, words: str) -> Record:
        """The record of a finding without the say of entries that hit too much."""
        matches = [
            {**match, "withheld": self._words(_key(match))}
            if accuses(match) and self._has_tripped(self._tallies[_key(match)])
            else match
            for match in finding["matches"]
        ]
        because = f"{finding['because']}; but {words}, so that nothing is moved on its word"
        judged = {**finding, "matches": matches, "because": because}
        if finding.get("action") == Action.QUARANTINE:
            judged["action"] = Action.REPORT.value
        return judged

    @property
    def has_tripped(self) -> bool:
        """Whether anything hits too much."""
        return any(map(self._has_tripped, self._tallies.values()))

    def said(self) -> list[str]:
        """Of each entry that hits too much, what it hits, in words."""
        return [self._words(key) for key, tally in self._tallies.items() if self._has_tripped(tally)]

    def fields(self) -> Iterator[dict[str, Any]]:
        """Of each such entry, what a report says of it."""
        for (list_name, entry), tally in self._tallies.items():
            if self._has_tripped(tally):
                over = len(tally.owners) > self._limits.owners
                owners = {"owners_over": self._limits.owners} if over else {"owners": len(tally.owners)}
                yield {"list": list_name, "entry": entry, "files": tally.files, **owners}

    def _has_tripped(self, tally: Tally) -> bool:
        return len(tally.owners) > self._limits.owners or tally.files > self._limits.files

    def _words(self, key: Key) -> str:
        tally = self._tallies[key]
        number = len(tally.owners)
        owners = f"more than {self._limits.owners}" if number > self._limits.owners else str(number)
        # Of one owner's files, someone may have made so many on purpose.
        of = f" of {owners} owner{'s' * (number != 1)}" if number else ""
        return f"entry {key[1]} of list {key[0]} hits {tally.files} files{of}"


def limits_fields(limits: BreakerLimits) -> dict[str, int]:
    """What a report says of the limits."""
    return {"owners": limits.owners, "files": limits.files}


def is_still_held(finding: Record, because: str) -> bool:
    """Whether a finding is the one that a breaker has held before, when it could be counted.

    Args:
        finding: its record, or what that says of verdict, reason and matches, without a breaker.
        because: why it was held.
    """
    if finding["verdict"] != Verdict.MATCH:
        return False
    # One more entry that accuses it is heard.
    end = _too_much(len(_accusing(finding, SILENCED)))
    return because.startswith(f"{finding['because']}; but entry ") and because.endswith(end)


def owner_of(finding: Record) -> Owner | None:
    """Whose a file is, or in which bucket an object lies, as far as its record says so."""
    path = str(finding["path"])
    if not path.startswith("/"):
        return "/".join(path.split("/", 3)[:3])
    owner = finding.get("uid")
    return owner if isinstance(owner, int) else None


def _too_much(entries: int) -> str:
    more = f", and so do {entries - 1} more entries" if entries > 1 else ""
    return f", which is too much to be right{more}"


def _accusing(finding: Record, without: frozenset[str]) -> list[Key]:
    """The entries that accuse a file by themselves, each once, but those of which something else is said."""
    keys = (_key(match) for match in finding.get("matches", ()) if accuses(match, without))
    return list(dict.fromkeys(keys))


def _key(match: Mapping[str, Any]) -> Key:
    return str(match["list"]), str(match["entry"])
