"""A cluster on this machine for tests: a scheduler and nodes, commands of their own, with certificates."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.certificates import Authority
from tests.prefork import CLUSTER_PREFORK, SPAWNED

START_SECONDS = 120.0
NODE = [sys.executable, "-m", "hashscan", "worker"]
HOSTILE_NODE = [sys.executable, "-m", "tests.scan.hostile_node"]
ROOT = Path(__file__).parents[2]


class Program:
    """A command whose words are read along."""

    def __init__(
        self, command: Sequence[str], environment: dict[str, str] | None = None, folder: Path = ROOT
    ) -> None:
        kept = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("HASHSCAN_", "DASK_")) or key in {"HASHSCAN_BACKGROUND", "HASHSCAN_REREAD"}
        }
        self.process = CLUSTER_PREFORK.popen(
            command,
            cwd=folder,
            env={**kept, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.said: list[str] = []
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line)
            self._lines.put(line)
        self._lines.put(None)

    def wait_for(self, message: str) -> str:
        """The first line that has these words; waits for it."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                line = None
            assert line is not None, f"{self.process.args} did not say {message!r}:\n{''.join(self.said)}"
            if message in line:
                return line

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        return self.process.wait(60)

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(30)
        self._reader.join(30)
        assert self.process.stderr is not None
        self.process.stderr.close()


@dataclass
class Cluster:
    """A scheduler, and what one needs to get at it."""

    folder: Path
    host: str = "127.0.0.1"
    port: int = 0
    """Any at first; a scheduler that is started again has the same."""
    settings: dict[str, str] = field(default_factory=dict)
    """Dask's, for the scheduler."""

    def __post_init__(self) -> None:
        self.make_certificates()
        self.programs: list[Program] = []
        self.scheduler = self.start_scheduler()

    def make_certificates(self) -> None:
        self.folder.mkdir(exist_ok=True)
        self.authority = Authority(self.folder / "authority")
        self.cert, self.key = self.authority.issue("localhost")
        self.key.chmod(0o600)

    @property
    def address(self) -> str:
        return f"tls://{self.host}:{self.port}"

    @property
    def certificates(self) -> list[str]:
        """The options that a member of the cluster gives."""
        ca = str(self.authority.file)
        return ["--cluster-ca", ca, "--cluster-cert", str(self.cert), "--cluster-key", str(self.key)]

    @property
    def options(self) -> list[str]:
        """A scan's."""
        return ["--cluster", self.address, *self.certificates]

    def start_scheduler(self) -> Program:
        program = Program(
            [
                *(sys.executable, "-m", "dask", "scheduler", "--host", self.address, "--no-dashboard"),
                *("--tls-ca-file", str(self.authority.file)),
                *("--tls-cert", str(self.cert), "--tls-key", str(self.key)),
            ],
            {"DASK_DISTRIBUTED__SCHEDULER__HTTP__ROUTES": "[]", **self.settings},
        )
        self.programs.append(program)
        self.port = said_port(program.wait_for("Scheduler at:"))
        self._sockets = sockets_of(program.process.pid)
        return program

    def start_node(
        self,
        state: Path,
        processes: int = 1,
        command: Sequence[str] = tuple(NODE),
        environment: dict[str, str] | None = None,
        address: str | None = None,
    ) -> Program:
        """Start a node that reaches the scheduler at this address, or directly."""
        program = Program(
            [
                *(*command, "--scheduler", address or self.address, *self.certificates),
                *("--state", str(state), "--processes", str(processes)),
            ],
            environment,
        )
        self.programs.append(program)
        return program

    def node(
        self,
        state: Path,
        processes: int = 1,
        command: Sequence[str] = tuple(NODE),
        environment: dict[str, str] | None = None,
    ) -> Program:
        """A node that is ready."""
        program = self.start_node(state, processes, command, environment)
        program.wait_for("are ready at")
        return program

    def nodes(self, *started: Program) -> list[Program]:
        """Several that start at the same time, when they are ready."""
        for program in started:
            program.wait_for("are ready at")
        return list(started)

    def close_nodes(self) -> None:
        """Kill the nodes, and wait until the scheduler has closed its connections to them."""
        while (program := self.programs.pop()) is not self.scheduler:
            program.close()
        self.programs.append(self.scheduler)
        until(lambda: sockets_of(self.scheduler.process.pid) <= self._sockets)

    def close(self) -> None:
        for program in reversed(self.programs):
            program.close()


@contextlib.contextmanager
def cluster(
    folder: Path, host: str = "127.0.0.1", settings: dict[str, str] | None = None
) -> Iterator[Cluster]:
    made = Cluster(folder, host=host, settings=settings or {})
    try:
        yield made
    finally:
        made.close()


def sockets_of(pid: int) -> int:
    """Return the number of sockets that a process has open."""
    found = 0
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found += str(descriptor.readlink()).startswith("socket:")
    return found


def workers_of(node: Program) -> list[int]:
    """The process ids of a node's workers: its children that are no helpers of multiprocessing."""
    found = []
    for pid in children(node.process.pid):
        # One may be dying just now.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            forked = Path(f"/proc/{pid}/comm").read_text().strip() == SPAWNED
            if forked or b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


def children(pid: int) -> list[int]:
    return [
        int(child)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]


def until(true: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)


def records_of(report: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in report.read_text().splitlines()]


def said_port(line: str) -> int:
    """Return the port in the line in which a scheduler says its address."""
    found = re.search(r"://\S+:(\d+)", line)
    assert found
    return int(found[1])
