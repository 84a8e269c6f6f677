"""Time in which a process was stopped isn't held against what it waits for."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time

import pytest

from hashscan.sandbox.waiting import wait

WAIT = """
import select, time
from hashscan.sandbox.waiting import wait
poll = select.poll()
poll.register(0, select.POLLIN)
print("waiting", flush=True)
print(wait(poll, time.monotonic() + 2), flush=True)
"""


def test_what_is_ready_is_taken_even_late() -> None:
    reader, writer = os.pipe()
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    begun = time.monotonic()
    assert not wait(poll, begun - 1)
    assert not wait(poll, begun + 0.7)
    assert time.monotonic() - begun >= 0.7
    os.write(writer, b"x")
    assert wait(poll, begun - 1)
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize("stopped", [True, False])
def test_a_stop_does_not_use_time_up(stopped: bool) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", WAIT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        assert process.stdout.readline() == b"waiting\n"
        if stopped:
            process.send_signal(signal.SIGSTOP)
        time.sleep(3.5)
        process.send_signal(signal.SIGCONT)
        time.sleep(0.3)
        if stopped:
            process.stdin.write(b"x")
        assert process.stdout.readline() == (b"True\n" if stopped else b"False\n")
