"""Runs `hashscan serve` in processes of its own, and sends uploads to it."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.cli.conftest import COMMAND, environment
from tests.prefork import PREFORK
from tests.waiting import PATIENCE_SECONDS

REFERENCE = re.compile(rb"hashscan\.Blocked-([0-9A-Z]{16})")


class Service:
    """A running service, and the messages that it sends to its service manager."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes], manager: socket.socket) -> None:
        self.socket = folder / "icap.sock"
        self.process = process
        self._log = folder / "log"
        self._manager = manager

    def notified(self, wanted: str) -> list[str]:
        """Wait for a state, and return the others that came before it."""
        others: list[str] = []
        end = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                states = self._manager.recv(4096).decode().split("\n")
            except TimeoutError:
                assert self.process.poll() is None, self.log
                assert time.monotonic() < end, self.log
                continue
            if wanted in states:
                return others
            others += states

    @property
    def log(self) -> str:
        """All that it has printed."""
        return self._log.read_text()

    def upload(self, content: bytes, *headers: str) -> str | None:
        """Upload content; return the reference if it is refused, and None if it passes."""
        with self.connected() as connection:
            return upload(connection, content, *headers)

    def connected(self) -> socket.socket:
        """A connection to the ICAP door."""
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(PATIENCE_SECONDS)
        try:
            connection.connect(str(self.socket))
        except BaseException:
            connection.close()
            raise
        return connection

    def stop(self) -> int:
        """Stop it in order, and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_SECONDS)

    def kill(self) -> None:
        """Kill it."""
        self.process.kill()
        self.process.wait(PATIENCE_SECONDS)


def listens(path: Path) -> bool:
    """Return True if a Unix socket accepts connections: its file is there before that; see proc(5)."""
    lines = Path("/proc/net/unix").read_text().splitlines()
    return any(line.split()[3] == "00010000" for line in lines if line.endswith(f" {path}"))


def upload(connection: socket.socket, content: bytes, *headers: str) -> str | None:
    """Upload content over an ICAP connection; see `Service.upload`."""
    head = b"POST / HTTP/1.1\r\nHost: x\r\n\r\n"
    lines = [
        "REQMOD icap://x/avscan ICAP/1.0", "Host: x", "Allow: 204", *headers,
        f"Encapsulated: req-hdr=0, req-body={len(head)}", "", "",
    ]  # fmt: skip
    chunk = b"%x\r\n%b\r\n" % (len(content), content) if content else b""
    connection.sendall("\r\n".join(lines).encode() + head + chunk + b"0\r\n\r\n")
    answer = b""
    while b"\r\n\r\n" not in answer:
        received = connection.recv(65536)
        assert received, answer
        answer += received
    if answer.startswith(b"ICAP/1.0 204"):
        return None
    found = REFERENCE.search(answer)
    assert found is not None, answer
    return found[1].decode()


@contextmanager
def service(
    state: Path,
    *options: object,
    env: Mapping[str, str] | None = None,
    doors: Sequence[object] | None = None,
    ready: bool = True,
    prefix: Sequence[object] = (),
    **more: Any,
) -> Iterator[Service]:
    """A service with an ICAP door at a Unix socket beside its state folder."""
    folder = state.parent
    address = folder / "notify.sock"
    address.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, open(folder / "log", "wb") as log:
        manager.bind(str(address))
        manager.settimeout(1.0)
        chosen = ["--icap", f"unix:{folder / 'icap.sock'}"] if doors is None else doors
        variables = environment(
            state, {"HASHSCAN_WORKERS": "1", "NOTIFY_SOCKET": str(address), **(env or {})}
        )
        # Where nothing else is to be inherited, forked from a process that has imported the program.
        popen = subprocess.Popen if prefix or more else PREFORK.popen
        process = popen(
            [*map(str, prefix), *COMMAND, "serve", *map(str, [*chosen, *options])],
            env=variables, stdout=log, stderr=log, start_new_session=True, **more,
        )  # fmt: skip
        running = Service(folder, process, manager)
        try:
            if ready:
                running.notified("READY=1")
            yield running
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(PATIENCE_SECONDS)
                finally:
                    process.kill()
        assert "Traceback" not in running.log, running.log


ACTIVATE = """
import os, sys
number = int(sys.argv[1])
for place in range(number):
    os.dup2(int(sys.argv[2 + place]), 3 + place, inheritable=True)
os.environ["LISTEN_PID"], os.environ["LISTEN_FDS"] = str(os.getpid()), str(number)
arguments = sys.argv[2 + number:]
os.execv(arguments[0], arguments)
"""
"""A service manager that hands over sockets: their number, their descriptors, and the command."""


@contextmanager
def activated(*sockets: socket.socket) -> Iterator[tuple[list[object], dict[str, Any]]]:
    """The prefix of a command and the options of its process, with which it inherits sockets."""
    # Not where they are to be put; where nothing else is.
    high = [fcntl.fcntl(sock, fcntl.F_DUPFD_CLOEXEC, 20) for sock in sockets]
    try:
        yield [sys.executable, "-c", ACTIVATE, len(high), *high], {"pass_fds": high}
    finally:
        for descriptor in high:
            os.close(descriptor)


def cases(run: Any) -> list[dict[str, Any]]:
    """All cases, as `hashscan cases show` has them."""
    listed = run("cases", "list", "--status", "all", "--format", "json")
    assert listed.code == 0, listed.err
    numbers = [case["case"] for case in listed.lines]
    if not numbers:
        return []
    shown = run("cases", "show", *numbers, "--format", "json")
    return [json.loads(line) for line in shown.out.splitlines()]
