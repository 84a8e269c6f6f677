"""`hashscan cases withhold` and `report-authority`: what authorities forbid and what they must be told."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import click

from hashscan.cli.cases.listing import cases_argument
from hashscan.cli.options.base import ArgumentOption, HashscanCommand, state_option
from hashscan.cli.output.ledger_sync import synced_ledger
from hashscan.cli.output.logs import print_message
from hashscan.errors import EXIT_CLEAN, UsageError
from hashscan.settings.values import parse_future
from hashscan.state_dir import StateDir
from hashscan.timefmt import format_time


@click.command(cls=HashscanCommand, exit_codes=(0, 2, 11, 12, 70))
@cases_argument
@click.option("--until", metavar="TIME", help="The end, such as 2027-01-31; it replaces an earlier one.")
@click.option("--lift", is_flag=True, cls=ArgumentOption, help="End it now.")
@click.option("--reason", required=True, metavar="TEXT", help="Reason; recorded with the case.")
@state_option
def withhold(cases: tuple[int, ...], until: str | None, lift: bool, reason: str, state: StateDir) -> int:
    """Tell the customers of CASEs nothing until a time, since an authority forbids that.

    Until then there is no letter, no answer to the customer and no note in the place of a quarantined file,
    for these cases and others of the same path or address, or of the same content of the same customer. It
    ends by the clock; only a person lifts or extends it.
    """
    from hashscan.alerts.dispatcher import DELIVERY_RUN_SECONDS, delivery_lock
    from hashscan.cases.actions import operator
    from hashscan.cases.withholding import withhold as record

    if (until is None) != lift:
        raise UsageError("an end is missing, or is too much", advice="Use either --until or --lift.")
    now = datetime.now(UTC)
    end = None if until is None else int(parse_future(until, now).timestamp())
    # No letter may be on its way while this is stored.
    with synced_ledger(state) as followed, delivery_lock(state, DELIVERY_RUN_SECONDS):
        changed = record(followed.ledger, cases, end, reason, operator(), int(now.timestamp()))
        said = "may be told" if end is None else f"not told before {format_time(end)}"
        for number in sorted(set(cases)):
            print_message(f"case {number}: {said if number in changed else 'no change'}")
        return followed.exit_code(EXIT_CLEAN)


@click.command("report-authority", cls=HashscanCommand, exit_codes=(0, 2, 12, 70))
@cases_argument
@click.option(
    "--to",
    cls=ArgumentOption,
    default="",
    metavar="TEXT",
    help="The authority that was told, and how. Default: none was told yet.",
)
@click.option("--at", default="", metavar="TIME", help="When it was told. Default: now.")
@state_option
def report_authority(cases: tuple[int, ...], to: str, at: str, state: StateDir) -> int:
    """Mark CASEs: an offence that threatens a life is suspected (DSA, article 18); record who was told.

    Nothing is sent.
    """
    from hashscan.cases.actions import operator, suspect
    from hashscan.cases.notices.fields import FieldError, printable_line, time_or_day

    now = int(time.time())
    try:
        told = printable_line("authority", to)
        when = int(time_or_day("time", at).timestamp()) if at else now
    except FieldError as error:
        raise UsageError(str(error), advice="Correct it.") from error
    if at and not to:
        raise UsageError("--at needs --to", advice="Name the authority that was told.")
    if when > now:
        raise UsageError("--at is in the future", advice="Record it when it was told.")
    with synced_ledger(state) as followed:
        for number in dict.fromkeys(cases):
            suspect(followed.ledger, number, told, when, operator(), now)
            print_message(f"case {number}: {'told ' + told if told else 'marked; no authority was told yet'}")
        return followed.exit_code(EXIT_CLEAN)
