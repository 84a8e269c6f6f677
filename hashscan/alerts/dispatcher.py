"""Send alerts about new events to the channels of the settings, with a lock, time limits and retries."""

from __future__ import annotations

import socket
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from typing import Any

from hashscan.alerts.alert import WHOLE_KINDS, Alert, Kind, merge_documents, without_customers
from hashscan.alerts.builder import AlertBuilder, legal_basis_alerts
from hashscan.alerts.channels.apprise import AppriseChannel, EscalationChannel, LetterChannel
from hashscan.alerts.channels.base import Channel, DeliveryError
from hashscan.alerts.channels.local import HookChannel, SyslogChannel
from hashscan.alerts.metrics import ListMetrics
from hashscan.atomic_files import output_errors
from hashscan.cases.actions import record_letter
from hashscan.cases.deadlines import DeadlineCalculator
from hashscan.cases.ledger import Ledger
from hashscan.cases.letters.answer import record_answer
from hashscan.cases.outbox import Outbox, QueuedAlert
from hashscan.errors import UsageError
from hashscan.locking import LockFile
from hashscan.quarantine.withdrawn_items import last_known
from hashscan.settings.cases_and_alerts import AlertSettings, CaseSettings
from hashscan.state_dir import StateDir

DELIVERY_SECONDS = 20.0
"""The time limit of one delivery, after which it has failed."""
DELIVERY_RUN_SECONDS = 60.0
"""The time after which no other delivery starts; the remaining alerts wait."""
_SINGLE_MESSAGES_MAX = 5
"""The largest number of alerts that a channel gets one by one; if more have waited, one message reports
all."""

_MAIL_SCHEMES = ("mailto:", "mailtos:")

Now = Callable[[], float]


@dataclass(frozen=True, slots=True)
class DeliveryResult:
    """The result of a delivery run."""

    sent: int
    """The number of deliveries; one alert to two channels is two."""
    waiting: int
    """The number of alerts that some channel has not got yet, without letters that are withheld."""
    failures: tuple[str, ...]
    """The reasons of failed deliveries, for people; without secrets."""
    postponed: tuple[str, ...]
    """The channels that were skipped because they failed recently (backoff)."""


@dataclass(slots=True)
class _ChannelQueue:
    """The queue of one channel: the alerts that it has still to get."""

    channel: Channel
    alerts: list[QueuedAlert]

    def take(self) -> tuple[list[int], dict[str, Any]]:
        """Remove the next delivery, and return the ids of its alerts and its document."""
        merged = [one for one in self.alerts if one.document["kind"] not in WHOLE_KINDS]
        if len(merged) > _SINGLE_MESSAGES_MAX:
            taken, self.alerts = merged, [one for one in self.alerts if one not in merged]
            return [one.id for one in taken], merge_documents(
                [{**one.document, "id": one.id} for one in taken]
            )
        one = self.alerts.pop(0)
        return [one.id], {**one.document, "id": one.id}


def _queues(
    outbox: Outbox, channels: Sequence[Channel], now: Now, *, at_once: bool
) -> tuple[list[_ChannelQueue], list[str], set[int]]:
    """Return the queues of channels with waiting alerts, the labels of those that are retried later, and the
    letters that are withheld."""
    lines: list[_ChannelQueue] = []
    postponed: list[str] = []
    withheld: set[int] = set()
    for channel in channels:
        queued = outbox.waiting_for(channel.id, channel.kind)
        held = {one.id for one in queued if _is_held(outbox, one.document, now())}
        withheld |= held
        waiting = [
            replace(
                one, document=without_customers(one.document, _withheld_cases(outbox, one.document, now()))
            )
            for one in queued
            if one.id not in held
        ]
        failing = outbox.failing(channel.id)
        if waiting and failing is not None and now() < failing.again and not at_once:
            postponed.append(channel.label)
        elif waiting:
            lines.append(_ChannelQueue(channel, waiting))
    return lines, postponed, withheld


def _is_held(outbox: Outbox, document: Mapping[str, Any], now: float) -> bool:
    """Return True for a letter to a customer who may not be told yet."""
    if document["kind"] != Kind.LETTER or "answer" in document:
        return False
    return outbox.is_withheld(document["cases"], now)


def _withheld_cases(outbox: Outbox, document: Mapping[str, Any], now: float) -> set[int]:
    """Return the cases that an alert details and that were withheld since it was made."""
    cases = (detail["case"] for detail in document["details"])
    return {case for case in cases if outbox.is_withheld([case], now)}


def deliver(
    outbox: Outbox,
    channels: Sequence[Channel],
    now: Now,
    *,
    at_once: bool = False,
    seconds: float = DELIVERY_SECONDS,
    all_seconds: float = DELIVERY_RUN_SECONDS,
) -> DeliveryResult:
    """Deliver waiting alerts; each channel is independent, and skipped for a while after a failure (backoff).

    Only one process at a time may do this, otherwise some alerts are delivered twice. `at_once` also tries
    channels that failed recently. After `all_seconds`, no other delivery starts.
    """
    until = time.monotonic() + all_seconds
    lines, postponed, withheld = _queues(outbox, channels, now, at_once=at_once)
    sent, failures = 0, []
    with ThreadPoolExecutor(max(1, len(lines))) as threads:
        running: dict[Future[None], tuple[_ChannelQueue, list[int], dict[str, Any]]] = {}

        def begin(line: _ChannelQueue) -> None:
            if line.alerts and time.monotonic() < until:
                alerts, document = line.take()
                running[threads.submit(line.channel.deliver, document, seconds)] = line, alerts, document

        for line in lines:
            begin(line)
        while running:
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                line, alerts, document = running.pop(future)
                channel = line.channel
                try:
                    future.result()
                except DeliveryError as error:
                    outbox.failed(channel.id, channel.label, str(error), int(now()))
                    failures.append(f"{channel.label}: {error}")
                    continue
                with outbox.transaction() as database:
                    outbox.sent(alerts, channel.id, channel.label, int(now()))
                    if "answer" in document:
                        record_answer(
                            database, document["answer"], document["notice"], document["to"],
                            document["who"], int(now()),
                        )  # fmt: skip
                    elif document["kind"] == Kind.LETTER:
                        record_letter(
                            database, document["cases"], document["to"], document["who"], int(now())
                        )
                sent += 1
                begin(line)
    for kind in {channel.kind for channel in channels}:
        outbox.complete_kind(kind, [channel.id for channel in channels if channel.kind == kind])
    return DeliveryResult(sent, outbox.waiting() - len(withheld), tuple(failures), tuple(postponed))


class Notifier:
    """A notifier for all channels of the settings."""

    def __init__(self, settings: AlertSettings, cases: CaseSettings, now: Now = time.time) -> None:
        self._settings = settings
        self._deadlines = DeadlineCalculator(cases)
        self._now = now
        self.channels: tuple[Channel, ...] = (
            *(AppriseChannel(url) for url in settings.urls),
            *(HookChannel(command) for command in settings.hooks),
            *((SyslogChannel(),) if settings.syslog else ()),
        )

        self._escalation = tuple(EscalationChannel(url) for url in settings.escalate_to)
        mail = next((url for url in settings.urls if url.lower().startswith(_MAIL_SCHEMES)), None)
        self.letters: tuple[Channel, ...] = () if mail is None else (LetterChannel(mail),)
        """The channel of letters to customers: the first URL of mail; none without such a URL."""

    def check(self) -> None:
        """Check that the channels can be used; nothing is sent.

        Raises:
            UsageError: a channel can't be used.
        """
        for channel in (*self.channels, *self._escalation):
            channel.check()

    def check_letters(self) -> None:
        """Check that letters can be sent; nothing is sent.

        Raises:
            UsageError: there is no URL of mail, or it can't be used.
        """
        if not self.letters:
            raise UsageError(
                "no mail server is configured",
                advice="Name one by --notify, such as mailto://user:password@mail.example.org, in a file.",
            )
        for channel in self.letters:
            channel.check()

    def notify(
        self,
        ledger: Ledger,
        state: StateDir,
        lists: Sequence[ListMetrics] = (),
        others: Iterable[Alert] = (),
        *,
        at_once: bool = False,
        digest: bool = False,
    ) -> DeliveryResult:
        """Build alerts from the new events of a ledger that is up to date, and deliver all waiting alerts.

        With `digest`, this day's digest is one of them.

        Raises:
            LedgerError: the ledger can't be written.
            LockedError: another process delivers, and takes long.
            OutputError: the state folder can't be written.
        """
        kinds = {channel.kind for channel in self.channels}
        others = (*others, *legal_basis_alerts(self._settings.bases, self._now()))
        self.builder(ledger).build_all(
            self._now(), kinds, lists, last_known(state), others,
            {channel.kind for channel in self._escalation}, digest=digest,
        )  # fmt: skip
        return self.deliver(ledger, state, at_once=at_once)

    def deliver(self, ledger: Ledger, state: StateDir, *, at_once: bool = False) -> DeliveryResult:
        """Deliver all waiting alerts and letters.

        Raises:
            LedgerError: the ledger can't be written.
            LockedError: another process delivers, and takes long.
            OutputError: the state folder can't be written.
        """
        return self._deliver(
            ledger, state, (*self.channels, *self._escalation, *self.letters), at_once=at_once
        )

    def deliver_letters(self, ledger: Ledger, state: StateDir) -> DeliveryResult:
        """Deliver all waiting letters, whenever they failed before; see `deliver`."""
        return self._deliver(ledger, state, self.letters, at_once=True)

    def _deliver(
        self, ledger: Ledger, state: StateDir, channels: Sequence[Channel], *, at_once: bool
    ) -> DeliveryResult:
        with delivery_lock(state, DELIVERY_RUN_SECONDS):
            outbox = Outbox(ledger)
            outbox.prune(int(self._now()))
            return deliver(outbox, channels, self._now, at_once=at_once)

    def store(self, ledger: Ledger, alerts: Iterable[Alert]) -> None:
        """Store alerts for the channels of a later command.

        Raises:
            LedgerError: the ledger can't be written.
        """
        self.builder(ledger).store(self._now(), alerts)

    def notify_without_state(self, others: Iterable[Alert]) -> DeliveryResult:
        """Deliver alerts if there is no state folder to store them in."""
        with tempfile.TemporaryDirectory(prefix="hashscan-") as folder, Ledger(StateDir(folder)) as ledger:
            kinds = {channel.kind for channel in self.channels}
            self.builder(ledger).build_all(self._now(), kinds, others=others)
            return deliver(Outbox(ledger), self.channels, self._now)

    def builder(self, ledger: Ledger) -> AlertBuilder:
        """Return a builder of alerts from a ledger."""
        return AlertBuilder(
            ledger,
            self._deadlines,
            on=self._settings.on,
            details=self._settings.details,
            host=host(),
        )


def host() -> str:
    """Return this machine's name, as alerts show it."""
    return socket.gethostname()


def delivery_lock(state: StateDir, seconds: float) -> LockFile:
    """Take the lock of deliveries: one process at a time delivers, otherwise some would be sent twice."""
    path = state.delivery_lock
    with output_errors(f"{path} can't be locked"):
        return LockFile(
            path,
            f"another process is delivering alerts and holds {path}",
            advice="The alerts are stored; the next command that delivers alerts sends them.",
            seconds=seconds,
        )
