"""Files of several pictures in a real worker with real decoders: what is found, and what cuts it off."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hashscan.hashing import formats
from hashscan.hashing.media import picture_opening
from hashscan.hashing.media.samples import samples
from hashscan.lists.store import ListStore
from hashscan.matching.worker_setup import algorithms_to_compute, asked_algorithms
from hashscan.model import Entry, MemberLimits, Reason, Verdict
from hashscan.sandbox.client import SandboxOptions
from hashscan.scan.workers.worker import Worker
from tests.examples import quick_first
from tests.hashing.video.test_lossless_jpeg import by_ffmpeg
from tests.pictures import counts_faults, encoded, scene
from tests.scan.workers.test_worker import SETUP, check, digest_of

pytestmark = pytest.mark.usefixtures("forked_zygotes")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    return folder


@contextmanager
def worker_for(
    tmp_path: Path, listed: Image.Image, containers: MemberLimits | None = None
) -> Iterator[Worker]:
    """A worker with a list that has the PDQ of one picture."""
    value = digest_of(encoded(listed, "PNG"), "pdq", tmp_path)
    store = ListStore(tmp_path / "lists")
    store.import_entries("ours", [Entry("e", "pdq", value, "A1")], "test")
    with store.open(["ours"], datetime.now(UTC)) as opened:
        algorithms = algorithms_to_compute(asked_algorithms(opened.handles))
        # A thousand frames take numpy longer than a picture, above all beside other tests.
        patient = SandboxOptions("auto", seconds=60.0)
        setup = replace(SETUP, lists=opened.handles, algorithms=algorithms, sandbox=patient)
        with Worker(replace(setup, containers=containers)) as worker:
            yield worker


def several(count: int, form: str, **options: object) -> bytes:
    first, *others = [scene(seed) for seed in range(count)]
    return encoded(first, form, save_all=True, append_images=others, **options)


@pytest.mark.parametrize(
    ("form", "description"),
    quick_first(
        [
            ("GIF", "frame 3"),
            ("WEBP", "frame 3"),
            ("PNG", "frame 3"),
            ("TIFF", "page 3"),
            pytest.param("MPO", "picture 3", marks=counts_faults),
        ],
        2,
    ),
)
def test_a_finding_names_the_frame_or_page(tmp_path: Path, files: Path, form: str, description: str) -> None:
    (files / "several").write_bytes(several(4, form))
    with worker_for(tmp_path, scene(2)) as worker:
        found = check(worker, files)["several"]
    assert (found.verdict, found.reason) == (Verdict.MATCH, None)
    assert found.matches[0].variant == description
    assert description in found.because


def test_a_mirrored_frame_is_found(tmp_path: Path, files: Path) -> None:
    (files / "several").write_bytes(several(3, "PNG"))
    with worker_for(tmp_path, scene(2).transpose(Image.Transpose.FLIP_LEFT_RIGHT)) as worker:
        found = check(worker, files)["several"]
    assert found.verdict is Verdict.MATCH
    assert found.matches[0].variant == "frame 3, mirrored"


def test_a_preview_is_found(tmp_path: Path, files: Path) -> None:
    """A picture that was painted over keeps the preview of what it was."""
    preview = encoded(scene(2).resize((160, 120)))
    data = b"Exif\0\0II*\0" + struct.pack("<IHI", 8, 0, 14)
    data += struct.pack("<HHHIIHHIII", 2, 0x0201, 4, 1, 44, 0x0202, 4, 1, len(preview), 0) + preview
    (files / "painted.jpg").write_bytes(encoded(scene(1), exif=data))
    with worker_for(tmp_path, scene(2)) as worker:
        found = check(worker, files)["painted.jpg"]
    assert found.verdict is Verdict.MATCH
    # The preview is small, and its enlarged rendering is nearer to the entry.
    assert found.matches[0].variant == "preview, enlarged"


def animation(frames: int) -> bytes:
    """A small GIF of many frames, put together by hand."""
    pieces = [several(2, "GIF")[:-1]]
    file = io.BytesIO()
    Image.new("L", (8, 8)).save(file, "GIF")
    one = file.getvalue()
    patch = one[one.index(b",", 13 + 3 * (2 << (one[10] & 7))) : -1]
    return b"".join([*pieces, *[patch] * (frames - 2), b";"])


@pytest.mark.slow
def test_frames_beyond_the_limit_are_a_counted_reason_and_those_before_it_match(
    tmp_path: Path, files: Path
) -> None:
    (files / "long.gif").write_bytes(animation(1001))
    (files / "full.gif").write_bytes(animation(1000))
    with worker_for(tmp_path, scene(1)) as worker:
        found = check(worker, files)
    for name, reason in (("long.gif", Reason.TOO_MANY), ("full.gif", None)):
        assert found[name].verdict is Verdict.MATCH
        assert found[name].matches[0].variant == "frame 2"
        assert found[name].reason is reason
    with worker_for(tmp_path, scene(7)) as worker:
        found = check(worker, files)
    assert (found["long.gif"].verdict, found["full.gif"].verdict) == (Verdict.UNDECODED, Verdict.CLEAN)


def test_frames_alike_cost_no_room(tmp_path: Path, files: Path) -> None:
    """Without, a hundred frames of one scene would be hundreds of records."""
    (files / "still.gif").write_bytes(animation(900))
    with worker_for(tmp_path, scene(7)) as worker:
        found = check(worker, files)["still.gif"]
    assert (found.verdict, found.reason) == (Verdict.CLEAN, None)


@pytest.mark.skipif(not picture_opening.heif_available(), reason="the extra heif is not installed")
def test_heif_is_decoded_behind_the_walls(files: Path) -> None:
    (files / "photo.heic").write_bytes(samples()["HEIF"])
    with Worker(SETUP) as worker:
        (result,) = check(worker, files).values()
        level = worker.sandbox.level
    assert level is not None
    assert level.mode == "auto"
    assert (result.verdict, result.reason) == (Verdict.CLEAN, None)
    assert result.picture is not None
    assert (result.picture.format, result.picture.width) == ("HEIF", 16)
    assert "pdq" in {digest.algorithm for digest in result.digests}


@pytest.mark.skipif(picture_opening.heif_available(), reason="the extra heif is installed")
def test_without_its_extra_heif_comes_with_advice(files: Path) -> None:
    (files / "photo.heic").write_bytes(samples()["HEIF"])
    with Worker(SETUP) as worker:
        (result,) = check(worker, files).values()
    assert (result.verdict, result.reason) == (Verdict.UNDECODED, Reason.UNSUPPORTED)
    assert "install hashscan[heif]" in result.detail


@pytest.mark.skipif(formats.counts_faults(), reason="the module in C is there")
def test_without_the_module_in_c_a_jpeg_comes_with_advice(files: Path) -> None:
    (files / "photo.jpg").write_bytes(encoded(scene(1)))
    with Worker(SETUP) as worker:
        (result,) = check(worker, files).values()
    assert (result.verdict, result.reason) == (Verdict.UNDECODED, Reason.UNSUPPORTED)
    assert result.picture is not None
    assert "C compiler" in result.detail


def test_digests_to_make_a_list_of(files: Path) -> None:
    # Not a GIF: with its few colours it would count as drawn, of which lists get no parts.
    (files / "several").write_bytes(several(3, "PNG"))
    for augment, variants in (
        ((), []),
        (("frames",), ["frame 2", "frame 3"]),
        (("crop",), [f"crop {number}" for number in range(1, 18)]),
        (("shape", "trimmed"), [f"shape {number}" for number in range(1, 5)]),
    ):
        with Worker(replace(SETUP, variants=(), augment=augment)) as worker:
            (result,) = check(worker, files).values()
        assert [found.variant for found in result.augmented] == variants
        assert all(found.digest.algorithm == "pdq" for found in result.augmented)
    assert os.listdir(files) == ["several"]


@counts_faults
def test_a_jpeg_that_only_ffmpeg_decodes(tmp_path: Path, files: Path) -> None:
    """The decoder of containers decodes it, since that has FFmpeg; so it is found by what it shows."""
    (files / "photo.jpg").write_bytes(by_ffmpeg("jpegls", np.asarray(scene(2)), "rgb24"))
    (files / "other.jpg").write_bytes(by_ffmpeg("jpegls", np.asarray(scene(3)), "rgb24"))
    with worker_for(tmp_path, scene(2), MemberLimits()) as worker:
        found = check(worker, files)
    assert (found["photo.jpg"].verdict, found["photo.jpg"].reason) == (Verdict.MATCH, None)
    assert (found["other.jpg"].verdict, found["other.jpg"].reason) == (Verdict.CLEAN, None)
