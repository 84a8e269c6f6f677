"""One rate limit for several processes, whatever becomes of any of them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace

import pytest

from hashscan.errors import OutputError
from hashscan.locking import record_locked
from hashscan.scan.workers import throttle as module
from hashscan.scan.workers.throttle import BURST_SECONDS, RateLimiter

CONTEXT = multiprocessing.get_context("forkserver")


def spend_for(rate_limiter: RateLimiter, seconds: float, files: int, size: int, channel: Connection) -> None:
    """Spend as fast as it goes, and send how often that was."""
    end = time.monotonic() + seconds
    times = 0
    while time.monotonic() < end:
        rate_limiter.acquire(files, size)
        times += 1
    channel.send(times)


@pytest.mark.parametrize(("files", "size"), [(0, 50_000), (50, 0), (50, 50_000)])
def test_processes_share_what_may_be_spent(files: int, size: int) -> None:
    seconds = 2.0
    with RateLimiter(1_000_000, 1000) as rate_limiter:
        begun = time.monotonic()
        ends = []
        for _ in range(2):
            ours, theirs = CONTEXT.Pipe(duplex=False)
            CONTEXT.Process(target=spend_for, args=(rate_limiter, seconds, files, size, theirs)).start()
            ends.append(ours)
        spent = sum(end.recv() for end in ends)
        lasted = time.monotonic() - begun
    # 20 times a second, and one place that each had taken before its time was over.
    assert spent <= 20 * (lasted + BURST_SECONDS) + 2
    assert spent > 2


def test_threads_share_it_too() -> None:
    with RateLimiter(None, 100) as rate_limiter:
        threads = [
            threading.Thread(target=lambda: [rate_limiter.acquire(1, 0) for _ in range(10)]) for _ in range(8)
        ]
        begun = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert time.monotonic() - begun >= (80 - 1) / 100 - BURST_SECONDS


def test_what_was_not_used_is_made_up_for_only_in_part() -> None:
    with RateLimiter(1000, None) as rate_limiter:
        rate_limiter.acquire(0, 1)
        time.sleep(3 * BURST_SECONDS)
        begun = time.monotonic()
        for _ in range(11):
            rate_limiter.acquire(0, 50)
        assert time.monotonic() - begun >= 10 * 0.05 - BURST_SECONDS


def test_no_more_is_waited_for_than_must_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that only runs while somebody sleeps."""
    now = [1_000_000_000_000]

    def sleep(seconds: float) -> None:
        now[0] += round(seconds * 1e9)

    monkeypatch.setattr(module, "time", SimpleNamespace(sleep=sleep, monotonic_ns=lambda: now[0]))
    with RateLimiter(1_000_000, 1000) as rate_limiter:
        begun = now[0]
        for _ in range(100):
            rate_limiter.acquire(10, 50_000)
        assert (now[0] - begun) / 1e9 == pytest.approx(99 * 0.05 - BURST_SECONDS)
    with RateLimiter(None, None) as rate_limiter:
        begun = now[0]
        for _ in range(1000):
            rate_limiter.acquire(1000, 1 << 40)
        assert now[0] == begun


def die_with_the_lock(rate_limiter: RateLimiter, channel: Connection) -> None:
    with record_locked(rate_limiter._descriptor):
        channel.send(os.getpid())
        signal.pause()


def test_a_process_killed_with_the_lock_holds_nobody_up() -> None:
    with RateLimiter(1000, None) as rate_limiter:
        ours, theirs = CONTEXT.Pipe(duplex=False)
        process = CONTEXT.Process(target=die_with_the_lock, args=(rate_limiter, theirs))
        process.start()
        pid = ours.recv()
        spending = threading.Thread(target=rate_limiter.acquire, args=(0, 1))
        spending.start()
        spending.join(0.2)
        assert spending.is_alive()
        os.kill(pid, signal.SIGKILL)
        spending.join()
        process.join()


def test_who_is_held_waits_and_then_goes_on() -> None:
    with RateLimiter(None, None) as rate_limiter:
        rate_limiter.held = True
        ours, theirs = CONTEXT.Pipe(duplex=False)
        process = CONTEXT.Process(target=spend_for, args=(rate_limiter, 0.0001, 1, 1, theirs))
        process.start()
        assert not ours.poll(1.0)
        rate_limiter.held = False
        assert ours.poll(120)
        process.join()


def test_no_memory_to_share(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> int:
        raise OSError(38, "not there")

    monkeypatch.setattr(os, "memfd_create", refuse)
    with pytest.raises(OutputError, match="not there"):
        RateLimiter(1, 1)


def test_it_leaves_nothing_open() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    RateLimiter(1, 1).close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
