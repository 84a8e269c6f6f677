"""Videos with changed bytes: each gets one verdict, and the worker goes on."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from hashscan.model import MemberLimits, Reason, Verdict
from tests.hashing.archives.test_fuzzed import changed
from tests.hashing.video.test_frames import of_codec, with_cover
from tests.scan.workers.test_worker import NOTHING, check, worker_with

pytestmark = pytest.mark.integration

COPIES = 8
SEEDS = range(2)


def test_each_changed_video_has_a_verdict(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    made = [
        of_codec("mp4", "libx264", "yuv420p", SEEDS),
        of_codec("webm", "libvpx-vp9", "yuv420p", SEEDS),
        of_codec("avi", "mpeg4", "yuv420p", SEEDS),
        of_codec("mpegts", "mpeg2video", "yuv420p", SEEDS),
        of_codec("flv", "flv", "yuv420p", SEEDS),
        of_codec("asf", "wmv2", "yuv420p", SEEDS),
        with_cover(),
    ]
    chance = random.Random(7)
    for number in range(COPIES * len(made)):
        (tmp_path / "files" / str(number)).write_bytes(changed(made[number % len(made)], chance))
    with worker_with(tmp_path, NOTHING, containers=MemberLimits(seconds=10.0)) as worker:
        found = check(worker, tmp_path / "files")
    assert len(found) == COPIES * len(made)
    counts = Counter(result.verdict for result in found.values())
    assert set(counts) <= {Verdict.CLEAN, Verdict.UNDECODED}
    assert counts[Verdict.UNDECODED] > COPIES
    assert counts[Verdict.CLEAN]
    reasons = [result.reason for result in found.values() if result.verdict is Verdict.UNDECODED]
    assert None not in reasons
    assert Reason.PART_FAILED not in reasons
