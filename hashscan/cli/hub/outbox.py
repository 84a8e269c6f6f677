"""`hashscan hub outbox`: list the mails to organisations, and send those that wait."""

from __future__ import annotations

import time

import click
from msgspec import Struct

from hashscan.alerts.dispatcher import Notifier
from hashscan.cli.hub.options import actor, hub_option
from hashscan.cli.options.base import HashscanGroup
from hashscan.cli.options.cases_and_alerts import notify_option
from hashscan.cli.options.output import format_option, print_records
from hashscan.cli.options.tables import reporter_option
from hashscan.cli.output.logs import ERROR, print_message
from hashscan.errors import EXIT_CLEAN, EXIT_UNREACHABLE, UsageError
from hashscan.hub.mails.outbox import MailKind, MailState, OutboxMail, outbox, retry_all, send_next
from hashscan.hub.storage.database import HubAddress
from hashscan.model import Reporter
from hashscan.schema import Time
from hashscan.settings.cases_and_alerts import DEFAULT_DEADLINES, AlertSettings
from hashscan.text import plural
from hashscan.timefmt import format_utc_seconds

_FAILURES_MAX = 3
"""Failures in a row after which the mail server is left alone; the next command goes on."""


@click.group(cls=HashscanGroup)
def command() -> None:
    """List the mails to organisations, and send those that wait."""


class ListedMail(Struct):
    """A mail to an organisation."""

    number: int
    kind: MailKind
    organisation: str
    recipient: str
    about: str
    """Reference of the notice, or number of the figures."""
    state: MailState
    """ended: the notice was answered before the mail was sent."""
    tries: int
    created: Time
    sent: str
    """Empty if it was not."""
    again: str
    """Time before which it is not tried again; empty if it is not waiting for one."""
    trouble: str
    """The error of the last try; empty if it has not failed."""


def _listed(mail: OutboxMail) -> ListedMail:
    return ListedMail(
        mail.number, mail.kind, mail.organisation, mail.recipient, mail.about, mail.state, mail.tries,
        format_utc_seconds(mail.created),
        format_utc_seconds(mail.sent),
        format_utc_seconds(mail.again) if mail.again and mail.state == "waiting" else "",
        mail.trouble,
    )  # fmt: skip


@command.command("list", exit_codes=(0, 2, 12, 70))
@format_option("table", "json", help="A table, or each mail as JSON Lines.")
@hub_option
def list_(format_name: str, hub: HubAddress) -> None:
    """List the mails to organisations, also those that were sent, the oldest first."""
    with hub.reading() as connection:
        found = [_listed(each) for each in outbox(connection)]
    print_records(
        format_name,
        found,
        ("number", "kind", "about", "to", "state", "tries", "sent", "again after", "trouble"),
        lambda each: (
            str(each.number),
            each.kind,
            each.about,
            each.recipient,
            each.state,
            str(each.tries),
            each.sent or "-",
            each.again or "-",
            each.trouble or "-",
        ),
    )


@command.command(exit_codes=(0, 2, 12, 13, 70))
@click.option("--retry", is_flag=True, help="Also try mails that have failed, or are to be tried later.")
@notify_option
@reporter_option
@hub_option
def send(retry: bool, alerts: AlertSettings, reporter: Reporter | None, hub: HubAddress) -> int:
    """Send the mails that wait, by the first --notify URL of mail.

    The table [reporter] names the sender, to whom answers go. `hashscan hub serve` does the same with these
    settings, so that this is needed where no node can reach the mail server. Exit code 13: a mail was not
    accepted; it is kept, and tried again.
    """
    notifier = Notifier(alerts, DEFAULT_DEADLINES)
    notifier.check_letters()
    if reporter is None:
        raise UsageError(
            "the settings name no sender of the mails",
            advice="Add a table [reporter] with organisation and email to the settings file.",
        )
    sent = failed = in_a_row = 0
    with hub.open() as opened:
        if retry:
            with opened.transaction() as connection:
                retry_all(connection, actor())
        while in_a_row < _FAILURES_MAX:
            attempt = send_next(opened, notifier.letters[0], reporter, time.time)
            if attempt is None:
                break
            if attempt.trouble:
                print_message(f"the mail to {attempt.recipient} was not accepted: {attempt.trouble}", ERROR)
                failed, in_a_row = failed + 1, in_a_row + 1
            else:
                sent, in_a_row = sent + 1, 0
    print_message(f"{plural(sent, 'mail')} sent")
    return EXIT_UNREACHABLE if failed else EXIT_CLEAN
