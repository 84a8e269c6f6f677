"""Processes that are killed at random: commands, a hub's nodes, clients, PostgreSQL."""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from tests.cli.conftest import COMMAND
from tests.hub.databases import PostgresServer

_READY_SECONDS = 120


class Commands:
    """Commands that are killed at random moments, and run again until they have ended."""

    def __init__(self, seed: int) -> None:
        self.kills, self.ended = Counter[str](), Counter[str]()
        self.is_killing = True
        """Set to False to let all end from now on."""
        self.on_kill: Callable[[str, Sequence[object]], None] = lambda kind, words: None
        """Gets the kind and the words of each command that was killed."""
        self._chosen = random.Random(seed)
        self._seconds: dict[str, float] = {}
        """The duration of the last run of a command."""

    def run(
        self,
        kind: str,
        words: Sequence[object],
        variables: Mapping[str, str],
        watch: Callable[[], Callable[[], bool]] | None = None,
    ) -> tuple[int, str]:
        """Run a command until it has ended; return its code, and standard error of the last time.

        Args:
            watch: called each time that it starts; what it returns says that it is time to kill the command,
                which is else done at a random moment.
        """
        while True:
            # Not a pipe: what a killed process has started may hold it open for longer.
            with tempfile.TemporaryFile() as stderr:
                process = subprocess.Popen(
                    [*COMMAND, *map(str, words)], env=variables, stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL, stderr=stderr,
                )  # fmt: skip
                began = time.monotonic()
                if watch is None or not self.is_killing:
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(self._moment(kind))
                else:
                    is_due = watch()
                    while process.poll() is None and self.is_killing and not is_due():
                        time.sleep(0.02)
                if process.poll() is None:
                    process.kill()
                    self.kills[kind] += 1
                if process.wait() == -signal.SIGKILL:
                    self.on_kill(kind, words)
                else:
                    self._seconds[kind] = time.monotonic() - began
                    self.ended[kind] += 1
                    stderr.seek(0)
                    return process.returncode, stderr.read().decode(errors="replace")

    def _moment(self, kind: str) -> float | None:
        """Return after how many seconds a command is killed."""
        if not self.is_killing or self._chosen.random() < 0.4:
            return None
        return self._chosen.uniform(0, self._seconds.get(kind, 3.0))


class KeptRunning:
    """A process that is started again, whenever it ends, until it is to stop."""

    def __init__(self, command: Sequence[object], variables: Mapping[str, str]) -> None:
        self._command, self._variables = [*map(str, command)], variables
        self._stopping = threading.Event()
        self._process = self._start()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self._command, env=self._variables, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def _watch(self) -> None:
        while not self._stopping.is_set():
            if self._process.poll() is not None:
                self._process = self._start()
            time.sleep(0.02)

    def kill(self) -> None:
        """Kill it, and wait for its end, so that it listens no more; it is started again."""
        process = self._process
        process.kill()
        process.wait()

    def stop(self) -> None:
        """Kill it for good."""
        self._stopping.set()
        self._thread.join()
        self._process.kill()
        self._process.wait()


def node_command(address: str, port: int) -> list[object]:
    """Return the command of a hub's node."""
    database = ["--database", address] if address else []
    return [*COMMAND, "hub", "serve", "--listen", f"tcp:127.0.0.1:{port}", "--list", "ours", *database]


def free_port() -> int:
    """Return a port that nothing listens at."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def is_open(port: int) -> bool:
    """Return True if something listens at a port."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


def wait_for(port: int) -> None:
    """Wait until something listens at a port."""
    until = time.monotonic() + _READY_SECONDS
    while not is_open(port):
        assert time.monotonic() < until
        time.sleep(0.05)


@contextlib.contextmanager
def balanced(folder: Path, ports: Sequence[int]) -> Iterator[int]:
    """HAProxy before nodes, with the example's settings; yields its port."""
    port = free_port()
    servers = "".join(f"    server n{one} 127.0.0.1:{one} check\n" for one in ports)
    shown = (Path(__file__).parents[3] / "examples/haproxy/hub.cfg").read_text(encoding="utf-8")
    shown, count = re.subn(r"^    bind .*$", f"    bind 127.0.0.1:{port}", shown, flags=re.MULTILINE)
    assert count == 1
    file = folder / "haproxy.cfg"
    file.write_text(re.sub(r"^    server .*\n", "", shown, flags=re.MULTILINE) + servers)
    program = shutil.which("haproxy") or "/usr/sbin/haproxy"
    process = subprocess.Popen([program, "-db", "-f", file], stderr=subprocess.DEVNULL)
    try:
        wait_for(port)
        yield port
    finally:
        process.kill()
        process.wait()


def kill_postgres(server: PostgresServer) -> None:
    """Kill all processes of a server by SIGKILL at once."""
    file = server.folder / "data/postmaster.pid"
    postmaster = int(file.read_text().split()[0])
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
    for process in (postmaster, *map(int, children)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    until = time.monotonic() + 60
    while any(map(_runs, (postmaster, *map(int, children)))):
        assert time.monotonic() < until
        time.sleep(0.01)
    # An orphan keeps its process id until its new parent waits for it.
    for path in (file, *server.folder.glob(".s.PGSQL*")):
        path.unlink()


def _runs(process: int) -> bool:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def client_command(folder: Path, port: int, key: str) -> list[object]:
    """Return the command of a client that checks digests."""
    return [sys.executable, Path(__file__).with_name("check_client.py"), folder, port, key]
