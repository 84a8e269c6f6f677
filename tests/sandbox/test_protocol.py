"""Tests of sandbox.protocol."""

from __future__ import annotations

import errno
import os
import select
import signal
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashscan.sandbox.protocol import ConfinementResult, ZygoteConfig, wait_for_message

FILE_NAMES = st.binary(max_size=30).map(lambda raw: raw.decode("utf-8", "surrogateescape"))
ERRNOS = st.integers(0, 200)


@given(st.lists(FILE_NAMES).map(tuple), st.lists(FILE_NAMES).map(tuple))
def test_config_survives_a_command_line(path: tuple[str, ...], arguments: tuple[str, ...]) -> None:
    config = ZygoteConfig(path, "a.b:c", arguments, 8, "auto", 1 << 40, 5120, "libseccomp.so.2")
    assert config.encode().isascii()
    assert "\0" not in config.encode()
    assert ZygoteConfig.decode(config.encode()) == config


@given(st.builds(ConfinementResult, ERRNOS, ERRNOS, ERRNOS, ERRNOS, ERRNOS, ERRNOS))
def test_hello_survives(hello: ConfinementResult) -> None:
    assert ConfinementResult.unpack(hello.pack()) == hello
    level = hello.level("auto")
    assert level.full == (hello.lacking() == "" and hello.landlock_version > 0)
    assert (level.landlock > 0) == (hello.landlock == 0 and hello.landlock_version > 0)


@given(st.binary(max_size=40))
def test_anything_else_is_no_hello(message: bytes) -> None:
    with pytest.raises(ValueError, match="not a decoder's hello"):
        ConfinementResult.unpack(message)


def test_lacking_gives_the_system_s_reasons() -> None:
    assert (
        ConfinementResult(0, errno.ENOSYS, 0, errno.EPERM, 0, 0).lacking()
        == "Landlock (Function not implemented)"
    )


WAIT = """
import select, time
from hashscan.sandbox.protocol import wait_for_message
poll = select.poll()
poll.register(0, select.POLLIN)
print("waiting", flush=True)
print(wait_for_message(poll, time.monotonic() + 2), flush=True)
"""


def test_what_is_ready_is_taken_even_late() -> None:
    reader, writer = os.pipe()
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    begun = time.monotonic()
    assert not wait_for_message(poll, begun - 1)
    assert not wait_for_message(poll, begun + 0.7)
    assert time.monotonic() - begun >= 0.7
    os.write(writer, b"x")
    assert wait_for_message(poll, begun - 1)
    os.close(reader)
    os.close(writer)


def test_a_stop_does_not_use_time_up() -> None:
    command = [sys.executable, "-c", WAIT]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "bufsize": 0}
    with subprocess.Popen(command, **pipes) as stopped, subprocess.Popen(command, **pipes) as other:
        for process in (stopped, other):
            assert process.stdout.readline() == b"waiting\n"
        stopped.send_signal(signal.SIGSTOP)
        time.sleep(3.5)
        stopped.send_signal(signal.SIGCONT)
        time.sleep(0.3)
        stopped.stdin.write(b"x")
        assert stopped.stdout.readline() == b"True\n"
        assert other.stdout.readline() == b"False\n"
