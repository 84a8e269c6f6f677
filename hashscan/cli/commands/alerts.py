"""`hashscan alarms`: list, send, drop and test alerts (notifications to people and programs)."""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from hashscan.cli.options.alerts import alert_options, channel_options, take_alarms
from hashscan.cli.options.base import HashscanGroup, state_option
from hashscan.cli.options.cases import deadline_options, take_deadlines
from hashscan.cli.output.terminal import escape_control, print_message, print_table
from hashscan.errors import EXIT_CLEAN, EXIT_UNREACHABLE, UsageError
from hashscan.settings.cases import DEFAULT_DEADLINES

_SHOWN = 20
"""Latest alerts that are listed, even if every channel has delivered them."""


@click.group(cls=HashscanGroup)
def command() -> None:
    """Tell persons and programs what there is to tell, and see what could not be delivered."""


@command.command("list", exit_codes=(0, 2, 12, 70))
@click.option("--json", "as_json", is_flag=True, help="The whole document of each, as JSON Lines.")
@state_option
def list_(as_json: bool, state: Path) -> int:
    """Show the alarms that wait, the last of the others, and the channels that fail."""
    from hashscan.cases.ledger import Ledger
    from hashscan.cases.outbox import Outbox

    with Ledger(state) as ledger:
        outbox = Outbox(ledger)
        alarms, failing = outbox.listed(_SHOWN), outbox.all_failing()
    if as_json:
        for alarm in alarms:
            line = {**alarm.document, "id": alarm.id, "waits": alarm.waits, "sent": alarm.sent}
            sys.stdout.write(json.dumps(line, separators=(",", ":")) + "\n")
        return EXIT_CLEAN
    print_table(
        ("id", "made", "kind", "subject", "sent by", "waits for"),
        (
            (
                str(alarm.id),
                _moment(alarm.made),
                str(alarm.document["kind"]),
                str(alarm.document["subject"]),
                ", ".join(alarm.sent) or "-",
                ", ".join(kind or "anybody" for kind in alarm.waits) or "-",
            )
            for alarm in alarms
        ),
    )
    for channel in failing:
        print_message(
            f"hashscan: {channel.label} has failed {channel.failures} times, and is left alone until "
            f"{_moment(channel.again)}: {escape_control(channel.error)}"
        )
    return EXIT_CLEAN


@command.command(exit_codes=(0, 2, 11, 12, 13, 70))
@click.option("--now", "at_once", is_flag=True, help="Try also channels that have failed not long ago.")
@alert_options
@deadline_options
@state_option
def send(at_once: bool, state: Path, **options: Any) -> int:
    """Tell what there is to tell, and try again what could not be delivered; write the metrics.

    What there is to tell comes from the sweeps, cases and lists of the state folder, so that a sweep which
    can't reach the network needs no channel of its own. Exits 13 when an alarm still waits.
    """
    from hashscan.cli.output.notifications import send_alerts_or_raise

    alarms, deadlines = take_alarms(options), take_deadlines(options)
    if not alarms.any_channel and alarms.metrics is None:
        raise UsageError(
            "nobody is to be told", advice="Name a channel, or put one into the settings' table `alarms`."
        )
    delivered = send_alerts_or_raise(state, alarms, deadlines, at_once=at_once)
    if delivered is None:
        return EXIT_CLEAN
    for label in delivered.postponed:
        print_message(
            f"hashscan: {label} is left alone for a while, since it has failed; --now tries it at once"
        )
    if delivered.sent:
        print_message(f"hashscan: {delivered.sent} alarms delivered")
    return EXIT_UNREACHABLE if delivered.waiting else EXIT_CLEAN


@command.command(exit_codes=(0, 2, 12, 70))
@click.argument("ids", nargs=-1, metavar="[ID]...", type=int)
@click.option("--all", "all_", is_flag=True, help="All that wait.")
@state_option
def drop(ids: tuple[int, ...], all_: bool, state: Path) -> int:
    """Have alarms tried no longer; what they tell of is not told again."""
    from hashscan.cases.ledger import Ledger
    from hashscan.cases.outbox import Outbox

    if all_ is bool(ids):
        raise UsageError("name the alarms, or say --all", advice="See `hashscan alarms list`.")
    with Ledger(state) as ledger:
        outbox = Outbox(ledger)
        dropped = outbox.drop([alarm.id for alarm in outbox.listed(0)] if all_ else ids)
    print_message(f"hashscan: {dropped} alarms dropped")
    return EXIT_CLEAN


@command.command(exit_codes=(0, 2, 13, 70))
@channel_options
def test(**options: Any) -> int:
    """Send a test alarm through every channel, at once, and say which have taken it."""
    from hashscan.alerts.alert import Alert, Kind
    from hashscan.alerts.channels.channel import DeliveryError
    from hashscan.alerts.dispatcher import DELIVERY_SECONDS
    from hashscan.alerts.notifier import Notifier, host

    alarms = take_alarms(options)
    if not alarms.any_channel:
        raise UsageError("there is no channel to test", advice="Name one: --notify, --exec or --syslog.")
    teller = Notifier(alarms, DEFAULT_DEADLINES)
    teller.check()
    at = datetime.now(UTC).isoformat(timespec="seconds")
    alarm = Alert(Kind.TEST, (), "a test", ("Nothing was found; this only shows that alarms arrive.",))
    failed = False
    for channel in teller.channels:
        try:
            channel.deliver({**alarm.document(host(), at), "id": 0}, DELIVERY_SECONDS)
        except DeliveryError as error:
            failed = True
            print_message(f"hashscan: {channel.label}: FAILED: {escape_control(str(error))}")
        else:
            print_message(f"hashscan: {channel.label}: sent")
    return EXIT_UNREACHABLE if failed else EXIT_CLEAN


def _moment(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(seconds))
