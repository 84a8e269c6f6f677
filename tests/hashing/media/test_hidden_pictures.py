"""Pictures that phones, galleries and other programs show of a picture file besides the one that it is."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from hashscan.hashing.media.picture_opening import MISSING
from hashscan.hashing.pdq import PDQ
from hashscan.model import ContainerKind, Entry, MemberLimits, Verdict
from tests.hashing.video.drawn import scenes, video
from tests.pictures import counts_faults, encoded, scene
from tests.scan.workers.test_worker import check, worker_with

pytestmark = [pytest.mark.integration, counts_faults]

FIRST, HIDDEN = 1, 2
PICTURE = scene(HIDDEN)
SMALL = scene(HIDDEN, 160, 120)
LIMITS = MemberLimits(seconds=60.0, kinds=tuple(ContainerKind))
JPEG = encoded(scene(FIRST), quality=85)
THUMBNAIL = encoded(SMALL, quality=80)
FEW = SMALL.quantize(32)
DECOY = b"\xff\xd8\xff\xc0\0\x0b\x08\0\1\0\1\1\0\0\0\xff\xe5\x60\0" + bytes(100)
"""Begin of a JPEG with a long segment."""
CODED = base64.b64encode(THUMBNAIL)


def of(form: str, **options: Any) -> bytes:
    return encoded(scene(FIRST), form, **options)


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + kind + content


def segment(marker: int, content: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", 2 + len(content)) + content


def with_segments(*segments: bytes) -> bytes:
    return JPEG[:2] + b"".join(segments) + JPEG[2:]


def with_maker_note() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 1
    exif[0x927C] = b"a maker's note" + THUMBNAIL
    return of("JPEG", exif=exif)


def resources() -> bytes:
    """Photoshop's resource of a thumbnail."""
    content = struct.pack(">IIIIIIHH", 1, 160, 120, 480, 57600, len(THUMBNAIL), 24, 1) + THUMBNAIL
    return b"8BIM" + struct.pack(">HHI", 1036, 0, len(content)) + content + b"\0" * (len(content) % 2)


def xmp(text: bytes = CODED) -> bytes:
    lines = b"&#xA;".join(text[place : place + 76] for place in range(0, len(text), 76))
    return b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><xmpGImg:image>" + lines + b"</xmpGImg:image></x:xmpmeta>"


def extended() -> list[bytes]:
    """Extended XMP with Google's `GImage:Data`, in three segments."""
    text = b'<rdf:Description GImage:Data="' + CODED + b'"/>'
    step = len(text) // 3 + 1
    head = b"http://ns.adobe.com/xmp/extension/\0" + b"A" * 32
    return [
        segment(0xE1, head + struct.pack(">II", len(text), place) + text[place : place + step])
        for place in range(0, len(text), step)
    ]


def exif_of(thumbnail: bytes = THUMBNAIL) -> bytes:
    """EXIF data with a thumbnail in the second directory."""
    first = struct.pack("<HHHIII", 1, 0x0128, 3, 1, 2, 26)
    second = struct.pack("<HHHIIHHIII", 2, 0x0201, 4, 1, 56, 0x0202, 4, 1, len(thumbnail), 0)
    return (b"II*\0\x08\0\0\0" + first + second).ljust(56, b"\0") + thumbnail


def png_with(kind: bytes, content: bytes) -> bytes:
    png = of("PNG")
    chunk = struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    return png[:33] + chunk + png[33:]


def raw_profile() -> bytes:
    exif = b"Exif\0\0" + exif_of()
    text = b"\nexif\n%8d\n" % len(exif) + b"\n".join(
        exif.hex().encode()[place : place + 72] for place in range(0, 2 * len(exif), 72)
    )
    return png_with(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text + b"\n"))


def tiff_with(tag: int, content: bytes) -> bytes:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[tag] = content
    tags.tagtype[tag] = 7
    return of("TIFF", tiffinfo=tags)


def gif_with_xmp() -> bytes:
    gif = of("GIF")
    trailer = b"\1" + bytes(range(255, -1, -1)) + b"\0"
    return gif[:-1] + b"!\xff\x0bXMP DataXMP" + xmp() + trailer + gif[-1:]


def multi_picture(number: int) -> bytes:
    """A multi-picture JPEG whose last picture is the hidden one."""
    file = io.BytesIO()
    small = [scene(FIRST, 64, 48) for _ in range(number - 2)]
    scene(FIRST).save(file, "MPO", save_all=True, append_images=[*small, PICTURE])
    return file.getvalue()


def subdirectory(content: bytes, following: bytes = b"") -> bytes:
    """A TIFF whose first directory names, as DNG does, another one: that of another TIFF behind it."""
    first = encoded(scene(FIRST), "TIFF")
    start = int.from_bytes(first[4:8], "little")
    count = int.from_bytes(first[start : start + 2], "little")
    entries = first[start + 2 : start + 2 + 12 * count]
    place = len(first) + len(first) % 2
    body = bytearray(first.ljust(place, b"\0"))
    inner = int.from_bytes(content[4:8], "little")
    moved = bytearray(content)
    size = int.from_bytes(content[inner : inner + 2], "little")
    for number in range(size):
        at = inner + 2 + 12 * number
        tag, kind, length, _ = struct.unpack_from("<HHII", moved, at)
        if tag == 273 or length * {3: 2, 4: 4, 5: 8}.get(kind, 1) > 4:
            struct.pack_into("<I", moved, at + 8, struct.unpack_from("<I", moved, at + 8)[0] + place)
        if tag == 273 and length > 1:
            raise AssertionError("one strip is expected")
    body += moved + following
    directory = len(body) + len(body) % 2
    body = body.ljust(directory, b"\0")
    more = struct.pack("<HHII", 330, 4, 1, place + inner)
    listed = [entries[at : at + 12] for at in range(0, len(entries), 12)]
    ordered = sorted([*listed, more], key=lambda entry: int.from_bytes(entry[:2], "little"))
    body += struct.pack("<H", len(ordered)) + b"".join(ordered) + bytes(4)
    struct.pack_into("<I", body, 4, directory)
    return bytes(body)


def one_strip(image: Image.Image, **tags: int) -> bytes:
    file = io.BytesIO()
    info = TiffImagePlugin.ImageFileDirectory_v2()
    info[278] = image.height
    image.save(file, "TIFF", tiffinfo=info)
    return file.getvalue()


def sensor_data() -> bytes:
    """A TIFF whose samples are those of a camera's sensor."""
    content = bytearray(one_strip(PICTURE.convert("L")))
    start = int.from_bytes(content[4:8], "little")
    for number in range(int.from_bytes(content[start : start + 2], "little")):
        at = start + 2 + 12 * number
        if content[at : at + 2] == b"\x06\1":
            struct.pack_into("<H", content, at + 8, 32803)
    return bytes(content)


def icons(*entries: tuple[bytes, bytes]) -> bytes:
    content = b"".join(kind + struct.pack(">I", 8 + len(data)) + data for kind, data in entries)
    return b"icns" + struct.pack(">I", 8 + len(content)) + content


def plain_icon() -> bytes:
    """An icon of 128 pixels without compression: a run of each byte."""
    pixels = np.asarray(PICTURE.resize((128, 128))).reshape(-1, 3)
    planes = b"".join(pixels[:, band].tobytes() for band in range(3))
    return bytes(4) + b"".join(
        bytes((127,)) + planes[place : place + 128] for place in range(0, len(planes), 128)
    )


def heif(image: Image.Image, *others: Image.Image) -> bytes:
    import pillow_heif

    file = io.BytesIO()
    found = pillow_heif.from_pillow(image)
    for other in others:
        found.add_from_pillow(other)
    found.save(file, quality=60)
    return file.getvalue()


def pictures() -> tuple[dict[str, bytes], dict[str, bytes], dict[str, bytes]]:
    """Return files by the verdict that they must have: match, undecoded, clean."""
    motion = video(scenes([HIDDEN], 20, (320, 240)), form="mp4")
    matched = {
        "motion.jpg": JPEG + motion,
        "samsung.jpg": JPEG + b"\0\0\x30\x0a\x10\0\0\0MotionPhoto_Data" + motion + b"SEFHk\0\0\0\1\0\0\0SEFT",
        "motion-progressive.jpg": of("JPEG", progressive=True) + motion,
        "motion.png": of("PNG") + motion,
        "motion.gif": of("GIF") + motion,
        "motion.webp": of("WEBP") + motion,
        "motion.bmp": of("BMP") + motion,
        "motion.avif": of("AVIF", max_threads=1) + box(b"mpvd", motion),
        "behind.avif": of("AVIF", max_threads=1) + motion,
        "another.jpg": JPEG + encoded(PICTURE),
        "another-after-padding.jpg": JPEG + bytes(3000) + b"\xff" * 5 + encoded(PICTURE),
        "another-of-three.jpg": JPEG + JPEG + b"\0" + encoded(PICTURE),
        "png-behind.jpg": JPEG + encoded(PICTURE, "PNG"),
        "extension.jpg": with_segments(segment(0xE0, b"JFXX\0\x10" + THUMBNAIL)),
        "photoshop.jpg": with_segments(segment(0xED, b"Photoshop 3.0\0" + resources())),
        "xmp.jpg": with_segments(segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp())),
        "xmp-png.jpg": with_segments(
            segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp(base64.b64encode(encoded(FEW, "PNG"))))
        ),
        "extended.jpg": with_segments(*extended()),
        "maker.jpg": with_maker_note(),
        "decoy.jpg": with_segments(segment(0xE2, DECOY + THUMBNAIL)),
        "exif.png": png_with(b"eXIf", exif_of()),
        "profile.png": raw_profile(),
        "exif.webp": of("WEBP", exif=b"Exif\0\0" + exif_of()),
        "xmp.webp": of("WEBP", xmp=xmp()),
        "exif.avif": of("AVIF", max_threads=1, exif=b"Exif\0\0" + exif_of()),
        "xmp.tif": tiff_with(700, xmp()),
        "photoshop.tif": tiff_with(34377, resources()),
        "xmp.gif": gif_with_xmp(),
        "sixteen.mpo": multi_picture(17),
        "thirty.mpo": multi_picture(30),
        "smaller.icns": icons(
            (b"ic09", encoded(scene(FIRST, 512, 512), "PNG")),
            (b"ic08", encoded(scene(HIDDEN, 256, 256), "PNG")),
        ),
        "plain.icns": icons((b"ic07", encoded(scene(FIRST, 128, 128), "PNG")), (b"it32", plain_icon())),
        "below.tif": subdirectory(one_strip(PICTURE)),
    }
    undecoded = {
        "palette.jpg": with_segments(segment(0xE0, b"JFXX\0\x11\1\1" + bytes(769))),
        "sensor.dng": subdirectory(sensor_data()),
        "many.jpg": with_segments(*[segment(0xE5, encoded(scene(FIRST, 160, 120)))] * 33),
    }
    clean = {
        "plain.jpg": JPEG,
        "padded.jpg": JPEG + bytes(100_000),
        "text.jpg": JPEG + b"words\n" * 100,
        "plain.png": of("PNG"),
        "plain.gif": of("GIF"),
        "plain.bmp": of("BMP"),
        "plain.webp": of("WEBP"),
        "plain.tif": of("TIFF"),
        "plain.avif": of("AVIF", max_threads=1),
        "three.mpo": multi_picture(3).replace(encoded(PICTURE), JPEG),
    }
    if "HEIF" not in MISSING:
        matched |= {
            "motion.heic": heif(scene(FIRST)) + box(b"mpvd", motion),
            "behind.heic": heif(scene(FIRST)) + motion,
            "two.heic": heif(scene(FIRST), PICTURE),
        }
        clean["plain.heic"] = heif(scene(FIRST))
    return matched, undecoded, clean


def test_pictures_that_only_some_programs_show(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    matched, undecoded, clean = pictures()
    for name, content in (matched | undecoded | clean).items():
        (folder / name).write_bytes(content)
    value, _ = PDQ().digest(np.asarray(PICTURE.convert("L")))
    with worker_with(tmp_path, Entry("a", "pdq", value, "A1"), containers=LIMITS) as worker:
        found = check(worker, folder)
    assert {name: each.verdict for name, each in found.items()} == {
        **dict.fromkeys(matched, Verdict.MATCH),
        **dict.fromkeys(undecoded, Verdict.UNDECODED),
        **dict.fromkeys(clean, Verdict.CLEAN),
    }
