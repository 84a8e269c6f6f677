"""`hashscan hub stats`: prepare figures, take answers of those named, release and show them."""

from __future__ import annotations

import time

import click

from hashscan.cli.hub.options import actor, hub_option
from hashscan.cli.options.base import DURATION, HashscanGroup, argument_option
from hashscan.cli.options.output import format_option, write_output
from hashscan.cli.output.logs import print_message
from hashscan.cli.output.terminal import print_table
from hashscan.hub.statistics import publications as publishing
from hashscan.hub.statistics.page import csv_parts, html_parts
from hashscan.hub.storage.database import HubAddress
from hashscan.timefmt import format_utc_seconds

_CODES = (0, 2, 12, 70)
_FORMS = {"html": html_parts, "csv": csv_parts}
_number_argument = click.argument("number", type=click.IntRange(min=1))


@click.group(cls=HashscanGroup)
def command() -> None:
    """Prepare figures for publication, take answers to them, and release them."""


@command.command(exit_codes=_CODES)
@argument_option("--month", required=True, metavar="MONTH", help="Month, such as 2026-10.")
@argument_option("--until-month", metavar="MONTH", help="Last month of the period. Default: the same.")
@argument_option(
    "--answer-time",
    type=DURATION,
    default=14 * 86_400.0,
    show_default="14d",
    metavar="TIME",
    help="Time for those named to answer, before which nothing can be released.",
)
@hub_option
def prepare(month: str, until_month: str | None, answer_time: float, hub: HubAddress) -> None:
    """Count a period of whole months, store the figures, and print their number. Nothing is public yet.

    Organisations that are named get a mail with their own figures, and until when they may answer, if they
    have a contact.
    """
    with hub.transaction() as connection:
        made = publishing.prepare(
            connection, actor(), month, until_month or month, int(answer_time), int(time.time())
        )
    click.echo(str(made.number))
    until = format_utc_seconds(made.answer_until)
    print_message(f"show the figures to those named; they may answer until {until}")


@command.command(exit_codes=_CODES)
@_number_argument
@click.argument("organisation")
@argument_option("--text", required=True, metavar="TEXT", help="The answer; it is published, too.")
@hub_option
def answer(number: int, organisation: str, text: str, hub: HubAddress) -> None:
    """Record the answer of an organisation; a later one replaces it."""
    with hub.open() as opened, opened.transaction() as connection:
        publishing.answer(connection, opened, actor(), number, organisation, text, int(time.time()))
    print_message(f"the answer of {organisation} will be published with {number}")


@command.command(exit_codes=_CODES)
@_number_argument
@hub_option
def release(number: int, hub: HubAddress) -> None:
    """Publish figures at /statistics, after the time for answers."""
    with hub.transaction() as connection:
        publishing.release(connection, actor(), number, int(time.time()))
    print_message(f"publication {number} is public")


@command.command(exit_codes=_CODES)
@_number_argument
@hub_option
def withdraw(number: int, hub: HubAddress) -> None:
    """Take figures back, also released ones."""
    with hub.transaction() as connection:
        publishing.withdraw(connection, actor(), number, int(time.time()))
    print_message(f"publication {number} is withdrawn")


@command.command(exit_codes=_CODES)
@click.argument("number", type=click.IntRange(min=1), required=False)
@format_option("table", *_FORMS, help="A table of all publications, or the figures of NUMBER, or of all.")
@hub_option
def show(number: int | None, format_name: str, hub: HubAddress) -> None:
    """Show publications, or figures as they are or will be published."""
    with hub.reading() as connection:
        if number is None:
            found = publishing.publications(connection)
        else:
            found = [publishing.publication(connection, number)]
    if format_name != "table":
        write_output(None, _FORMS[format_name](found))
        return
    print_table(
        ("number", "from", "to", "answers until", "state"),
        (
            (
                str(each.number),
                each.document.first,
                each.document.last,
                format_utc_seconds(each.answer_until),
                "withdrawn" if each.withdrawn is not None else "public" if each.public else "prepared",
            )
            for each in found
        ),
    )
