"""A scan counts the files that no signature tells, and how each was recognised."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run
from tests.hashing.recognition.test_video_probe import encoded


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    flash = encoded("flv")
    files = {
        "avi": b"\0" + encoded("avi"),
        "stream": bytes(100) + encoded("mpegts"),
        "version.flv": flash[:3] + b"\4" + flash[4:],
        "text": b"some words\n" * 100,
        "random": random.Random(1).randbytes(50_000),
        "empty": b"",
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def scanned(run: Run, folder: Path, *options: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Scan; return the summary, and the reason of each file that is not clean."""
    report = folder.parent / "report.jsonl"
    run("scan", str(folder), "--list", "demo", "--report", str(report), *options)
    *records, summary = map(json.loads, report.read_text().splitlines())
    return summary, {Path(each["path"]).name: each["reason"] for each in records if "reason" in each}


@pytest.mark.integration
def test_each_file_has_a_verdict_and_the_summary_counts_what_was_probed(run: Run, folder: Path) -> None:
    summary, reasons = scanned(run, folder)
    assert sum(summary["verdicts"].values()) == 6
    assert reasons == {}
    assert summary["recognition"] == {
        "none": {"text": 1},
        "probed": 4,
        "opened": 3,
        "undecoded": 0,
        "named": 0,
        "by_signatures": 0,
    }


@pytest.mark.integration
@pytest.mark.parametrize("option", ["--no-containers", "--no-videos"])
def test_what_is_recognised_and_not_opened_is_undecoded(run: Run, folder: Path, option: str) -> None:
    summary, reasons = scanned(run, folder, option)
    assert reasons == dict.fromkeys(("avi", "stream", "version.flv"), "container not opened")
    assert summary["verdicts"]["clean"] == 3
    assert summary["recognition"]["undecoded"] == 3


@pytest.mark.integration
def test_without_a_sandbox_the_summary_says_that_signatures_alone_were_compared(
    run: Run, folder: Path
) -> None:
    summary, _ = scanned(run, folder, "--sandbox", "off")
    assert sum(summary["verdicts"].values()) == 6
    assert summary["recognition"]["by_signatures"] == summary["recognition"]["probed"] == 4
