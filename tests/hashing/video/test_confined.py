"""Videos are decoded as well in the sandbox as outside."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from hashscan.hashing.video.streams import Sampling
from hashscan.sandbox.client import DecoderProgram, Sandbox, SandboxOptions
from tests.examples import quick_first
from tests.hashing.video.drawn import read
from tests.hashing.video.test_frames import FILES, of_codec

PROGRAM = DecoderProgram("tests.hashing.video.program:load", (), 4096)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(PROGRAM, SandboxOptions("auto")) as sandbox:
        yield sandbox


@pytest.mark.integration
@pytest.mark.parametrize("sampling", quick_first(Sampling, 2))
def test_confined_decoders_find_the_same(sampling: Sampling, sandbox: Sandbox) -> None:
    for file in (
        *FILES,
        ("avi", "rawvideo", "bgr24"),
        ("mov", "qtrle", "rgb24"),
        ("nut", "ffv1", "bgr0"),
    ):
        content = of_codec(*file)
        descriptor = os.memfd_create("video")
        os.write(descriptor, content)
        reply = sandbox.finish(sandbox.begin(descriptor, sampling.encode(), owner=1))
        os.close(descriptor)
        found, _ = read(content, sampling)
        assert reply == b"".join(frame.runs[0].values[:32] for frame in found) + b"None", file
