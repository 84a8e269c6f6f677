"""A node whose connection breaks joins again; one that was sent away, or has no scheduler any more, ends."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

pytest.importorskip("distributed")

from distributed import Client, Security
from distributed.comm.core import CommClosedError

from hashscan.errors import UnreachableError
from hashscan.scan.cluster import node as membership
from hashscan.scan.cluster.node import BROKEN, JOINS_MAX, Membership
from tests.scan.cluster.scanning import run_scan, story
from tests.scan.nodes import Cluster


class Relay:
    """Connections to a scheduler that can be broken, while the scheduler and both ends are well."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    @property
    def address(self) -> str:
        return f"tls://127.0.0.1:{self._listening.getsockname()[1]}"

    def _start(self, function: Callable[..., None], *arguments: socket.socket) -> None:
        self._threads.append(threading.Thread(target=function, args=arguments))
        self._threads[-1].start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listening.accept()
                far = socket.create_connection(("127.0.0.1", self._port))
                self._open += near, far
                self._start(self._pass, near, far)
                self._start(self._pass, far, near)

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        """Break all connections; new ones are accepted."""
        for end in list(self._open):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        self._listening.close()
        self.cut()
        for thread in self._threads:
            thread.join()
        for end in self._open:
            end.close()


@contextmanager
def relay(cluster: Cluster) -> Iterator[Relay]:
    made = Relay(cluster.port)
    try:
        yield made
    finally:
        made.close()


def retire_all(cluster: Cluster) -> None:
    files = {
        f"tls_{role}_{kind}": str(path)
        for role in ("client", "scheduler", "worker")
        for kind, path in (("cert", cluster.cert), ("key", cluster.key))
    }
    security = Security(require_encryption=True, tls_ca_file=str(cluster.authority.file), **files)
    with Client(cluster.address, security=security, set_as_default=False) as client:
        client.retire_workers(list(client.scheduler_info(n_workers=-1)["workers"]), close_workers=True)


@pytest.mark.slow
def test_a_node_whose_connection_breaks_joins_again_until_it_is_sent_away(
    here: Cluster, pictures: tuple[Path, Path], tmp_path: Path
) -> None:
    folder, state = pictures
    with relay(here) as relayed:
        node = here.start_node(state, 2, address=relayed.address)
        node.wait_for("are ready at")
        relayed.cut()
        for _ in range(2):
            node.wait_for("has joined")
        code, said = run_scan(state, folder, tmp_path / "far.jsonl", *here.options)
        assert code == 1, said
        assert story(tmp_path / "far.jsonl")[2]["files"] == 60
        retire_all(here)
        assert node.wait() == 13, node.said


class Worker:
    """A nanny, and the scheduler as it knows it."""

    worker_address = "tls://10.0.0.1:1"

    def __init__(self, known: bool, left: str, fault: Exception | None = None) -> None:
        self.left = left
        self.closed = False
        self.scheduler = self
        self._known = known
        self._fault = fault

    async def start(self) -> None:
        if self._fault is not None:
            raise RuntimeError("Nanny failed to start.") from self._fault

    async def ncores(self, workers: list[str]) -> dict[str, int]:
        return dict.fromkeys(workers if self._known else (), 1)

    async def finished(self) -> None:
        pass

    async def close(self, timeout: float) -> None:
        self.closed = True


def stay(monkeypatch: pytest.MonkeyPatch, make: Callable[[], Worker], *, reachable: bool = True) -> list[str]:
    """Join, and stay until it is over; return what was said."""
    monkeypatch.setattr(membership, "BACKOFF_SECONDS", 0.0)
    said: list[str] = []

    async def run() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            address = f"tls://127.0.0.1:{listening.getsockname()[1]}"
            if not reachable:
                listening.close()
            membership = Membership(make, address, said.append)  # type: ignore[arg-type]
            await membership.join()
            await membership.stay()

    asyncio.run(run())
    return said


def test_a_worker_that_the_scheduler_has_lost_by_the_time_it_is_ready_joins_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    workers = [
        Worker(False, BROKEN),
        Worker(True, "", CommClosedError("Stream is closed")),
        Worker(True, "scheduler-close-worker"),
    ]
    waiting = iter(workers)
    said = stay(monkeypatch, lambda: next(waiting))
    assert [worker.closed for worker in workers] == [True, True, False]
    assert len(said) == 3


def test_a_worker_joins_no_more_than_so_many_times(monkeypatch: pytest.MonkeyPatch) -> None:
    for known in (True, False):
        workers: list[Worker] = []

        def make(known: bool = known, workers: list[Worker] = workers) -> Worker:
            workers.append(Worker(known, BROKEN))
            return workers[-1]

        with pytest.raises(UnreachableError):
            stay(monkeypatch, make)
        assert len(workers) == JOINS_MAX


def test_a_worker_stays_away_from_a_scheduler_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    workers = iter([Worker(True, BROKEN)])
    assert stay(monkeypatch, lambda: next(workers), reachable=False) == []


def test_a_scheduler_that_was_never_reached_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    workers = iter([Worker(True, "", OSError("Timed out trying to connect"))])
    with pytest.raises(UnreachableError):
        stay(monkeypatch, lambda: next(workers))
