"""Messages and tables on a terminal; escapes control characters, since file names come from attackers."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, TextIO

from hashscan.model import ALGORITHMS, ListInfo
from hashscan.reports.records import Record, path_text
from hashscan.text import printable

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

ROWS_SHOWN = 50
"""Rows of a table at most; the report has all of them."""
CUSTOMERS_SHOWN = 20


_LONGEST = 100_000
"""Width of tables on standard output that is no terminal; no cell is wrapped, since programs read it."""


def show_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    # Without a terminal, lines are as long as they need to be, so that logs can be searched.
    _draw_table(title, columns, rows, stderr=True, width=None if sys.stderr.isatty() else 200)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], title: str | None = None) -> None:
    _draw_table(title, columns, rows, stderr=False, width=None if sys.stdout.isatty() else _LONGEST)


def _draw_table(
    title: str | None,
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    stderr: bool,
    width: int | None,
) -> None:
    from rich.console import Console

    Console(stderr=stderr, width=width).print(make_table(title, columns, rows))


def make_table(title: str | None, columns: Sequence[str], rows: Iterable[Sequence[str | Text]]) -> Table:
    """Return a table; cells that are no `Text` are escaped."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        # Text, not str: a name with square brackets must not be read as markup.
        table.add_row(*(Text(printable(cell)) if isinstance(cell, str) else cell for cell in row))
    return table


_COLOURS = MappingProxyType({"match": "31", "held": "33", "review": "36"})
"""Colours of verdicts, as SGR codes."""


def verdict_colours(stream: TextIO) -> Mapping[str, str]:
    """Return the SGR codes of verdicts; none if a stream is no terminal, or the user wants no colours."""
    plain = not stream.isatty() or os.environ.get("TERM") == "dumb" or "NO_COLOR" in os.environ
    return {} if plain else _COLOURS


def verdict_line(record: Record, colours: Mapping[str, str] = MappingProxyType({})) -> str:
    """Return the line of a file or digest that was asked for, escaped: like a finding, or with a reason."""
    if "because" in record:
        return finding_line(record, colours)
    reason = " ".join(str(record[key]) for key in ("reason", "detail") if key in record)
    named = record["digest"] if "digest" in record else path_text(record)
    return printable(f"{named}: {record['verdict'].upper()}{reason and ', '}{reason}")


def finding_line(finding: Record, colours: Mapping[str, str] = MappingProxyType({})) -> str:
    """Return the line of a finding: `PATH: VERDICT LIST/ENTRY (CATEGORY), ALGORITHM DISTANCE`, escaped. The
    number of other matches, the outcome of quarantine and the customer follow."""
    verdict, remark = verdict_and_remark(finding)
    matches = finding.get("matches", ())
    because = "{list}/{entry} ({category}), {algorithm} {distance}".format_map(matches[0]) if matches else ""
    member = matches[0].get("member", "") if matches else ""
    about = [
        because or str(finding["because"]),
        f" in the member {member}" if member else "",
        f" and {len(matches) - 1} more" if len(matches) > 1 else "",
        f"; {remark}" if remark else "",
        f"; customer {finding['customer']}" if "customer" in finding else "",
    ]
    shown = verdict.upper()
    if verdict in colours:
        shown = f"\x1b[1;{colours[verdict]}m{shown}\x1b[0m"
    named = finding["digest"] if "digest" in finding else path_text(finding)
    return f"{printable(named)}: {shown} {printable(''.join(about))}"


def verdict_and_remark(finding: Record) -> tuple[str, str]:
    """Return the verdict; also, as text, if the finding is accepted or still open, or the file was moved."""
    if finding.get("type") == "standing":
        return finding["was"], "still open"
    if "accepted" in finding:
        return finding["verdict"], "accepted"
    outcome = finding.get("quarantine", {}).get("outcome")
    if outcome is None:
        return finding["verdict"], ""
    return finding["verdict"], "moved" if outcome == "done" else f"NOT moved: {outcome}"


def show_customers(findings: Mapping[str, int]) -> None:
    """Draw the customers with the most findings; findings of no customer have an empty name."""
    if not any(findings):
        return
    by_number = sorted(findings.items(), key=lambda item: (-item[1], item[0]))
    # Not longer than the table is wide, or rich wraps it.
    title = "findings by customer"
    if len(by_number) > CUSTOMERS_SHOWN:
        title = f"{CUSTOMERS_SHOWN} of {len(by_number)} customers"
    rows = by_number[:CUSTOMERS_SHOWN]
    show_table(
        title, ("customer", "findings"), ((name or "(no customer)", str(number)) for name, number in rows)
    )


def _counted(algorithm: str, entries: int, library: bool) -> str:
    """Return how many entries a list has of an algorithm, and if scans don't look for them."""
    known = ALGORITHMS[algorithm]
    if known.licensed and not library:
        return f"{entries} {algorithm} (waiting for a library)"
    return f"{entries} {algorithm}{'' if known.scanned else ' (not scanned for)'}"


def show_lists(infos: Sequence[ListInfo], *, library: bool) -> None:
    """Draw a table of the states of hash lists; `library` says if the settings name the one that computes
    PhotoDNA."""
    print_table(
        ("name", "state", "version", "entries", "expires", "keys", "remark"),
        (
            (
                info.name,
                info.state.value,
                str(info.version or "-"),
                ", ".join(_counted(name, count, library) for name, count in info.by_algorithm) or "-",
                info.expires or "-",
                ", ".join(key[:8] for key in info.key_ids) or "-",
                info.problem or "",
            )
            for info in infos
        ),
        "hash lists",
    )
