"""What of a report can be accepted, as a baseline has it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from hashscan.errors import UsageError
from hashscan.matching.policy_rules import covers
from hashscan.model import KNOWN_GOOD_CATEGORY, MATCHES_KEPT, AcceptedMatch
from hashscan.reports.names import path_bytes
from hashscan.reports.report import Report
from hashscan.scan.baseline.file import REASON_MAX, accepted_of, key_of
from hashscan.scan.baseline.filter import written


@dataclass(frozen=True, slots=True)
class Acceptable:
    """What can be accepted, each once, and what can't."""

    matches: tuple[AcceptedMatch, ...]
    words: str
    """For people: which findings can't be; empty where all can."""


def acceptable(
    report: Report,
    reason: str,
    until: datetime,
    by: str,
    now: datetime,
    entries: Sequence[str] = (),
    paths: Sequence[str] = (),
) -> Acceptable:
    """Go through a report.

    Args:
        report: of a sweep.
        reason: why it is accepted.
        until: the end, aware.
        by: who accepts it.
        now: the time, aware.
        entries: ids of those whose word is meant; empty for all.
        paths: patterns of the files that are meant; empty for all.

    Raises:
        UsageError: it is no report, the reason can't be used, or there is a pattern that can't.
        OutputError: the report can't be read.
    """
    reason = reason.strip()
    if not reason or not reason.isprintable() or len(reason) > REASON_MAX:
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
        many += len(record.get("matches", ())) >= MATCHES_KEPT
        for match in matches if content else ():
            row = {
                "list": match.get("list"),
                "entry": match.get("entry"),
                "sha256": content,
                "reason": reason,
                "until": written(until),
                "by": by,
                "since": written(now),
            }
            try:
                one = accepted_of(row)
            except ValueError as error:
                raise UsageError(
                    f"{report.name} has a finding that can't be accepted: {error}",
                    advice="It is damaged; sweep again.",
                ) from error
            found[key_of(one)] = one
    words = []
    if without:
        words.append(f"{without} findings say no digest of their content")
    if many:
        words.append(f"{many} findings have more matches than a report names")
    return Acceptable(tuple(found.values()), ", ".join(words))
