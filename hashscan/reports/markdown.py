"""Write a summary of a report in Markdown, for the page of a CI job."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO

from hashscan.errors import EXIT_MEANINGS
from hashscan.model import Verdict
from hashscan.reports.common import (
    OPEN_EARLIER,
    Overview,
    deciding_match,
    first_names,
    overview,
    reason_of,
    remark_on_tests,
    shortcomings,
    utc,
    verdict_of,
)
from hashscan.reports.records import Record, path_text
from hashscan.reports.report import Report, ReportFormat
from hashscan.text import plural, printable, shortened

FINDINGS_SHOWN = 100
"""Maximum number of findings: GitHub accepts no summary of more than 1 MiB, and nobody reads one."""
_ROWS_SHOWN = 20
_LONGEST_NAME = 200
_LONGEST_TEXT = 300

_FOUND = {
    Verdict.MATCH.value: ("match", "matches"),
    Verdict.HELD.value: ("held match", "held matches"),
    Verdict.REVIEW.value: ("for review", "for review"),
}
"""Singular and plural of each verdict."""

_MARKUP = re.compile(r"[^\w /,-]|_|(?i:www)|\A[- ]", re.ASCII)
"""Characters that may be markup in Markdown or HTML, and text that pages turn into links."""


class Markdown(ReportFormat):
    """GitHub's Markdown: counts, the first findings, and what was not checked."""

    name = "markdown"
    suffix = ".md"

    def write(self, report: Report, stream: BinaryIO) -> None:
        """Write one section, of bounded length."""
        totals = overview(report, FINDINGS_SHOWN)
        for line in _lines(report, totals):
            stream.write(f"{line}\n".encode())


def _lines(report: Report, totals: Overview) -> Iterator[str]:
    yield f"## hashscan: {_headline(totals)}"
    yield ""
    yield _sentence(report)
    if remark := remark_on_tests(report):
        yield ""
        yield f"Note: {_text(remark, _LONGEST_TEXT)}."
    short = shortcomings(report)
    if short:
        yield ""
        yield "**Not everything was checked:**"
        yield ""
        yield from (f"- {_text(reason, _LONGEST_TEXT)}" for reason in short[:_ROWS_SHOWN])
        if len(short) > _ROWS_SHOWN:
            yield f"- and {len(short) - _ROWS_SHOWN} more"
    yield ""
    counts = [(verdict.value, totals.verdicts[verdict.value]) for verdict in Verdict]
    if totals.standing:
        counts.append(("earlier findings, still open", totals.standing))
    yield from _table(("verdict", "files"), ((name, str(number)) for name, number in counts if number))
    for title, names in (
        ("category", totals.categories),
        ("list", totals.lists),
        ("customer", totals.customers),
    ):
        if any(names):
            yield ""
            counts = first_names(names, _ROWS_SHOWN, _code)
            yield from _table((title, "findings"), ((name, str(number)) for name, number in counts))
    if totals.findings:
        yield ""
        yield from _findings(totals)
    if totals.reasons:
        yield ""
        yield "### Not checked, or not in full"
        yield ""
        rows = [
            (kind, _text(reason, _LONGEST_NAME), str(number))
            for (kind, reason), number in totals.reasons.most_common(_ROWS_SHOWN)
        ]
        yield from _table(("what", "reason", "number"), rows)


def _headline(totals: Overview) -> str:
    if not totals.total:
        return "nothing found"
    return ", ".join(
        f"{number} {_FOUND[verdict][number != 1]}" for verdict in _FOUND if (number := totals.found[verdict])
    )


def _sentence(report: Report) -> str:
    """Return a sentence: host, targets and time of the scan, and its exit code."""
    scan, summary = report.scan, report.summary
    targets = scan.get("targets", ())
    shown = ", ".join(_code(path_text(target)) for target in targets[:5] if "path" in target)
    more = f" and {len(targets) - 5} more" if len(targets) > 5 else ""
    sentence = f"Scan of {shown or 'nothing'}{more} on {_text(scan.get('host', ''), _LONGEST_NAME)}"
    if started := utc(scan.get("started", "")):
        sentence += f", {started[:16].replace('T', ' ')} UTC"
    if summary is None:
        return f"{sentence}. It was killed."
    code = summary.get("exit_code", 0)
    if accepted := sum(summary.get("accepted", {}).values()):
        sentence += f". The baseline accepts {plural(accepted, 'finding')}"
    return f"{sentence}. Exit code {code}: {EXIT_MEANINGS.get(code, 'unknown')}."


def _findings(totals: Overview) -> Iterator[str]:
    cut = len(totals.findings) < totals.total
    yield f"### Findings{f' (the first {len(totals.findings)} of {totals.total})' if cut else ''}"
    yield ""
    with_customers = bool(set(totals.customers) - {""})
    columns = ("verdict", "category", *(("customer",) if with_customers else ()), "file", "because")
    yield from _table(columns, (_finding(record, with_customers) for record in totals.findings))
    yield ""
    yield "Names are shortened, and invisible characters in them are escaped; the JSON Lines report has "
    "the complete names."


def _finding(record: Record, with_customers: bool) -> list[str]:
    verdict = verdict_of(record)
    if record["type"] == OPEN_EARLIER or "accepted" in record:
        verdict += " (still open)" if record["type"] == OPEN_EARLIER else " (accepted)"
    customer = [_code(record.get("customer", ""))] if with_customers else []
    return [
        verdict,
        _text(deciding_match(record).get("category", ""), _LONGEST_NAME),
        *customer,
        _code(path_text(record)),
        _text(reason_of(record), _LONGEST_TEXT),
    ]


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(columns)} |"
    yield f"|{' --- |' * len(columns)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _code(name: str) -> str:
    # GitHub makes no mentions and references inside it. Backquotes would not allow escapes.
    return f"<code>{_text(name, _LONGEST_NAME)}</code>"


def _text(text: str, longest: int) -> str:
    """Escape each character that may be markup as a character reference, and shorten the text."""
    return _MARKUP.sub(_references, shortened(printable(text), longest))


def _references(found: re.Match[str]) -> str:
    return "".join(f"&#{ord(character)};" for character in found.group())
