"""Write statistics as JSON and as CSV, under stable keys."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from hashscan.cases.export import csv_line
from hashscan.cases.statistics.counting import FOUND, Custody, Figures, Outcome, Statistics
from hashscan.cases.statistics.periods import Period, Unit
from hashscan.model import Verdict
from hashscan.timefmt import format_utc_seconds

SCHEMA = 1
"""Version of the schema; raised when a key changes its meaning or is removed."""


def hours(seconds: float | None) -> float | None:
    """Return seconds as hours, rounded to a hundredth."""
    return None if seconds is None else round(seconds / 3600, 2)


def json_text(statistics: Statistics, unit: Unit, zone: str) -> str:
    """Return all numbers as one JSON document; `zone` is the name of the time zone."""
    periods = statistics.periods
    document = {
        "type": "statistics",
        "schema": SCHEMA,
        "made": format_utc_seconds(statistics.now),
        "by": unit.value,
        "timezone": zone,
        "from": format_utc_seconds(periods[0][0].begin),
        "to": format_utc_seconds(periods[-1][0].end),
        "periods": [{**_period(period), **numbers(figures, statistics)} for period, figures in periods],
        "totals": numbers(statistics.totals, statistics),
    }
    return json.dumps(document, indent=2) + "\n"


def csv_lines(statistics: Statistics) -> Iterator[str]:
    """Yield the column names and a line for each period; no line of totals, so that columns add up."""
    for number, (period, figures) in enumerate(statistics.periods):
        row = dict(_flat({**_period(period), **numbers(figures, statistics)}))
        if not number:
            yield csv_line(row, lineterminator="\n")
        yield csv_line(row.values(), lineterminator="\n")


def numbers(figures: Figures, statistics: Statistics) -> Mapping[str, Any]:
    """Return the numbers of a period by their keys, with one for each list and category of all statistics."""
    removal, uploads = figures.removal, figures.uploads
    return {
        "sweeps": {outcome.value: figures.scans[outcome] for outcome in Outcome},
        "files": figures.files,
        "bytes": figures.bytes,
        "uploads": {
            "checked": uploads.checked,
            "bytes": uploads.bytes,
            "refused": uploads.refused,
            "unchecked": uploads.unchecked,
            **{verdict.value: uploads.verdicts[verdict] for verdict in Verdict},
        },
        "doors": {name: uploads.doors[name] for name in statistics.doors},
        "digests": {"checked": uploads.digests, "match": uploads.digests_found},
        "findings": {found.value: figures.findings[found] for found in FOUND},
        "lists": {name: figures.lists[name] for name in statistics.lists},
        "categories": {name: figures.categories[name] for name in statistics.categories},
        "custody": {what.value: figures.custody[what] for what in Custody},
        "notices": figures.notices,
        "removal": {
            "cases": removal.cases,
            "removed": removal.removed,
            "within": removal.within,
            "otherwise": removal.otherwise,
            "open": removal.open,
            "overdue": removal.overdue,
            "share_within": None if removal.share is None else round(removal.share, 4),
            "median_hours": hours(removal.median),
            "p90_hours": hours(removal.ninth_tenth),
        },
    }


def _period(period: Period) -> Mapping[str, Any]:
    return {
        "period": period.label,
        "from": format_utc_seconds(period.begin),
        "to": format_utc_seconds(period.end),
        "whole": period.whole,
    }


def _flat(values: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from ((f"{key}_{inner}", number) for inner, number in value.items())
        else:
            yield key, value
