"""Processes that are killed at any moment lose no answer, and hold up no other."""

from __future__ import annotations

import errno
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from hashscan.errors import WorkersError
from hashscan.scan.workers import processes as processes_module
from hashscan.scan.workers.process_setup import warm_up
from hashscan.scan.workers.processes import ProcessDied, Processes, ProcessStuck, TaskRefused
from hashscan.scan.workers.watchdog import StuckLimits
from tests.waiting import until


@contextmanager
def processes(
    number: int,
    function: Callable[[Any], Any],
    start: Callable[..., None] = print,
    *arguments: object,
    limits: StuckLimits | None = None,
) -> Iterator[Processes]:
    pool = Processes(number, function, start, arguments or ("",), warm_up(), limits or StuckLimits())
    try:
        yield pool
    finally:
        pool.close()


def twice(task: bytes) -> bytes:
    return task * 2


def twice_at_leisure(task: bytes) -> bytes:
    time.sleep(0.01)
    return task * 2


def nap(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def wait_for(path: str) -> int:
    while path and not os.path.exists(path):
        time.sleep(0.01)
    return os.getpid()


def fails(task: object) -> None:
    raise ValueError(task)


class Unsent(Exception):
    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("not to be pickled")


def fails_oddly(task: object) -> None:
    raise Unsent("what it was")


def dies(task: int) -> int:
    if task % 5 == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return task


def test_long_tasks_and_answers_hold_up_nobody() -> None:
    """Both longer than a pipe takes, so that each side would wait for the other if they were sent blindly."""
    with processes(2, twice) as pool:
        sizes = [random.Random(1).choice((10, 3_000, 70_000, 1 << 20)) for _ in range(200)]
        futures = [pool.submit(b"x" * size, light=True) for size in sizes]
        assert [len(future.result(60)) for future in futures] == [2 * size for size in sizes]


def test_what_kills_its_process_is_distinguished_from_what_was_behind_it() -> None:
    with processes(2, dies) as pool:
        futures = [pool.submit(number, light=True) for number in range(60)]
        for number, future in enumerate(futures):
            if number % 5:
                assert future.result(60) == number
            else:
                with pytest.raises(ProcessDied) as caught:
                    future.result(60)
                assert caught.value.exit_code == -signal.SIGKILL


@pytest.mark.parametrize("size", [8, 300_000])
def test_killed_from_outside_at_any_moment(size: int) -> None:
    """In the middle of taking a task and of writing an answer, too."""
    chance = random.Random(size)
    task = b"%d" % chance.getrandbits(64) * (size // 8)
    futures = []
    with processes(2, twice_at_leisure) as pool:
        assert pool.submit(task, light=True).result(60) == task * 2
        end = time.monotonic() + 2
        while time.monotonic() < end:
            futures += [pool.submit(task, light=True) for _ in range(chance.randrange(20))]
            time.sleep(chance.random() * 0.05)
            with suppress(ProcessLookupError, IndexError):
                os.kill(pool.pids()[0], signal.SIGKILL)
            # Or they would be killed before they are ready, until no more are started.
            futures.append(pool.submit(task, light=True))
            futures[-1].exception(60)
        for future in futures:
            error = future.exception(60)
            assert error is None or isinstance(error, ProcessDied), repr(error)
            assert error or future.result() == task * 2
    assert any(future.exception() for future in futures)


def test_a_long_task_is_not_put_behind_another(tmp_path: Path) -> None:
    ends = tmp_path / "ends"
    with processes(2, wait_for) as pool:
        first = [pool.submit("", light=True) for _ in range(2)]
        assert all(future.result(60) for future in first)
        slow = pool.submit(str(ends), light=False)
        others = [pool.submit("", light=False) for _ in range(5)]
        pids = {future.result(60) for future in others}
        assert not slow.done()
        ends.touch()
        assert slow.result(60) not in pids


def test_an_error_comes_back_with_where_it_was_raised() -> None:
    with processes(1, fails) as pool, pytest.raises(ValueError, match="7") as caught:
        pool.submit(7, light=True).result(60)
    assert "in fails" in caught.value.__notes__[0]
    with processes(1, fails_oddly) as pool, pytest.raises(RuntimeError, match="what it was"):
        pool.submit(7, light=True).result(60)


def ends(*arguments: object) -> None:
    sys.exit(9)


def test_processes_that_can_not_start_are_not_tried_for_ever() -> None:
    with processes(2, nap, ends) as pool:
        early = [pool.submit(0.0, light=True) for _ in range(5)]
        for future in early:
            with pytest.raises(WorkersError, match="exit code 9"):
                future.result(60)
        with pytest.raises(WorkersError):
            pool.submit(0.0, light=True).result(60)


class Refusing:
    """Starts processes, but for some attempts, as where the system has no more of them."""

    def __init__(self, refused: Callable[[int], bool]) -> None:
        self._context = warm_up()
        self._refused = refused
        self._attempts = 0
        self.Pipe = self._context.Pipe

    def Process(self, **arguments: Any) -> Any:  # noqa: N802 - a context's own name
        process = self._context.Process(**arguments)
        if self._refused(self._attempts):
            process.start = _refuse  # type: ignore[method-assign]
        self._attempts += 1
        return process


def _refuse() -> None:
    raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))


@pytest.mark.parametrize(("refused", "number"), [(lambda n: n < 2, 2), (lambda n: n > 0, 1)])
def test_processes_that_the_system_refuses_are_tried_again_or_done_without(
    refused: Callable[[int], bool], number: int
) -> None:
    pool = Processes(2, nap, print, ("",), Refusing(refused), StuckLimits())  # type: ignore[arg-type]
    try:
        assert all(pool.submit(0.0, light=True).result(60) for _ in range(10))
        assert len(pool.pids()) == number
    finally:
        pool.close()


def test_no_process_at_all() -> None:
    pool = Processes(2, nap, print, ("",), Refusing(lambda _: True), StuckLimits())  # type: ignore[arg-type]
    try:
        with pytest.raises(WorkersError, match="unavailable") as caught:
            pool.submit(0.0, light=True).result(60)
        assert caught.value.exit_code == 12
    finally:
        pool.close()


def test_closing_waits_for_no_task() -> None:
    with processes(2, nap) as pool:
        assert pool.submit(0.0, light=True).result(60)
        busy = [pool.submit(3600.0, light=True) for _ in range(4)]
        until(lambda: len(pool.pids()) == 2)
        pids = pool.pids()
        time.sleep(0.1)
    assert not any(future.done() for future in busy)
    assert not any(os.path.exists(f"/proc/{pid}") for pid in pids)


def test_they_end_with_whoever_started_them() -> None:
    code = (
        "import os, time\n"
        "from hashscan.scan.workers.process_setup import warm_up\n"
        "from hashscan.scan.workers.processes import Processes\n"
        "from hashscan.scan.workers.watchdog import StuckLimits\n"
        "pool = Processes(2, time.sleep, print, ('',), warm_up(), StuckLimits())\n"
        "[pool.submit(0.0, light=True).result() for _ in range(4)]\n"
        "print(*pool.pids(), flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=False)
    pids = done.stdout.split()
    assert len(pids) == 2
    until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids))


def blocked(path: str) -> int:
    """Open a FIFO that nobody writes to, and so sleep in the kernel."""
    if path:
        Path(f"{path}.begun").touch()
        os.close(os.open(path, os.O_RDONLY))
    return os.getpid()


def naps(seconds: float) -> int:
    """Wait as for a decoder or a rate, and compute a little."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.01)
    return os.getpid()


def computes(seconds: float) -> int:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
    return os.getpid()


SOON = StuckLimits(seconds=0.5, again_seconds=0.2, look_seconds=0.05, stretch_seconds=0.1)


@pytest.fixture
def fifo(tmp_path: Path) -> str:
    os.mkfifo(tmp_path / "fifo")
    return str(tmp_path / "fifo")


def test_one_that_is_stuck_is_replaced(fifo: str) -> None:
    with processes(1, blocked, limits=SOON) as pool:
        before = pool.submit("", light=True).result(60)
        stuck = pool.submit(fifo, light=True, patience=lambda: 0.5)
        behind = pool.submit("", light=True)
        with pytest.raises(ProcessStuck) as caught:
            stuck.result(60)
        assert caught.value.seconds >= 0.5
        assert behind.result(60) != before


@pytest.mark.parametrize("function", [naps, computes])
def test_one_that_works_is_left_alone(function: Callable[[float], int]) -> None:
    """Though none of it takes as long as it has patience."""
    with processes(1, function, limits=SOON) as pool:
        pid = pool.submit(0.0, light=True).result(60)
        assert pool.submit(2.0, light=True, patience=lambda: 0.5).result(60) == pid


def test_one_that_is_stopped_is_left_alone(fifo: str) -> None:
    with processes(1, blocked, limits=SOON) as pool:
        pid = pool.submit("", light=True).result(60)
        os.kill(pid, signal.SIGSTOP)
        stopped = pool.submit("", light=True, patience=lambda: 0.2)
        # The other process is watched as well, and long enough.
        with processes(1, blocked, limits=SOON) as other, pytest.raises(ProcessStuck):
            other.submit(fifo, light=True, patience=lambda: 1.0).result(60)
        assert not stopped.done()
        os.kill(pid, signal.SIGCONT)
        assert stopped.result(60) == pid


@pytest.mark.slow
def test_one_that_can_not_be_killed_is_given_up(fifo: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spared: list[int] = []
    send = processes_module.send_signal

    def sparing(process: Any, number: signal.Signals) -> None:
        if process.pid not in spared:
            send(process, number)

    monkeypatch.setattr(processes_module, "send_signal", sparing)
    try:
        with processes(1, blocked, limits=SOON) as pool:
            spared.append(pool.submit("", light=True).result(60))
            with pytest.raises(ProcessStuck):
                pool.submit(fifo, light=True, patience=lambda: 0.2).result(60)
            spared.append(pool.submit("", light=True).result(60))
            assert spared[0] != spared[1]
            os.unlink(f"{fifo}.begun")
            pool.submit(fifo, light=True)
            until(Path(f"{fifo}.begun").exists)
        # Closing has waited for neither.
        assert all(os.path.exists(f"/proc/{pid}") for pid in spared)
        # Nor does the interpreter, at its end.
        mine = [child for child in multiprocessing.active_children() if child.pid in spared]
        assert len(mine) == 2
        for child in mine:
            child.join()
    finally:
        for pid in spared:
            os.kill(pid, signal.SIGKILL)


def test_what_lies_behind_a_stuck_one_is_done_by_another(fifo: str, tmp_path: Path) -> None:
    other = str(tmp_path / "other")
    os.mkfifo(other)
    with processes(2, blocked, limits=SOON) as pool:
        stuck = [pool.submit(path, light=False, patience=lambda: 1e6) for path in (fifo, other)]
        until(lambda: all(os.path.exists(f"{path}.begun") for path in (fifo, other)))
        behind = [pool.submit("", light=True) for _ in range(2)]
        os.kill(pool.pids()[0], signal.SIGKILL)
        assert all(future.result(60) for future in behind)
        assert sum(future.done() for future in stuck) == 1
        # It is let go on, and does again what another has done.
        for path in (fifo, other):
            os.close(os.open(path, os.O_RDWR))
        until(lambda: all(future.done() for future in stuck))
        assert pool.submit("", light=True).result(60)


def waits_and_counts(paths: tuple[str, str]) -> int:
    """Wait for a file, and add a byte to another."""
    with open(paths[1], "ab", buffering=0) as runs:
        runs.write(b".")
    return wait_for(paths[0])


def test_nothing_waits_behind_one_that_is_busy(tmp_path: Path) -> None:
    """It was queued before that was known; it is run once, by another."""
    ends = [str(tmp_path / name) for name in ("slow", "quick")]
    runs = str(tmp_path / "runs")
    with processes(2, waits_and_counts) as pool:
        first = [pool.submit((end, f"{end}-runs"), light=True) for end in ends]
        until(lambda: all(os.path.exists(f"{end}-runs") for end in ends))
        behind = [pool.submit(("", runs), light=True) for _ in ends]
        open(ends[1], "w").close()
        quick = first[1].result(60)
        assert [future.result(60) for future in behind] == [quick] * 2
        assert not first[0].done()
        open(ends[0], "w").close()
        assert first[0].result(60) != quick
        assert pool.submit(("", runs), light=True).result(60)
    assert Path(runs).read_bytes() == b"..."


def test_one_that_is_stopped_before_it_begins_loses_no_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes_module, "_BUSY_SECONDS", 0.1)
    with processes(1, twice) as pool:
        assert pool.submit(b"a", light=True).result(60) == b"aa"
        (pid,) = pool.pids()
        os.kill(pid, signal.SIGSTOP)
        answers = [pool.submit(task, light=True) for task in (b"b", b"c")]
        until(lambda: len(pool._waiting) == 1 and len(pool._workers[0].given) == 2)
        os.kill(pid, signal.SIGCONT)
        assert [answer.result(60) for answer in answers] == [b"bb", b"cc"]


def test_what_has_no_patience_left_is_not_begun() -> None:
    with processes(1, nap, limits=SOON) as pool:
        refused = pool.submit(0.0, light=True, patience=lambda: 0.0)
        with pytest.raises(TaskRefused):
            refused.result(60)
        assert pool.submit(0.0, light=True).result(60)
