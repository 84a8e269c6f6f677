"""Clients and uploads that mean harm: killed workers, taken-over decoders, files that change, crowds."""

from __future__ import annotations

import asyncio
import errno
import multiprocessing
import os
import resource
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from hashscan.errors import WorkersError
from hashscan.model import Entry, Reason, Verdict
from hashscan.scan.workers.processes import FAILED_STARTS_ALLOWED
from hashscan.service.engine import engine as engine_module
from hashscan.service.engine import workers as workers_module
from hashscan.service.engine.engine import Engine
from hashscan.service.engine.messages import INLINE_MAX, Channel
from hashscan.service.engine.uploads import Answer, Client, Outcome, Overloaded, Upload
from hashscan.service.engine.worker_process import EngineSetup
from hashscan.service.engine.workers import Task
from tests.pictures import encoded, scene
from tests.scan.hostile import LIE, MARKS
from tests.service.engine.serving import (
    DOOR,
    PDQ_ENTRY,
    check,
    client,
    entry_of,
    open_as,
    picture,
    run,
    serving,
    settings_of,
    store_list,
    until,
)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@contextmanager
def decoding_by(monkeypatch: pytest.MonkeyPatch, decoder: str, seconds: float = 20.0) -> Iterator[None]:
    """Have workers decode by another plug-in."""
    opened = engine_module.open_matching

    def other(*arguments: object) -> object:
        found = opened(*arguments)  # type: ignore[arg-type]
        sandbox = found.setup.sandbox
        setup = replace(found.setup, decoder=decoder, sandbox=structs.replace(sandbox, seconds=seconds))
        return replace(found, setup=setup)

    with monkeypatch.context() as patch:
        patch.setattr(engine_module, "open_matching", other)
        yield


async def passed(engine: Engine, path: Path, of: Client | None = None) -> Answer:
    content = engine.passed(os.open(path, os.O_RDONLY))
    return await engine.check(content, Upload(of or client()), DOOR)


def test_workers_that_are_killed_lose_no_upload(tmp_path: Path) -> None:
    listed = [picture(seed) for seed in range(4)]
    clean = [picture(seed) for seed in range(4, 8)]
    store_list(tmp_path, *(entry_of(content, number) for number, content in enumerate(listed)))

    async def test() -> None:
        async with serving(settings_of(tmp_path)) as engine:
            answered = 0

            killed: set[int] = set()

            def kill() -> None:
                """End a worker while it runs an upload."""
                running = [m.process.pid for m in engine.pool.workers if m.task is not None]
                for pid in [pid for pid in (*running, *engine.pool.pids()) if pid not in killed][:1]:
                    assert pid is not None
                    os.kill(pid, signal.SIGKILL)
                    killed.add(pid)

            async def upload(number: int) -> list[Verdict]:
                nonlocal answered
                found = []
                for content in (listed[number % 4], clean[number % 4]) * 4:
                    answer = await check(engine, content, client(number))
                    while answer.result.reason is Reason.WORKER_DIED:
                        # Two workers may be killed at the same upload here, by this test.
                        assert answer.outcome is Outcome.ERROR
                        answer = await check(engine, content, client(number))
                    found.append(answer.verdict)
                    answered += 1
                    if answered % 16 == 0:
                        kill()
                return found

            verdicts = await asyncio.gather(*(upload(number) for number in range(8)))
            await until(lambda: engine.pool.deaths == len(killed))
            assert len(killed) > 1
            assert verdicts == [[Verdict.MATCH, Verdict.CLEAN] * 4] * 8
            assert (engine.room.taken, engine.room.contents, engine.pool.queued) == (0, 0, 0)

    run(test)


def test_an_upload_that_kills_workers_costs_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store_list(tmp_path, entry_of(b"listed"))

    async def test() -> None:
        async with serving(settings_of(tmp_path)) as engine:
            await until(lambda: len(engine.pool.idle()) == 2)
            stopped = engine.pool.pids()
            for pid in stopped:
                os.kill(pid, signal.SIGSTOP)
            deadly = asyncio.create_task(check(engine, b"deadly"))
            await asyncio.sleep(0)
            for _ in range(2):
                await until(lambda: any(worker.task is not None for worker in engine.pool.workers))
                (worker,) = (m for m in engine.pool.workers if m.task is not None)
                assert worker.process.pid is not None
                os.kill(worker.process.pid, signal.SIGKILL)
                await until(lambda gone=worker: gone not in engine.pool.workers)
            answer = await deadly
            assert (answer.verdict, answer.result.reason) == (Verdict.UNREADABLE, Reason.WORKER_DIED)
            assert answer.outcome is Outcome.ERROR
            assert (await check(engine, b"listed")).verdict is Verdict.MATCH

    run(test)


def test_workers_that_are_killed_before_they_are_ready_lose_no_upload(tmp_path: Path) -> None:
    store_list(tmp_path, entry_of(b"listed"))

    async def test() -> None:
        async with serving(settings_of(tmp_path, workers=1)) as engine:
            killed = set(engine.pool.pids())
            os.kill(killed.copy().pop(), signal.SIGKILL)
            upload = asyncio.create_task(check(engine, b"listed"))
            for _ in range(2):
                await until(lambda: set(engine.pool.pids()) - killed)
                (pid,) = engine.pool.pids()
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
            assert (await upload).verdict is Verdict.MATCH

    run(test)


def test_starts_that_fail_cost_nothing_while_a_worker_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_list(tmp_path, entry_of(b"listed"))

    async def test() -> None:
        async with serving(settings_of(tmp_path)) as engine:
            pool = engine.pool
            await until(lambda: len(pool.idle()) == 2)
            refuse_starts(engine, monkeypatch)
            left, lost = pool.pids()
            os.kill(lost, signal.SIGKILL)
            await until(lambda: pool.pids() == [left])
            os.kill(left, signal.SIGSTOP)
            uploads = [asyncio.create_task(check(engine, b"listed", client(n))) for n in range(3)]
            await until(lambda: pool.queued == 2)
            await until(lambda: pool._failed_starts > FAILED_STARTS_ALLOWED + 2)
            os.kill(left, signal.SIGCONT)
            assert {answer.verdict for answer in await asyncio.gather(*uploads)} == {Verdict.MATCH}

    run(test)


def test_an_upload_whose_worker_died_waits_for_another_no_longer_than_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_list(tmp_path, entry_of(b"listed"))

    async def test() -> None:
        async with serving(settings_of(tmp_path, workers=1, queue_seconds=0.2)) as engine:
            pool = engine.pool
            await until(lambda: pool._filling is None)
            refuse_starts(engine, monkeypatch, pause=3600.0)
            (pid,) = pool.pids()
            os.kill(pid, signal.SIGSTOP)
            upload = asyncio.create_task(check(engine, b"listed"))
            await until(lambda: pool.running == 1)
            os.kill(pid, signal.SIGKILL)
            with pytest.raises(Overloaded):
                await upload
            assert (engine.room.taken, engine.room.contents, pool.queued) == (0, 0, 0)

    run(test)


def refuse_starts(engine: Engine, monkeypatch: pytest.MonkeyPatch, pause: float = 0.01) -> None:
    """Have every start of another worker fail, after a pause."""

    async def refused(_: object) -> None:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(workers_module, "_START_PAUSES", (pause,))
    monkeypatch.setattr(engine.pool, "start_one", refused)


def test_a_pause_between_starts_ends_when_a_worker_is_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_list(tmp_path, entry_of(b"listed"))

    async def test() -> None:
        async with serving(settings_of(tmp_path)) as engine:
            pool = engine.pool
            await until(lambda: len(pool.idle()) == 2)
            # The second start comes after a failed one.
            monkeypatch.setattr(workers_module, "_START_PAUSES", (0.0, 3600.0))
            started = pool.start_one

            async def failing_later(setup: EngineSetup) -> object:
                worker = await started(setup)
                pool.count_failed_start(WorkersError("a test"))
                return worker

            with monkeypatch.context() as patch:
                patch.setattr(pool, "start_one", failing_later)
                for pid in pool.pids():
                    os.kill(pid, signal.SIGKILL)
                await until(lambda: pool._failed_starts)
            await until(lambda: len(pool.idle()) == 2)

    run(test)


def test_lists_change_under_load_and_each_answer_is_of_one_version(tmp_path: Path) -> None:
    first, second = picture(1), picture(2)
    store_list(tmp_path, entry_of(first))

    async def test() -> None:
        async with serving(settings_of(tmp_path)) as engine:
            expected = {engine.version: (Verdict.MATCH, Verdict.CLEAN)}
            done = asyncio.Event()
            seen: set[str] = set()

            async def upload(number: int) -> None:
                while not done.is_set():
                    for place, content in enumerate((first, second)):
                        begun = engine.version
                        answer = await check(engine, content, client(number))
                        assert answer.version in expected
                        assert answer.verdict is expected[answer.version][place], answer.version
                        # Never an older version than the one in use when the upload came.
                        assert list(expected).index(answer.version) >= list(expected).index(begun)
                        seen.add(answer.version)

            uploads = [asyncio.create_task(upload(number)) for number in range(4)]
            before = descriptors()
            for number in range(6):
                listed = second if number % 2 == 0 else first
                verdicts = (Verdict.CLEAN, Verdict.MATCH)
                store_list(tmp_path, entry_of(listed, number + 1), entry_of(b"%d" % number, 99))
                setup, opened, _ = engine._open()
                opened.close()
                expected[setup.version] = verdicts if listed is second else verdicts[::-1]
                assert await engine.reload()
                assert engine.version == setup.version
            done.set()
            await asyncio.gather(*uploads)
            assert len(seen) > 2
            await check(engine, b"", client(1))
            await until(lambda: len(engine._opened) == 1)
            await until(lambda: descriptors() <= before + 4)

    run(test)


def test_a_damaged_list_keeps_the_one_in_use(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    listed = picture(1)
    store_list(tmp_path, entry_of(listed))
    store_list(tmp_path, entry_of(b"other"), name="others")

    async def test() -> None:
        async with serving(settings_of(tmp_path)) as engine:
            version = engine.version
            (column,) = (tmp_path / "lists" / "ours").glob("versions/*/**/*value*.npy")
            content = column.read_bytes()
            # Not in the file that workers have mapped.
            column.unlink()
            column.write_bytes(content[:-8])
            assert not await engine.reload()
            assert engine.version == version
            assert "stay in use" in caplog.text
            assert (await check(engine, listed)).verdict is Verdict.MATCH
            store_list(tmp_path, entry_of(b"new"))
            assert await engine.reload()
            assert (await check(engine, b"new")).verdict is Verdict.MATCH

    run(test)


@pytest.mark.parametrize("more", [(), (entry_of(b"new", 1),)])
def test_lists_that_were_damaged_in_use_can_be_replaced(tmp_path: Path, more: tuple[Entry, ...]) -> None:
    """No worker can be started with the lists in use any more."""
    store_list(tmp_path, entry_of(b"old"))

    async def test() -> None:
        async with serving(settings_of(tmp_path, workers=1)) as engine:
            for column in (tmp_path / "lists" / "ours").glob("versions/*/**/*.npy"):
                os.truncate(column, 0)
            (pid,) = engine.pool.pids()
            os.kill(pid, signal.SIGKILL)
            await until(lambda: not engine.pool.idle())
            version = engine.version
            # Also if nothing is new but its files.
            store_list(tmp_path, entry_of(b"old"), *more)
            assert await engine.reload()
            assert (engine.version == version) is not bool(more)
            for content in (b"old", *(b"new" for _ in more)):
                assert (await check(engine, content)).verdict is Verdict.MATCH
            assert len(engine.pool.pids()) == 1
            assert not await engine.reload()

    run(test)


def test_a_worker_that_is_killed_while_it_opens_lists_does_not_keep_them_from_use(tmp_path: Path) -> None:
    store_list(tmp_path, entry_of(b"old"))

    async def test() -> None:
        async with serving(settings_of(tmp_path)) as engine:
            await until(lambda: len(engine.pool.idle()) == 2)
            for pid in engine.pool.pids():
                os.kill(pid, signal.SIGSTOP)
            store_list(tmp_path, entry_of(b"new"))
            reloading = asyncio.create_task(engine.reload())
            await until(lambda: any(worker.uses for worker in engine.pool.workers))
            (trying,) = (worker.process.pid for worker in engine.pool.workers if worker.uses)
            assert trying is not None
            os.kill(trying, signal.SIGKILL)
            for pid in engine.pool.pids():
                with suppress(ProcessLookupError):  # the killed one may have been waited for
                    os.kill(pid, signal.SIGCONT)
            assert await reloading
            assert (await check(engine, b"new")).verdict is Verdict.MATCH
            await until(lambda: len(engine.pool.idle()) == 2)
            assert len(engine.pool.pids()) == 2

    run(test)


def test_new_algorithms_are_used_after_a_reload(tmp_path: Path) -> None:
    """They need other decoders, and so other workers."""
    store_list(tmp_path, entry_of(b"listed"))

    async def test() -> None:
        async with serving(settings_of(tmp_path)) as engine:
            store_list(tmp_path, entry_of(b"listed"), Entry("h", "dhash", bytes(8), "A1"))
            uploads = [asyncio.create_task(check(engine, b"listed", client(n))) for n in range(20)]
            assert await engine.reload()
            assert {answer.verdict for answer in await asyncio.gather(*uploads)} == {Verdict.MATCH}
            answer = await check(engine, b"listed")
            assert (answer.verdict, answer.version) == (Verdict.MATCH, engine.version)
            await until(lambda: {m.setup.version for m in engine.pool.workers} == {engine.version})

    run(test)


def test_a_client_that_leaves_gives_its_work_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store_list(tmp_path, entry_of(b"listed"), PDQ_ENTRY)
    looping = picture(1) + MARKS["loop"]
    monkeypatch.setattr(workers_module, "LEAVE_SECONDS", 0.3)
    # However busy the machine is, the worker gets the time to give it up.
    monkeypatch.setattr(workers_module, "GIVE_UP_SECONDS", 60.0)

    async def test() -> None:
        async with serving(settings_of(tmp_path, workers=1)) as engine:
            pids = engine.pool.pids()
            running = asyncio.create_task(check(engine, looping, client(1)))
            await until(lambda: engine.pool.running == 1)
            queued = asyncio.create_task(check(engine, b"queued", client(2)))
            await until(lambda: engine.pool.queued == 1)
            queued.cancel()
            await until(lambda: engine.pool.queued == 0)
            running.cancel()
            begun = asyncio.get_running_loop().time()
            assert (await check(engine, b"listed", client(3))).verdict is Verdict.MATCH
            assert asyncio.get_running_loop().time() - begun >= 0.3 * 0.9
            # The worker gave it up, and needed not be ended.
            assert engine.pool.pids() == pids
            assert (await check(engine, picture(2), client(3))).verdict is Verdict.CLEAN
            assert (engine.room.taken, engine.room.contents) == (0, 0)

    with decoding_by(monkeypatch, "tests.scan.hostile:load"):
        run(test)


def test_a_client_that_leaves_when_its_answer_comes_leaves_no_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_list(tmp_path, entry_of(b"listed"))
    path = tmp_path / "passed"
    path.write_bytes(b"passed")

    async def test() -> None:
        async with serving(settings_of(tmp_path)) as engine:
            submit = engine.pool.submit

            def submitted(*arguments: Any) -> Task:
                task = submit(*arguments)
                task.future.add_done_callback(lambda _: checking.cancel())
                return task

            monkeypatch.setattr(engine.pool, "submit", submitted)
            content = engine.passed(os.open(path, os.O_RDONLY))
            checking = asyncio.ensure_future(engine.check(content, Upload(client()), DOOR))
            await asyncio.wait({checking})
            assert checking.cancelled()
            assert not open_as("hashscan-upload")

    run(test)


def test_a_message_whose_descriptor_is_lost_is_an_error() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ours, theirs:
        Channel(theirs).send(bytes(INLINE_MAX + 1))
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
        try:
            with pytest.raises(OSError, check=lambda error: error.errno == errno.EMFILE):
                Channel(ours).receive()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_worker_that_does_not_give_up_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store_list(tmp_path, entry_of(b"listed"))
    monkeypatch.setattr(workers_module, "LEAVE_SECONDS", 0.1)
    monkeypatch.setattr(workers_module, "GIVE_UP_SECONDS", 0.1)

    async def test() -> None:
        async with serving(settings_of(tmp_path, workers=1)) as engine:
            (pid,) = engine.pool.pids()
            os.kill(pid, signal.SIGSTOP)
            left = asyncio.create_task(check(engine, b"anything"))
            await until(lambda: engine.pool.running == 1)
            left.cancel()
            assert (await check(engine, b"listed")).verdict is Verdict.MATCH
            assert pid not in engine.pool.pids()

    run(test)


def test_a_taken_over_decoder_changes_no_other_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The decoder of the attacker's uploads says of every picture that it is his."""
    listed, innocent = picture(1), picture(2)
    recompressed = encoded(scene(1), quality=60)
    store_list(tmp_path, entry_of(listed), pdq_entry(listed, tmp_path))
    attack = picture(3) + LIE

    async def test() -> None:
        async with serving(settings_of(tmp_path)) as engine:
            for number in range(6):
                attacker = client(1, "attacker")
                assert (await check(engine, attack, attacker)).verdict is Verdict.CLEAN
                # Of the attacker's own upload it hides what it likes, but not the exact digests.
                assert (await check(engine, listed, attacker)).verdict is Verdict.MATCH
                for victim in (client(number + 10), client(2, "victim")):
                    found = await check(engine, recompressed, victim)
                    assert (found.verdict, found.result.matches[0].algorithm) == (Verdict.MATCH, "pdq")
                    assert (await check(engine, innocent, victim)).verdict is Verdict.CLEAN

    with decoding_by(monkeypatch, "tests.scan.hostile:load_liar"):
        run(test)


def pdq_entry(content: bytes, tmp_path: Path) -> Entry:
    from hashscan.matching.worker_setup import WorkerSetup
    from hashscan.sandbox.client import SandboxOptions
    from hashscan.scan.single_checks import check_file
    from hashscan.scan.workers.worker import Worker

    path = tmp_path / "picture.jpg"
    path.write_bytes(content)
    setup = WorkerSetup((), SandboxOptions("off"), ("pdq",), 10**7, with_digests=True)
    with Worker(setup) as worker:
        (digest,) = check_file(worker, os.fsencode(path)).digests
    return Entry("p", "pdq", digest.value, "A1")


def test_an_owner_s_lost_decoders_cost_others_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_list(tmp_path, entry_of(b"listed"), PDQ_ENTRY)
    deadly = picture(1) + MARKS["segfault"]

    async def test() -> None:
        async with serving(settings_of(tmp_path)) as engine:
            for number in range(12):
                attacked = await check(engine, deadly, client(number))
                assert (attacked.verdict, attacked.result.reason) == (
                    Verdict.UNDECODED,
                    Reason.DECODER_DIED,
                )
                assert (await check(engine, picture(2), client(100))).verdict is Verdict.CLEAN

    with decoding_by(monkeypatch, "tests.scan.hostile:load"):
        run(test)


def test_a_passed_file_is_checked_as_it_was(tmp_path: Path) -> None:
    listed = picture(1)
    store_list(tmp_path / "state", entry_of(listed))
    path = tmp_path / "file.jpg"
    path.write_bytes(listed)

    async def test() -> None:
        async with serving(settings_of(tmp_path / "state")) as engine:
            for _ in range(5):
                assert (await passed(engine, path)).verdict is Verdict.MATCH
            await until(lambda: not open_as(str(path)))
            path.write_bytes(picture(2))
            assert (await passed(engine, path)).verdict is Verdict.CLEAN
            assert (engine.room.taken, engine.room.contents) == (0, 0)

    run(test)


def test_moving_the_shared_offset_hides_nothing(tmp_path: Path) -> None:
    """The client's descriptor has the offset that ours has, and it moves it all the time."""
    listed = picture(1)
    store_list(tmp_path / "state", entry_of(listed))
    path = tmp_path / "file.jpg"
    path.write_bytes(listed)

    async def test() -> None:
        async with serving(settings_of(tmp_path / "state")) as engine:
            own = os.open(path, os.O_RDWR)
            done = asyncio.Event()

            def move() -> None:
                while not done.is_set():
                    for offset in (0, 1, 5000, 1 << 40):
                        os.lseek(own, offset, os.SEEK_SET)

            mover = asyncio.create_task(asyncio.to_thread(move))
            try:
                for _ in range(50):
                    content = engine.passed(os.dup(own))
                    answer = await engine.check(content, Upload(client()), DOOR)
                    assert answer.verdict is Verdict.MATCH
            finally:
                done.set()
                await mover
                os.close(own)

    run(test)


def test_a_file_that_changes_all_the_time_is_one_of_its_contents(tmp_path: Path) -> None:
    """No answer mixes the digests of one content with the pixels of another."""
    listed, other = picture(1), picture(2)
    size = max(len(listed), len(other))
    listed, other = listed.ljust(size, b"\0"), other.ljust(size, b"\0")
    store_list(tmp_path / "state", pdq_entry(listed, tmp_path), entry_of(other))
    path = tmp_path / "file.jpg"
    path.write_bytes(listed)

    async def test() -> None:
        async with serving(settings_of(tmp_path / "state")) as engine:
            own = os.open(path, os.O_RDWR)
            done = asyncio.Event()

            def change() -> None:
                while not done.is_set():
                    os.pwrite(own, other, 0)
                    os.pwrite(own, listed, 0)

            changer = asyncio.create_task(asyncio.to_thread(change))
            try:
                for _ in range(30):
                    answer = await passed(engine, path)
                    # Both contents are listed, one by its pixels and one by its digest; a mixture may be
                    # anything, but then its own digest is reported.
                    algorithms = {match.algorithm for match in answer.result.matches}
                    assert algorithms != {"pdq", "sha256"}
            finally:
                done.set()
                await changer
                os.close(own)

    run(test)


def test_a_file_that_grows_is_not_read_without_end(tmp_path: Path) -> None:
    store_list(tmp_path / "state", entry_of(b"listed"))
    path = tmp_path / "file"
    path.write_bytes(b"x" * 100)

    async def test() -> None:
        async with serving(settings_of(tmp_path / "state")) as engine:
            content = engine.passed(os.open(path, os.O_RDONLY))
            with path.open("r+b") as file:
                file.truncate(10 << 30)
            answer = await engine.check(content, Upload(client()), DOOR)
            assert (answer.verdict, answer.result.reason) == (Verdict.UNREADABLE, Reason.CHANGED)
            assert answer.outcome is Outcome.ERROR

    run(test)


def test_the_queue_is_bounded(tmp_path: Path) -> None:
    store_list(tmp_path, entry_of(b"listed"))

    async def test() -> None:
        async with serving(settings_of(tmp_path, workers=1, queue=3, queue_seconds=0.3)) as engine:
            (pid,) = engine.pool.pids()
            os.kill(pid, signal.SIGSTOP)
            uploads = [asyncio.create_task(check(engine, b"%d" % n, client(n))) for n in range(6)]
            await until(lambda: sum(upload.done() for upload in uploads) == 5)
            done, waiting = await asyncio.wait(uploads, timeout=0)
            # Two found the queue full, three waited too long in it, and one has the worker.
            assert [type(upload.exception()) for upload in done] == [Overloaded] * 5
            os.kill(pid, signal.SIGCONT)
            (running,) = waiting
            assert (await running).verdict is Verdict.CLEAN
            assert (engine.room.taken, engine.room.contents, engine.pool.queued) == (0, 0, 0)

    run(test)


def test_nothing_is_leaked_by_many_uploads(tmp_path: Path) -> None:
    store_list(tmp_path, entry_of(b"listed"))

    async def test() -> None:
        async with serving(settings_of(tmp_path)) as engine:
            await check(engine, picture(1))
            await until(lambda: len(engine.pool.idle()) == 2)

            def held() -> list[int]:
                return [len(os.listdir(f"/proc/{pid}/fd")) for pid in ("self", *engine.pool.pids())]

            for number in range(20):
                await check(engine, picture(number % 4), client(number))
            before = held()
            for number in range(40):
                await check(engine, picture(number % 4), client(number))
                await check(engine, b"listed", client(number))
            # Decoders of others may be forked ahead, each with a few descriptors.
            await until(lambda: all(now < then + 20 for now, then in zip(held(), before, strict=True)))

    run(test)


def test_an_engine_that_is_closed_leaves_nothing(tmp_path: Path) -> None:
    store_list(tmp_path, entry_of(b"listed"))
    found: list[int] = []

    async def test() -> None:
        async with serving(settings_of(tmp_path)) as engine:
            await check(engine, b"listed")
            found.extend(engine.pool.pids())
            waiting = asyncio.create_task(check(engine, b"listed"))
            await asyncio.sleep(0)
        with pytest.raises(Exception, match=r"stops"):
            await waiting

    run(test)
    before = descriptors()
    run(test)
    assert descriptors() == before
    assert not [pid for pid in found if os.path.exists(f"/proc/{pid}")]


def test_closing_while_a_worker_is_started_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_list(tmp_path, entry_of(b"listed"))
    others = multiprocessing.active_children()

    async def test() -> None:
        async with serving(settings_of(tmp_path)) as engine:
            pool = engine.pool
            await until(lambda: len(pool.idle()) == 2)
            before, waiting, closing = descriptors(), threading.Event(), threading.Event()
            start = ForkServerProcess.start

            def start_late(process: ForkServerProcess) -> None:
                waiting.set()
                assert closing.wait(60)
                start(process)

            monkeypatch.setattr(ForkServerProcess, "start", start_late)
            os.kill(pool.pids()[0], signal.SIGKILL)
            await until(waiting.is_set)
            closed = asyncio.create_task(engine.close())
            await asyncio.sleep(0)
            closing.set()
            await closed
        # Each of the two had a socket, and a pipe that shows its end.
        await until(lambda: descriptors() <= before - 4, 10.0)
        assert set(multiprocessing.active_children()) <= set(others)

    run(test)


def test_closing_does_not_wait_for_workers_that_can_not_be_started(tmp_path: Path) -> None:
    store_list(tmp_path, entry_of(b"listed"))

    async def test() -> None:
        async with serving(settings_of(tmp_path, workers=1)) as engine:
            pool = engine.pool
            # As after many starts that have failed; the next one is to come after a long pause.
            pool._failed_starts = 7
            pool._starting_works.clear()
            os.kill(pool.pids()[0], signal.SIGKILL)
            await until(lambda: pool._filling is not None and not pool.workers)
            await engine.close()
            assert pool.pids() == []

    run(test)
