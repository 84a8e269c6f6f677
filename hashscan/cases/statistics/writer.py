"""Write statistics as JSON and as CSV, under stable keys."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import msgspec
from msgspec import Struct, field, structs

from hashscan.cases.export import csv_line
from hashscan.cases.statistics.counting import FOUND, Custody, Figures, Outcome, Statistics
from hashscan.cases.statistics.periods import Period, Unit
from hashscan.model import Verdict
from hashscan.schema import Time
from hashscan.timefmt import format_utc_seconds

SCHEMA: Literal[1] = 1
"""Version of the schema; raised when a key changes its meaning or is removed."""


def hours(seconds: float | None) -> float | None:
    """Return seconds as hours, rounded to a hundredth."""
    return None if seconds is None else round(seconds / 3600, 2)


class ScansNumbers(Struct):
    """The scans by how they ended."""

    complete: int
    incomplete: int
    failed: int


class UploadsNumbers(Struct):
    """The uploads that were checked, by result."""

    checked: int
    bytes: int
    refused: int
    unchecked: int
    match: int
    held: int
    review: int
    unreadable: int
    undecoded: int
    skipped: int
    clean: int


class DigestsNumbers(Struct):
    """The digests that were asked about over HTTP."""

    checked: int
    match: int


class FindingsNumbers(Struct):
    """The new findings by verdict."""

    match: int
    held: int
    review: int


class CustodyNumbers(Struct):
    """The files that were moved into quarantine, restored and destroyed."""

    quarantined: int
    restored: int
    released: int


class RemovalNumbers(Struct):
    """The cases that began in the period: how many files were removed, and the hours that it took."""

    cases: int
    removed: int
    within: int
    otherwise: int
    open: int
    overdue: int
    share_within: float | None
    median_hours: float | None
    p90_hours: float | None


class Numbers(Struct, kw_only=True):
    """The numbers of a period, with one for each list, category and door of all statistics."""

    scans: ScansNumbers
    files: int
    bytes: int
    uploads: UploadsNumbers
    doors: dict[str, int]
    digests: DigestsNumbers
    findings: FindingsNumbers
    lists: dict[str, int]
    categories: dict[str, int]
    custody: CustodyNumbers
    notices: int
    removal: RemovalNumbers


class PeriodNumbers(Numbers, kw_only=True):
    """The numbers of a period, with its first second and the one after its end."""

    period: str
    begin: Time = field(name="from")
    end: Time = field(name="to")
    whole: bool


class StatisticsDocument(Struct, kw_only=True, tag_field="type", tag="statistics"):
    """Statistics by period, and in total."""

    schema: Literal[1] = SCHEMA
    made: Time
    by: Unit
    timezone: str
    begin: Time = field(name="from")
    end: Time = field(name="to")
    periods: list[PeriodNumbers]
    totals: Numbers


def json_text(statistics: Statistics, unit: Unit, zone: str) -> str:
    """Return all numbers as one JSON document; `zone` is the name of the time zone."""
    periods = statistics.periods
    document = StatisticsDocument(
        made=format_utc_seconds(statistics.now),
        by=unit,
        timezone=zone,
        begin=format_utc_seconds(periods[0][0].begin),
        end=format_utc_seconds(periods[-1][0].end),
        periods=[_of_period(period, figures, statistics) for period, figures in periods],
        totals=numbers(statistics.totals, statistics),
    )
    return json.dumps(msgspec.to_builtins(document), indent=2) + "\n"


def csv_lines(statistics: Statistics) -> Iterator[str]:
    """Yield the column names and a line for each period; no line of totals, so that columns add up."""
    for number, (period, figures) in enumerate(statistics.periods):
        fields = msgspec.to_builtins(_of_period(period, figures, statistics))
        row = dict(_flat({key: fields.pop(key) for key in ("period", "from", "to", "whole")} | fields))
        if not number:
            yield csv_line(row, lineterminator="\n")
        yield csv_line(row.values(), lineterminator="\n")


def numbers(figures: Figures, statistics: Statistics) -> Numbers:
    removal, uploads = figures.removal, figures.uploads
    return Numbers(
        scans=ScansNumbers(**{outcome.value: figures.scans[outcome] for outcome in Outcome}),
        files=figures.files,
        bytes=figures.bytes,
        uploads=UploadsNumbers(
            checked=uploads.checked,
            bytes=uploads.bytes,
            refused=uploads.refused,
            unchecked=uploads.unchecked,
            **{verdict.value: uploads.verdicts[verdict] for verdict in Verdict},
        ),
        doors={name: uploads.doors[name] for name in statistics.doors},
        digests=DigestsNumbers(uploads.digests, uploads.digests_found),
        findings=FindingsNumbers(**{found.value: figures.findings[found] for found in FOUND}),
        lists={name: figures.lists[name] for name in statistics.lists},
        categories={name: figures.categories[name] for name in statistics.categories},
        custody=CustodyNumbers(**{what.value: figures.custody[what] for what in Custody}),
        notices=figures.notices,
        removal=RemovalNumbers(
            cases=removal.cases,
            removed=removal.removed,
            within=removal.within,
            otherwise=removal.otherwise,
            open=removal.open,
            overdue=removal.overdue,
            share_within=None if removal.share is None else round(removal.share, 4),
            median_hours=hours(removal.median),
            p90_hours=hours(removal.ninth_tenth),
        ),
    )


def _of_period(period: Period, figures: Figures, statistics: Statistics) -> PeriodNumbers:
    return PeriodNumbers(
        period=period.label,
        begin=format_utc_seconds(period.begin),
        end=format_utc_seconds(period.end),
        whole=period.whole,
        **structs.asdict(numbers(figures, statistics)),
    )


def _flat(values: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from ((f"{key}_{inner}", number) for inner, number in value.items())
        else:
            yield key, value
