"""Write released figures as one self-contained HTML page with charts, as CSV and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from hashscan.cases.export import csv_line
from hashscan.cases.statistics import web_page
from hashscan.cases.statistics.web_page import SHAPES, Drawing, Series, lay_out
from hashscan.hub.statistics.figures import MEASURES, Document, Month
from hashscan.hub.statistics.publications import Answer, Publication, public_months
from hashscan.hub.statistics.removal_times import HORIZON_HOURS
from hashscan.reports.page.frame import Page
from hashscan.schema import encode_json

_TITLES = {
    "digests": ("Digests checked", "checked"),
    "detected": ("Digests detected", "accused"),
    "files": ("Files scanned", "checked"),
    "found": ("Files found", "accused"),
    "notices": ("Notices sent", "noticed"),
    "removed": ("Files removed", "complete"),
}


_OF_RANKS = (
    "rank", "cases", "hours", "hours_low", "hours_high", "median_hours", "answered", "looked_at", "confirmed",
    "contradicted",
)  # fmt: skip
_NO_RANK = ("",) * len(_OF_RANKS)


class Chart(Struct, frozen=True):
    """A chart with its numbers."""

    name: str
    title: str
    description: str
    drawn: Sequence[Drawing]
    rows: Sequence[tuple[str, int | None]]


class PublishedFigures(Struct, frozen=True):
    """Figures that were released."""

    number: int
    released: int
    """Seconds since 1970."""
    figures: Document
    answers: list[Answer]
    """Those of organisations that are named."""


class Published(Struct, frozen=True):
    """All public figures, the newest first."""

    publications: list[PublishedFigures]


def html_parts(found: list[Publication]) -> Iterator[bytes]:
    """Yield the page in UTF-8, in pieces; `found` are public publications, the newest first."""
    folder = Path(web_page.__file__).with_name("templates")
    page = Page(folder, "published.html", styles=("chart.css", "statistics.css"))
    months = public_months(found)
    return page.parts(
        title="Checks and detections",
        charts=[_chart(measure, months) for measure in MEASURES] if months else [],
        span=(months[0].month, months[-1].month) if months else None,
        publications=found,
        below=found[0].document.suppressed_below if found else 0,
        horizon=HORIZON_HOURS,
    )


def _chart(measure: str, months: Sequence[Month]) -> Chart:
    title, tone = _TITLES[measure]
    return chart(measure, title, tone, [(month.month, getattr(month, measure)) for month in months])


def chart(name: str, title: str, tone: str, rows: Sequence[tuple[str, int | None]]) -> Chart:
    """Return a chart with a bar for each month (at least one, None for a number that is not shown); the name
    is the id of its heading, the tone a CSS class of `chart.css`."""
    labels, values = [label for label, _ in rows], [value for _, value in rows]
    drawn = [lay_out(shape, labels, [Series(title, tone, values)], stacked=True) for shape in SHAPES]
    total = sum(value or 0 for value in values)
    return Chart(
        name, title, f"Bars by month. Over the whole time: {total:,g}.", drawn if total else (), rows
    )


def csv_parts(found: list[Publication]) -> Iterator[bytes]:
    """Yield a table: a line for each month and organisation of each publication, and one for their total.

    After them is a line for each organisation that is ranked, whose month is the whole period. A number that
    is suppressed is empty, and so is each that a line does not have.
    """
    yield csv_line(["publication", "organisation", "month", *MEASURES, *_OF_RANKS]).encode()
    for each in found:
        parts = [("", each.document.months), *((o.name, o.months) for o in each.document.organisations)]
        for name, months in parts:
            for month in months:
                values = [getattr(month, measure) for measure in MEASURES]
                shown = ["" if value is None else str(value) for value in values]
                yield csv_line([str(each.number), name, month.month, *shown, *_NO_RANK]).encode()
        for rank in each.document.ranking:
            period = f"{each.document.first}/{each.document.last}"
            numbers = msgspec.to_builtins(rank)
            known = ["" if numbers[name] is None else str(numbers[name]).lower() for name in _OF_RANKS]
            yield csv_line([str(each.number), rank.name, period, *[""] * len(MEASURES), *known]).encode()


def json_parts(found: list[Publication]) -> Iterator[bytes]:
    """Yield the public publications as a JSON document: figures, answers and when they were released."""
    documents = [PublishedFigures(p.number, p.released or 0, p.document, p.answers) for p in found]
    yield encode_json(Published(documents)) + b"\n"
