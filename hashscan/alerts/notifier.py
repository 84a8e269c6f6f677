"""The notifier: send alerts about new events to the channels of the settings."""

from __future__ import annotations

import socket
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from hashscan.alerts.alert import Alarm
from hashscan.alerts.builder import Raising
from hashscan.alerts.channels.apprise import Notify
from hashscan.alerts.channels.channel import Channel
from hashscan.alerts.channels.hook import Hook
from hashscan.alerts.channels.journal import Journal
from hashscan.alerts.dispatcher import ALL_SECONDS, Delivered, deliver
from hashscan.alerts.lock import delivering
from hashscan.alerts.metrics_values import ListFigures
from hashscan.cases.deadlines import Clock
from hashscan.cases.ledger import Ledger
from hashscan.cases.outbox import Outbox
from hashscan.quarantine.withdrawal_cache import last_known
from hashscan.settings.alerts import AlarmSettings
from hashscan.settings.cases import CaseSettings

Now = Callable[[], float]


class Teller:
    """A notifier for all channels of the settings.

    Args:
        settings: the channels, and the kinds of alerts.
        cases: the deadlines of cases.
        now: returns seconds since 1970.
    """

    def __init__(self, settings: AlarmSettings, cases: CaseSettings, now: Now = time.time) -> None:
        self._settings = settings
        self._clock = Clock(cases)
        self._now = now
        self.channels: tuple[Channel, ...] = (
            *(Notify(url) for url in settings.urls),
            *(Hook(command) for command in settings.hooks),
            *((Journal(),) if settings.syslog else ()),
        )

    def check(self) -> None:
        """Check that the channels can be used; nothing is sent.

        Raises:
            UsageError: a channel can't be used.
        """
        for channel in self.channels:
            channel.check()

    def tell(
        self,
        ledger: Ledger,
        state: Path,
        lists: Sequence[ListFigures] = (),
        others: Iterable[Alarm] = (),
        *,
        at_once: bool = False,
    ) -> Delivered:
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
        self._raising(ledger).raise_all(
            self._now(), {channel.kind for channel in self.channels}, lists, last_known(state), others
        )
        with delivering(state, ALL_SECONDS):
            outbox = Outbox(ledger)
            outbox.prune(int(self._now()))
            return deliver(outbox, self.channels, self._now, at_once=at_once)

    def put_down(self, ledger: Ledger, alarms: Iterable[Alarm]) -> None:
        """Store alerts for the channels of a later command.

        Raises:
            LedgerError: the ledger can't be written.
        """
        self._raising(ledger).put_down(self._now(), alarms)

    def tell_once(self, others: Iterable[Alarm]) -> Delivered:
        """Deliver alerts if there is no state folder to store them in."""
        with tempfile.TemporaryDirectory(prefix="hashscan-") as folder, Ledger(Path(folder)) as ledger:
            kinds = {channel.kind for channel in self.channels}
            self._raising(ledger).raise_all(self._now(), kinds, others=others)
            return deliver(Outbox(ledger), self.channels, self._now)

    def _raising(self, ledger: Ledger) -> Raising:
        return Raising(
            ledger,
            self._clock,
            on=self._settings.on,
            details=self._settings.details,
            host=host(),
        )


def host() -> str:
    """Return this machine's name, as alerts show it."""
    return socket.gethostname()
