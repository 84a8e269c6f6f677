"""AVIF files: samplings, colours, opacity, turns, grids, animations, all brands; and faults in boxes."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import replace

from tests.hashing.browser.files.avif_boxes import (
    USUAL,
    Item,
    aperture,
    avif,
    box,
    coded,
    coding,
    colour,
    depths,
    extents,
    file_type,
    full_box,
    grid,
    minimized,
    mirror,
    opacity,
    rotation,
)
from tests.hashing.browser.files.drawing import HEIGHT, WIDTH, cut_out, drawn, exif, profiles, translucent
from tests.pictures import encoded


def files() -> Iterator[tuple[str, bytes]]:
    """Yield names and contents."""
    yield from _ordinary()
    yield from _of_all_brands()
    yield from _transformed()
    yield from _of_several_items()
    yield from _animations()
    yield from _faulty()


OPTIONS = {"quality": 75, "speed": 10, "max_threads": 1}


def _ordinary() -> Iterator[tuple[str, bytes]]:
    for subsampling in ("4:2:0", "4:2:2", "4:4:4"):
        for values in ("full", "limited"):
            name = f"sampling-{subsampling.replace(':', '')}-{values}.avif"
            yield name, encoded(drawn(1), "AVIF", subsampling=subsampling, range=values, **OPTIONS)
    for values in ("full", "limited"):
        yield f"grey-{values}.avif", encoded(drawn(1).convert("L"), "AVIF", range=values, **OPTIONS)
    for quality in (10, 50, 100):
        yield f"quality-{quality}.avif", encoded(drawn(1), "AVIF", quality=quality, speed=10, max_threads=1)
    for name, image in (("shades", translucent(1)), ("cut", cut_out(1))):
        for multiplied in (False, True):
            content = encoded(image, "AVIF", alpha_premultiplied=multiplied, **OPTIONS)
            yield f"alpha-{name}{'-multiplied' if multiplied else ''}.avif", content
    for width, height in ((2, 1), (161, 119), (400, 16)):
        yield f"size-{width}x{height}.avif", encoded(drawn(3, width, height), "AVIF", **OPTIONS)
    yield (
        "tiles.avif",
        encoded(drawn(1, 640, 480), "AVIF", tile_rows=1, tile_cols=1, autotiling=False, **OPTIONS),
    )
    for orientation in range(1, 9):
        content = encoded(drawn(1), "AVIF", exif=b"Exif\0\0" + exif(orientation), **OPTIONS)
        yield f"orientation-{orientation}.avif", content
    for name, profile in profiles().items():
        yield f"profile-{name}.avif", encoded(drawn(1), "AVIF", icc_profile=profile, **OPTIONS)
    for primaries, transfer, matrix, full in (
        *((1, 13, 6, 1), (1, 13, 1, 1), (9, 16, 9, 1), (9, 18, 9, 1), (12, 13, 6, 1), (1, 8, 6, 1)),
        *(
            (2, 2, 2, 1),
            (1, 13, 0, 1),
            (1, 13, 6, 0),
            (1, 4, 6, 1),
            (0, 0, 6, 1),
            (1, 13, 8, 1),
            (1, 13, 5, 1),
        ),
    ):
        named = coding(primaries, transfer, matrix, full)
        yield f"coding-{primaries}-{transfer}-{matrix}-{full}.avif", avif(colour(coded_by=named))
    yield "coding-none.avif", avif(colour(coded_by=b""))
    inverting = box(b"colr", b"prof", profiles()["inverting"])
    yield "profile-by-box.avif", avif(colour(coded_by=inverting))
    yield "profile-restricted.avif", avif(colour(coded_by=box(b"colr", b"rICC", profiles()["inverting"])))
    yield "profile-and-coding.avif", avif(colour(1, 1, (inverting, False)))
    yield "profile-empty.avif", avif(colour(coded_by=box(b"colr", b"prof")))
    yield "profile-garbage.avif", avif(colour(coded_by=box(b"colr", b"prof", b"garbage" * 30)))


_MAJORS = (
    *(b"avif", b"avis", b"mif1", b"msf1", b"miaf", b"isom", b"mp42", b"qt  ", b"jpeg", b"MA1B", b"MA1A"),
    *(b"heic", b"heix", b"mif2", b"mif3", b"crx ", b"M4A ", b"3gp4", bytes(4), b"abcd", b"jp2 "),
)
_COMPATIBLE = {
    "usual": USUAL,
    "avif-only": (b"avif",),
    "none": (),
    "mif1-only": (b"mif1",),
    "avif-last": (b"mif1", b"miaf", b"MA1B", b"avif"),
    "heic-too": (b"heic", b"mif1", b"avif"),
    "avis": (b"avis", b"msf1"),
    "avif-late": (*(b"br%02d" % n for n in range(20)), b"avif"),
    "avif-at-200": (*(b"br%02d" % n for n in range(45)), b"avif"),
    "avif-at-255": (*(b"br%02d" % n for n in range(58)), b"avif"),
    "avif-behind-256": (*(b"br%02d" % n for n in range(90)), b"avif"),
}


def _of_all_brands() -> Iterator[tuple[str, bytes]]:
    for major in _MAJORS:
        word = major.hex() if not major.strip(b"\0") else major.decode().strip()
        for name, brands in _COMPATIBLE.items():
            yield f"brand-{word}-{name}.avif", avif(colour(), head=file_type(major, brands))
    for major in (b"avif", b"isom", b"mif1"):
        name = f"brand-{major.decode()}-wide"
        yield f"{name}.avif", avif(colour(), head=file_type(major, USUAL, wide=True))
        late = _COMPATIBLE["avif-late"]
        yield f"{name}-late.avif", avif(colour(), head=file_type(major, late, wide=True))
    yield "brand-minor.avif", avif(colour(), head=box(b"ftyp", b"mif1avif", b"mif1miaf"))
    yield "brand-cut.avif", avif(colour(), head=box(b"ftyp", b"avif", bytes(4), b"mif1avi"))
    yield "brand-no-minor.avif", avif(colour(), head=box(b"ftyp", b"avif"))
    for kind in (b"free", b"skip", b"uuid", b"wide"):
        yield f"before-type-{kind.decode()}.avif", avif(colour(), head=box(kind, bytes(24)) + file_type())
    yield "type-twice.avif", avif(colour(), head=file_type() * 2)
    for orientation in range(1, 9):
        yield f"mini-orientation-{orientation}.avif", minimized(orientation=orientation)
    yield "mini-alpha.avif", minimized(alpha=True)
    for major, minor, more in (
        (b"mif3", bytes(4), b"avif"),
        (b"avif", bytes(4), b"mif3"),
        (b"mif3", bytes(4), b""),
        (b"mif1", b"avif", b"mif3"),
    ):
        head = box(b"ftyp", major, minor, more)
        yield f"mini-{major.decode()}-{minor.hex()}-{more.decode() or 'none'}.avif", minimized(head=head)


def _transformed() -> Iterator[tuple[str, bytes]]:
    for quarters in range(4):
        for axis in (None, 0, 1):
            more = [(rotation(quarters), True)] + ([(mirror(axis), True)] if axis is not None else [])
            yield f"turned-{quarters}-{'none' if axis is None else axis}.avif", avif(colour(1, 1, *more))
            cropped = [(aperture(90, 70, 20, -10), True), *more]
            yield (
                f"cropped-turned-{quarters}-{'none' if axis is None else axis}.avif",
                avif(colour(1, 1, *cropped)),
            )
    for axis in (0, 1):
        yield f"mirrored-{axis}.avif", avif(colour(1, 1, (mirror(axis), True)))
        yield (
            f"mirrored-then-turned-{axis}.avif",
            avif(colour(1, 1, (mirror(axis), True), (rotation(1), True))),
        )
    for name, cropped in {
        "centre": aperture(80, 60),
        "corner": aperture(80, 60, -80, -60),
        "odd": aperture(81, 61),
        "whole": aperture(WIDTH, HEIGHT),
        "beyond": aperture(80, 60, 200, 0),
        "larger": aperture(300, 200),
        "fraction": aperture(161, 121, divisor=2),
        "no-divisor": aperture(80, 60, divisor=0),
        "empty": aperture(0, 0),
    }.items():
        for essential in (True, False):
            name_of = f"aperture-{name}{'' if essential else '-optional'}.avif"
            yield name_of, avif(colour(1, 1, (cropped, essential)))
    yield (
        "aperture-with-alpha.avif",
        avif(colour(1, 1, (aperture(80, 60), True)), opacity(2, 1, 1, (aperture(80, 60), True))),
    )
    yield "aperture-cut.avif", avif(colour(1, 1, (box(b"clap", bytes(10)), True)))
    yield "turned-optional.avif", avif(colour(1, 1, (rotation(1), False)))
    yield "turned-twice.avif", avif(colour(1, 1, (rotation(1), True), (rotation(2), True)))
    yield "turned-reserved.avif", avif(colour(1, 1, (rotation(0xFD), True)))
    yield "ratio.avif", avif(colour(1, 1, (box(b"pasp", struct.pack(">II", 2, 1)), False)))
    yield "scaled.avif", avif(colour(1, 1, (full_box(b"iscl", struct.pack(">4H", 1, 2, 1, 2)), True)))
    yield "light-level.avif", avif(colour(1, 1, (box(b"clli", struct.pack(">HH", 1000, 400)), False)))


def _of_several_items() -> Iterator[tuple[str, bytes]]:
    for rows, columns in ((1, 2), (2, 1), (2, 2), (3, 2)):
        whole = 80 * columns, 64 * rows
        yield f"grid-{rows}x{columns}.avif", avif(*grid(rows, columns, *whole))
        yield f"grid-{rows}x{columns}-less.avif", avif(*grid(rows, columns, whole[0] - 20, whole[1] - 10))
        yield f"grid-{rows}x{columns}-turned.avif", avif(*grid(rows, columns, *whole, (rotation(1), True)))
        yield (
            f"grid-{rows}x{columns}-cropped.avif",
            avif(*grid(rows, columns, *whole, (aperture(60, 50), True))),
        )
    yield "grid-too-large.avif", avif(*grid(2, 2, 200, 200))
    yield "grid-cell-missing.avif", avif(*grid(2, 2, 160, 128)[:-1])
    for first in (1, 2):
        pictures = colour(1, 1), colour(2, 2)
        yield f"two-pictures-{first}.avif", avif(*pictures, primary=first)
    yield (
        "two-pictures-preview.avif",
        avif(colour(1, 1), replace(colour(2, 2, size=(40, 30)), references=((b"thmb", (1,)),))),
    )
    small, large = colour(1, 1), colour(2, 5, size=(320, 240))
    for kind in (b"altr", b"pymd"):
        for first in (1, 2):
            yield (
                f"group-{kind.decode()}-{first}.avif",
                avif(small, large, primary=first, groups=((kind, (2, 1)),)),
            )
    hidden = replace(large, hidden=True)
    yield "group-altr-hidden.avif", avif(small, hidden, groups=((b"altr", (2, 1)),))
    cells = grid(1, 2, 160, 64)
    yield "group-altr-grid.avif", avif(*cells, primary=2, groups=((b"altr", (1, 2)),))
    yield "primary-missing.avif", avif(colour(), primary=9)
    yield "primary-hidden.avif", avif(colour(hidden=True))
    yield "alpha-item.avif", avif(colour(), opacity())
    for kind in (b"ispe", b"pixi", b"av1C", b"auxC"):
        yield f"alpha-without-{kind.decode()}.avif", avif(colour(), opacity(leave_out=kind))
    yield "alpha-smaller.avif", avif(colour(), opacity(size=(80, 60)))
    yield "alpha-turned.avif", avif(colour(1, 1, (rotation(1), True)), opacity())
    yield "alpha-of-none.avif", avif(colour(), opacity(of=9))
    yield "alpha-first.avif", avif(opacity(1, 2), colour(2), primary=2)
    yield "alpha-twice.avif", avif(colour(), opacity(2), opacity(3, 1, 5))
    yield "alpha-multiplied.avif", avif(replace(colour(), references=((b"prem", (2,)),)), opacity())
    for kind in (b"ispe", b"pixi", b"av1C", b"colr"):
        item = colour()
        kept = tuple(each for each in item.properties if each[0][4:8] != kind)
        yield f"colour-without-{kind.decode()}.avif", avif(replace(item, properties=kept))
    for name, data in {
        "good": struct.pack(">I", 0) + exif(6),
        "with-head": struct.pack(">I", 6) + b"Exif\0\0" + exif(6),
        "offset-beyond": struct.pack(">I", 9999) + exif(6),
        "offset-wrong": struct.pack(">I", 3) + exif(6),
        "garbage": b"garbage",
        "short": b"\0",
        "cut": struct.pack(">I", 0) + exif(6)[:13],
        "bare": exif(6),
    }.items():
        item = Item(2, b"Exif", data, references=((b"cdsc", (1,)),))
        yield f"exif-{name}.avif", avif(colour(), item)
        yield f"exif-{name}-turned.avif", avif(colour(1, 1, (rotation(1), True)), item)
    yield (
        "xmp.avif",
        avif(
            colour(),
            Item(2, b"mime", b"<x:xmpmeta/>", references=((b"cdsc", (1,)),), more=b"application/rdf+xml\0"),
        ),
    )
    yield "xmp-cut.avif", avif(colour(), Item(2, b"mime", b"<", references=((b"cdsc", (1,)),)))
    yield "item-unknown.avif", avif(colour(), Item(2, b"abcd", b"data"))
    yield "item-uri.avif", avif(colour(), Item(2, b"uri ", b"data", more=b"urn:x\0"))
    overlay = struct.pack(">BB4HII2h", 0, 0, *(0xFFFF,) * 4, WIDTH, HEIGHT, 0, 0)
    placed = Item(1, b"iovl", overlay, ((extents(), False), (depths(), False)), ((b"dimg", (2,)),))
    yield "overlay.avif", avif(placed, colour(2))
    derived = Item(
        1, b"iden", b"", ((extents(), False), (depths(), False), (rotation(1), True)), ((b"dimg", (2,)),)
    )
    yield "identity.avif", avif(derived, colour(2))


def _animations() -> Iterator[tuple[str, bytes]]:
    others = [drawn(2), drawn(3)]
    for milliseconds in (0, 100, 2000):
        content = encoded(
            drawn(1), "AVIF", save_all=True, append_images=others, duration=milliseconds, **OPTIONS
        )
        yield f"animated-{milliseconds}.avif", content
    shades = [translucent(2), cut_out(3)]
    yield (
        "animated-alpha.avif",
        encoded(translucent(1), "AVIF", save_all=True, append_images=shades, duration=100, **OPTIONS),
    )
    greys = [each.convert("L") for each in others]
    yield (
        "animated-grey.avif",
        encoded(drawn(1).convert("L"), "AVIF", save_all=True, append_images=greys, duration=100, **OPTIONS),
    )
    content = encoded(drawn(1), "AVIF", save_all=True, append_images=others, duration=100, **OPTIONS)
    length = int.from_bytes(content[:4])
    brands = [content[at : at + 4] for at in range(16, length, 4)]
    for major in (b"avif", b"avis", b"mif1", b"msf1", b"isom", b"heic"):
        for name, chosen in (
            ("all", brands),
            ("no-avis", [each for each in brands if each != b"avis"]),
            ("no-avif", [each for each in brands if each != b"avif"]),
        ):
            changed = file_type(major, chosen)
            # Free space keeps all else where it was.
            gap = length + 64 - len(changed)
            moved = _moved(content[length:], 64)
            yield (
                f"animated-brand-{major.decode()}-{name}.avif",
                changed + box(b"free", bytes(gap - 8)) + moved,
            )
    for part in (40, 70, 95):
        yield f"animated-cut-{part}.avif", content[: len(content) * part // 100]


def _moved(boxes: bytes, by: int) -> bytes:
    """Return boxes whose items and chunks of samples are farther behind."""
    out = bytearray(boxes)
    place = out.index(b"iloc") + 8
    for item in range(int.from_bytes(out[place + 2 : place + 4])):
        at = place + 4 + 14 * item + 6
        out[at : at + 4] = (int.from_bytes(out[at : at + 4]) + by).to_bytes(4)
    at = 0
    while (at := out.find(b"stco", at + 1)) > 0:
        for number in range(int.from_bytes(out[at + 8 : at + 12])):
            entry = at + 12 + 4 * number
            out[entry : entry + 4] = (int.from_bytes(out[entry : entry + 4]) + by).to_bytes(4)
    return bytes(out)


def _faulty() -> Iterator[tuple[str, bytes]]:
    for version in (1, 2):
        if version == 1:
            yield "location-version-1.avif", avif(colour(), version=1)
    yield "data-in-meta.avif", avif(colour(), version=1, in_meta=True)
    yield "data-in-meta-alpha.avif", avif(colour(), opacity(), version=1, in_meta=True)
    for pieces in (2, 7):
        yield f"data-in-{pieces}-pieces.avif", avif(colour(), pieces=pieces)
    yield "uses-item-twice.avif", avif(colour(), uses_again=[1])
    yield "uses-item-twice-turned.avif", avif(colour(1, 1, (rotation(1), True)), uses_again=[1])
    yield "uses-alpha-twice.avif", avif(colour(), opacity(), uses_again=[2])
    yield "uses-box-twice.avif", avif(colour(), two_uses=True)
    yield "handler-other.avif", avif(colour(), handler=b"vide")
    yield "handler-empty.avif", avif(colour(), handler=bytes(4))
    for kind in (b"free", b"skip", b"abcd", b"uuid", b"moov"):
        yield f"before-data-{kind.decode()}.avif", avif(colour(), before_data=box(kind, bytes(30)))
    content = avif(colour())
    for part in (20, 50, 80, 97):
        yield f"cut-{part}.avif", content[: len(content) * part // 100]
    yield "behind.avif", content + b"what follows" * 99
    yield "box-behind.avif", content + box(b"free", bytes(30))
    yield "two-files.avif", content + avif(colour(1, 5))
    place = content.index(b"mdat") - 4
    yield "data-to-end.avif", content[:place] + bytes(4) + content[place + 4 :]
    yield "data-too-long.avif", content[:place] + struct.pack(">I", 10**8) + content[place + 4 :]
    yield "data-too-short.avif", content[:place] + struct.pack(">I", 100) + content[place + 4 :]
    yield "property-unknown.avif", avif(colour(1, 1, (box(b"abcd", b"data"), False)))
    yield "property-unknown-essential.avif", avif(colour(1, 1, (box(b"abcd", b"data"), True)))
    yield (
        "size-larger.avif",
        avif(replace(colour(), properties=((extents(300, 200), False), *colour().properties[1:]))),
    )
    yield (
        "size-smaller.avif",
        avif(replace(colour(), properties=((extents(80, 60), False), *colour().properties[1:]))),
    )
    yield (
        "size-zero.avif",
        avif(replace(colour(), properties=((extents(0, 0), False), *colour().properties[1:]))),
    )
    yield (
        "depth-wrong.avif",
        avif(
            replace(
                colour(),
                properties=(colour().properties[0], (depths(3, 10), False), *colour().properties[2:]),
            )
        ),
    )
    yield (
        "channels-wrong.avif",
        avif(
            replace(
                colour(), properties=(colour().properties[0], (depths(1), False), *colour().properties[2:])
            )
        ),
    )
    config = bytearray(coded(1)[1])
    for bit in (9, 10):
        changed = config.copy()
        changed[bit] ^= 0x40
        properties = *colour().properties[:2], (bytes(changed), True), *colour().properties[3:]
        yield f"configuration-{bit}.avif", avif(replace(colour(), properties=properties))
    yield (
        "not-essential.avif",
        avif(replace(colour(), properties=tuple((each, False) for each, _ in colour().properties))),
    )
    for number in range(5):
        spoilt = bytearray(content)
        spoilt[len(content) * (number + 3) // 8] ^= 0x55
        yield f"spoilt-{number}.avif", bytes(spoilt)
