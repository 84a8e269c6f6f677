"""Brings the alarms of an outbox to their channels, within a time, and keeps what could not be delivered."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

from hashscan.alerts.alert import digest_of
from hashscan.alerts.channels.channel import Channel, DeliveryError
from hashscan.cases.outbox import KeptAlarm, Outbox

SECONDS = 20.0
"""For one delivery, after which it has failed."""
ALL_SECONDS = 60.0
"""After which no other is begun; what is left waits."""
_APART = 5
"""Alarms that a channel is given one by one; more have waited long, and are told of in one message."""

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Delivered:
    """What became of the alarms."""

    sent: int
    """Deliveries; one alarm to two channels is two."""
    waiting: int
    """Alarms that have not gone everywhere."""
    failures: tuple[str, ...]
    """Why, in words; without secrets."""
    postponed: tuple[str, ...]
    """Channels that were left alone, since they failed not long ago."""


@dataclass(slots=True)
class _Line:
    """What one channel has still to be given."""

    channel: Channel
    alarms: list[KeptAlarm]

    def take(self) -> tuple[list[int], dict[str, Any]]:
        """The next delivery: the alarms it tells of, and the document."""
        if len(self.alarms) > _APART:
            taken, self.alarms = self.alarms, []
            return [one.id for one in taken], digest_of([{**one.document, "id": one.id} for one in taken])
        one = self.alarms.pop(0)
        return [one.id], {**one.document, "id": one.id}


def deliver(
    outbox: Outbox,
    channels: Sequence[Channel],
    now: Clock,
    *,
    at_once: bool = False,
    seconds: float = SECONDS,
    all_seconds: float = ALL_SECONDS,
) -> Delivered:
    """Deliver what waits; each channel goes on by itself, and after a failure is left alone for a while.

    Args:
        outbox: the alarms; only one process at a time may deliver them, or some are delivered twice.
        channels: those there are.
        now: seconds since 1970.
        at_once: try also those that have failed not long ago.
        seconds: for one delivery.
        all_seconds: after which no other is begun.
    """
    until = time.monotonic() + all_seconds
    lines: list[_Line] = []
    postponed: list[str] = []
    for channel in channels:
        waiting = outbox.waiting_for(channel.id, channel.kind)
        failing = outbox.failing(channel.id)
        if waiting and failing is not None and now() < failing.again and not at_once:
            postponed.append(channel.label)
        elif waiting:
            lines.append(_Line(channel, waiting))
    sent, failures = 0, []
    with ThreadPoolExecutor(max(1, len(lines))) as threads:
        running: dict[Future[None], tuple[_Line, list[int]]] = {}

        def begin(line: _Line) -> None:
            if line.alarms and time.monotonic() < until:
                alarms, document = line.take()
                running[threads.submit(line.channel.deliver, document, seconds)] = line, alarms

        for line in lines:
            begin(line)
        while running:
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                line, alarms = running.pop(future)
                channel = line.channel
                try:
                    future.result()
                except DeliveryError as error:
                    outbox.failed(channel.id, channel.label, str(error), int(now()))
                    failures.append(f"{channel.label}: {error}")
                    continue
                outbox.sent(alarms, channel.id, channel.label, int(now()))
                sent += 1
                begin(line)
    for kind in {channel.kind for channel in channels}:
        outbox.settle(kind, [channel.id for channel in channels if channel.kind == kind])
    return Delivered(sent, outbox.waiting(), tuple(failures), tuple(postponed))
