"""Write a report as JUnit XML for CI systems, which show failures by name."""

from __future__ import annotations

import base64
from collections import Counter
from typing import BinaryIO
from xml.sax.saxutils import escape, quoteattr

from hashscan.model import CONTAINER_REASONS, Verdict
from hashscan.reports.common import (
    FOLDER,
    OPEN_EARLIER,
    SILENT_CHANGE,
    TYPES,
    deciding_match,
    reason_of,
    shortcomings,
    utc,
    verdict_of,
)
from hashscan.reports.records import Record, path_bytes, path_text
from hashscan.reports.report import Report, ReportFormat
from hashscan.text import printable

_FAILURE, _ERROR, _SKIPPED = "failure", "error", "skipped"

_SUITES = (
    *(verdict.value for verdict in Verdict if verdict is not Verdict.CLEAN),
    OPEN_EARLIER,
    SILENT_CHANGE,
    FOLDER,
)
"""Suites in the order in which they are written."""

_WHOLE = "everything was checked"
"""Name of the test case that is in every document; CI systems use it to compare scans."""


class JUnit(ReportFormat):
    """JUnit XML as Jenkins and GitLab read it: a suite for each verdict, and one for the whole scan.

    Results that affect the exit code are failures and errors; the others are skipped.
    """

    name = "junit"
    suffix = ".xml"

    def write(self, report: Report, stream: BinaryIO) -> None:
        """Write one document, with one test case per line."""
        # A suite starts with its counts, so all records are counted first.
        counts: Counter[tuple[str, str]] = Counter()
        for record in report.records():
            if record["type"] in TYPES:
                counts[_suite_of(record), _outcome_of(record, report.scan)] += 1
        short = "; ".join(shortcomings(report))
        counts["scan", _ERROR if short else ""] = 1
        stream.write(b'<?xml version="1.0" encoding="UTF-8"?>\n')
        stream.write(f'<testsuites name="hashscan"{_numbers(counts)}>\n'.encode())
        stream.write(_suite("scan", counts, report).encode())
        stream.write(_case(_WHOLE, "hashscan.scan", _ERROR if short else "", "incomplete", short).encode())
        stream.write(b"</testsuite>\n")
        for suite in _SUITES:
            if not any(name == suite for name, _ in counts):
                continue
            stream.write(_suite(suite, counts, report).encode())
            for record in report.records():
                if record["type"] in TYPES and _suite_of(record) == suite:
                    stream.write(_case_of(record, suite, _outcome_of(record, report.scan)).encode())
            stream.write(b"</testsuite>\n")
        stream.write(b"</testsuites>\n")


def _outcome_of(record: Record, scan: Record) -> str:
    """Return the name of a record's outcome element, by the scan's `fail_on` and `strict` settings."""
    if "accepted" in record:
        return _SKIPPED
    match verdict_of(record):
        case Verdict.MATCH:
            return _FAILURE
        case Verdict.HELD:
            return _FAILURE if record.get("breaker") else _SKIPPED
        case Verdict.REVIEW:
            return _FAILURE if scan["fail_on"] != "match" else _SKIPPED
        case Verdict.UNDECODED:
            of_picture = record.get("reason") not in CONTAINER_REASONS
            return _ERROR if scan["strict"] and of_picture else _SKIPPED
        case Verdict.SKIPPED:
            return _SKIPPED
    return _ERROR


def _suite_of(record: Record) -> str:
    kind = str(record["type"])
    return kind if kind in {OPEN_EARLIER, SILENT_CHANGE, FOLDER} else verdict_of(record)


def _suite(name: str, counts: Counter[tuple[str, str]], report: Report) -> str:
    scan = report.scan
    numbers = _numbers(Counter({key: n for key, n in counts.items() if key[0] == name}), skipped=True)
    when = utc(scan["started"]).removesuffix("Z").partition(".")[0]
    moment = f" timestamp={_quoted(when)}" if when else ""
    return (
        f"<testsuite name={_quoted(f'hashscan.{name}')}{numbers} hostname={_quoted(scan['host'])}{moment}>\n"
    )


def _numbers(counts: Counter[tuple[str, str]], *, skipped: bool = False) -> str:
    by_outcome: Counter[str] = Counter()
    for (_, outcome), number in counts.items():
        by_outcome[outcome] += number
    numbers = {"tests": by_outcome.total(), "failures": by_outcome[_FAILURE], "errors": by_outcome[_ERROR]}
    if skipped:
        numbers["skipped"] = by_outcome[_SKIPPED]
    return "".join(f' {name}="{number}"' for name, number in numbers.items())


def _case_of(record: Record, suite: str, outcome: str) -> str:
    category = deciding_match(record).get("category", "")
    version = f" (version {record['version']})" if "version" in record else ""
    kind = f"hashscan.{suite}.{category}" if category else f"hashscan.{suite}"
    message = reason_of(record)
    if customer := record.get("customer", ""):
        message += f"; customer {customer}"
    path = path_text(record)
    exact = ""
    if not path.isprintable():
        exact = f"; its name in base64: {base64.b64encode(path_bytes(record)).decode('ascii')}"
    return _case(f"{path}{version}", kind, outcome, category or suite, message, exact)


def _case(name: str, kind: str, outcome: str, subject: str, message: str, further: str = "") -> str:
    begin = f"<testcase name={_quoted(name)} classname={_quoted(kind)}"
    if not outcome:
        return f"{begin}/>\n"
    # Some CI systems show only the message, and some only the content.
    inside = escape(printable(message) + further)
    element = f"<{outcome} type={_quoted(subject)} message={_quoted(message)}>{inside}</{outcome}>"
    return f"{begin}>{element}</testcase>\n"


def _quoted(text: str) -> str:
    """Return the text as a quoted attribute; characters that XML can't hold are escaped."""
    return quoteattr(printable(text))
