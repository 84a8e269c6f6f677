"""The real `hashscan serve` under faults and attacks: all uploads are answered as before."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from tests.service.engine.serving import entry_of, store_list
from tests.service.running import Service, service, upload
from tests.service.serving import LIST, make_state, planted
from tests.service.soak.processes import Family, open_files
from tests.waiting import until

pytestmark = pytest.mark.slow


_numbers = itertools.count()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    make_state(tmp_path / "state")
    return tmp_path / "state"


def answers(running: Service) -> bool:
    """Return True if it refuses a listed picture that it has not seen, and passes another content."""
    number = next(_numbers)
    return bool(running.upload(planted() + b"%d" % number)) and running.upload(b"clean %d" % number) is None


@contextmanager
def idle(*sockets: Path, number: int) -> Iterator[None]:
    """Connect so often to each socket, and send nothing."""
    with ExitStack() as opened:
        for path in sockets:
            for _ in range(number):
                client = opened.enter_context(socket.socket(socket.AF_UNIX))
                client.connect(str(path))
        yield


def test_idle_connections_of_all_doors(state: Path, tmp_path: Path) -> None:
    sockets = {name: tmp_path / f"{name}.sock" for name in ("icap", "clamd", "http")}
    doors = [part for name, path in sockets.items() for part in (f"--{name}", f"unix:{path}")]
    with service(state, doors=doors) as running:
        assert answers(running)
        before = open_files(running.process.pid)
        with idle(*sockets.values(), number=990):
            until(lambda: open_files(running.process.pid) > 2900)
            assert answers(running)
        until(lambda: open_files(running.process.pid) <= before)


@pytest.mark.skipif(shutil.which("prlimit") is None, reason="prlimit is not installed")
def test_idle_connections_use_up_no_descriptors(state: Path) -> None:
    """Uploads over other connections are checked, workers start again, and new lists are used."""
    with (
        service(state, prefix=["prlimit", "--nofile=64:64"]) as running,
        running.connected() as kept,
    ):
        assert upload(kept, planted())
        with idle(running.socket, number=100):
            until(lambda: "too many connections" in running.log)
            for worker in Family(running.process.pid).workers:
                os.kill(worker, signal.SIGKILL)
            assert upload(kept, planted())
            assert upload(kept, b"new") is None
            store_list(state, entry_of(b"new"), name="other")
            until(lambda: upload(kept, b"new"))


def test_signals_to_reload_without_end(state: Path) -> None:
    with service(state) as running:
        stop = threading.Event()

        def send() -> None:
            while not stop.wait(0.001):
                running.process.send_signal(signal.SIGHUP)

        sending = threading.Thread(target=send)
        sending.start()
        try:
            for _ in range(20):
                assert answers(running)
            store_list(state, entry_of(b"new"), name="other")
            until(lambda: running.upload(b"new"))
        finally:
            stop.set()
            sending.join()
        assert running.stop() == 0


@pytest.mark.parametrize(
    "victims",
    [
        lambda family: family.servers,
        lambda family: family.workers,
        lambda family: family.zygotes,
        lambda family: family.decoders,
        lambda family: family.all[1:],
    ],
    ids=["servers", "workers", "zygotes", "decoders", "all"],
)
def test_killed_processes_are_replaced(state: Path, victims: Callable[[Family], list[int]]) -> None:
    with service(state) as running:
        assert answers(running)
        for _ in range(3):
            # A zygote is started when a worker needs it.
            while not (killed := victims(Family(running.process.pid))):
                assert answers(running)
            for process in killed:
                # Others end with the first.
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            assert answers(running)
        assert running.stop() == 0


def test_lists_that_are_damaged_in_use(state: Path) -> None:
    """No upload passes that would have been refused, and lists that are imported again are used."""
    with service(state, "--queue-time", "1s") as running:
        assert answers(running)
        for column in (state / "lists" / LIST).glob("versions/*/**/*.npy"):
            os.truncate(column, 0)
        for number in range(5):
            refused_or_error(running, planted() + b"%d" % number)
        make_state(state)
        until(lambda: refused_or_error(running, planted()))
        assert answers(running)


def refused_or_error(running: Service, content: bytes) -> bool:
    """Return True if it is refused, False if the answer is an error; it does not pass."""
    with running.connected() as connection:
        try:
            reference = upload(connection, content)
        except AssertionError as error:
            answered = str(error)
        else:
            assert reference
            return True
    assert "ICAP/1.0 50" in answered
    return False
