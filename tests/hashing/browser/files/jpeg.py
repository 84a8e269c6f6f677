"""JPEG files: all samplings, inks, orders and profiles; and faults in segments and in the data."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cache

import numpy as np
from PIL import Image

from tests.hashing.browser.files.baseline_jpeg import Component, baseline_jpeg
from tests.hashing.browser.files.drawing import drawn, exif, profiles
from tests.pictures import encoded

SOI, EOI = b"\xff\xd8", b"\xff\xd9"


def segment(marker: int, content: bytes, length: int | None = None) -> bytes:
    """Return a segment; with `length`, one whose stated length is wrong."""
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2 if length is None else length) + content


@cache
def plain(form: str = "RGB", **options: object) -> bytes:
    """Return an ordinary JPEG."""
    return encoded(drawn(1).convert(form), "JPEG", quality=88, **options)


def segments(content: bytes) -> list[bytes]:
    """Return SOI, each segment, and all from the first scan on as the last."""
    pieces, at = [content[:2]], 2
    while content[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(content[at + 2 : at + 4])
        pieces.append(content[at:end])
        at = end
    return [*pieces, content[at:]]


def after_soi(more: bytes, content: bytes | None = None) -> bytes:
    """Return a JPEG with bytes right after its start."""
    content = plain() if content is None else content
    return SOI + more + content[2:]


def without(content: bytes, marker: int) -> bytes:
    """Return a JPEG without the segments of a kind."""
    return b"".join(piece for piece in segments(content) if piece[1] != marker or piece == SOI)


def icc(profile: bytes, pieces: int = 1) -> list[bytes]:
    """Return the segments of a profile."""
    step = -(-len(profile) // pieces)
    return [
        segment(0xE2, b"ICC_PROFILE\0" + bytes((n + 1, pieces)) + profile[n * step : (n + 1) * step])
        for n in range(pieces)
    ]


def inks(*, adobe: int | None, luma: bool) -> bytes:
    """Return a JPEG of four inks, as CMYK or as YCCK, with an Adobe segment or without."""
    cmyk = np.asarray(drawn(1).convert("CMYK"))
    planes = 255 - cmyk
    if luma:
        colours = np.asarray(Image.fromarray(planes[:, :, :3]).convert("YCbCr"))
        planes = np.dstack((colours, planes[:, :, 3]))
    content = baseline_jpeg([Component(planes[:, :, n]) for n in range(4)])
    if adobe is None:
        return content
    return after_soi(segment(0xEE, b"Adobe\0\x64\0\0\0\0" + bytes((adobe,))), content)


SAMPLINGS = {
    "444": "11 11 11",
    "422": "21 11 11",
    "420": "22 11 11",
    "440": "12 11 11",
    "411": "41 11 11",
    "410": "42 11 11",
    "441": "14 11 11",
    "colour-finer": "11 22 22",
    "red-finer": "11 11 22",
    "uneven": "22 21 12",
    "all-22": "22 22 22",
    "311": "31 11 11",
    "31-21": "31 21 11",
}


def files() -> Iterator[tuple[str, bytes]]:
    """Yield names and contents."""
    yield from _whole()
    yield from _of_all_samplings()
    yield from _with_metadata()
    yield from _with_odd_segments()
    yield from _with_broken_data()


def _whole() -> Iterator[tuple[str, bytes]]:
    for form in ("L", "RGB", "CMYK"):
        for progressive in (False, True):
            for quality in (30, 95):
                name = f"{form}-{'progressive' if progressive else 'baseline'}-{quality}.jpg".lower()
                options = {"quality": quality, "progressive": progressive}
                yield name, encoded(drawn(2).convert(form), "JPEG", **options)
    for subsampling in range(3):
        for progressive in (False, True):
            name = f"subsampling-{subsampling}-{'progressive' if progressive else 'baseline'}.jpg"
            yield name, plain(subsampling=subsampling, progressive=progressive)
    yield "optimised.jpg", plain(optimize=True)
    yield "restart-blocks.jpg", plain(restart_marker_blocks=7)
    yield "restart-rows.jpg", plain(restart_marker_rows=1)
    yield "rgb-kept.jpg", plain(keep_rgb=True)
    for width, height in ((2, 1), (7, 9), (161, 119), (17, 200), (400, 16)):
        yield f"size-{width}x{height}.jpg", encoded(drawn(3, width, height), "JPEG", quality=90)
    for adobe in (None, 0, 1, 2, 3):
        for luma in (False, True):
            name = f"inks-{'ycck' if luma else 'cmyk'}-adobe-{'none' if adobe is None else adobe}.jpg"
            yield name, inks(adobe=adobe, luma=luma)
    for adobe in (0, 1, 2, 3):
        colours = without(plain(), 0xE0)
        yield (
            f"rgb-adobe-{adobe}.jpg",
            after_soi(segment(0xEE, b"Adobe\0\x64\0\0\0\0" + bytes((adobe,))), colours),
        )
    for seconds in (1, 2):
        others = [drawn(seed) for seed in range(20, 20 + seconds)]
        yield f"multi-picture-{seconds}.jpg", encoded(drawn(1), "MPO", save_all=True, append_images=others)


def _of_all_samplings() -> Iterator[tuple[str, bytes]]:
    planes = np.asarray(drawn(4).convert("YCbCr"))
    for name, sampling in SAMPLINGS.items():
        factors = [(int(each[0]), int(each[1])) for each in sampling.split()]
        components = [Component(planes[:, :, n], *factor) for n, factor in enumerate(factors)]
        yield f"sampling-{name}.jpg", baseline_jpeg(components)
        yield f"sampling-{name}-scans.jpg", baseline_jpeg(components, interleaved=False)
    yield "sampling-restart.jpg", baseline_jpeg([Component(planes[:, :, n]) for n in range(3)], restart=5)
    yield "two-components.jpg", baseline_jpeg([Component(planes[:, :, n]) for n in range(2)])
    yield "grey-sampled-22.jpg", baseline_jpeg([Component(planes[:, :, 0], 2, 2)])
    yield "grey-sampled-13.jpg", baseline_jpeg([Component(planes[:, :, 0], 1, 3)])
    for name, ids in (("rgb", b"RGB"), ("zero", b"\0\1\2"), ("odd", b"\x63\x07\x08"), ("equal", b"\1\1\1")):
        for more in ("", "-jfif"):
            components = [Component(planes[:, :, n], identifier=ids[n]) for n in range(3)]
            content = baseline_jpeg(components)
            head = segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0") if more else b""
            yield f"ids-{name}{more}.jpg", after_soi(head, content)
    colours = np.asarray(drawn(4))
    components = [Component(colours[:, :, n], identifier=b"RGB"[n]) for n in range(3)]
    yield "ids-rgb-colours.jpg", baseline_jpeg(components)


def _with_metadata() -> Iterator[tuple[str, bytes]]:
    for orientation in range(10):
        yield f"orientation-{orientation}.jpg", plain(exif=b"Exif\0\0" + exif(orientation))
    yield "orientation-6-big.jpg", plain(exif=b"Exif\0\0" + exif(6, ">"))
    yield "orientation-6-grey.jpg", plain("L", exif=b"Exif\0\0" + exif(6))
    yield "orientation-6-inks.jpg", plain("CMYK", exif=b"Exif\0\0" + exif(6))
    two = [segment(0xE1, b"Exif\0\0" + exif(number)) for number in (6, 3)]
    yield "orientation-twice.jpg", after_soi(b"".join(two))
    yield "orientation-before-jfif.jpg", after_soi(two[0])
    yield "exif-cut.jpg", after_soi(segment(0xE1, b"Exif\0\0" + exif(6)[:15]))
    yield "exif-empty.jpg", after_soi(segment(0xE1, b"Exif\0\0"))
    yield "exif-odd-order.jpg", after_soi(segment(0xE1, b"Exif\0\0XX" + exif(6)[2:]))
    for name, profile in profiles().items():
        yield f"profile-{name}.jpg", plain(icc_profile=profile)
        yield f"profile-{name}-progressive.jpg", plain(icc_profile=profile, progressive=True)
    folded = profiles()["folded"]
    yield "profile-on-grey.jpg", plain("L", icc_profile=folded)
    yield "profile-on-inks.jpg", plain("CMYK", icc_profile=folded)
    yield "profile-in-pieces.jpg", after_soi(b"".join(icc(folded, 5)))
    yield "profile-out-of-order.jpg", after_soi(b"".join(icc(folded, 3)[::-1]))
    yield "profile-piece-missing.jpg", after_soi(b"".join(icc(folded, 3)[:2]))
    yield "profile-piece-twice.jpg", after_soi(b"".join(icc(folded, 2) + icc(folded, 2)[1:]))
    yield "profile-cut.jpg", after_soi(icc(folded[:200])[0])
    yield "profile-garbage.jpg", after_soi(icc(bytes(range(200)))[0])


def _with_odd_segments() -> Iterator[tuple[str, bytes]]:
    bare = without(plain(), 0xE0)
    yield "no-jfif.jpg", bare
    jfif = b"JFIF\0\1\1\0\0\1\0\1\0\0"
    for size in (0, 1, 4, 5, 7, 9, 13):
        yield f"short-jfif-{size}.jpg", after_soi(segment(0xE0, jfif[:size]), bare)
    adobe = b"Adobe\0\x64\0\0\0\0\1"
    for size in (0, 3, 5, 6, 8, 11):
        yield f"short-adobe-{size}.jpg", after_soi(segment(0xEE, adobe[:size]), bare)
    for size in (0, 5, 11, 12, 13, 14):
        yield f"short-icc-{size}.jpg", after_soi(segment(0xE2, b"ICC_PROFILE\0\1\1"[:size]))
    for number in (b"\0\1", b"\2\1", b"\1\0", b"\xff\xff"):
        yield f"icc-number-{number.hex()}.jpg", after_soi(segment(0xE2, b"ICC_PROFILE\0" + number + b"abc"))
    yield "jfif-thumbnail-too-long.jpg", after_soi(segment(0xE0, jfif[:12] + b"\xff\xff"), bare)
    yield "jfif-version-9.jpg", after_soi(segment(0xE0, b"JFIF\0\x09\x09\0\0\1\0\1\0\0"), bare)
    yield "jfif-density-zero.jpg", after_soi(segment(0xE0, b"JFIF\0\1\1\1\0\0\0\0\0\0"), bare)
    for name, more in {
        "ff01": b"\xff\x01",
        "ff01-twice": b"\xff\x01\xff\x01",
        "fill": b"\xff\xff\xff\xff",
        "zeros": bytes(8),
        "text": b"junk between markers",
        "one-byte": b"\x12",
        "ff00": b"\xff\x00",
        "restart": b"\xff\xd3",
        "soi": SOI,
        "reserved": segment(0xF0, b"abc"),
        "jpg-reserved": segment(0xC8, b"abc"),
        "comment-empty": segment(0xFE, b""),
        "comment": segment(0xFE, b"comment"),
        "dac": segment(0xCC, b"\0\x10"),
        "photoshop-cut": segment(0xED, b"Photoshop 3.0\x008BIM\x04\x04"),
        "xmp": segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x>"),
        "xmp-cut": segment(0xE1, b"http://ns.adobe.com/xap/1.0/"),
        "mpf": segment(0xE2, b"MPF\0II*\0"),
        "mpf-empty": segment(0xE2, b"MPF\0"),
        "flashpix": segment(0xE2, b"FPXR\0"),
        "many": b"".join(segment(0xE0 + n % 16, bytes(n)) for n in range(200)),
        "long": segment(0xEF, bytes(65533)),
        "dri": segment(0xDD, b"\0\0"),
        "dnl": segment(0xDC, b"\0\x78"),
        "exp": segment(0xDF, b"\x11"),
        "length-0": b"\xff\xe5\0\0",
        "length-1": b"\xff\xe5\0\1",
        "length-over": segment(0xE5, b"abcd", 4000),
    }.items():
        yield f"after-soi-{name}.jpg", after_soi(more)
        pieces = segments(plain())
        yield f"before-scan-{name}.jpg", b"".join(pieces[:-1]) + more + pieces[-1]
        if name in {"ff01", "zeros", "text", "one-byte", "restart", "fill"}:
            yield f"amid-{name}.jpg", b"".join(pieces[:3]) + more + b"".join(pieces[3:])
            yield f"progressive-{name}.jpg", after_soi(more, plain(progressive=True))
    yield "behind-end.jpg", plain() + b"what follows" * 100
    yield "two-pictures.jpg", plain() + encoded(drawn(9), "JPEG")
    yield "no-end.jpg", plain().removesuffix(EOI)
    yield "end-twice.jpg", plain() + EOI


def _with_broken_data() -> Iterator[tuple[str, bytes]]:
    for progressive in (False, True):
        content, name = plain(progressive=progressive), "progressive" if progressive else "baseline"
        for part in (35, 60, 85, 97):
            yield f"cut-{part}-{name}.jpg", content[: len(content) * part // 100]
        start = len(content) - len(segments(content)[-1]) + 20
        for number in range(4):
            random = np.random.default_rng(number)
            spoilt = bytearray(content)
            for place in random.integers(start, len(content) - 2, 1 + 2 * number):
                spoilt[place] = random.integers(0, 255)
            yield f"spoilt-{number}-{name}.jpg", bytes(spoilt)
        middle = (start + len(content)) // 2
        for what, more in (
            ("marker", b"\xff\xc7"),
            ("eoi", EOI),
            ("soi", SOI),
            ("restart", b"\xff\xd2"),
            ("app", segment(0xE0, b"abc")),
        ):
            yield f"in-scan-{what}-{name}.jpg", content[:middle] + more + content[middle:]
    content = plain()
    frame = next(piece for piece in segments(content) if piece[1] == 0xC0)
    for name, changed in {
        "height-0": frame[:5] + b"\0\0" + frame[7:],
        "height-more": frame[:5] + struct.pack(">H", 130) + frame[7:],
        "height-less": frame[:5] + struct.pack(">H", 60) + frame[7:],
        "width-more": frame[:7] + struct.pack(">H", 200) + frame[9:],
        "twice": frame + frame,
        "extended": frame[:1] + b"\xc1" + frame[2:],
        "longer": frame[:2] + struct.pack(">H", len(frame)) + frame[4:] + b"\0\0",
    }.items():
        yield f"frame-{name}.jpg", content.replace(frame, changed)
    dnl = content[: content.index(frame)] + frame[:5] + b"\0\0" + frame[7:]
    dnl += content[content.index(frame) + len(frame) : -2] + segment(0xDC, b"\0\x78") + EOI
    yield "frame-height-in-dnl.jpg", dnl
    tables = [piece for piece in segments(content) if piece[1] == 0xC4]
    yield "no-huffman-tables.jpg", without(content, 0xC4)
    yield "one-huffman-table.jpg", content.replace(b"".join(tables[1:]), b"")
    quantization = [piece for piece in segments(content) if piece[1] == 0xDB]
    yield "one-quantization-table.jpg", content.replace(quantization[-1], b"")
    wide = segment(0xDB, b"\x10" + b"".join(bytes((0, value)) for value in quantization[0][5:69]))
    yield "quantization-16-bit.jpg", content.replace(quantization[0], wide)
    restarts = plain(restart_marker_blocks=7)
    yield "restart-wrong-order.jpg", restarts.replace(b"\xff\xd1", b"\xff\xd5", 1)
    yield "restart-missing.jpg", restarts.replace(b"\xff\xd1", b"", 1)
