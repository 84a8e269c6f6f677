"""`hashscan cases add` and `acknowledge`: notices and orders that came as no file, and their receipts."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from hashscan.cli.cases.listing import cases_argument
from hashscan.cli.options.base import ArgumentOption, HashscanCommand, state_option
from hashscan.cli.options.cases_and_alerts import deadline_options
from hashscan.cli.options.privileges import RootRights
from hashscan.cli.options.tables import customer_options, sender_option, site_option
from hashscan.cli.output.ledger_sync import synced_ledger
from hashscan.cli.output.logs import print_message
from hashscan.errors import EXIT_CLEAN, EXIT_INCOMPLETE, UsageError
from hashscan.model import CustomerRule, SenderRule, SiteRule
from hashscan.settings.cases_and_alerts import KIND_DEADLINES, CaseSettings
from hashscan.settings.notice_senders import ROLES
from hashscan.state_dir import StateDir
from hashscan.text import plural

if TYPE_CHECKING:
    from hashscan.cases.notices.notice import Notice

_KINDS = ("notice", *KIND_DEADLINES)


@click.command(
    cls=HashscanCommand,
    exit_codes=(0, 2, 3, 12, 70),
    needs=RootRights.FILES,
    meanings={0: "everything is stored", 3: "stored, but no rule maps some web addresses to paths"},
)
@click.argument("places", nargs=-1, required=True, metavar="URL|PATH...")
@click.option(
    "--kind", type=click.Choice(_KINDS), help="What was sent. Default: by [[sender_rule]], else a notice."
)
@click.option("--sender", default="", metavar="TEXT", help="Sender: a mail address, or an organisation.")
@click.option("--role", type=click.Choice(ROLES), help="The role of the sender. Default: by [[sender_rule]].")
@click.option(
    "--reference",
    default="",
    metavar="TEXT",
    help="The sender's reference. All with one reference of a sender are one notice.",
)
@click.option("--member-state", default="", metavar="CC", help="Member State of the authority, such as NL.")
@click.option("--legal-basis", default="", metavar="TEXT", help="The law on which the order relies.")
@click.option("--received", default="", metavar="TIME", help="When it was received. Default: now.")
@click.option(
    "--within",
    default="",
    metavar="HOURS",
    help="Hours from the receipt that the sender gives. Default: by [[sender_rule]], else by its kind.",
)
@click.option("--category", default="", metavar="CATEGORY", help="The category that the sender names.")
@sender_option
@site_option
@customer_options
@deadline_options
@state_option
def add(
    places: tuple[str, ...],
    kind: str | None,
    sender: str,
    role: str | None,
    reference: str,
    member_state: str,
    legal_basis: str,
    received: str,
    within: str,
    category: str,
    senders: tuple[SenderRule, ...],
    sites: tuple[SiteRule, ...],
    customers: tuple[CustomerRule, ...],
    deadlines: CaseSettings,
    state: StateDir,
) -> int:
    """Make cases of a notice or an order that came on paper, by telephone, or in a form that no format fits.

    An order to provide information (--kind inform) asks for no removal: it is open until `cases close`.
    """
    from hashscan.attribution.customers import Customers
    from hashscan.attribution.sites import Sites
    from hashscan.cases.notice_import import ImportCounts, NoticeTerms, import_notices
    from hashscan.cases.notices.fields import FieldError

    texts = {
        "kind": kind or "", "role": role or "", "member_state": member_state,
        "legal_basis": legal_basis, "hours": within,
    }  # fmt: skip
    try:
        notices = list(_notices(places, texts, sender, reference, received, category))
    except FieldError as error:
        raise UsageError(str(error), advice="Correct it.") from error
    counts = ImportCounts()
    with synced_ledger(state, deadlines) as followed:
        import_notices(
            followed.ledger, iter(notices), Sites(sites).paths_of, int(time.time()), Customers(customers),
            counts, followed.sightings, NoticeTerms(senders, deadlines),
        )  # fmt: skip
        print_message(
            f"{plural(counts.new, 'new case')}, {counts.joined} of known cases, {counts.known} known "
            f"already, {counts.unmapped} without a path"
        )
        return followed.exit_code(EXIT_INCOMPLETE if counts.unmapped else EXIT_CLEAN)


def _notices(
    places: tuple[str, ...],
    texts: dict[str, str],
    sender: str,
    reference: str,
    received: str,
    category: str,
) -> Iterator[Notice]:
    from hashscan.cases.notices import fields
    from hashscan.cases.notices.notice import Notice, parse_claims

    for place in places:
        is_path = place.startswith("/")
        yield Notice(
            fields.printable_line("reference", reference),
            fields.printable_line("sender", sender),
            "" if is_path else fields.url(place),
            fields.path(place) if is_path else b"",
            # Without a reference, the time tells one that comes again later from the first.
            fields.time_or_day("received", received) if received else datetime.now(UTC),
            category=fields.category(category),
            **parse_claims(texts),
        )


@click.command(cls=HashscanCommand, exit_codes=(0, 2, 12, 70))
@cases_argument
@click.option(
    "--recipient",
    cls=ArgumentOption,
    default="",
    metavar="TEXT",
    help="Who was told, and how; recorded with the case.",
)
@state_option
def acknowledge(cases: tuple[int, ...], recipient: str, state: StateDir) -> int:
    """Record that the senders of the orders about CASEs were told of their receipt. Nothing is sent."""
    from hashscan.cases.actions import acknowledge as record
    from hashscan.cases.actions import operator

    with synced_ledger(state) as followed:
        changed = record(followed.ledger, cases, recipient, operator(), int(time.time()))
        for number in sorted(set(cases)):
            print_message(f"case {number}: {'acknowledged' if number in changed else 'no change'}")
        return followed.exit_code(EXIT_CLEAN)
