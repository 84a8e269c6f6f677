"""Uploads are matched as whole videos with those of lists."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hashscan.hashing.video.streams import Sampling
from hashscan.model import Entry, MemberLimits, Verdict
from tests.hashing.video.drawn import read, scenes, video
from tests.service.engine.serving import check, run, serving, settings_of, store_list

pytest.importorskip("av")


def film(*seeds: int) -> bytes:
    """A film of a second for each scene, with one key frame."""
    return video(scenes(seeds), form="mp4", gop=1000, options={"sc_threshold": "0"})


def test_an_upload_that_contains_a_listed_video_is_a_match(tmp_path: Path) -> None:
    frames, _ = read(film(1, 2, 3), Sampling.VPDQ)
    values = [frame.runs[0].values[:32] for frame in frames]
    store_list(tmp_path, *(Entry(f"v@{n}/3", "vpdq", value, "A1") for n, value in enumerate(values)))

    async def test() -> None:
        async with serving(replace(settings_of(tmp_path), containers=MemberLimits())) as engine:
            found = await check(engine, film(1, 2, 3, 4))
            assert found.verdict is Verdict.MATCH
            assert [(match.entry_id, match.algorithm) for match in found.result.matches] == [("v", "vpdq")]
            assert (await check(engine, film(5, 6, 7))).verdict is Verdict.CLEAN

    run(test)
