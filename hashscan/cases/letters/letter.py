"""Write the letter to a customer about open cases, from a template."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from hashscan.cases.queries import Case, Queries
from hashscan.errors import UsageError
from hashscan.model import Reporter
from hashscan.text import printable
from hashscan.timefmt import format_time, short_time

_FOLDER = Path(__file__).parent
LANGUAGES = tuple(sorted(path.suffixes[0][1:] for path in _FOLDER.glob("letter.*.txt")))
"""Languages with a template of ours."""
_SUBJECT = "Subject:"
_CASES_SHOWN = 100
_CASES_IN_SUBJECT = 3
_TEMPLATE_MAX = 1 << 16
_CONFIRMED = ("match", "notice")
"""Verdicts of cases that a customer is written about; the others say nothing certain about a file."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A letter about some cases of one customer."""

    subject: str
    """One printable line."""
    text: str
    """Printable lines."""
    cases: tuple[int, ...]
    notice: int = 0
    """Number of the notice that it answers; 0 for a letter to a customer."""


def cases_of_letter(
    queries: Queries, numbers: Iterable[int], customer: str | None, now: float | None = None
) -> list[Case]:
    """Return the cases that a letter is about, those with the earliest deadline first.

    Args:
        queries: those of a ledger that is up to date.
        numbers: their numbers; all of the customer if there are none.
        customer: the customer; None for that of the numbered cases.
        now: seconds since 1970; None for the clock's time. Cases that are withheld then are left out.

    Raises:
        UsageError: a case does not exist, is over, withheld or not confirmed, or they have several customers.
        LedgerError: the ledger can't be read.
    """
    wanted = dict.fromkeys(numbers)
    now = time.time() if now is None else now
    if not wanted:
        return [
            case
            for case in queries.open_cases()
            if case.customer == customer and case.verdict in _CONFIRMED and not case.is_withheld(now)
        ]
    found = [_confirmed(queries, number) for number in wanted]
    for case in found:
        require_tellable(case, now)
    customers = {case.customer for case in found} | ({customer} if customer is not None else set())
    if len(customers) > 1:
        raise UsageError(
            "these cases belong to several customers",
            advice="Write one letter for each: nobody may read about another's files.",
        )
    if len(found) > 1 and customers == {""}:
        raise UsageError(
            "no rule says whose these files are, so they may belong to several customers",
            advice="Write one letter for each case, or add rules: see `hashscan customers`.",
        )
    return sorted(found, key=lambda case: (case.due is None, case.due, case.id))


def require_tellable(case: Case, now: float) -> None:
    """Refuse a case of which the customer may not be told at a time in seconds since 1970.

    Raises:
        UsageError: it is withheld; names the time.
    """
    if case.withheld is not None and now < case.withheld:
        raise UsageError(
            f"the customer may not be told of case {case.id} before {format_time(case.withheld)}",
            advice="See `hashscan cases show`; a person can end that by `hashscan cases withhold --lift`.",
        )


def _confirmed(queries: Queries, number: int) -> Case:
    case = queries.case(number)
    if case is None:
        raise UsageError(f"there is no case {number}", advice="See `hashscan cases list`.")
    if not case.open:
        raise UsageError(f"case {number} is over: {case.state}", advice="Leave it out.")
    if case.verdict not in _CONFIRMED:
        raise UsageError(
            f"case {number} is {case.verdict}: nobody has confirmed that the file is on a list",
            advice="Write about a match or a notice only.",
        )
    return case


def write_letter(
    cases: Sequence[Case],
    reporter: Reporter,
    now: float,
    *,
    language: str,
    templates: Path | None = None,
    with_paths: bool = False,
) -> Letter:
    """Return the letter about cases of one customer.

    Args:
        cases: at least one case.
        now: seconds since 1970.
        language: the part LANGUAGE of the template's name, `letter.LANGUAGE.txt`.
        templates: a folder with templates, which come before ours.
        with_paths: whether it names paths and web addresses.

    Raises:
        UsageError: there is no such template, or it can't be used.
    """
    text, place = _template("letter", language, templates)
    first_due = min((case.due for case in cases if case.due is not None), default=None)
    numbers = tuple(case.id for case in cases)
    named = ", ".join(map(str, numbers[:_CASES_IN_SUBJECT]))
    values = {
        "customer": printable(cases[0].customer),
        "cases": [_fields(case, now, with_paths=with_paths) for case in cases[:_CASES_SHOWN]],
        "more": max(0, len(cases) - _CASES_SHOWN),
        "number": len(cases),
        "overdue": sum(case.overdue(now) for case in cases),
        "due": _time(first_due),
        "references": named + (", …" if len(numbers) > _CASES_IN_SUBJECT else ""),
        "with_paths": with_paths,
        "organisation": reporter.organisation,
        "name": reporter.name,
        "email": reporter.email,
        "phone": reporter.phone,
    }
    return Letter(*_split(text, place, values), numbers)


def fill(
    kind: str, language: str, templates: Path | None, values: dict[str, Any], cases: tuple[int, ...]
) -> Letter:
    """Return a letter from the template `kind.language.txt` of a folder, or else of ours.

    Raises:
        UsageError: there is no such template, or it can't be used.
    """
    return Letter(*_split(*_template(kind, language, templates), values), cases)


def _split(text: str, place: Path, values: dict[str, Any]) -> tuple[str, str]:
    """Return the subject and the text of a template that is filled in."""
    first, _, rest = _rendered(text, place, values).partition("\n")
    if not first.startswith(_SUBJECT) or not rest.strip():
        raise UsageError(
            f"{place}: the first line of the letter is no subject, or no text follows it",
            advice=f"Begin it with a line `{_SUBJECT} ...`, and an empty line.",
        )
    lines = (printable(line, keep="\t").rstrip() for line in rest.strip().split("\n"))
    return printable(first.removeprefix(_SUBJECT).strip()), "\n".join(lines)


def _time(seconds: int | None) -> str:
    return "-" if seconds is None else f"{short_time(seconds)} UTC"


def _fields(case: Case, now: float, *, with_paths: bool) -> dict[str, Any]:
    path = os.fsdecode(case.path) if with_paths and case.path is not None else ""
    return {
        "number": case.id,
        "verdict": case.verdict,
        "categories": list(case.categories),
        "found": short_time(case.found)[:10],
        "due": _time(case.due),
        "overdue": case.overdue(now),
        "path": printable(path),
        "url": printable(case.url) if with_paths else "",
    }


def _template(kind: str, language: str, templates: Path | None) -> tuple[str, Path]:
    """Return the text of a template, and where it is."""
    name = f"{kind}.{language}.txt"
    if templates is not None and not templates.is_dir():
        raise UsageError(f"{templates} is no folder", advice="--templates names the folder of the templates.")
    for folder in (templates, _FOLDER):
        if folder is None or not language.isalnum():
            continue
        path = folder / name
        try:
            with path.open(encoding="utf-8") as stream:
                return stream.read(_TEMPLATE_MAX), path
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"the template {path} can't be read: {error}") from error
    where = f" in {templates}" if templates is not None else ""
    raise UsageError(
        f"there is no template {name}{where}",
        advice=f"There are templates for {', '.join(LANGUAGES)}; --templates names a folder with others.",
    )


def _rendered(text: str, place: Path, values: dict[str, Any]) -> str:
    """Return the text of a template, filled in by a sandbox: it can call nothing and open no file."""
    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True)
    try:
        return environment.from_string(text).render(values)
    except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, OverflowError) as error:
        line = getattr(error, "lineno", None)
        raise UsageError(
            f"the template {place} can't be filled in: {error}" + (f" (line {line})" if line else ""),
            advice="See docs/cases.md for the names that a template can use.",
        ) from error
