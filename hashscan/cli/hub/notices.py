"""`hashscan hub notice`: send notices to organisations, list and withdraw them, record answers to them."""

from __future__ import annotations

import time
from collections.abc import Iterator

import click
from msgspec import Struct

from hashscan.cli.hub.options import TIME, actor, hub_option
from hashscan.cli.options.base import DURATION, HashscanGroup, argument_option
from hashscan.cli.options.output import format_option, print_records
from hashscan.cli.output.logs import print_message
from hashscan.hub.notices.notices import (
    EVENTS_OF_NOTICES,
    KINDS,
    SIGHTS,
    Event,
    NewNotice,
    SentNotice,
    Sight,
    mark_notice,
    notices,
    observe_notice,
    send_notice,
    withdraw_notice,
)
from hashscan.hub.storage.database import HubAddress
from hashscan.model import CATEGORIES, KNOWN_GOOD_CATEGORY
from hashscan.schema import Time
from hashscan.timefmt import format_utc_seconds

_CODES = (0, 2, 12, 70)


@click.group(cls=HashscanGroup)
def command() -> None:
    """Send notices to organisations, list and withdraw them, and record answers to them."""


@command.command(exit_codes=_CODES)
@click.argument("organisation")
@argument_option("--url", default="", metavar="URL", help="Address at which it was seen.")
@argument_option("--path", default="", metavar="PATH", help="Path on the server, if it is known.")
@argument_option(
    "--host", default="", metavar="HOST",
    help="Server that it concerns, by the name that its reports have. Default: all of the organisation."
)  # fmt: skip
@argument_option(
    "--category",
    required=True,
    type=click.Choice([name for name in CATEGORIES if name != KNOWN_GOOD_CATEGORY]),
    help="Category of the content.",
)
@argument_option(
    "--deadline", type=DURATION, metavar="TIME",
    help="Time from now within which it must be removed, such as 24h. Default: the organisation's own."
)  # fmt: skip
@argument_option(
    "--reference", default="", metavar="TEXT",
    help="Your reference, which no other notice has. Default: one that the hub makes."
)  # fmt: skip
@argument_option(
    "--kind", type=click.Choice(list(map(str, KINDS))), default=KINDS[0].value, show_default=True,
    help="What is sent; an order without --deadline has that of its kind: 12h, or 1h for terrorist content."
)  # fmt: skip
@argument_option(
    "--member-state", default="", metavar="CC", help="Member State of the authority, such as NL."
)
@argument_option("--legal-basis", default="", metavar="TEXT", help="The law on which the order relies.")
@hub_option
def send(
    organisation: str,
    url: str,
    path: str,
    host: str,
    category: str,
    deadline: float | None,
    reference: str,
    kind: str,
    member_state: str,
    legal_basis: str,
    hub: HubAddress,
) -> None:
    """Send a notice to an organisation, and print its reference.

    Its servers fetch it with `hashscan cases sync`; it becomes a case there, and moves no file. If notices
    reach the organisation by mail (`hashscan hub org change --via`), it is mailed to its contacts as XARF.
    """
    wanted = NewNotice(
        url, path, host, category, None if deadline is None else int(deadline), reference, kind,
        member_state, legal_basis,
    )  # fmt: skip
    with hub.transaction() as connection:
        sent = send_notice(connection, actor(), organisation, wanted, int(time.time()))
    click.echo(sent.reference)
    waits = "to be mailed to" if sent.via == "mail" else "for the servers of"
    print_message(f"notice {sent.number} waits {waits} {organisation}")


class ListedNotice(Struct):
    """A notice. Times are empty for what has not happened."""

    number: int
    organisation: str
    reference: str
    host: str
    url: str
    path: str
    category: str
    kind: str
    """notice, order, court or terrorist."""
    member_state: str
    legal_basis: str
    via: str
    """sync, or mail."""
    state: str
    """sent, undelivered, mailed, fetched, acknowledged, never_seen, disputed, closed, not_found, removed or
    withdrawn."""
    how: str
    overdue: bool
    sent: Time
    deadline: str
    fetched: str
    mailed: str
    undelivered: str
    trouble: str
    """The error of the last try to mail it; empty if it has not failed."""
    acknowledged: str
    never_seen: str
    removed: str
    closed: str
    not_found: str
    disputed: str
    withdrawn: str


def _listed(notice: SentNotice, now: int) -> ListedNotice:
    names = (
        "sent", "deadline", "fetched", "mailed", "undelivered", "acknowledged", "never_seen", "removed",
        "closed", "not_found", "disputed", "withdrawn",
    )  # fmt: skip
    times = {name: format_utc_seconds(getattr(notice, name)) for name in names}
    return ListedNotice(
        notice.number, notice.organisation, notice.reference, notice.host, notice.url, notice.path,
        notice.category, notice.kind, notice.member_state, notice.legal_basis, notice.via, notice.state,
        notice.how, notice.overdue(now),
        trouble=notice.trouble, **times,
    )  # fmt: skip


def _states(notice: ListedNotice) -> Iterator[str]:
    yield notice.state
    if notice.undelivered and notice.state != "undelivered":
        yield "not delivered to all"
    elif notice.trouble and notice.state == "sent":
        yield "not mailed yet"
    if notice.overdue:
        yield "overdue"


@command.command("list", exit_codes=_CODES)
@click.argument("organisation", required=False)
@format_option("table", "json", help="A table, or each notice as JSON Lines.")
@hub_option
def list_(organisation: str | None, format_name: str, hub: HubAddress) -> None:
    """List the notices to an organisation, or to all: overdue orders first, then the oldest."""
    now = int(time.time())
    with hub.reading() as connection:
        found = [_listed(each, now) for each in notices(connection, now, organisation)]
    print_records(
        format_name,
        found,
        ("reference", "organisation", "kind", "category", "state", "sent", "deadline", "place"),
        lambda each: (
            each.reference,
            each.organisation,
            each.kind,
            each.category,
            ", ".join(_states(each)),
            each.sent,
            each.deadline or "-",
            each.path or each.url,
        ),
    )


@command.command(exit_codes=_CODES)
@click.argument("references", nargs=-1, required=True, metavar="REFERENCE...")
@hub_option
def withdraw(references: tuple[str, ...], hub: HubAddress) -> None:
    """Withdraw notices: servers close the cases that only they have made; who got a mail gets another."""
    with hub.transaction() as connection:
        for reference in references:
            withdraw_notice(connection, actor(), reference, int(time.time()))
    print_message(f"withdrew {', '.join(references)}")


@command.command(exit_codes=_CODES)
@click.argument("reference")
@click.argument("event", type=click.Choice([name for name in EVENTS_OF_NOTICES if name != "refused"]))
@argument_option("--how", default="", metavar="TEXT", help="How it was removed, or why it is disputed.")
@hub_option
def mark(reference: str, event: Event, how: str, hub: HubAddress) -> None:
    """Record the answer to a notice that came by mail or phone; answers of servers come by themselves."""
    with hub.transaction() as connection:
        marked = mark_notice(connection, actor(), reference, event, how, int(time.time()))
    print_message(f"notice {reference} is {marked.state}")


@command.command(exit_codes=_CODES)
@click.argument("reference")
@click.argument("sight", type=click.Choice(SIGHTS))
@argument_option(
    "--at", type=TIME, metavar="TIME",
    help="When it was looked at, such as 2026-10-01T12:00:00Z. Default: now."
)  # fmt: skip
@argument_option("--by", "who", default="", metavar="TEXT", help="The person who has looked. Default: you.")
@hub_option
def observe(reference: str, sight: Sight, at: int | None, who: str, hub: HubAddress) -> None:
    """Record that somebody outside has looked at the content of a notice: gone, there, or unclear.

    Published figures use it: what an organisation says to be removed, and is there, counts as open.
    """
    now = int(time.time())
    with hub.transaction() as connection:
        observe_notice(connection, actor(), reference, sight, now if at is None else at, who, now)
    print_message(f"the content of notice {reference} was seen: {sight}")
