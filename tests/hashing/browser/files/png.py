"""PNG files: all colour types, depths and chunks; and faults."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import product

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.hashing.browser.files.drawing import HEIGHT, WIDTH, drawn, exif, grey, profiles, rgb
from tests.pictures import encoded

SIGNATURE = b"\x89PNG\r\n\x1a\n"
END = b"\0\0\0\0IEND\xaeB`\x82"
GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
DEPTHS = {GREY: (1, 2, 4, 8, 16), RGB: (8, 16), PALETTE: (1, 2, 4, 8), GREY_ALPHA: (8, 16), RGBA: (8, 16)}
_PASSES = ((0, 8, 0, 8), (0, 8, 4, 8), (4, 8, 0, 4), (0, 4, 2, 4), (2, 4, 0, 2), (0, 2, 1, 2), (1, 2, 0, 1))
"""The passes of interlacing: first row, step, first column, step."""

Samples = NDArray[np.uint16]


def chunk(kind: bytes, content: bytes = b"", *, crc: int = 0) -> bytes:
    """Return a chunk, whose checksum is spoilt by `crc`."""
    return (
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content) ^ crc)
    )


def header(
    kind: int = RGB, depth: int = 8, interlaced: int = 0, size: tuple[int, int] = (WIDTH, HEIGHT)
) -> bytes:
    """Return the chunk IHDR."""
    return chunk(b"IHDR", struct.pack(">IIBBBBB", *size, depth, kind, 0, 0, interlaced))


def samples(kind: int, depth: int, seed: int = 1) -> Samples:
    """Return a picture's values, shape (height, width, channels)."""
    most = (1 << depth) - 1
    if kind == PALETTE:
        return _levels(grey(seed), depth)[:, :, None]
    planes = [grey(seed)] if kind in {GREY, GREY_ALPHA} else list(np.moveaxis(rgb(seed), 2, 0))
    if kind in {GREY_ALPHA, RGBA}:
        planes.append(grey(7))
    if depth < 8:
        return _levels(planes[0], depth)[:, :, None]
    return np.dstack(planes).astype(np.uint16) * (most // 255)


def _levels(plane: NDArray[np.uint8], depth: int) -> Samples:
    """Return a plane in few greys, in dots where there are two."""
    if depth == 1:
        return np.asarray(Image.fromarray(plane).convert("1")).astype(np.uint16)
    return (plane >> (8 - depth)).astype(np.uint16)


def palette(depth: int) -> bytes:
    """Return the colours of all indices: greys with a tinge."""
    most = (1 << depth) - 1
    values = [255 * index // most for index in range(most + 1)]
    return bytes(value for each in values for value in (each, each, max(0, each - 9)))


def _packed(rows: Samples, depth: int, filtered: int) -> bytes:
    out = b""
    before = None
    for row in rows:
        if depth == 16:
            line = row.astype(">u2").tobytes()
        elif depth == 8:
            line = row.astype(np.uint8).tobytes()
        else:
            bits = (row.reshape(-1, 1) >> np.arange(depth - 1, -1, -1) & 1).astype(np.uint8)
            line = np.packbits(bits.ravel()).tobytes()
        step = max(1, row.shape[-1] * depth // 8)
        out += bytes((filtered,)) + _filtered(line, before or bytes(len(line)), step, filtered)
        before = line
    return out


def _filtered(line: bytes, above: bytes, step: int, kind: int) -> bytes:
    here, up = np.frombuffer(line, np.uint8).astype(int), np.frombuffer(above, np.uint8).astype(int)
    left = np.concatenate((np.zeros(step, int), here))[: here.size]
    corner = np.concatenate((np.zeros(step, int), up))[: up.size]
    guess = left + up - corner
    distances = np.abs(np.array([guess - left, guess - up, guess - corner]))
    paeth = np.choose(distances.argmin(axis=0), [left, up, corner])
    predicted = [np.zeros_like(here), left, up, (left + up) // 2, paeth][min(kind, 4)]
    return (here - predicted & 255).astype(np.uint8).tobytes()


def scanlines(values: Samples, depth: int, *, interlaced: bool = False, filtered: int = 0) -> bytes:
    """Return the filtered rows, not compressed."""
    if not interlaced:
        return _packed(values, depth, filtered)
    parts = (values[top::down, left::right] for top, down, left, right in _PASSES)
    return b"".join(_packed(part, depth, filtered) for part in parts if part.size)


def picture(
    kind: int = RGB,
    depth: int = 8,
    *,
    interlaced: bool = False,
    filtered: int = 0,
    before: Sequence[bytes] = (),
    behind: Sequence[bytes] = (),
    seed: int = 1,
) -> bytes:
    """Return a PNG with chunks before its data, and behind."""
    data = zlib.compress(
        scanlines(samples(kind, depth, seed), depth, interlaced=interlaced, filtered=filtered)
    )
    colours = [chunk(b"PLTE", palette(depth))] if kind == PALETTE else []
    head = SIGNATURE + header(kind, depth, interlaced)
    return b"".join((head, *colours, *before, chunk(b"IDAT", data), *behind, END))


@cache
def data(seed: int = 1) -> bytes:
    """Return the compressed rows of a picture of 8 bits a colour."""
    return zlib.compress(scanlines(samples(RGB, 8, seed), 8))


def plain(*before: bytes, behind: Sequence[bytes] = ()) -> bytes:
    """Return a PNG of 8 bits a colour with chunks before its data, and behind."""
    return b"".join((SIGNATURE, header(), *before, chunk(b"IDAT", data()), *behind, END))


def profile(content: bytes, name: bytes = b"p") -> bytes:
    """Return the chunk iCCP."""
    return chunk(b"iCCP", name + b"\0\0" + zlib.compress(content))


def gamma(value: float) -> bytes:
    """Return the chunk gAMA."""
    return chunk(b"gAMA", struct.pack(">I", round(value * 100000)))


_PRIMARIES = {
    "srgb": (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000),
    "p3": (31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000),
    "bt2020": (31270, 32900, 70800, 29200, 17000, 79700, 13100, 4600),
    "zeros": (0,) * 8,
    "swapped": (31270, 32900, 15000, 6000, 64000, 33000, 30000, 60000),
}


def files() -> Iterator[tuple[str, bytes]]:
    """Yield names and contents."""
    yield from _of_all_kinds()
    yield from _with_colours()
    yield from _with_faulty_chunks()
    yield from _with_broken_data()


def _of_all_kinds() -> Iterator[tuple[str, bytes]]:
    for kind, depths in DEPTHS.items():
        for depth in depths:
            for interlaced in (False, True):
                name = f"kind-{kind}-depth-{depth}{'-interlaced' if interlaced else ''}"
                yield f"{name}.png", picture(kind, depth, interlaced=interlaced)
                if kind == PALETTE:
                    shades = bytes(range(0, 256, 256 >> depth))
                    yield (
                        f"{name}-trns.png",
                        picture(kind, depth, interlaced=interlaced, before=[chunk(b"tRNS", shades)]),
                    )
                elif kind in {GREY, RGB}:
                    most = (1 << depth) - 1
                    key = struct.pack(">H", most) * (1 if kind == GREY else 3)
                    yield (
                        f"{name}-trns.png",
                        picture(kind, depth, interlaced=interlaced, before=[chunk(b"tRNS", key)]),
                    )
    for filtered in range(5):
        yield f"filter-{filtered}.png", picture(filtered=filtered)
    for width, height in ((2, 1), (3, 2), (161, 119), (400, 16)):
        yield f"size-{width}x{height}.png", encoded(drawn(3, width, height), "PNG")
    yield "invisible.png", encoded(_all_clear(), "PNG")


def _all_clear() -> Image.Image:
    image = drawn(1).copy()
    image.putalpha(0)
    return image


def _with_colours() -> Iterator[tuple[str, bytes]]:
    for value in (0.45455, 1.0, 0.1, 0.2, 2.0, 5.0, 0.00001):
        yield f"gamma-{value}.png", plain(gamma(value))
    for name, primaries in _PRIMARIES.items():
        chromaticities = chunk(b"cHRM", struct.pack(">8I", *primaries))
        yield f"primaries-{name}.png", plain(gamma(0.45455), chromaticities)
        yield f"primaries-{name}-alone.png", plain(chromaticities)
    for intent in (0, 1, 3, 9):
        yield f"srgb-intent-{intent}.png", plain(chunk(b"sRGB", bytes((intent,))), gamma(1.0))
    for name, content in profiles().items():
        yield f"profile-{name}.png", plain(profile(content))
        yield f"profile-{name}-alpha.png", picture(RGBA, before=[profile(content)])
    yield "profile-on-grey.png", picture(GREY, before=[profile(profiles()["folded"])])
    yield "profile-on-palette.png", _profile_before_palette()
    yield "profile-and-srgb.png", plain(chunk(b"sRGB", b"\0"), profile(profiles()["inverting"]))
    yield "profile-twice.png", plain(profile(profiles()["inverting"]), profile(profiles()["srgb"]))
    for primaries, transfer, matrix, full in (
        *((1, 13, 0, 1), (12, 13, 0, 1), (9, 16, 0, 1), (9, 18, 0, 1), (1, 8, 0, 1), (1, 13, 1, 1)),
        *(
            (1, 13, 0, 0),
            (2, 2, 0, 1),
            (9, 14, 0, 1),
            (0, 0, 0, 1),
            (255, 255, 0, 1),
            (1, 4, 0, 1),
            (12, 16, 0, 1),
        ),
    ):
        coding = chunk(b"cICP", bytes((primaries, transfer, matrix, full)))
        yield f"coding-{primaries}-{transfer}-{matrix}-{full}.png", plain(coding)
    yield (
        "coding-over-profile.png",
        plain(chunk(b"cICP", bytes((1, 13, 0, 1))), profile(profiles()["inverting"])),
    )
    yield "coding-16-bit.png", picture(RGB, 16, before=[chunk(b"cICP", bytes((9, 16, 0, 1)))])
    for orientation in (1, 2, 3, 4, 5, 6, 7, 8, 9):
        yield f"orientation-{orientation}.png", plain(chunk(b"eXIf", exif(orientation)))
    yield "orientation-6-late.png", plain(behind=[chunk(b"eXIf", exif(6))])
    yield "exif-broken.png", plain(chunk(b"eXIf", b"II"))
    yield "exif-with-head.png", plain(chunk(b"eXIf", b"Exif\0\0" + exif(6)))
    for name, content in {
        "sBIT": b"\5\6\5",
        "bKGD": b"\0\xff\0\0\0\0",
        "pHYs": struct.pack(">IIB", 1, 2, 0),
        "tIME": b"\x07\xe6\x0d\x20\x19\x3d\x3d",
        "hIST": b"\0\1",
        "sPLT": b"a\0\x08" + bytes(6),
        "mDCV": bytes(24),
        "cLLI": bytes(8),
        "oFFs": struct.pack(">iiB", 9999, -9, 0),
        "vpAg": bytes(9),
        "caNv": struct.pack(">IIii", 10, 10, 5, 5),
        "CgBI": bytes(4),
    }.items():
        yield f"chunk-{name}.png", plain(chunk(name.encode(), content))


def _profile_before_palette() -> bytes:
    content = picture(PALETTE, 8)
    return content[:33] + profile(profiles()["folded"]) + content[33:]


_ANCILLARY = {
    "gAMA": struct.pack(">I", 45455),
    "cHRM": struct.pack(">8I", *_PRIMARIES["srgb"]),
    "sRGB": b"\0",
    "iCCP": b"p\0\0" + zlib.compress(profiles()["srgb"]),
    "cICP": b"\1\x0d\0\1",
    "sBIT": b"\x08\x08\x08",
    "bKGD": bytes(6),
    "tRNS": bytes(6),
    "pHYs": struct.pack(">IIB", 1, 1, 0),
    "tIME": b"\x07\xe6\x0d\x20\x19\x3d\x3d",
    "tEXt": b"Title\0text",
    "zTXt": b"Title\0\0" + zlib.compress(b"text"),
    "iTXt": b"Title\0\0\0\0\0text",
    "eXIf": exif(1),
    "prVt": b"private",
    "acTL": struct.pack(">II", 1, 0),
    "sPLT": b"a\0\x08" + bytes(6),
    "hIST": b"\0\1",
}


def _with_faulty_chunks() -> Iterator[tuple[str, bytes]]:
    for kind, content in _ANCILLARY.items():
        name = kind.encode()
        yield f"crc-{kind}.png", plain(chunk(name, content, crc=1))
        yield f"empty-{kind}.png", plain(chunk(name))
        yield f"short-{kind}.png", plain(chunk(name, content[: len(content) // 2]))
        yield f"long-{kind}.png", plain(chunk(name, content + bytes(9)))
        yield f"twice-{kind}.png", plain(chunk(name, content), chunk(name, content))
        yield f"late-{kind}.png", plain(behind=[chunk(name, content)])
        yield f"first-{kind}.png", SIGNATURE + chunk(name, content) + plain()[8:]
    srgb = zlib.compress(profiles()["srgb"])
    for name, content in {
        "not-compressed": b"p\0\0" + profiles()["srgb"],
        "method": b"p\0\1" + srgb,
        "no-name": b"\0\0" + srgb,
        "no-end-of-name": b"p" * 90,
        "long-name": b"p" * 80 + b"\0\0" + srgb,
        "cut": b"p\0\0" + srgb[:40],
        "name-only": b"p\0",
        "garbage": b"p\0\0" + zlib.compress(b"garbage" * 50),
        "empty-profile": b"p\0\0" + zlib.compress(b""),
        "large": b"p\0\0" + zlib.compress(profiles()["srgb"] + bytes(5_000_000), 9),
        "bomb": b"p\0\0" + zlib.compress(bytes(80_000_000), 9),
    }.items():
        yield f"profile-{name}.png", plain(chunk(b"iCCP", content))
    text = zlib.compress(b"text")
    for name, more in {
        "ztxt-method": chunk(b"zTXt", b"Title\0\1" + text),
        "ztxt-method-9": chunk(b"zTXt", b"Title\0\x09" + text),
        "ztxt-broken": chunk(b"zTXt", b"Title\0\0abcdef"),
        "ztxt-cut": chunk(b"zTXt", b"Title\0\0" + text[:5]),
        "ztxt-no-data": chunk(b"zTXt", b"Title\0"),
        "ztxt-no-name": chunk(b"zTXt", b"\0\0" + text),
        "itxt-method": chunk(b"iTXt", b"Title\0\1\1\0\0" + text),
        "itxt-flag": chunk(b"iTXt", b"Title\0\5\0\0\0text"),
        "itxt-broken": chunk(b"iTXt", b"Title\0\1\0\0\0abcdef"),
        "itxt-not-utf8": chunk(b"iTXt", b"Title\0\0\0\0\0\xff\xfe"),
        "text-not-latin": chunk(b"tEXt", b"\xff\xfe\0\xff\x80"),
        "text-no-name": chunk(b"tEXt", b"text"),
        "text-of-2-mb": chunk(b"tEXt", b"Title\0" + bytes(2_000_000)),
        "text-of-66-mb": b"".join(
            chunk(b"zTXt", b"T%d\0\0" % n + zlib.compress(bytes(1_000_000), 9)) for n in range(66)
        ),
        "text-of-70-mb-at-once": chunk(b"zTXt", b"Title\0\0" + zlib.compress(bytes(70_000_000), 9)),
        "texts-many": chunk(b"tEXt", b"Title\0text") * 3000,
        "exif-as-text": chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n 8\n4949")),
        "unknown-critical": chunk(b"ABCD", b"abc"),
        "unknown-safe": chunk(b"abCd", b"abc"),
        "reserved-bit": chunk(b"abcd", b"abc"),
        "no-letters": chunk(b"\0\1\2\3", b"abc"),
        "digits": chunk(b"1234", b"abc"),
        "zeros": bytes(12),
        "palette": chunk(b"PLTE", bytes(range(48))),
        "palette-odd": chunk(b"PLTE", bytes(47)),
        "palette-empty": chunk(b"PLTE"),
        "palette-crc": chunk(b"PLTE", bytes(48), crc=1),
        "palette-long": chunk(b"PLTE", bytes(900)),
        "palette-twice": chunk(b"PLTE", bytes(48)) * 2,
        "header-twice": header(),
        "end-early": END,
        "idat-empty-first": chunk(b"IDAT"),
    }.items():
        yield f"{name}.png", plain(more)
        yield f"{name}-late.png", plain(behind=[more])
    yield "length-over.png", plain(b"\xff\xff\xff\xfftEXtabc")
    yield "length-over-late.png", plain(behind=[b"\x7f\xff\xff\xfftEXtabc"])


def _with_broken_data() -> Iterator[tuple[str, bytes]]:
    head, whole = SIGNATURE + header(), data()
    pieces = [chunk(b"IDAT", whole[start : start + 500]) for start in range(0, len(whole), 500)]
    raw = scanlines(samples(RGB, 8), 8)
    for name, body in {
        "crc-header": b"",
        "crc-data": chunk(b"IDAT", whole, crc=1),
        "crc-second-data": pieces[0] + chunk(b"IDAT", whole[500:], crc=1),
        "crc-last-data": b"".join(pieces[:-1]) + chunk(b"IDAT", whole[500 * (len(pieces) - 1) :], crc=1),
        "in-pieces": b"".join(pieces),
        "in-bytes": b"".join(chunk(b"IDAT", whole[n : n + 1]) for n in range(len(whole))),
        "with-empty": b"".join(piece + chunk(b"IDAT") for piece in pieces),
        "interrupted": pieces[0] + chunk(b"tEXt", b"a\0b") + b"".join(pieces[1:]),
        "interrupted-crc": pieces[0] + chunk(b"tEXt", b"a\0b", crc=1) + b"".join(pieces[1:]),
        "followed": chunk(b"IDAT", whole + b"more" * 99),
        "second": chunk(b"IDAT", whole) + chunk(b"IDAT", data(5)),
        "no-checksum": chunk(b"IDAT", whole[:-4]),
        "wrong-checksum": chunk(b"IDAT", whole[:-4] + b"abcd"),
        "too-many-rows": chunk(b"IDAT", zlib.compress(raw + raw)),
        "stored": chunk(b"IDAT", zlib.compress(raw, 0)),
        "small-window": chunk(b"IDAT", b"\x18\x19" + whole[2:]),
        "window-256": chunk(b"IDAT", b"\x08\x1d" + whole[2:]),
        "raw-deflate": chunk(b"IDAT", whole[2:-4]),
        "dictionary": chunk(b"IDAT", b"\x78\xbb\0\0\0\1" + whole[2:]),
        "header-check": chunk(b"IDAT", b"\x78\x9d" + whole[2:]),
        "filter-5-in-last-row": chunk(
            b"IDAT", zlib.compress(raw[: -(3 * WIDTH + 1)] + b"\x05" + raw[-3 * WIDTH :])
        ),
        "filter-5-in-middle": chunk(b"IDAT", zlib.compress(_with_filter(raw, 60, 5))),
        "rows-missing": chunk(b"IDAT", zlib.compress(raw[: 90 * (3 * WIDTH + 1)])),
        "most-rows-missing": chunk(b"IDAT", zlib.compress(raw[: 9 * (3 * WIDTH + 1)])),
    }.items():
        if name == "crc-header":
            spoilt = chunk(b"IHDR", header()[8:-4], crc=1)
            yield f"data-{name}.png", SIGNATURE + spoilt + chunk(b"IDAT", whole) + END
        else:
            yield f"data-{name}.png", head + body + END
    for number in range(4):
        random = np.random.default_rng(number)
        spoilt = bytearray(whole)
        spoilt[random.integers(len(whole) // 3, len(whole) - 4)] ^= 1 << number
        yield f"data-spoilt-{number}.png", head + chunk(b"IDAT", bytes(spoilt)) + END
        yield f"data-spoilt-{number}-crc.png", head + chunk(b"IDAT", bytes(spoilt), crc=1) + END
    yield from _with_faulty_data()
    content = plain()
    for part in (25, 50, 75, 99):
        yield f"cut-{part}.png", content[: len(content) * part // 100]
        of_passes = picture(interlaced=True)
        yield f"cut-{part}-interlaced.png", of_passes[: len(of_passes) * part // 100]
    yield "no-end.png", content.removesuffix(END)
    yield "end-cut.png", content[:-3]
    yield "end-crc.png", content[:-4] + b"abcd"
    yield "behind-end.png", content + b"what follows" * 99
    yield "two-pictures.png", content + picture(seed=5)
    for kind, depth in ((GREY, 3), (RGB, 4), (PALETTE, 16), (1, 8), (7, 8)):
        bad = SIGNATURE + header(kind, depth) + chunk(b"PLTE", palette(8)) + chunk(b"IDAT", whole) + END
        yield f"no-kind-{kind}-{depth}.png", bad
    for method, filters, interlaced in ((1, 0, 0), (0, 1, 0), (0, 64, 0), (0, 0, 2)):
        fields = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, method, filters, interlaced)
        yield (
            f"methods-{method}-{filters}-{interlaced}.png",
            SIGNATURE + chunk(b"IHDR", fields) + chunk(b"IDAT", whole) + END,
        )
    yield "header-long.png", SIGNATURE + chunk(b"IHDR", header()[8:-4] + b"\0") + content[33:]
    indices = picture(PALETTE, 8)
    for name, colours in {
        "none": b"",
        "short": chunk(b"PLTE", palette(8)[:384]),
        "long": chunk(b"PLTE", palette(8) + bytes(3)),
    }.items():
        yield f"palette-{name}-of-indices.png", indices.replace(chunk(b"PLTE", palette(8)), colours)
    shades = chunk(b"tRNS", bytes(range(256)))
    yield "opacity-before-palette.png", indices[:33] + shades + indices[33:]
    yield "opacity-more-than-palette.png", picture(PALETTE, 4, before=[shades])
    yield "opacity-on-alpha.png", picture(RGBA, before=[chunk(b"tRNS", bytes(6))])
    yield "palette-in-grey.png", picture(GREY, before=[chunk(b"PLTE", palette(8))])


def _with_faulty_data() -> Iterator[tuple[str, bytes]]:
    """Yield pictures whose data are wrong from a place on: where viewers stop depends on the pieces."""
    of_kinds = ((RGB, 8), (PALETTE, 8), (GREY, 16), (RGBA, 16))
    for (kind, depth), interlaced in product(of_kinds, (False, True)):
        more = [chunk(b"PLTE", palette(8)), chunk(b"tRNS", bytes(range(256)))] if kind == PALETTE else []
        head = b"".join((SIGNATURE, header(kind, depth, interlaced), *more))
        raw = scanlines(samples(kind, depth), depth, interlaced=interlaced)
        for part in (30, 70, 95):
            for size in (500, 8192):
                name = f"data-{{}}-{part}-of-{kind}{'-interlaced' if interlaced else ''}-by-{size}.png"
                whole = zlib.compress(raw)
                wrong = len(whole) * part // 100 // size
                yield name.format("crc"), head + in_pieces(whole, size, wrong) + END
                spoilt = faulty(raw[: len(raw) * part // 100])
                yield name.format("fault"), head + in_pieces(spoilt, size) + END


def faulty(raw: bytes) -> bytes:
    """Return compressed data that have a fault behind these bytes."""
    compressor = zlib.compressobj()
    return compressor.compress(raw) + compressor.flush(zlib.Z_FULL_FLUSH) + b"\7" * 99


def in_pieces(content: bytes, size: int, wrong: int = -1) -> bytes:
    """Return data in chunks, of which one has a wrong checksum."""
    return b"".join(
        chunk(b"IDAT", content[start : start + size], crc=number == wrong)
        for number, start in enumerate(range(0, len(content), size))
    )


def _with_filter(raw: bytes, row: int, kind: int) -> bytes:
    out = bytearray(raw)
    out[row * (3 * WIDTH + 1)] = kind
    return bytes(out)
