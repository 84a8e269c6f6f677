"""Pictures with bytes before and behind them: whatever a viewer shows is not clean."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from hashscan.hashing.media.picture_opening import MISSING
from hashscan.hashing.media.samples import samples
from hashscan.hashing.pdq import PDQ
from hashscan.model import ContainerKind, Entry, MemberLimits, Verdict
from tests.hashing.recognition.disguises import LENGTHS, disguised
from tests.pictures import counts_faults, encoded, scene
from tests.scan.workers.test_worker import check, worker_with

pytestmark = [pytest.mark.integration, counts_faults]

SHOWN = scene(7)
LIMITS = MemberLimits(seconds=60.0, kinds=tuple(ContainerKind))
NEAR = 31
FORMS = (
    *("AVIF", "BLP", "BMP", "DDS", "DIB", "EPS", "GIF", "ICNS", "ICO", "JPEG", "JPEG2000", "MPO", "MSP"),
    *("PALM", "PCX", "PDF", "PNG", "PPM", "QOI", "SGI", "SPIDER", "TGA", "TIFF", "WEBP", "XBM"),
)
"""Formats that Pillow writes, except one that it gives up (IM)."""
_MODES = {"MSP": "1", "XBM": "1", "PALM": "1", "SPIDER": "F", "BLP": "P"}


def pictures() -> Iterator[tuple[str, bytes]]:
    """Yield each format, and the picture in it."""
    for form in FORMS:
        image = SHOWN.convert(_MODES[form]) if form in _MODES else SHOWN
        options = {"max_threads": 1} if form == "AVIF" else {}
        yield form, encoded(image.resize((512, 512)) if form == "ICNS" else image, form, **options)
    yield "CUR", samples()["CUR"]
    if "HEIF" not in MISSING:
        import pillow_heif

        file = io.BytesIO()
        pillow_heif.from_pillow(SHOWN).save(file)
        yield "HEIF", file.getvalue()
    if "JXL" not in MISSING:
        yield "JXL", encoded(SHOWN, "JXL")
    yield "SVG", b'<svg xmlns="http://www.w3.org/2000/svg"><rect width="9" height="9"/></svg>'


def is_shown(content: bytes, value: int) -> str:
    """The libraries that show the picture by probing, whatever the name is."""
    found = []
    for name, show in (("libavformat", _by_av), ("Pillow", _by_pillow)):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                image = show(content)
        except Exception:
            continue
        digest, _ = PDQ().digest(np.asarray(image.convert("L")))
        if (int.from_bytes(digest) ^ value).bit_count() <= NEAR:
            found.append(name)
    return ", ".join(found)


def _by_av(content: bytes) -> Image.Image:
    with av.open(io.BytesIO(content)) as file:
        return next(file.decode(video=0)).to_image()


def _by_pillow(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


def assert_no_shown_is_clean(tmp_path: Path, lengths: tuple[int, ...]) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    contents = {}
    for form, content in pictures():
        for number, altered in enumerate(disguised(content, lengths)):
            name = f"{form}-{number:02}"
            contents[name] = altered
            (folder / name).write_bytes(altered.content)
    digest, _ = PDQ().digest(np.asarray(SHOWN.convert("L")))
    with worker_with(tmp_path, Entry("a", "pdq", digest, "A1"), containers=LIMITS) as worker:
        found = check(worker, folder)
    value = int.from_bytes(digest)
    clean = [name for name, result in found.items() if result.verdict is Verdict.CLEAN]
    shown = {name: is_shown(contents[name].content, value) for name in clean}
    missed = {f"{name}: {contents[name].how}": by for name, by in shown.items() if by}
    assert missed == {}


@pytest.mark.slow
def test_more_bytes_before_and_behind(tmp_path: Path) -> None:
    assert_no_shown_is_clean(tmp_path, LENGTHS)
