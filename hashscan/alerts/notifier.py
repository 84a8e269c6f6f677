"""The notifier: send alerts about new events to the channels of the settings."""

from __future__ import annotations

import socket
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from hashscan.alerts.alert import Alert
from hashscan.alerts.builder import AlertBuilder
from hashscan.alerts.channels.apprise import AppriseChannel
from hashscan.alerts.channels.channel import Channel
from hashscan.alerts.channels.hook import HookChannel
from hashscan.alerts.channels.journal import SyslogChannel
from hashscan.alerts.dispatcher import DELIVERY_RUN_SECONDS, DeliveryResult, deliver
from hashscan.alerts.metrics_values import ListMetrics
from hashscan.cases.deadlines import DeadlineCalculator
from hashscan.cases.ledger import Ledger
from hashscan.cases.outbox import Outbox
from hashscan.lists.durable import output_errors
from hashscan.locking import LockFile
from hashscan.quarantine.withdrawal_cache import last_known
from hashscan.settings.alerts import AlertSettings
from hashscan.settings.cases import CaseSettings

Now = Callable[[], float]


class Notifier:
    """A notifier for all channels of the settings.

    Args:
        settings: the channels, and the kinds of alerts.
        cases: the deadlines of cases.
        now: returns seconds since 1970.
    """

    def __init__(self, settings: AlertSettings, cases: CaseSettings, now: Now = time.time) -> None:
        self._settings = settings
        self._clock = DeadlineCalculator(cases)
        self._now = now
        self.channels: tuple[Channel, ...] = (
            *(AppriseChannel(url) for url in settings.urls),
            *(HookChannel(command) for command in settings.hooks),
            *((SyslogChannel(),) if settings.syslog else ()),
        )

    def check(self) -> None:
        """Check that the channels can be used; nothing is sent.

        Raises:
            UsageError: a channel can't be used.
        """
        for channel in self.channels:
            channel.check()

    def notify(
        self,
        ledger: Ledger,
        state: Path,
        lists: Sequence[ListMetrics] = (),
        others: Iterable[Alert] = (),
        *,
        at_once: bool = False,
    ) -> DeliveryResult:
        """Build alerts from the ledger's new events, and deliver all waiting alerts.

        Args:
            ledger: the ledger of the state folder, brought up to date.
            state: the state folder.
            lists: the states of the hash lists.
            others: other alerts to send.
            at_once: True to retry also channels that failed recently.

        Raises:
            LedgerError: the ledger can't be written.
            LockedError: another process delivers, and takes long.
            OutputError: the state folder can't be written.
        """
        self._builder(ledger).build_all(
            self._now(), {channel.kind for channel in self.channels}, lists, last_known(state), others
        )
        with _delivery_lock(state, DELIVERY_RUN_SECONDS):
            outbox = Outbox(ledger)
            outbox.prune(int(self._now()))
            return deliver(outbox, self.channels, self._now, at_once=at_once)

    def store(self, ledger: Ledger, alerts: Iterable[Alert]) -> None:
        """Store alerts for the channels of a later command.

        Raises:
            LedgerError: the ledger can't be written.
        """
        self._builder(ledger).store(self._now(), alerts)

    def notify_without_state(self, others: Iterable[Alert]) -> DeliveryResult:
        """Deliver alerts if there is no state folder to store them in."""
        with tempfile.TemporaryDirectory(prefix="hashscan-") as folder, Ledger(Path(folder)) as ledger:
            kinds = {channel.kind for channel in self.channels}
            self._builder(ledger).build_all(self._now(), kinds, others=others)
            return deliver(Outbox(ledger), self.channels, self._now)

    def _builder(self, ledger: Ledger) -> AlertBuilder:
        return AlertBuilder(
            ledger,
            self._clock,
            on=self._settings.on,
            details=self._settings.details,
            host=host(),
        )


def host() -> str:
    """Return this machine's name, as alerts show it."""
    return socket.gethostname()


def _delivery_lock(state: Path, seconds: float) -> LockFile:
    """Take the lock of deliveries: one process at a time delivers, otherwise some would be sent twice.

    Args:
        state: the state folder whose alerts are delivered.
        seconds: the time to wait for another process.

    Raises:
        LockedError: another process takes longer.
        OutputError: the folder can't be written.
    """
    path = state / "alerts.lock"
    with output_errors(f"{path} can't be locked"):
        return LockFile(
            path,
            f"another process is delivering alerts and holds {path}",
            advice="The alerts are stored; the next command that delivers alerts sends them.",
            seconds=seconds,
        )
