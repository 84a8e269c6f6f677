"""Memory of a worker and its decoder in a real scan of the largest files."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from hashscan.lists.store import ListStore
from hashscan.model import Entry, Reason
from tests.pictures import scene
from tests.scan.test_several import animation

LIMIT_KB = 400_000


def large_jpeg(**options: object) -> bytes:
    """A hundred megapixels."""
    file = io.BytesIO()
    scene(1).resize((10_000, 10_000), Image.Resampling.BILINEAR).save(file, "JPEG", **options)
    return file.getvalue()


def large_animation() -> bytes:
    """Ten thousand frames on a canvas of a hundred megapixels."""
    file = io.BytesIO()
    scene(1).convert("L").resize((10_000, 10_000), Image.Resampling.BILINEAR).save(file, "GIF")
    patch = animation(3)
    patch = patch[patch.rindex(b",", 0, len(patch) - 8) : -1]
    return file.getvalue()[:-1] + patch * 9_999 + b";"


def children(pid: int) -> list[int]:
    try:
        return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))
    except OSError:
        return []


def status(pid: int, name: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), 0)


def zygotes(pid: int) -> list[tuple[int, int]]:
    """Each zygote beneath a process, after its worker."""
    found = []
    for child in children(pid):
        try:
            command = Path(f"/proc/{child}/cmdline").read_bytes()
        except OSError:
            continue
        if b"hashscan.sandbox.zygote" in command:
            found.append((pid, child))
        else:
            found += zygotes(child)
    return found


def scanned(folder: Path, state: Path) -> tuple[int, list[dict]]:
    """The most that a worker and its decoder had resident, in kB, and the report."""
    ListStore(state / "lists").import_entries("ours", [Entry("e", "pdq", bytes(32), "A1")], "test")
    command = [sys.executable, "-m", "hashscan", "scan", str(folder), "--workers", "1", "--report", "-"]
    command += ["--large-decoder-memory", "1"]
    peak = 0
    with (
        (state / "report").open("w+") as report,
        subprocess.Popen(
            [*command, "--state", str(state)], stdout=report, stderr=subprocess.DEVNULL
        ) as process,
    ):
        while process.poll() is None:
            for worker, zygote in zygotes(process.pid):
                decoders = children(zygote)
                # The largest that each has been so far.
                peak = max(peak, status(worker, "VmHWM") + sum(status(pid, "VmHWM") for pid in decoders))
            time.sleep(0.005)
        report.seek(0)
        return peak, [json.loads(line) for line in report]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (large_jpeg, None),
        (lambda: large_jpeg(progressive=True), None),
        (lambda: large_jpeg(progressive=True, subsampling=0), Reason.TOO_LARGE),
        (lambda: animation(10_000), Reason.TOO_MANY),
        (large_animation, Reason.TOO_LARGE),
    ],
    ids=["jpeg", "progressive", "progressive without subsampling", "animation", "large animation"],
)
def test_a_worker_and_its_decoder_stay_small(tmp_path: Path, make, reason: Reason | None) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "large").write_bytes(make())
    peak, records = scanned(folder, tmp_path / "state")
    assert 30_000 < peak < LIMIT_KB
    summary = records[-1]
    assert summary["type"] == "summary"
    assert summary["exit_code"] == 0
    assert [record.get("reason") for record in records[1:-1]] == ([reason.value] if reason else [])
