"""Select the matches of a report that a baseline can accept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from hashscan.errors import UsageError
from hashscan.matching.policy_rules import covers
from hashscan.model import KNOWN_GOOD_CATEGORY, MATCHES_MAX, AcceptedMatch
from hashscan.reports.names import path_bytes
from hashscan.reports.report import Report
from hashscan.scan.baseline.file import REASON_MAX, accepted_match_from, key_of
from hashscan.text import is_printable_line
from hashscan.timefmt import format_utc


@dataclass(frozen=True, slots=True)
class AcceptableMatches:
    """The matches that can be accepted, each once, and the findings that can't."""

    matches: tuple[AcceptedMatch, ...]
    words: str
    """A message about findings that can't be accepted; empty if all can."""


def matches_to_accept(
    report: Report,
    reason: str,
    until: datetime,
    by: str,
    now: datetime,
    entries: Sequence[str] = (),
    paths: Sequence[str] = (),
) -> AcceptableMatches:
    """Select the matches of a report.

    Args:
        report: the report of a scan.
        reason: why the matches are accepted.
        until: the end of the acceptance, timezone-aware.
        by: who accepts them.
        now: the current time, timezone-aware.
        entries: ids of the entries to accept matches of; empty for all.
        paths: patterns of the files to accept matches of; empty for all.

    Raises:
        UsageError: the file is not a report, or the reason or a pattern can't be used.
        OutputError: the report can't be read.
    """
    reason = reason.strip()
    if not reason or not is_printable_line(reason, REASON_MAX):
        raise UsageError(
            "the reason can't be used",
            advice=f"Say in one line of 1 to {REASON_MAX} printable characters why it is accepted.",
        )
    found: dict[tuple[str, str, str], AcceptedMatch] = {}
    without = many = 0
    for record in report.records():
        if record["type"] != "finding" or (paths and not covers(tuple(paths), path_bytes(record))):
            continue
        matches = [
            match
            for match in record.get("matches", ())
            if match.get("category") != KNOWN_GOOD_CATEGORY and (not entries or match.get("entry") in entries)
        ]
        content = report.digests(record).get("sha256", "")
        without += bool(matches) and not content
        many += len(record.get("matches", ())) >= MATCHES_MAX
        for match in matches if content else ():
            row = {
                "list": match.get("list"),
                "entry": match.get("entry"),
                "sha256": content,
                "reason": reason,
                "until": format_utc(until),
                "by": by,
                "since": format_utc(now),
            }
            try:
                one = accepted_match_from(row)
            except ValueError as error:
                raise UsageError(
                    f"{report.name} has a finding that can't be accepted: {error}",
                    advice="It is damaged; scan again.",
                ) from error
            found[key_of(one)] = one
    words = []
    if without:
        words.append(f"{without} findings say no digest of their content")
    if many:
        words.append(f"{many} findings have more matches than a report names")
    return AcceptableMatches(tuple(found.values()), ", ".join(words))
