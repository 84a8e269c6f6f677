"""The load that counts is the others'; waiting begins and ends with room between."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hashscan.errors import UsageError
from hashscan.scan.workers import throttle as module
from hashscan.scan.workers.throttle import LoadGate, RateLimiter, running_threads
from tests.waiting import until


@pytest.fixture
def rate_limiter() -> Iterator[RateLimiter]:
    with RateLimiter(None, None) as made:
        yield made


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tmp_path / "loadavg"


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LOAD_CHECK_SECONDS", 0.0)


def test_it_waits_above_the_limit_and_goes_on_well_below(rate_limiter: RateLimiter, source: Path) -> None:
    source.write_text("3.90 1.0 1.0 1/100 1\n")
    gate = LoadGate(4, rate_limiter, source)
    said = []
    for load in (3.9, 4.2, 4.2, 3.9, 3.1, 2.9, 3.9, 4.5):
        source.write_text(f"{load:.2f} 1.0 1.0 1/100 1\n")
        said.append((gate.check(), rate_limiter.held))
    assert said == [
        ("", False),
        ("the load of others is 4.2, over 4: waiting", True),
        ("", True),
        ("", True),
        ("", True),
        ("the load of others is 2.9: going on", False),
        ("", False),
        ("the load of others is 4.5, over 4: waiting", True),
    ]


def test_when_the_time_is_over_nothing_is_held(rate_limiter: RateLimiter, source: Path) -> None:
    source.write_text("9 1 1 1/100 1\n")
    gate = LoadGate(4, rate_limiter, source, until=time.monotonic() + 3600)
    assert gate.check()
    assert rate_limiter.held
    gate = LoadGate(4, rate_limiter, source, until=time.monotonic())
    assert not gate.check()
    assert not rate_limiter.held


def test_it_looks_from_time_to_time_only(
    rate_limiter: RateLimiter, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LOAD_CHECK_SECONDS", 60.0)
    source.write_text("9 1 1 1/100 1\n")
    gate = LoadGate(4, rate_limiter, source)
    assert gate.check()
    source.write_text("1 1 1 1/100 1\n")
    assert not gate.check()
    assert rate_limiter.held


def test_what_the_scan_adds_does_not_hold_it(
    rate_limiter: RateLimiter, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three processes of its own that run all the time: a load average of 3 after a while."""
    monkeypatch.setattr(module, "_MINUTE", 0.2)
    monkeypatch.setattr(module, "_LOAD_CHECK_SECONDS", 0.02)
    source.write_text("3.4 1 1 1/100 1\n")
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(3)]
    try:
        gate = LoadGate(2, rate_limiter, source)
        assert "waiting" in gate.check()
        until(lambda: gate.check() or not rate_limiter.held)
        assert not rate_limiter.held
        source.write_text("5.9 1 1 1/100 1\n")
        time.sleep(0.021)
        assert "waiting" in gate.check()
    finally:
        for process in busy:
            process.kill()
            process.wait()


def test_running_threads_of_descendants_are_counted_and_sleeping_ones_are_not() -> None:
    code = (
        "import subprocess, sys, threading\n"
        "child = subprocess.Popen([sys.executable, '-c', 'while True: pass'])\n"
        "threading.Thread(target=lambda: child.wait()).start()\n"
        "print(child.pid, flush=True)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    busy = int(process.stdout.readline())
    try:
        until(lambda: running_threads(process.pid) == 1)
        os.kill(busy, signal.SIGSTOP)
        until(lambda: running_threads(process.pid) == 0)
    finally:
        os.kill(busy, signal.SIGKILL)
        process.wait()
        process.stdout.close()


def test_a_process_that_is_gone_counts_nothing() -> None:
    assert running_threads(2**22 + 1) == 0


@pytest.mark.parametrize("content", [None, "", "much\n"])
def test_a_machine_that_does_not_tell_is_said(
    rate_limiter: RateLimiter, source: Path, content: str | None
) -> None:
    if content is not None:
        source.write_text(content)
    with pytest.raises(UsageError, match="--max-load"):
        LoadGate(1, rate_limiter, source)


def test_the_real_load(rate_limiter: RateLimiter) -> None:
    assert LoadGate(1e9, rate_limiter).check() == ""
