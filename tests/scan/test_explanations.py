"""Explanations of verdicts."""

from __future__ import annotations

from pathlib import Path

import pytest

from hashscan.errors import TargetError
from hashscan.matching.worker_setup import WorkerSetup
from hashscan.sandbox.client import SandboxOptions
from hashscan.scan.single_checks import explain_file
from tests import pictures
from tests.compiled import needs_traces
from tests.hashing.recognition.test_video_probe import encoded


@pytest.fixture
def setup() -> WorkerSetup:
    return WorkerSetup(
        lists=(), sandbox=SandboxOptions("auto"), algorithms=("md5", "pdq"), max_pixels=1 << 26, variants=()
    )


@pytest.mark.integration
def test_a_disguised_video_is_named_with_its_score(setup: WorkerSetup, tmp_path: Path) -> None:
    (tmp_path / "a.avi").write_bytes(b"\0" + encoded("avi"))
    found = explain_file(bytes(tmp_path / "a.avi"), setup)
    assert (found.signatures, found.none_by, found.named, found.lost) == ([], "", True, "")
    assert [(each.kind, each.certain, each.score) for each in found.probes or ()] == [
        ("other video", False, 5)
    ]


def test_a_text_is_proven_and_not_probed(setup: WorkerSetup, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"words\n")
    found = explain_file(bytes(tmp_path / "a"), setup)
    assert (found.none_by, found.named, found.probes) == ("text", False, None)


@needs_traces
@pytest.mark.integration
def test_a_picture_has_its_signature(setup: WorkerSetup, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(pictures.encoded(pictures.scene(1)))
    assert explain_file(bytes(tmp_path / "a"), setup).signatures == ["JPEG"]


@pytest.mark.integration
def test_what_is_behind_a_picture_is_named(setup: WorkerSetup, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(
        pictures.encoded(pictures.scene(1)) + b"\1" * 100 + b"Rar!\x1a\7\0" + bytes(100)
    )
    found = explain_file(bytes(tmp_path / "a"), setup)
    assert found.signatures == ["JPEG", "unrecognised file", "appended data"]


def test_no_file_can_be_explained_where_there_is_none(setup: WorkerSetup, tmp_path: Path) -> None:
    with pytest.raises(TargetError):
        explain_file(bytes(tmp_path / "a"), setup)
