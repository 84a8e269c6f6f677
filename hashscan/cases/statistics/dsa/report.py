"""Write a transparency report: the eleven files of its parts, why some are blank, and each figure's cases.

A blank is a figure that is not known, or of a row that does not apply; 0 says that there was none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import NamedTuple

from hashscan.cases.statistics.dsa import template
from hashscan.cases.statistics.dsa.figures import (
    Activity,
    Choices,
    Figure,
    Figures,
    Measure,
    Restriction,
    automation_figures,
    has_code,
    measures_row,
    notices_row,
    orders_row,
)
from hashscan.cases.statistics.dsa.template import ALL, APPLICABLE, HOSTING, TOTAL
from hashscan.reports.csv import cell
from hashscan.text import plural

NOT_FILLED = "not-filled.txt"
"""Name of the file that says what is blank, and why."""

MEMBER_STATES = frozenset(
    "AT BE BG CY CZ DE DK EE EL ES FI FR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK".split()  # noqa: SIM905
)
"""The codes of Eurostat."""

_DAY = 86_400
"""Seconds."""
_BY_HAND = "[TO BE WRITTEN BY HAND: {}]"


@dataclass(frozen=True, slots=True)
class About:
    """The report, and what the provider states in it."""

    first: date
    last: date
    provider: str = ""
    """The provider's legal name; empty if it is not known."""
    service: str = ""
    complete: bool = False
    """True if the ledger has all orders, notices and measures of the service."""
    choices: Choices = field(default_factory=Choices)

    @property
    def due(self) -> date:
        """The last day for its publication: two months after the period."""
        after = self.last + timedelta(days=1)
        months = after.year * 12 + after.month - 1 + 2
        return date(months // 12, months % 12 + 1, 1) - timedelta(days=1)


class Row(NamedTuple):
    """A row: what stands before its figures, the figures, and what comes after them."""

    labels: Sequence[str]
    figures: Figures = ()
    context: Sequence[str] = ()


class Part(NamedTuple):
    """A part of the report."""

    name: str
    columns: Sequence[str]
    rows: Sequence[Row]


def parts(found: Activity, about: About) -> list[Part]:
    """Return the eleven parts."""
    period = ("", cell(about.service), f"{about.first}/{about.last}")
    values = (cell(about.provider), "", "", str(about.first), str(about.last))
    names = zip(template.SUMMARY, values, strict=True)
    rows: Sequence[tuple[Sequence[str], Sequence[Row]]] = (
        (template.SUMMARY_COLUMNS, [Row((ALL, period[1], name, value)) for (name, _), value in names]),
        (template.CATEGORIES_COLUMNS, [Row(row) for row in template.category_rows()]),
        (template.ORDERS_COLUMNS, list(_orders(found, period))),
        (
            template.NOTICES_COLUMNS,
            [
                Row(
                    _labels(HOSTING, period, code),
                    notices_row(found, code) if code != template.DEEPFAKE else (),
                )
                for code in template.codes(last=template.NO_NOTICE_CATEGORY)
            ],
        ),
        (template.ILLEGAL_COLUMNS, list(_measures(found, about, period, terms=False))),
        (template.TERMS_COLUMNS, list(_measures(found, about, period, terms=True))),
        (template.APPEALS_COLUMNS, list(_appeals(found, period))),
        (template.APPEALS_COLUMNS, list(_automated(found, period))),
        (template.HUMANS_COLUMNS, [_row(period, *labels) for labels in template.human_resources()]),
        (template.RECIPIENTS_COLUMNS, [_row(period, *labels) for labels in template.recipients()]),
        (template.QUALITATIVE_COLUMNS, list(_qualitative(found, period))),
    )
    return [Part(name, *part) for name, part in zip(template.NAMES, rows, strict=True)]


def files(report: Sequence[Part], notes: Sequence[str], about: About) -> Mapping[str, bytes]:
    """Return the content of all files by name."""
    written = {
        f"{part.name}.csv": template.csv_text(
            [part.columns, *(_cells(part, row, about) for row in part.rows)]
        )
        for part in report
    }
    return {name: text.encode() for name, text in {**written, NOT_FILLED: _text(notes)}.items()}


def explained(report: Sequence[Part], about: About) -> Iterator[Sequence[str]]:
    """Yield a header, and for each figure its place, its value, and the cases and notices that it counts."""
    yield "part", "row", "labels", "column", "value", "cases", "notices"
    for part in report:
        for number, row in enumerate(part.rows, 2):
            for column, figure in zip(part.columns[len(row.labels) :], row.figures, strict=False):
                if figure is not None and (figure.cases or figure.notices):
                    labels = " / ".join(label.strip() for label in row.labels[3:] if label)
                    numbers = (" ".join(map(str, of)) for of in (figure.cases, figure.notices))
                    yield part.name, str(number), labels, column, _value(figure, about), *numbers


def _cells(part: Part, row: Row, about: About) -> list[str]:
    cells = [*row.labels, *(_value(figure, about) for figure in row.figures), *row.context]
    return cells + [""] * (len(part.columns) - len(cells))


def _value(figure: Figure | None, about: About) -> str:
    if figure is None or not (figure.cases or figure.notices or about.complete):
        return ""
    return str(int(figure.value) if figure.value == int(figure.value) else figure.value)


def _row(period: Sequence[str], mark: str, *labels: str) -> Row:
    return Row((mark, *period[1:], *labels))


def _labels(mark: str, period: Sequence[str], code: str) -> tuple[str, ...]:
    return (mark, *period[1:], code, template.DETAIL if code == template.OTHER else "")


def _orders(found: Activity, period: Sequence[str]) -> Iterator[Row]:
    orders = [one for one in found.received if one.kind != "notice" and one.state in MEMBER_STATES | {""}]
    states = sorted({one.state for one in orders if one.state and found.touches(one)})
    every = template.codes(last=template.NO_ORDER_CATEGORY)
    for scope, codes in ((TOTAL, every), *((state, template.state_codes()) for state in states)):
        of_scope = [one for one in orders if scope in {TOTAL, one.state}]
        for code in codes:
            chosen = [one for one in of_scope if has_code(one.codes, code)]
            figures = orders_row(found, chosen) if code != template.DEEPFAKE else ()
            yield Row((*_labels(ALL, period, code), scope), figures)


def _measures(found: Activity, about: About, period: Sequence[str], *, terms: bool) -> Iterator[Row]:
    measures = [one for one in found.own if one.terms is terms]
    for code in template.codes(terms=terms):
        chosen = [one for one in measures if has_code(one.codes, code)]
        known = code != template.DEEPFAKE or about.choices.generated
        yield Row(_labels(ALL, period, code), measures_row(chosen) if known else ())


def _appeals(found: Activity, period: Sequence[str]) -> Iterator[Row]:
    disputed = Figure(len(found.disputed), tuple(found.disputed))
    for mark, *labels in template.appeals():
        yield _row(period, mark, *labels)._replace(figures=[disputed] if mark == ALL else ())


def _automated(found: Activity, period: Sequence[str]) -> Iterator[Row]:
    figures = automation_figures(found)
    for mark, *labels in template.automated_means():
        _, indicator, scope = labels
        figure = figures.get((indicator, scope))
        context = ""
        if indicator == template.PRECISION and figure is not None:
            rightful = round(figure.value * len(figure.cases))
            context = (
                f"Share of rightful matches among those that people judged in the period: {rightful} of "
                f"{len(figure.cases)}. A file that was put back counts as a wrong match, unless it was "
                "confirmed."
            )
        yield _row(period, mark, *labels)._replace(figures=[figure], context=[context])


def _qualitative(found: Activity, period: Sequence[str]) -> Iterator[Row]:
    number = {kind: sum(one.restriction is kind for one in found.measures) for kind in Restriction}
    texts = (
        "Measures recorded by hashscan in the period: access to "
        f"{plural(number[Restriction.DISABLED], 'file')} was disabled by moving them into quarantine, "
        f"{plural(number[Restriction.REMOVED], 'file')} removed, "
        f"{plural(number[Restriction.REFUSED], 'upload')} refused. "
        + _BY_HAND.format("other restrictions; changes in how figures are counted"),
        _BY_HAND.format(
            "detection methods besides hash lists and notices; a measure of exposure to illegal content; "
            "estimated views before the measure"
        ),
        "hashscan compares exact and perceptual hashes of stored files and of uploads with hash lists of "
        "known content. It doesn't classify content that no list knows. "
        + _BY_HAND.format("the lists, services and thresholds that were in use"),
        "Precision is the share of rightful matches among those that people judged. Accuracy and recall are "
        "not given, as the number of unknown illegal files can't be known. "
        + _BY_HAND.format("how matches were chosen for judgement; other indicators"),
        _BY_HAND.format("why automated means are used, and against which risks"),
        _BY_HAND.format("confirmation by people, exceptions, limits for moves, complaints"),
    )
    for (mark, indicator), text in zip(template.QUALITATIVE[: len(texts)], texts, strict=True):
        yield Row((mark, *period[1:], indicator, text))
    for mark, indicator in template.QUALITATIVE[len(texts) :]:
        assert mark not in APPLICABLE
        yield Row((mark, *period[1:], indicator))


def notes(found: Activity, about: About, begun: int | None, now: int) -> list[str]:
    """Return what a reader of the figures must know: what is blank and why, one paragraph each.

    Args:
        begun: time of the first record of the ledger, in seconds since 1970; None if there is none.
        now: in seconds since 1970.
    """
    return [note for note in _notes(found, about, begun, now) if note]


def _notes(found: Activity, about: About, begun: int | None, now: int) -> Iterator[str]:
    yield (
        f"The report is due by {about.due}, two months after its period, and is to stay public for five "
        "years, in all its versions. Micro and small enterprises (fewer than 50 persons, and at most EUR 10 "
        "million of turnover or balance) need not publish it, unless they are a very large online platform: "
        "article 15(2) of Regulation (EU) 2022/2065."
    )
    if now < found.period.end:
        yield "The period is not over: the figures are those so far."
    if begun is None or begun >= found.period.begin + _DAY:
        yield (
            "The ledger has no record of the first days of the period. If the service existed then, add "
            "what happened, or name a later first day with --since."
        )
    if not about.complete:
        yield (
            "Rows and columns without any case are blank, not 0: hashscan doesn't know what the service has "
            "received and done elsewhere. Write 0 where there was none, or use --complete if the ledger has "
            "everything; add what is missing, also to the rows of categories and TOTAL."
        )
    yield "Part 1: the dates of publication are blank" + (
        "." if about.provider else ", and so is the provider's name, which [reporter] would have."
    )
    if not about.service:
        yield "All parts: the name of the service is blank; see --service."
    yield (
        "Parts 3 to 6: medians are blank where nothing was done in the period. What is received counts by "
        "the time of its receipt; acts and medians count by the time of the act. A notice has one category: "
        "the gravest that it names, else that of the list that its file matches. No row KEYWORD_OTHER is "
        "filled: describe your own sub-categories there, or delete the rows."
    )
    yield (
        f"Parts 3 and 4: {template.DEEPFAKE} is blank, as no notice names generated material by a category."
    )
    if not about.choices.generated:
        yield (
            f"Parts 5 and 6: {template.DEEPFAKE} is blank; generated material counts as other abuse "
            "material. Name lists of generated material with --generated."
        )
    terms = ", ".join(sorted(about.choices.terms))
    yield (
        f"Parts 4 to 6: measures rest on the law, except those of the categories named with --by-terms "
        f"({terms or 'none'})."
    )
    yield (
        "Parts 5 and 6: files that were moved into quarantine are `Disable`, files that were gone after "
        "their customer was told `Removal`, refused uploads `Visibility restriction Other`. Blank, as "
        "hashscan can't impose or doesn't record them: other visibility restrictions, monetary "
        "restrictions, and those of the service and of accounts. Measures at the own initiative are solely "
        "automated if nobody had judged the match before; those after a notice or order never are."
    )
    yield (
        "Part 7: the number of complaints is that of disputed cases. The other rows are for online "
        "platforms; parts 9 and 10, and the last rows of parts 8 and 11, for very large ones."
    )
    yield "Part 8: accuracy and recall are blank, as the number of missed files is not known." + (
        "" if found.judged else " Precision is blank, as nobody judged a match in the period."
    )
    yield "Part 11: what must be written by hand is marked in the text."
    yield from _left_out(found)


def _left_out(found: Activity) -> Iterator[str]:
    """Yield what the ledger has, and no figure counts."""
    orders = [one for one in found.received if one.kind != "notice" and found.touches(one)]
    for states, text in (
        ({""}, "Part 3: orders whose Member State is not known count in TOTAL alone"),
        (None, "Part 3: orders of authorities that are of no Member State are not counted"),
    ):
        chosen = [one for one in orders if (one.state in states if states else _is_foreign(one.state))]
        yield _numbered(text, "notices", [one.number for one in chosen])
    waiting = [one.number for one in orders if found.within(one.at) and one.acknowledged is None]
    yield _numbered("Part 3: orders whose receipt was never acknowledged", "notices", waiting)
    unknown = [one.case for one in found.own if not _is_known(one)]
    yield _numbered("Parts 5 and 6: measures against content of an unknown kind", "cases", unknown)
    text = "Parts 5 and 6: files that were gone although no measure is recorded, not counted"
    yield _numbered(text, "cases", found.unattributed)
    if found.caseless:
        yield (
            f"Parts 5, 6 and 8: {plural(found.caseless, 'file')} without a case (as of test entries) moved "
            "into quarantine, not counted."
        )


def _is_foreign(state: str) -> bool:
    return bool(state) and state not in MEMBER_STATES


def _is_known(measure: Measure) -> bool:
    return bool(measure.codes)


def _numbered(text: str, kind: str, numbers: Sequence[int]) -> str:
    return f"{text}: {kind} {', '.join(map(str, sorted(set(numbers))))}." if numbers else ""


def _text(notes: Sequence[str]) -> str:
    return "\n\n".join(notes) + "\n"
