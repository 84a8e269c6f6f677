"""Pictures with bytes before and behind them: whatever a viewer shows is not clean."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from hashscan.hashing.containers import UNRECOGNISED
from hashscan.hashing.embedded.ends import SEGMENTS_MAX
from hashscan.hashing.embedded.within import containers_within
from hashscan.hashing.formats import sniff
from hashscan.hashing.media.picture_opening import MISSING
from hashscan.hashing.media.samples import samples
from hashscan.hashing.pdq import PDQ
from hashscan.hashing.pread import PreadFile
from hashscan.model import ContainerKind, Entry, MemberLimits, Verdict
from tests.hashing.recognition.disguises import LENGTHS, disguised, tar_of
from tests.hashing.recognition.videos import Form, drawn
from tests.hashing.recognition.videos import encoded as encoded_video
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


def _zip(content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("p.jpg", content)
    return file.getvalue()


HIDING = ("CUR", "DDS", "DIB", "ICNS", "ICO", "PCX", "PPM", "QOI", "SGI", "TIFF")
"""Formats of which the end is not known."""


def hidden_behind(hosts: dict[str, bytes], listed: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield pictures with an archive behind them that 7z opens."""
    junk = bytes(range(256)) * 400
    for form in HIDING:
        host = hosts[form]
        yield f"{form} gzip", host + gzip.compress(listed)
        yield f"{form} xz", host + lzma.compress(listed)
        yield f"{form} tar", host + bytes(-len(host) % 512) + tar_of(listed)
        yield f"{form} ZIP before junk", host + _zip(listed) + junk


def hidden_within(hosts: dict[str, bytes], hidden: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """Yield pictures with something in a part of them that is no pixels."""
    jpeg, png, bitmap, webp, avif = (hosts[form] for form in ("JPEG", "PNG", "BMP", "WEBP", "AVIF"))
    pixels = int.from_bytes(bitmap[10:14], "little")
    for name, content in hidden.items():
        comments = b"".join(
            b"\xff\xfe" + struct.pack(">H", len(part) + 2) + part
            for at in range(0, len(content), 65000)
            for part in (content[at : at + 65000],)
        )
        yield f"JPEG comment {name}", jpeg[:2] + comments + jpeg[2:]
        if name == "transport stream":
            continue
        # Behind the last pixel: libjpeg passes over what is in front of the end.
        yield f"JPEG before its end {name}", jpeg[:-2] + content + jpeg[-2:]
        chunk = struct.pack(">I", len(content)) + b"prVt" + content
        yield f"PNG chunk {name}", png[:33] + chunk + struct.pack(">I", zlib.crc32(chunk[4:])) + png[33:]
        even = content + bytes(len(content) % 2)
        size = len(webp) + len(even)
        yield (
            f"WebP chunk {name}",
            webp[:4] + struct.pack("<I", size) + webp[8:] + b"ABCD" + struct.pack("<I", len(content)) + even,
        )
        start = struct.pack("<I", pixels + len(content))
        yield (
            f"BMP gap {name}",
            bitmap[:10] + start + bitmap[14:pixels] + content + bitmap[pixels:],
        )
        yield f"AVIF free box {name}", avif + struct.pack(">I4s", 8 + len(content), b"free") + content


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "BMP", "WEBP"])
def test_archives_before_the_end_of_a_picture_are_noticed(form: str) -> None:
    """7z opens each of these wherever it is in a picture."""
    content, listed = encoded(SHOWN, form), encoded(scene(6), "PNG")
    kind = sniff(content)
    assert UNRECOGNISED not in containers_within(PreadFile(content), kind)[0]
    archives = [tar_of(listed), _zip(listed) + bytes(80_000), lzma.compress(listed), bz2.compress(listed)]
    for archive in (gzip.compress(listed), *archives):
        file = PreadFile(content[:-2] + archive + content[-2:])
        assert UNRECOGNISED in containers_within(file, kind)[0]


def test_streams_behind_many_fill_bytes_of_a_jpeg_are_noticed() -> None:
    content = encoded(SHOWN, "JPEG")
    kind = sniff(content)
    packets = encoded_video(Form("mpegts", "libx264"))[: 188 * 300]
    comment = b"\xff\xfe" + struct.pack(">H", len(packets) + 2) + packets
    for fill in (b"", b"\xff" * SEGMENTS_MAX):
        file = PreadFile(content[:2] + fill + comment + content[2:])
        assert UNRECOGNISED in containers_within(file, kind)[0]
    file = PreadFile(content[:2] + fill + content[2:])
    assert UNRECOGNISED not in containers_within(file, kind)[0]


@pytest.mark.parametrize(
    ("marker", "name"), [(0xE0, b"JFIF\0"), (0xE1, b"Exif\0\0"), (0xE2, b"ICC_PROFILE\0\1\1"), (0xFE, b"")]
)
@pytest.mark.parametrize("form", ["mpegts", "mpeg"])
def test_streams_that_ffmpeg_plays_in_any_segment_are_noticed(form: str, marker: int, name: bytes) -> None:
    content = encoded(SHOWN, "JPEG")
    stream = encoded_video(Form(form, "mpeg2video"))
    segments = b"".join(
        struct.pack(">BBH", 0xFF, marker, len(name) + len(part) + 2) + name + part
        for part in (stream[at : at + 65000] for at in range(0, len(stream), 65000))
    )
    file = content[:2] + segments + content[2:]
    with av.open(io.BytesIO(file)) as played:
        assert played.format.name == form
    assert UNRECOGNISED in containers_within(PreadFile(file), sniff(file))[0]


@pytest.mark.slow
def test_what_is_hidden_behind_and_within_pictures_is_found(tmp_path: Path) -> None:
    """FFmpeg plays a stream in the comments of a JPEG, and 7z opens archives anywhere in a file."""
    frame = drawn((176, 144))
    listed = encoded(frame, "JPEG", quality=95)
    digest, _ = PDQ().digest(np.asarray(frame.convert("L")))
    hosts = dict(pictures())
    hidden = {
        "transport stream": encoded_video(Form("mpegts", "libx264")),
        "gzip": gzip.compress(listed),
        "ZIP": _zip(listed),
    }
    altered = dict([*hidden_behind(hosts, listed), *hidden_within(hosts, hidden)])
    folder = tmp_path / "files"
    folder.mkdir()
    for number, content in enumerate((*altered.values(), *hosts.values())):
        (folder / f"{number:03}").write_bytes(content)
    with worker_with(tmp_path, Entry("a", "pdq", digest, "A1"), containers=LIMITS) as worker:
        found = check(worker, folder)
    verdicts = [found[f"{number:03}"].verdict for number in range(len(found))]
    missed = [name for name, verdict in zip(altered, verdicts, strict=False) if verdict is not Verdict.MATCH]
    assert missed == []
    # The same pictures with nothing in them; some formats are always undecoded.
    alone = dict(zip(hosts, verdicts[len(altered) :], strict=True))
    assert {form for form in HIDING if alone[form] is not Verdict.CLEAN} == set()
    assert {alone[form] for form in ("JPEG", "PNG", "BMP", "WEBP", "AVIF")} == {Verdict.CLEAN}
