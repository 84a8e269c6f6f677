"""`hashscan cases list`, `due`, `show` and `times`: show cases, deadlines and times until removal."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby, islice
from typing import TYPE_CHECKING

import click

from hashscan.cli.options.base import DURATION, HashscanCommand, argument_option, state_option
from hashscan.cli.options.cases_and_alerts import alert_options, deadline_options
from hashscan.cli.options.completion import case_numbers
from hashscan.cli.options.output import format_option, write_json_line, write_output
from hashscan.cli.output.ledger_sync import require_state, synced_ledger
from hashscan.cli.output.logs import print_message
from hashscan.cli.output.notifications import send_alerts
from hashscan.cli.output.terminal import ROWS_SHOWN, print_table
from hashscan.errors import EXIT_CLEAN, EXIT_FOUND, UsageError
from hashscan.model import THREAT_PREFIX
from hashscan.schema import NUMBER_MAX
from hashscan.settings.cases_and_alerts import AlertSettings, CaseSettings
from hashscan.state_dir import StateDir
from hashscan.text import plural, printable
from hashscan.timefmt import short_time

if TYPE_CHECKING:
    from hashscan.cases.queries import Case, CaseNotice, Event, Queries, RefusedContent
    from hashscan.cases.web_looks import WebLook

_WAITING = ("open", "found", "never_seen", "told", "disputed", "overdue")
_STATUSES = (*_WAITING, "removed", "refused", "not_found", "closed", "all")
cases_argument = click.argument(
    "cases",
    nargs=-1,
    required=True,
    type=click.IntRange(min=1),
    metavar="CASE...",
    shell_complete=case_numbers,
)
_format_option = format_option("table", "json", "csv", help="A table, JSON Lines, or CSV.")


@click.command("list", cls=HashscanCommand, exit_codes=(0, 2, 12, 70))
@click.option(
    "--status",
    type=click.Choice(_STATUSES),
    default="open",
    show_default=True,
    help="Cases to list; open ones are neither removed nor closed. Refused ones are of uploads to "
    "`hashscan serve`.",
)
@argument_option(
    "--customer", metavar="CUSTOMER", help="Only cases of this customer; '' for cases without a customer."
)
@click.option(
    "--verdict",
    type=click.Choice(["match", "held", "review", "notice", "inform"]),
    help="Only cases with this verdict.",
)
@_format_option
@click.option(
    "--limit", type=click.IntRange(min=1), default=ROWS_SHOWN, show_default=True,
    help="Maximum number of rows of the table; the other formats have all cases.",
)  # fmt: skip
@deadline_options
@state_option
def list_(
    status: str,
    customer: str | None,
    verdict: str | None,
    format_name: str,
    limit: int,
    state: StateDir,
    deadlines: CaseSettings,
) -> int:
    """List cases: those with an overdue order first, then by deadline."""
    now = time.time()
    require_state(state)
    with synced_ledger(state, deadlines) as followed:
        queries = followed.queries
        waits = status in _WAITING
        wanted = (
            case
            for case in (queries.open_cases(now) if waits else queries.all_cases())
            if _is_wanted(case, status, now)
            and (customer is None or case.customer == customer)
            and (verdict is None or case.verdict == verdict)
        )
        if format_name == "table":
            _print_cases(wanted, limit, now)
        else:
            write_cases(format_name, wanted, now)
        return followed.exit_code(EXIT_CLEAN)


def _is_wanted(case: Case, status: str, now: float) -> bool:
    if status == "overdue":
        return case.overdue(now)
    return status == "all" or (status == "open" and case.open) or case.state == status


def _print_cases(cases: Iterable[Case], limit: int, now: float) -> None:
    left = iter(cases)
    rows = [
        (
            str(case.id),
            case.state,
            case.verdict,
            " ".join(case.categories) or "-",
            case.customer or "-",
            describe_due(case, now),
            case.place,
        )
        for case in islice(left, limit)
    ]
    more = sum(1 for _ in left)
    if rows:
        print_table(("case", "state", "verdict", "category", "customer", "due", "where"), rows)
    if more:
        print_message(f"and {more} more; --limit shows more of them")
    if not rows:
        print_message("no case matches")


def _withheld(case: Case, now: float) -> str:
    """Return until when the customer may not be told; empty if he may."""
    return "" if case.withheld is None or now >= case.withheld else f"before {short_time(case.withheld)} UTC"


def describe_due(case: Case, now: float) -> str:
    """Return the deadline of a case, with the time that is left or by which it is overdue."""
    from hashscan.cases.export import format_duration

    if not case.open:
        return "-"
    if case.due is None:
        return "no deadline"
    left = case.due - now
    text = f"in {format_duration(left)}" if left >= 0 else f"OVERDUE by {format_duration(left)}"
    return f"{short_time(case.due)} ({text})"


def write_cases(format_name: str, cases: Iterable[Case], now: float) -> None:
    from hashscan.cases.export import csv_lines, json_lines

    lines: Iterator[str] = (json_lines if format_name == "json" else csv_lines)(cases, now)
    write_output(None, (line.encode("utf-8") for line in lines))


@click.command(
    cls=HashscanCommand,
    exit_codes=(0, 1, 2, 12, 70),
    meanings={0: "nothing is due", 1: "a case is overdue, or due --within that time"},
)
@click.option(
    "--within",
    type=DURATION,
    default=0.0,
    metavar="TIME",
    help="Also cases that become due within this time.",
)
@_format_option
@alert_options
@deadline_options
@state_option
def due(
    within: float, format_name: str, state: StateDir, alerts: AlertSettings, deadlines: CaseSettings
) -> int:
    """List overdue cases, by customer; orders come first, then the longest overdue.

    An alert is sent for each overdue case, once, if alerts are configured.
    """
    now = time.time()
    send_alerts(state, alerts, deadlines)
    require_state(state)
    with synced_ledger(state, deadlines) as followed:
        counts: Counter[bool] = Counter()
        found = _count_overdue(followed.queries.due_by_customer(now + within, now), counts, now)
        if format_name == "table":
            for customer, cases in groupby(found, key=lambda case: case.customer):
                click.echo(printable(customer) or "(no customer)")
                _print_cases(cases, ROWS_SHOWN, now)
        else:
            write_cases(format_name, found, now)
        print_message(f"{counts[True]} overdue" + (f", {counts[False]} due soon" if within else ""))
        return followed.exit_code(EXIT_FOUND if counts else EXIT_CLEAN)


def _count_overdue(cases: Iterable[Case], counts: Counter[bool], now: float) -> Iterator[Case]:
    """Yield the cases, and count them by whether they are overdue."""
    for case in cases:
        counts[case.overdue(now)] += 1
        yield case


@click.command(cls=HashscanCommand, exit_codes=(0, 2, 12, 70))
@click.argument("cases", nargs=-1, required=True, metavar="CASE...", shell_complete=case_numbers)
@format_option("text", "json", help="Text, or JSON Lines.")
@deadline_options
@state_option
def show(cases: tuple[str, ...], format_name: str, state: StateDir, deadlines: CaseSettings) -> int:
    """Show all that is known of cases: entries that match the file, and events.

    CASE is a number, or the reference that the uploader of a refused upload was shown.
    """
    from hashscan.cases.export import whole_document
    from hashscan.cases.web_looks import last_looks

    now = time.time()
    require_state(state)
    with synced_ledger(state, deadlines) as followed:
        for named in cases:
            case = known_case(followed.queries, _number_of(followed.queries, named))
            number = case.id
            matches, events = followed.queries.matches(number), followed.queries.events(number)
            upload, notices = followed.queries.refused_content(number), followed.queries.notices(number)
            looks = last_looks(followed.ledger, number)
            if format_name == "json":
                write_json_line(whole_document(case, matches, events, now, upload, notices, looks))
                continue
            click.echo(f"case {case.id}: {case.state}, {case.verdict}")
            for name, value in (
                ("where", case.place),
                ("URL", case.url if case.path is not None else ""),
                ("customer", case.customer),
                ("categories", " ".join(case.categories)),
                ("due", describe_due(case, now) if case.open else ""),
                ("because", case.because),
                ("sha256", "" if case.sha256 is None else case.sha256.hex()),
                ("seen", "" if case.seen is None else f"{short_time(case.seen)} by {case.witness}"),
                ("disputed", case.dispute),
                ("closed", case.why),
                ("assignee", case.assignee),
                ("not told", _withheld(case, now)),
                ("before", "" if case.previous is None else f"case {case.previous}"),
            ):
                if value:
                    click.echo(f"  {name:<10} {printable(value)}")
            for name, value in () if upload is None else _upload_lines(upload):
                click.echo(f"  {name:<10} {printable(value)}")
            _print_notices(notices)
            for look in looks:
                click.echo(f"  {'web':<10} {_look_line(look)}")
            for match in matches:
                message = "{entry} ({category}) of list {list}: {algorithm}, distance {distance}"
                click.echo(f"  {'entry':<10} {printable(message.format_map(match))}")
            for event in events:
                _print_event(event)
        return followed.exit_code(EXIT_CLEAN)


def _number_of(queries: Queries, named: str) -> int:
    """Return the number of a case that is named by its number or by its reference."""
    # The database takes no text with bytes that are not UTF-8, and no reference has other characters.
    reference = named.removeprefix(THREAT_PREFIX) if named.isascii() else ""
    found = queries.number_of(reference)
    if found is not None:
        return found
    if queries.is_test(reference):
        raise UsageError(
            f"{reference} is no case: only test entries match the upload, such as those of the list demo",
            advice="The door works. Uploads that an entry of another category matches become cases.",
        )
    if named.isascii() and named.isdigit() and 0 < int(named) <= NUMBER_MAX:
        return int(named)
    raise UsageError(f"there is no case {named[:100]}", advice="See `hashscan cases list --status all`.")


def _print_notices(notices: Iterable[CaseNotice]) -> None:
    for notice in notices:
        click.echo(f"  {notice.kind:<10} {printable(_notice_line(notice))}")
        for line in notice.explanation.splitlines():
            click.echo(f"  {'':<10} {printable(line)}")


def _look_line(look: WebLook) -> str:
    way = ", past caches" if look.fresh else ""
    return f"{look.at} {look.outcome} ({look.cause}) at {look.server or 'no server'}{way}"


def _upload_lines(upload: RefusedContent) -> Iterator[tuple[str, str]]:
    yield "client", upload.address
    if upload.name:
        yield "name", upload.name
    yield "refused", plural(upload.number, "time")
    yield from ((name, value) for name, value in upload.digests.items() if name != "sha256")
    if upload.kept:
        yield "content", upload.kept


def _notice_line(notice: CaseNotice) -> str:
    """Return what a notice states, and whether its receipt is acknowledged."""
    parts = [
        f"of {short_time(notice.received)}",
        f"by {notice.sender}" if notice.sender else "",
        notice.name,
        notice.subject,
        notice.reference,
        notice.member_state,
        notice.basis,
        "" if notice.stated is None else f"due {short_time(notice.stated)}",
    ]
    if notice.pictures:
        parts.append(plural(len(notice.pictures), "attached picture"))
    if notice.acknowledged is not None:
        parts.append(f"acknowledged {short_time(notice.acknowledged)}")
    elif notice.acknowledge is not None:
        parts.append(f"to be acknowledged until {short_time(notice.acknowledge)}")
    if notice.answered is not None:
        parts.append(f"answered {short_time(notice.answered)}")
    return ", ".join(filter(None, parts))


def known_case(queries: Queries, number: int) -> Case:
    case = queries.case(number)
    if case is None:
        raise UsageError(f"there is no case {number}", advice="See `hashscan cases list --status all`.")
    return case


def _print_event(event: Event) -> None:
    who = f" by {event.who}" if event.who else ""
    text = f": {event.words}" if event.words else ""
    click.echo(f"  {short_time(event.at)} UTC  {printable(event.kind + who + text)}")


@click.command(cls=HashscanCommand, exit_codes=(0, 2, 12, 70))
@_format_option
@deadline_options
@state_option
def times(format_name: str, state: StateDir, deadlines: CaseSettings) -> int:
    """Show the hours until removal, median and 90th percentile, by month of the removal.

    `cases list --status removed --format csv` shows them for each case.
    """
    from hashscan.cases.statistics.counting import removal_by_month

    require_state(state)
    with synced_ledger(state, deadlines) as followed:
        found = list(removal_by_month(followed.queries.removed_cases()))
        columns = ("month", "removed", "in time", "late", "median hours", "90 % within hours")
        if format_name == "json":
            for m in found:
                write_json_line(m)
            return followed.exit_code(EXIT_CLEAN)
        rows = [
            (
                m.month,
                *map(str, (m.removed, m.in_time, m.late)),
                f"{m.median_hours:.1f}",
                f"{m.p90_hours:.1f}",
            )
            for m in found
        ]
        if format_name == "csv":
            click.echo("month,removed,in_time,late,median_hours,p90_hours")
            for row in rows:
                click.echo(",".join(row))
        elif rows:
            print_table(columns, rows)
        else:
            print_message("no file has been removed yet")
        return followed.exit_code(EXIT_CLEAN)
