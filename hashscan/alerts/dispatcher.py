"""Deliver the alerts of an outbox to their channels within a time limit, with retries by later commands."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

from hashscan.alerts.alert import merge_documents
from hashscan.alerts.channels.channel import Channel, DeliveryError
from hashscan.cases.outbox import Outbox, QueuedAlert

DELIVERY_SECONDS = 20.0
"""The time limit of one delivery, after which it has failed."""
DELIVERY_RUN_SECONDS = 60.0
"""The time after which no other delivery starts; the remaining alerts wait."""
_SINGLE_MESSAGES_MAX = 5
"""The largest number of alerts that a channel gets one by one; if more have waited, one message reports
all."""

Now = Callable[[], float]


@dataclass(frozen=True, slots=True)
class DeliveryResult:
    """The result of a delivery run."""

    sent: int
    """The number of deliveries; one alert to two channels is two."""
    waiting: int
    """The number of alerts that some channel has not got yet."""
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
        if len(self.alerts) > _SINGLE_MESSAGES_MAX:
            taken, self.alerts = self.alerts, []
            return [one.id for one in taken], merge_documents(
                [{**one.document, "id": one.id} for one in taken]
            )
        one = self.alerts.pop(0)
        return [one.id], {**one.document, "id": one.id}


def _queues(
    outbox: Outbox, channels: Sequence[Channel], now: Now, *, at_once: bool
) -> tuple[list[_ChannelQueue], list[str]]:
    """Return the queues of channels with waiting alerts, and the labels of those that are retried later."""
    lines: list[_ChannelQueue] = []
    postponed: list[str] = []
    for channel in channels:
        waiting = outbox.waiting_for(channel.id, channel.kind)
        failing = outbox.failing(channel.id)
        if waiting and failing is not None and now() < failing.again and not at_once:
            postponed.append(channel.label)
        elif waiting:
            lines.append(_ChannelQueue(channel, waiting))
    return lines, postponed


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

    Args:
        outbox: the alerts; only one process at a time may deliver them, otherwise some are delivered twice.
        channels: the configured channels.
        now: returns seconds since 1970.
        at_once: True to retry also channels that failed recently.
        seconds: the time limit of one delivery.
        all_seconds: the time after which no other delivery starts.
    """
    until = time.monotonic() + all_seconds
    lines, postponed = _queues(outbox, channels, now, at_once=at_once)
    sent, failures = 0, []
    with ThreadPoolExecutor(max(1, len(lines))) as threads:
        running: dict[Future[None], tuple[_ChannelQueue, list[int]]] = {}

        def begin(line: _ChannelQueue) -> None:
            if line.alerts and time.monotonic() < until:
                alerts, document = line.take()
                running[threads.submit(line.channel.deliver, document, seconds)] = line, alerts

        for line in lines:
            begin(line)
        while running:
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                line, alerts = running.pop(future)
                channel = line.channel
                try:
                    future.result()
                except DeliveryError as error:
                    outbox.failed(channel.id, channel.label, str(error), int(now()))
                    failures.append(f"{channel.label}: {error}")
                    continue
                outbox.sent(alerts, channel.id, channel.label, int(now()))
                sent += 1
                begin(line)
    for kind in {channel.kind for channel in channels}:
        outbox.complete_kind(kind, [channel.id for channel in channels if channel.kind == kind])
    return DeliveryResult(sent, outbox.waiting(), tuple(failures), tuple(postponed))
