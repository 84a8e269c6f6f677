"""The journal of uploads: what is answered is on disk, and nothing counts twice."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from hashscan.cases.ledger import Ledger
from hashscan.cases.uploads import CheckCount, Checks, follow_uploads, journal_lines
from hashscan.service.records import journal as journals
from hashscan.service.records.journal import JOURNAL_BYTES, Journal, JournalFile
from hashscan.state_dir import StateDir

LONG_TIME = 60.0


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    return StateDir(tmp_path / "state")


def checks(number: int = 1) -> Checks:
    return Checks(900, [CheckCount("clamd", "clean", "allow", number, 0)])


def counted(state: StateDir) -> int:
    with Ledger(state) as ledger:
        follow_uploads(ledger, state)
        return int(ledger.one("SELECT coalesce(sum(number), 0) FROM checks")[0])


def run(state: StateDir, test: Callable[[Journal], Awaitable[None]]) -> None:
    async def opened() -> None:
        journal = Journal(state)
        await journal.open()
        try:
            await test(journal)
        finally:
            await journal.close(5)

    asyncio.run(opened())


async def nothing_waits(journal: Journal) -> None:
    async with asyncio.timeout(LONG_TIME):
        while journal.waiting:
            await asyncio.sleep(0.01)


def files(state: StateDir) -> list[Path]:
    return sorted(state.uploads.glob("*.jsonl"))


def test_what_is_written_is_on_disk_and_counts_once(state: StateDir) -> None:
    async def test(journal: Journal) -> None:
        assert all(await asyncio.gather(*(journal.write(checks()) for _ in range(50))))
        (path,) = files(state)
        assert len(journal_lines(path, 0).splitlines()) == 50
        assert path.stat().st_size == JOURNAL_BYTES
        assert path.stat().st_mode & 0o777 == 0o600
        assert counted(state) == 50
        await journal.sync_ledger()
        # It is in use, so it stays.
        assert files(state) == [path]

    run(state, test)
    assert files(state) == []
    assert counted(state) == 50


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """A disk that refuses writes while its error is set, after a part of the bytes is written."""
    fault: dict[str, int] = {"error": 0}
    write = os.pwrite

    def pwrite(descriptor: int, data: Any, offset: int) -> int:
        if fault["error"]:
            write(descriptor, bytes(data)[: len(data) // 2], offset)
            raise OSError(fault["error"], os.strerror(fault["error"]))
        return write(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    monkeypatch.setattr(journals, "_RETRY_SECONDS", 0.01)
    return fault


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_what_a_disk_refuses_is_written_later(state: StateDir, broken: dict[str, int], error: int) -> None:
    async def test(journal: Journal) -> None:
        assert await journal.write(checks(1))
        broken["error"] = error
        assert not await journal.write(checks(10))
        assert not await journal.write(checks(100))
        assert journal.waiting == 2
        # A line that was written in whole may be read before it counts as written; it is the same one then.
        assert counted(state) in {1, 11}
        broken["error"] = 0
        await nothing_waits(journal)
        assert await journal.write(checks(1000))
        assert journal.waiting == 0
        assert counted(state) == 1111

    run(state, test)


def test_while_a_disk_refuses_nobody_waits_for_the_next_try(
    state: StateDir, broken: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journals, "_RETRY_SECONDS", LONG_TIME)

    async def test(journal: Journal) -> None:
        broken["error"] = errno.ENOSPC
        async with asyncio.timeout(LONG_TIME / 2):
            assert not any([await journal.write(checks()) for _ in range(20)])
        broken["error"] = 0
        assert journal.waiting == 20

    run(state, test)


def test_what_waits_is_bounded(
    state: StateDir, broken: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journals, "WAITING_MAX", 3)

    async def test(journal: Journal) -> None:
        broken["error"] = errno.ENOSPC
        for _ in range(5):
            assert not await journal.write(checks())
        assert (journal.waiting, journal.lost) == (3, 2)
        broken["error"] = 0

    run(state, test)
    assert counted(state) == 3


def test_a_slow_disk_keeps_no_answer_for_ever(state: StateDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journals, "ANSWER_SECONDS", 0.05)

    async def test(journal: Journal) -> None:
        release = asyncio.Event()
        loop = asyncio.get_running_loop()
        held = asyncio.run_coroutine_threadsafe(release.wait(), loop)
        journal._writer.submit(held.result)
        assert not await journal.write(checks())
        release.set()

    run(state, test)
    assert counted(state) == 1


def test_another_begins_when_half_is_used_and_the_first_goes_when_it_is_read(
    state: StateDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journals, "JOURNAL_BYTES", 4096)

    async def test(journal: Journal) -> None:
        for _ in range(60):
            await journal.write(checks())
        assert len(files(state)) > 1
        await journal.sync_ledger()
        assert len(files(state)) == 1

    run(state, test)
    assert counted(state) == 60


def test_no_room_for_another_is_no_trouble_while_the_first_has_room(
    state: StateDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journals, "JOURNAL_BYTES", 4096)

    async def test(journal: Journal) -> None:
        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, "no space")

        with monkeypatch.context() as patched:
            patched.setattr(os, "posix_fallocate", full)
            for _ in range(40):
                assert await journal.write(checks())
            assert len(files(state)) == 1
        assert await journal.write(checks())
        assert len(files(state)) == 2

    run(state, test)
    assert counted(state) == 41


def test_journals_of_processes_that_were_killed_are_read_and_removed(state: StateDir) -> None:
    state.uploads.mkdir(parents=True)
    with JournalFile(state.uploads) as killed, JournalFile(state.uploads) as alive:
        for one in (killed, alive):
            one.append(b'{"type":"checks","at":900,"counts":[["x"]]}\n'.replace(b'[["x"]]', b"[]"))
        # A line that a kill has cut off was never answered.
        killed.append(b'{"type":"checks","at":900')
        fcntl.flock(killed._descriptor, fcntl.LOCK_UN)

        async def test(journal: Journal) -> None:
            assert not killed.path.exists()
            assert alive.path.exists()

        run(state, test)
        assert alive.path.exists()


def test_a_journal_that_is_removed_before_it_is_locked_is_created_again(
    state: StateDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    state.uploads.mkdir(parents=True)
    lock = fcntl.flock

    def remove(descriptor: int, operation: int) -> None:
        monkeypatch.undo()
        for path in files(state):
            path.unlink()
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", remove)
    with JournalFile(state.uploads) as journal:
        journal.append(b"{}\n")
        assert journal_lines(journal.path, 0) == b"{}\n"


def test_a_damaged_ledger_does_not_stop_the_service(state: StateDir) -> None:
    state.make()
    state.ledger.write_bytes(b"no database" * 100)

    async def test(journal: Journal) -> None:
        assert await journal.write(checks())

    run(state, test)
    assert len(files(state)) == 1
    state.ledger.unlink()
    assert counted(state) == 1
