"""The head of the quarantine's log reaches the system's log."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.cli.conftest import environment

Run = Callable[..., subprocess.CompletedProcess[str]]
TERMS = ("--reason", "r", "--retain-min", "90d", "--destroy-by", "365d")
OWN_DEVICES = """
mount -t tmpfs none {work}/dev && cd {work}/dev
for name in null zero random urandom; do touch $name && mount --bind /dev/$name $name; done
mkdir shm && mount --bind /dev/shm shm
ln -s {work}/socket log && mount --move {work}/dev /dev && exec "$@"
"""
"""A /dev with a socket of ours, seen by one command alone."""


@pytest.fixture
def run(tmp_path: Path, state: Path) -> Run:
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("only root can give a command a /dev of its own")
    (tmp_path / "dev").mkdir()
    script = OWN_DEVICES.format(work=tmp_path)
    if subprocess.run(["unshare", "-m", "sh", "-ec", script, "sh", "true"], check=False).returncode:
        pytest.skip("no file system can be mounted here")

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "hashscan", "quarantine", *map(str, arguments)]
        return subprocess.run(
            ["unshare", "-m", "sh", "-ec", script, "sh", *command],
            env=environment(state), capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    return run


def listening(path: Path, kind: int) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, kind)
    listener.settimeout(30)
    listener.bind(str(path / "socket"))
    return listener


LINE = re.compile(rb"<85>hashscan\[\d+\]: quarantine: (\d) kept; head of the log: (\d+:[0-9a-f]{64})\0?")


@pytest.mark.slow
def test_each_command_that_adds_to_the_log_says_so(tmp_path: Path, run: Run) -> None:
    (tmp_path / "a").write_bytes(b"a")
    with listening(tmp_path, socket.SOCK_DGRAM) as listener:
        for command, kept in ((("add", tmp_path / "a", *TERMS), b"1"), (("restore", "--all"), b"0")):
            ran = run(*command)
            assert ran.returncode == 0, ran.stderr
            said = LINE.fullmatch(listener.recv(1000))
            assert said is not None
            assert said[1] == kept
            assert f"head of the log: {said[2].decode()}" in ran.stderr
            assert "system log" not in ran.stderr
        # Nothing was added.
        listener.setblocking(False)
        for command in (("verify", "--repair"), ("restore", "--all"), ("list",)):
            assert run(*command).returncode == 0
            with pytest.raises(BlockingIOError):
                listener.recv(1000)
        assert run("verify", "--head", said[2].decode()).returncode == 0


def test_one_that_takes_streams(tmp_path: Path, run: Run) -> None:
    (tmp_path / "a").write_bytes(b"a")
    with listening(tmp_path, socket.SOCK_STREAM) as listener:
        listener.listen()
        assert run("add", tmp_path / "a", *TERMS).returncode == 0
        connection, _ = listener.accept()
        with connection:
            assert LINE.fullmatch(connection.recv(1000))


def test_where_none_listens_it_is_said_once(tmp_path: Path, run: Run) -> None:
    (tmp_path / "a").write_bytes(b"a")
    ran = run("add", tmp_path / "a", *TERMS)
    assert ran.returncode == 0
    assert ran.stderr.count("there is no system log") == 1


def _fill(talkers: ExitStack, address: str) -> int:
    """Send messages by a new socket until one would wait; return their number."""
    talker = talkers.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
    talker.setblocking(False)
    for number in itertools.count():
        try:
            talker.sendto(b"x", address)
        except BlockingIOError:
            return number
    raise AssertionError


def test_one_whose_queue_is_full_holds_up_nothing(tmp_path: Path, run: Run) -> None:
    (tmp_path / "a").write_bytes(b"a")
    with listening(tmp_path, socket.SOCK_DGRAM), ExitStack() as talkers:
        # What one socket may have on its way can be less than what fits into the queue.
        while _fill(talkers, str(tmp_path / "socket")):
            pass
        ran = run("add", tmp_path / "a", *TERMS)
    assert (ran.returncode, "there is no system log" in ran.stderr) == (0, True)
