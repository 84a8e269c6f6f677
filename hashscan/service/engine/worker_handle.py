"""Describe one worker process as the engine knows it: its socket, its request, its setups."""

from __future__ import annotations

import asyncio
import signal
from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess

from hashscan.errors import HashscanError
from hashscan.scan.workers.processes import END_SECONDS, release_process, send_signal
from hashscan.scan.workers.watchdog import Progress
from hashscan.service.engine.messages import Channel
from hashscan.service.engine.waiting import Task
from hashscan.service.engine.worker_process import EngineSetup


@dataclass(slots=True, eq=False)
class Candidate:
    """A setup that one worker tries before all others use it."""

    setup: EngineSetup
    tried: asyncio.Future[str]
    """The reason why it can't be used; empty if it can."""
    deaths: int = 0
    """Workers that have died while they tried it."""
    starting: bool = False
    """True while a worker is started for it."""


@dataclass(slots=True, eq=False)
class WorkerHandle:
    """One worker process."""

    process: ForkServerProcess
    channel: Channel
    setup: EngineSetup
    progress: Progress
    ready: bool = False
    task: Task | None = None
    """The request that it runs."""
    begun: float = 0.0
    uses: deque[tuple[EngineSetup, Candidate | None]] = field(default_factory=deque)
    """Setups that it was told to use, and has not answered about yet."""
    owner: int | None = None
    """The owner of the last request."""
    known: OrderedDict[int, None] = field(default_factory=OrderedDict)
    """Owners for whom it may have a decoder, the last one at the end."""
    streak: int = 0
    """Requests of this owner in a row."""
    streak_begun: float = 0.0
    preparing: asyncio.TimerHandle | None = None
    """Ends it if it takes too long to be ready, or to open lists."""
    killed: float | None = None
    """The time when it was killed (monotonic clock)."""
    failure: HashscanError | None = None
    """The error for which it can't be started."""


def best_of(workers: Iterable[WorkerHandle], owner: int) -> WorkerHandle:
    """Return the worker whose decoder serves an owner, or that has one for him, or else the least used."""
    return min(workers, key=lambda m: (m.owner != owner, owner not in m.known, m.begun))


def reap(process: ForkServerProcess) -> None:
    """Wait for a process whose socket is closed, and kill it if it doesn't end."""
    for number in (signal.SIGKILL, None):
        process.join(END_SECONDS)
        if number is not None:
            send_signal(process, number)
    release_process(process)
