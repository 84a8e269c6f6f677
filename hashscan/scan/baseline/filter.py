"""Filter a scan's findings by a baseline: findings that it accepts don't make the scan fail by themselves."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hashscan.model import (
    ACTING_CATEGORIES,
    ALGORITHMS,
    KNOWN_GOOD_CATEGORY,
    MATCHES_MAX,
    AcceptedMatch,
    FileResult,
    Match,
    Verdict,
)
from hashscan.reports.record_lines import Record
from hashscan.reports.records import FINDINGS
from hashscan.reports.summary import FailOn, Summary
from hashscan.scan.baseline.file import Key, key_of, read_baseline
from hashscan.timefmt import format_utc

EXPIRY_WARNING = timedelta(days=14)
"""The time before the end of an acceptance in which the scan warns about it."""
_MESSAGES_MAX = 10
"""The number of accepted matches that each kind of message names."""


class BaselineFilter:
    """The baseline filter of one scan, with the accepted matches that the scan has found."""

    def __init__(self, accepted: Iterable[AcceptedMatch], now: datetime, fail_on: FailOn) -> None:
        """Prepare the filter.

        Args:
            accepted: the accepted matches, each once.
            now: the time to compare their ends with, timezone-aware.
            fail_on: the verdicts that make the scan fail.
        """
        self._all = tuple(accepted)
        # All times have one form and are in UTC, so their text order is their time order.
        self._now, self._soon = format_utc(now), format_utc(now + EXPIRY_WARNING)
        self._in_force = {key_of(one): one for one in self._all if self._now < one.until}
        self._every_match = fail_on == "review"
        self._met: set[Key] = set()

    @classmethod
    def from_file(cls, baseline: Path | None, now: datetime, fail_on: FailOn) -> BaselineFilter:
        """Return the filter of a baseline file; without a file it accepts nothing.

        Raises:
            UsageError: the file can't be used.
        """
        return cls(() if baseline is None else read_baseline(baseline), now, fail_on)

    def apply(self, record: Record, result: FileResult, summary: Summary) -> Record:
        """Return a file's record, with the reason if its finding is accepted; accepted findings are counted.

        A finding is accepted if the baseline accepts every match that accuses the file, for the content that
        the file has.

        Args:
            record: the file's record.
            result: the result that the record was made from.
            summary: the scan's counts.
        """
        if not self._in_force or result.verdict not in FINDINGS:
            return record
        needed = [match for match in result.matches if self._needs_acceptance(match, result.verdict)]
        content = next((digest.value.hex() for digest in result.digests if digest.algorithm == "sha256"), "")
        keys = [(match.list_name, match.entry_id, content) for match in needed]
        accepted = [self._in_force[key] for key in keys if key in self._in_force]
        self._met.update(map(key_of, accepted))
        # Of very many matches only the first are known, and the others may not be accepted.
        if not keys or len(accepted) < len(keys) or len(result.matches) >= MATCHES_MAX:
            return record
        summary.accept(result.verdict)
        first = min(accepted, key=lambda one: one.until)
        return {**record, "accepted": {"reason": first.reason, "until": first.until}}

    def _needs_acceptance(self, match: Match, verdict: Verdict) -> bool:
        """Return True if this match must be accepted for the finding to be accepted."""
        if match.category == KNOWN_GOOD_CATEGORY:
            return False
        if self._every_match or verdict is Verdict.REVIEW:
            return True
        return (
            match.category in ACTING_CATEGORIES
            and not match.near_miss
            and not ALGORITHMS[match.algorithm].review_only
        )

    def fields(self) -> Record:
        """Return the baseline's fields in the first record; none without accepted matches."""
        if not self._all:
            return {}
        document = "\n".join("\t".join((*key_of(one), one.until)) for one in sorted(self._all, key=key_of))
        return {
            "accepted": len(self._in_force),
            "expired": len(self._all) - len(self._in_force),
            "fingerprint": hashlib.sha256(document.encode()).hexdigest(),
        }

    def messages_before(self) -> Iterator[str]:
        """Yield the warnings before the scan: acceptances that have ended, and those that end soon."""
        ended = [one for one in self._all if one.until <= self._now]
        yield from _message_lines(ended, lambda one: f"is accepted no more since {one.until}")
        ending = [one for one in self._in_force.values() if one.until <= self._soon]
        yield from _message_lines(ending, lambda one: f"is accepted only until {one.until}")

    def messages_after(self) -> Iterator[str]:
        """Yield the messages after a complete scan: accepted matches that were not found."""
        unmet = [one for key, one in self._in_force.items() if key not in self._met]
        yield from _message_lines(unmet, lambda one: f"is accepted since {one.since}, and was not found")


def _message_lines(accepted: Sequence[AcceptedMatch], words: Callable[[AcceptedMatch], str]) -> Iterator[str]:
    for one in accepted[:_MESSAGES_MAX]:
        yield f"baseline: entry {one.entry_id} of list {one.list_name} {words(one)}: {one.reason}"
    if len(accepted) > _MESSAGES_MAX:
        yield f"baseline: and so it is with {len(accepted) - _MESSAGES_MAX} more"


NOTHING_ACCEPTED = BaselineFilter((), datetime.min.replace(tzinfo=UTC), "match")
