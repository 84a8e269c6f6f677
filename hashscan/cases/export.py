"""Export cases for other programs, as JSON and CSV."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from io import StringIO
from typing import Any

from hashscan.cases.queries import Case, Event, RefusedContent
from hashscan.reports.csv import cell
from hashscan.text import path_fields
from hashscan.timefmt import format_time

_TIMES = ("found", "began", "seen", "noticed", "due", "told", "disputed", "removed", "closed")
_TEXTS = (
    "version", "host", "url", "customer", "because", "how", "why", "dispute", "etag", "door", "reference",
)  # fmt: skip
COLUMNS = (
    "case", "state", "overdue", "verdict", "categories", "customer", "path", "version", "url", "due", "found",
    "noticed", "told", "disputed", "removed", "how", "closed", "why", "dispute", "hours", "because", "door",
    "reference",
)  # fmt: skip


def fields_of(case: Case, now: float) -> dict[str, Any]:
    """Return a case as JSON fields at a time in seconds since 1970; unknown values are left out."""
    fields: dict[str, Any] = {"case": case.id, "state": case.state, "verdict": case.verdict}
    if case.path is not None:
        fields |= path_fields(case.path)
    for key in _TEXTS:
        if getattr(case, key):
            fields[key] = getattr(case, key)
    fields["categories"] = list(case.categories)
    fields["overdue"] = case.overdue(now)
    for key in _TIMES:
        if (at := getattr(case, key)) is not None:
            fields[key] = format_time(at)
    if case.hours is not None:
        fields["hours"] = round(case.hours, 3)
    for key in ("size", "uid", "previous"):
        if getattr(case, key) is not None:
            fields[key] = getattr(case, key)
    return fields


def whole_fields(
    case: Case,
    matches: Sequence[Mapping[str, Any]],
    events: Iterable[Event],
    now: float,
    upload: RefusedContent | None = None,
) -> dict[str, Any]:
    """Return a case as JSON fields, with its matches and events, and with its upload if it is of one."""
    return {
        **fields_of(case, now),
        **({} if upload is None else {"upload": asdict(upload)}),
        "matches": matches,
        "events": [
            {
                "at": format_time(event.at),
                "kind": event.kind,
                **({"words": event.words} if event.words else {}),
                **({"who": event.who} if event.who else {}),
            }
            for event in events
        ],
    }


def json_lines(cases: Iterable[Case], now: float) -> Iterator[str]:
    """Yield a JSON line for each case."""
    for case in cases:
        yield json.dumps(fields_of(case, now)) + "\n"


def csv_lines(cases: Iterable[Case], now: float) -> Iterator[str]:
    """Yield a CSV header and a row for each case; no cell begins a spreadsheet formula."""
    yield ",".join(COLUMNS) + "\r\n"
    for case in cases:
        fields = fields_of(case, now)
        fields["categories"] = " ".join(case.categories)
        yield csv_line((fields.get(key, "") for key in COLUMNS), quoting=csv.QUOTE_NONNUMERIC)


def csv_line(values: Iterable[object], **form: Any) -> str:
    """Return a CSV line in a form of `csv.writer`; texts, which may come from other machines, are escaped."""
    buffer = StringIO()
    escaped = (str(value).lower() if isinstance(value, bool) else value for value in values)
    csv.writer(buffer, **form).writerow(cell(v) if isinstance(v, str) else v for v in escaped)
    return buffer.getvalue()


def format_duration(seconds: float) -> str:
    """Return a duration in its two largest non-zero units, such as `3 h 20 min`."""
    minutes = int(abs(seconds)) // 60
    days, minutes = divmod(minutes, 24 * 60)
    hours, minutes = divmod(minutes, 60)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
