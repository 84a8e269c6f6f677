"""A node's own view of a batch, and the sweeps it keeps ready."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from hashscan.model import Batch, BatchResult, Verdict
from hashscan.sandbox.client import SandboxOptions
from hashscan.scan.setup import WorkerSetup
from hashscan.sources.filesystem import FilesystemSource
from hashscan.sources.options import ListingOptions
from hashscan.sources.patterns import Patterns

pytest.importorskip("distributed")

from hashscan.scan.cluster.messages import Job, Ready, Refused, Unprepared
from hashscan.scan.cluster.node import SWEEPS_KEPT, Node, NodeSettings, located

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
    items = tuple(replace(item, stat=item.stat._replace(device=4711)) for item in batch.items)
    return replace(batch, device=4711, items=items)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "files"
    made.mkdir()
    (made / "a").write_bytes(b"a")
    return made


def test_another_machine_s_device_number_does_not_matter(tmp_path: Path, folder: Path) -> None:
    batch = batch_of(folder)
    assert located(elsewhere(batch)) == batch
    assert located(batch) is batch
    node = Node(NodeSettings("n", tmp_path))
    assert isinstance(node.prepare("t", Job("0.1.0", (), SETUP).to_bytes()), Ready)
    answer = node.check("t", elsewhere(batch))
    assert isinstance(answer, BatchResult)
    assert [result.verdict for result in answer.results] == [Verdict.CLEAN]
    node.close()


def test_another_folder_and_other_files_are_found_to_be_others(tmp_path: Path, folder: Path) -> None:
    batch = elsewhere(batch_of(folder))
    mounted_file = replace(batch.items[0], stat=batch.items[0].stat._replace(device=4712))
    assert located(replace(batch, items=(mounted_file,))).items[0].stat.device == 4712
    node = Node(NodeSettings("n", tmp_path))
    node.prepare("t", Job("0.1.0", (), SETUP).to_bytes())
    other = tmp_path / "other"
    other.mkdir()
    folder.rename(tmp_path / "away")
    folder.symlink_to(tmp_path / "away")
    for wrong in (batch, replace(batch, target=os.fsencode(other))):
        answer = node.check("t", wrong)
        assert isinstance(answer, BatchResult)
        assert [result.verdict for result in answer.results] == [Verdict.UNREADABLE]
    node.close()


def test_sweeps_make_room_for_each_other(tmp_path: Path, folder: Path) -> None:
    node, batch = Node(NodeSettings("n", tmp_path)), batch_of(folder)
    job = Job("0.1.0", (), SETUP).to_bytes()
    for number in range(SWEEPS_KEPT + 1):
        assert isinstance(node.prepare(str(number), job), Ready)
    assert isinstance(node.check("0", batch), Unprepared)
    assert isinstance(node.check("1", batch), BatchResult)
    node.release("1")
    assert isinstance(node.check("1", batch), Unprepared)
    node.close()


def test_what_a_node_lacks_is_said(tmp_path: Path) -> None:
    node = Node(NodeSettings("n", tmp_path))
    other = Job("9.9", (), SETUP).to_bytes()
    answer = node.prepare("t", other)
    assert isinstance(answer, Refused)
    assert answer.why == "it has hashscan 0.1.0, not 9.9"
