"""`hashscan alerts`: list, send, drop and test alerts (notifications to people and programs)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from hashscan.cli.options.base import HashscanGroup, state_option
from hashscan.cli.options.cases_and_alerts import alert_options, channel_options, deadline_options
from hashscan.cli.options.output import format_option, write_json_line
from hashscan.cli.output.logs import ERROR, print_message
from hashscan.cli.output.notifications import send_alerts_or_raise
from hashscan.cli.output.terminal import print_table
from hashscan.errors import EXIT_CLEAN, EXIT_UNREACHABLE, UsageError
from hashscan.settings.cases_and_alerts import DEFAULT_DEADLINES, AlertSettings, CaseSettings
from hashscan.state_dir import StateDir
from hashscan.text import plural
from hashscan.timefmt import format_utc_seconds

if TYPE_CHECKING:
    from hashscan.alerts.dispatcher import DeliveryResult

_SHOWN = 20
"""Latest alerts that are listed, even if every channel has delivered them."""


@click.group(cls=HashscanGroup)
def command() -> None:
    """Send alerts to people and programs, and show which could not be delivered."""


@command.command("list", exit_codes=(0, 2, 12, 70))
@format_option("table", "json", help="A table, or the complete document of each alert as JSON Lines.")
@state_option
def list_(format_name: str, state: StateDir) -> None:
    """List waiting alerts, the latest delivered ones, and failing channels."""
    from hashscan.cases.ledger import Ledger
    from hashscan.cases.outbox import Outbox

    with Ledger(state) as ledger:
        outbox = Outbox(ledger)
        alerts, failing = outbox.listed(_SHOWN), outbox.all_failing()
    if format_name == "json":
        for alert in alerts:
            write_json_line({**alert.document, "id": alert.id, "waits": alert.waits, "sent": alert.sent})
        return
    print_table(
        ("id", "made", "kind", "subject", "sent by", "waiting for"),
        (
            (
                str(alert.id),
                format_utc_seconds(alert.made),
                str(alert.document["kind"]),
                str(alert.document["subject"]),
                ", ".join(alert.sent) or "-",
                ", ".join(kind or "any channel" for kind in alert.waits) or "-",
            )
            for alert in alerts
        ),
    )
    for channel in failing:
        print_message(
            f"{channel.label} has failed {plural(channel.failures, 'time')}; next attempt after "
            f"{format_utc_seconds(channel.again)}: {channel.error}"
        )


@command.command(exit_codes=(0, 2, 11, 12, 13, 70))
@click.option("--now", "at_once", is_flag=True, help="Also try channels that failed recently.")
@alert_options
@deadline_options
@state_option
def send(at_once: bool, state: StateDir, alerts: AlertSettings, deadlines: CaseSettings) -> int:
    """Send new alerts, and retry those that could not be delivered; write the metrics.

    Alerts are made from the scans, cases and lists of the state folder, so a scan without network access
    needs no channel of its own. The exit code is 13 if an alert still waits.
    """
    if not alerts.wanted:
        raise _no_channel()
    delivered = send_alerts_or_raise(state, alerts, deadlines, at_once=at_once)
    return EXIT_CLEAN if delivered is None else _delivered(delivered)


def _no_channel() -> UsageError:
    return UsageError(
        "no alert channel is configured",
        advice="Name a channel, or add one to the table `alerts` of the settings file.",
    )


def _delivered(delivered: DeliveryResult) -> int:
    for label in delivered.postponed:
        print_message(f"{label} has failed and is not tried yet; --now tries it at once")
    if delivered.sent:
        print_message(f"{plural(delivered.sent, 'alert')} delivered")
    return EXIT_UNREACHABLE if delivered.waiting else EXIT_CLEAN


@command.command(exit_codes=(0, 2, 11, 12, 13, 70))
@click.option("--dry-run", is_flag=True, help="Print the digest as a mail; store and send nothing.")
@alert_options
@deadline_options
@state_option
def digest(dry_run: bool, state: StateDir, alerts: AlertSettings, deadlines: CaseSettings) -> int:
    """Send the digest of the day: scans, cases, deadlines, what was not checked, lists and trouble.

    It reports everything since the digest before, once a day at most. It goes through the same channels as
    alerts, and like these it is kept and tried again if it can't be delivered; the exit code is then 13.
    """
    if dry_run:
        from hashscan.cli.output.mails import print_digest

        return print_digest(state, alerts, deadlines)
    if not alerts.any_channel:
        raise _no_channel()
    delivered = send_alerts_or_raise(state, alerts, deadlines, digest=True)
    assert delivered is not None
    if not (delivered.sent or delivered.waiting):
        print_message("the digest of this day was sent before")
    return _delivered(delivered)


@command.command(exit_codes=(0, 2, 12, 70))
@click.argument("ids", nargs=-1, metavar="[ID]...", type=int)
@click.option("--all", "all_", is_flag=True, help="All waiting alerts.")
@state_option
def drop(ids: tuple[int, ...], all_: bool, state: StateDir) -> None:
    """Drop alerts: they are not sent any more, and their events cause no further alert."""
    from hashscan.cases.ledger import Ledger
    from hashscan.cases.outbox import Outbox

    if all_ is bool(ids):
        raise UsageError(
            "no alerts are named", advice="Name their ids (see `hashscan alerts list`), or use --all."
        )
    with Ledger(state) as ledger:
        outbox = Outbox(ledger)
        dropped = outbox.drop([alert.id for alert in outbox.listed(0)] if all_ else ids)
    print_message(f"{plural(dropped, 'alert')} dropped")


@command.command(exit_codes=(0, 2, 13, 70))
@channel_options
def test(alerts: AlertSettings) -> int:
    """Send a test alert through every channel at once, and show which of them accepted it."""
    from hashscan.alerts.alert import Alert, Kind
    from hashscan.alerts.channels.base import DeliveryError
    from hashscan.alerts.dispatcher import DELIVERY_SECONDS, Notifier, host

    if not alerts.any_channel:
        raise UsageError("there is no channel to test", advice="Name one: --notify, --exec or --syslog.")
    notifier = Notifier(alerts, DEFAULT_DEADLINES)
    notifier.check()
    at = datetime.now(UTC).isoformat(timespec="seconds")
    alert = Alert(Kind.TEST, (), "a test", ("This is a test: no file was found.",))
    failed = False
    for channel in notifier.channels:
        try:
            channel.deliver({**alert.document(host(), at), "id": 0}, DELIVERY_SECONDS)
        except DeliveryError as error:
            failed = True
            print_message(f"{channel.label}: FAILED: {error}", ERROR)
        else:
            print_message(f"{channel.label}: sent")
    return EXIT_UNREACHABLE if failed else EXIT_CLEAN
