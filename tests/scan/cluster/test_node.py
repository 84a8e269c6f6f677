"""A node's own view of a batch, and the scans it keeps ready."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from msgspec import structs

from hashscan.lists.store import ListStore, fingerprinted
from hashscan.matching.worker_setup import WorkerSetup
from hashscan.model import Batch, BatchResult, Verdict
from hashscan.sandbox.client import SandboxOptions
from hashscan.scan.workers.worker import Worker
from hashscan.sources.base import ListingOptions
from hashscan.sources.filesystem.source import FilesystemSource
from hashscan.sources.patterns import Patterns

pytest.importorskip("distributed")

from hashscan.scan.cluster import node as scans
from hashscan.scan.cluster.messages import Busy, Job, Ready, Refused, Unprepared, WantedList
from hashscan.scan.cluster.node import (
    IDLE_SECONDS,
    SCANS_MAX,
    Node,
    NodePlugin,
    NodeSettings,
    with_local_device,
)
from hashscan.state_dir import StateDir

SETUP = WorkerSetup(
    lists=(), sandbox=SandboxOptions("auto"), algorithms=("md5", "sha1", "sha256"), max_pixels=10**7
)


def batch_of(folder: Path) -> Batch:
    options = ListingOptions(exclude=Patterns.compile((), None))
    (batch,) = (
        x for x in FilesystemSource([os.fsencode(folder)], options).listings() if isinstance(x, Batch)
    )
    return batch


def elsewhere(batch: Batch) -> Batch:
    """As a machine lists it that gives the same storage another number."""
    items = tuple(item._replace(stat=item.stat._replace(device=4711)) for item in batch.items)
    return structs.replace(batch, device=4711, items=items)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "files"
    made.mkdir()
    (made / "a").write_bytes(b"a")
    return made


def test_another_machine_s_device_number_does_not_matter(tmp_path: Path, folder: Path) -> None:
    batch = batch_of(folder)
    assert with_local_device(elsewhere(batch)) == batch
    assert with_local_device(batch) is batch
    node = Node(NodeSettings("n", StateDir(tmp_path)))
    assert isinstance(node.prepare("t", Job("0.1.0", (), SETUP).to_bytes()), Ready)
    answer = node.check("t", elsewhere(batch))
    assert isinstance(answer, BatchResult)
    assert [result.verdict for result in answer.results] == [Verdict.CLEAN]
    node.close()


def test_another_folder_and_other_files_are_found_to_be_others(tmp_path: Path, folder: Path) -> None:
    batch = elsewhere(batch_of(folder))
    mounted_file = batch.items[0]._replace(stat=batch.items[0].stat._replace(device=4712))
    assert with_local_device(structs.replace(batch, items=(mounted_file,))).items[0].stat.device == 4712
    node = Node(NodeSettings("n", StateDir(tmp_path)))
    node.prepare("t", Job("0.1.0", (), SETUP).to_bytes())
    other = tmp_path / "other"
    other.mkdir()
    folder.rename(tmp_path / "away")
    folder.symlink_to(tmp_path / "away")
    for wrong in (batch, structs.replace(batch, target=os.fsencode(other))):
        answer = node.check("t", wrong)
        assert isinstance(answer, BatchResult)
        assert [result.verdict for result in answer.results] == [Verdict.UNREADABLE]
    node.close()


JOB = Job("0.1.0", (), SETUP).to_bytes()


class Clock:
    """The clock by which a node tells which scans are idle; it stands still unless a test moves it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monotonic = lambda: self._now
        self._now = 0.0
        monkeypatch.setattr(scans, "time", self)

    def wait(self, seconds: float) -> None:
        self._now += seconds


@pytest.mark.slow
def test_idle_scans_make_room_for_others(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    node, batch = Node(NodeSettings("n", StateDir(tmp_path))), batch_of(folder)
    for number in range(SCANS_MAX):
        assert isinstance(node.prepare(str(number), JOB), Ready)
    # All may have batches on their way, so whoever comes now must wait.
    assert isinstance(node.prepare("new", JOB), Busy)
    assert isinstance(node.check("0", batch), BatchResult)
    clock.wait(IDLE_SECONDS + 1)
    assert isinstance(node.check("1", batch), BatchResult)
    ready = node.prepare("new", JOB)
    assert isinstance(ready, Ready)
    # The one asked least lately had to go, and it is said that this process has forgotten it.
    assert node.check("2", batch) == Unprepared(ready.process)
    assert isinstance(node.check("1", batch), BatchResult)
    node.release("1")
    assert isinstance(node.check("1", batch), Unprepared)
    node.close()


def test_time_in_which_a_worker_was_busy_makes_no_scan_idle(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its batches may wait behind those of other scans."""
    clock = Clock(monkeypatch)

    class Slow(Worker):
        def check(self, batch: Batch) -> BatchResult:
            clock.wait(IDLE_SECONDS + 1)
            return super().check(batch)

    node, batch = Node(NodeSettings("n", StateDir(tmp_path), Slow)), batch_of(folder)
    monkeypatch.setattr(scans, "SCANS_MAX", 2)
    monkeypatch.setattr(scans, "IDLE_TASKS", 3)
    assert isinstance(node.prepare("waits", JOB), Ready)
    assert isinstance(node.prepare("asks", JOB), Ready)
    for _ in range(3):
        assert isinstance(node.check("asks", batch), BatchResult)
        assert isinstance(node.prepare("new", JOB), Busy)
    # But one that does not come up for so long has nothing here.
    assert isinstance(node.check("asks", batch), BatchResult)
    assert isinstance(node.prepare("new", JOB), Ready)
    assert isinstance(node.check("waits", batch), Unprepared)
    node.close()


def test_processes_of_one_node_are_distinguished(tmp_path: Path) -> None:
    nodes = [Node(NodeSettings("n", StateDir(tmp_path))) for _ in range(2)]
    first, second = (node.prepare("t", JOB) for node in nodes)
    assert isinstance(first, Ready)
    assert isinstance(second, Ready)
    assert first.node == second.node
    assert first.process != second.process
    for node in nodes:
        node.close()


def test_what_a_node_lacks_is_said(tmp_path: Path) -> None:
    node = Node(NodeSettings("n", StateDir(tmp_path)))
    other = Job("9.9", (), SETUP).to_bytes()
    answer = node.prepare("t", other)
    assert isinstance(answer, Refused)
    assert answer.why == "it has hashscan 0.1.0, not 9.9"


def test_another_version_of_a_signed_list_is_refused(tmp_path: Path) -> None:
    with ListStore(tmp_path / "lists").open(["demo"], datetime.now(UTC)) as opened:
        (info,) = fingerprinted(opened)
    node = Node(NodeSettings("n", StateDir(tmp_path)))
    same = WantedList("demo", info.version, False, info.fingerprint)
    newer = replace(same, version=info.version + 1)
    assert isinstance(node.prepare("same", Job("0.1.0", (same,), SETUP).to_bytes()), Ready)
    answer = node.prepare("newer", Job("0.1.0", (newer,), SETUP).to_bytes())
    assert isinstance(answer, Refused)
    assert answer.why == (
        f"it has version {info.version} of the list demo, not {newer.version}: "
        "run `hashscan lists pull demo` where it is older"
    )
    other = Job("0.1.0", (replace(same, fingerprint="0" * 64),), SETUP).to_bytes()
    answer = node.prepare("other", other)
    assert isinstance(answer, Refused)
    assert "its list demo has other entries" in answer.why
    node.close()


def test_a_heartbeat_that_is_cut_off_is_not_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    logger = logging.getLogger("distributed.worker")
    monkeypatch.setattr(logger, "filters", [])
    plugin = NodePlugin(NodeSettings("n", StateDir(tmp_path)))
    plugin.setup(None)  # type: ignore[arg-type]
    logger.error("Failed to communicate with scheduler during heartbeat.")
    logger.error("Something else")
    plugin.teardown(None)  # type: ignore[arg-type]
    assert [record.message for record in caplog.records] == ["Something else"]
