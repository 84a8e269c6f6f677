"""Write AVIF files box by box, around pictures that Pillow encodes."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from tests.hashing.browser.files.drawing import HEIGHT, WIDTH, cut_out, drawn
from tests.pictures import encoded


def box(kind: bytes, *parts: bytes) -> bytes:
    """Return a box."""
    body = b"".join(parts)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def full_box(kind: bytes, *parts: bytes, version: int = 0, flags: int = 0) -> bytes:
    """Return a box with a version and flags."""
    return box(kind, struct.pack(">I", version << 24 | flags), *parts)


def children(content: bytes, start: int = 0, end: int | None = None) -> Iterator[tuple[bytes, bytes]]:
    """Yield kind and content of the boxes within a range."""
    end = len(content) if end is None else end
    while start + 8 <= end:
        length = int.from_bytes(content[start : start + 4])
        yield content[start + 4 : start + 8], content[start + 8 : start + length]
        start += length


@cache
def coded(
    seed: int = 1,
    *,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    grey: bool = False,
    cut: bool = False,
    subsampling: str = "4:2:0",
) -> tuple[bytes, bytes]:
    """Return the data of a picture (AV1), and the box `av1C`.

    Args:
        seed: of the picture.
        size: in pixels.
        grey: without colours.
        cut: white within an ellipse and black elsewhere, for an opacity.
        subsampling: of the colours.
    """
    image = cut_out(seed, *size).getchannel("A") if cut else drawn(seed, *size)
    options = {"quality": 75, "speed": 10, "max_threads": 1}
    content = encoded(
        image.convert("L") if grey or cut else image,
        "AVIF",
        **options,
        **({} if grey or cut else {"subsampling": subsampling}),
    )
    boxes = dict(children(content))
    place = content.index(b"av1C") - 4
    config = content[place : place + int.from_bytes(content[place : place + 4])]
    return boxes[b"mdat"], config


@dataclass(frozen=True)
class Item:
    """An item: its identifier, type, data, properties with their importance, and references."""

    number: int
    kind: bytes
    data: bytes
    properties: tuple[tuple[bytes, bool], ...] = ()
    references: tuple[tuple[bytes, tuple[int, ...]], ...] = ()
    hidden: bool = False
    more: bytes = b""
    """Fields of `infe` behind the name."""


def extents(width: int = WIDTH, height: int = HEIGHT) -> bytes:
    """Return the property `ispe`."""
    return full_box(b"ispe", struct.pack(">II", width, height))


def depths(channels: int = 3, bits: int = 8) -> bytes:
    """Return the property `pixi`."""
    return full_box(b"pixi", bytes((channels,)) + bytes((bits,)) * channels)


def coding(primaries: int = 1, transfer: int = 13, matrix: int = 6, full: int = 1) -> bytes:
    """Return the property `colr` of coding points."""
    return box(b"colr", b"nclx", struct.pack(">HHHB", primaries, transfer, matrix, full << 7))


def aperture(width: int, height: int, across: int = 0, down: int = 0, divisor: int = 1) -> bytes:
    """Return the property `clap`: a size, and the offset of its centre from the picture's."""
    return box(b"clap", struct.pack(">IIIIiIiI", width, divisor, height, divisor, across, 2, down, 2))


def rotation(quarters: int) -> bytes:
    """Return the property `irot`."""
    return box(b"irot", bytes((quarters,)))


def mirror(axis: int) -> bytes:
    """Return the property `imir`."""
    return box(b"imir", bytes((axis,)))


AUXILIARY = full_box(b"auxC", b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0")


def colour(
    number: int = 1,
    seed: int = 1,
    *more: tuple[bytes, bool],
    size: tuple[int, int] = (WIDTH, HEIGHT),
    coded_by: bytes | None = None,
    **options: bool,
) -> Item:
    """Return an item of colours."""
    data, config = coded(seed, size=size)
    colours = coding() if coded_by is None else coded_by
    properties = (
        (extents(*size), False),
        (depths(), False),
        (config, True),
        *(((colours, False),) if colours else ()),
        *more,
    )
    return Item(number, b"av01", data, properties, **options)


def opacity(
    number: int = 2,
    of: int = 1,
    seed: int = 1,
    *more: tuple[bytes, bool],
    leave_out: bytes = b"",
    size: tuple[int, int] = (WIDTH, HEIGHT),
) -> Item:
    """Return an item of opacity, perhaps without a property."""
    data, config = coded(seed, cut=True, size=size)
    properties = (extents(*size), False), (depths(1), False), (config, True), (AUXILIARY, False), *more
    kept = tuple(each for each in properties if each[0][4:8] != leave_out)
    return Item(number, b"av01", data, kept, ((b"auxl", (of,)),))


USUAL = b"mif1", b"avif", b"miaf"


def file_type(major: bytes = b"avif", brands: Sequence[bytes] = USUAL, *, wide: bool = False) -> bytes:
    """Return the box `ftyp`; if it is wide, with a length of 64 bits."""
    body = major + bytes(4) + b"".join(brands)
    return struct.pack(">I4sQ", 1, b"ftyp", 16 + len(body)) + body if wide else box(b"ftyp", body)


def group(kind: bytes, numbers: tuple[int, ...]) -> bytes:
    """Return a group of items: alternatives (`altr`), or layers of a pyramid (`pymd`)."""
    tiles = struct.pack(">HH", 512, 512) + struct.pack(">HHH", 1, 0, 0) * len(numbers)
    listed = struct.pack(f">II{len(numbers)}I", 9, len(numbers), *numbers)
    return full_box(kind, listed, tiles if kind == b"pymd" else b"")


def avif(
    *items: Item,
    head: bytes | None = None,
    primary: int = 1,
    version: int = 0,
    in_meta: bool = False,
    pieces: int = 1,
    uses_again: Sequence[int] = (),
    two_uses: bool = False,
    before_data: bytes = b"",
    handler: bytes = b"pict",
    groups: Sequence[tuple[bytes, tuple[int, ...]]] = (),
) -> bytes:
    """Return a file.

    Args:
        items: all pictures and data.
        head: the box `ftyp`.
        primary: number of the picture to be shown.
        version: of the box `iloc`.
        in_meta: the data is in a box `idat`.
        pieces: number of extents of each item.
        uses_again: items whose properties are listed twice in the box `ipma`.
        two_uses: a second box `ipma`.
        before_data: boxes before the data.
        handler: type of the handler.
        groups: types of groups, and their items.
    """
    head = file_type() if head is None else head
    kept: list[bytes] = []
    uses = b""
    numbers = {}
    for item in items:
        chosen = []
        for content, essential in item.properties:
            if content not in kept:
                kept.append(content)
            chosen.append(essential << 7 | kept.index(content) + 1)
        numbers[item.number] = bytes(chosen)
    listed = [item.number for item in items] + list(uses_again)
    for number in listed:
        uses += struct.pack(">HB", number, len(numbers[number])) + numbers[number]
    associations = full_box(b"ipma", struct.pack(">I", len(listed)), uses)
    entries = [
        full_box(
            b"infe",
            struct.pack(">HH4s", item.number, 0, item.kind),
            b"\0",
            item.more,
            version=2,
            flags=item.hidden,
        )
        for item in items
    ]
    references = b"".join(
        box(
            kind,
            struct.pack(">HH", item.number, len(targets)),
            *(struct.pack(">H", each) for each in targets),
        )
        for item in items
        for kind, targets in item.references
    )
    size = sum(len(item.data) for item in items)

    def meta(start: int) -> bytes:
        located = b""
        for item in items:
            ranges = b""
            step = max(1, -(-len(item.data) // pieces))
            for at in range(0, len(item.data), step):
                ranges += struct.pack(">II", start + at, min(step, len(item.data) - at))
            start += len(item.data)
            located += struct.pack(">H", item.number) + (struct.pack(">H", in_meta) if version else b"")
            located += struct.pack(">HH", 0, len(ranges) // 8) + ranges
        return full_box(
            b"meta",
            full_box(b"hdlr", bytes(4), handler, bytes(13)),
            full_box(b"pitm", struct.pack(">H", primary)),
            full_box(b"iloc", b"\x44\0", struct.pack(">H", len(items)), located, version=version),
            full_box(b"iinf", struct.pack(">H", len(entries)), *entries),
            full_box(b"iref", references) if references else b"",
            box(b"iprp", box(b"ipco", *kept), associations, associations if two_uses else b""),
            box(b"grpl", *(group(kind, numbers) for kind, numbers in groups)) if groups else b"",
            box(b"idat", *(item.data for item in items)) if in_meta else b"",
        )

    if in_meta:
        return head + meta(0) + before_data
    start = len(head) + len(meta(0)) + len(before_data) + 8
    return (
        head
        + meta(start)
        + before_data
        + struct.pack(">I4s", 8 + size, b"mdat")
        + b"".join(item.data for item in items)
    )


def grid(
    rows: int,
    columns: int,
    width: int,
    height: int,
    *more: tuple[bytes, bool],
    cell: tuple[int, int] = (80, 64),
) -> list[Item]:
    """Return the items of a picture in cells."""
    fields = struct.pack(">BBBBHH", 0, 0, rows - 1, columns - 1, width, height)
    cells = [colour(number + 2, number + 1, size=cell, hidden=True) for number in range(rows * columns)]
    properties = (extents(width, height), False), (depths(), False), (coding(), False), *more
    references = ((b"dimg", tuple(each.number for each in cells)),)
    return [Item(1, b"grid", fields, properties, references), *cells]


def minimized(
    seed: int = 1, *, orientation: int = 1, alpha: bool = False, head: bytes | None = None
) -> bytes:
    """Return a file with a box `mini` in place of `meta`."""
    data, config = coded(seed)
    config = config[8:]
    other, other_config = coded(seed, cut=True)
    other_config = other_config[8:]
    fields = [(0, 2), (0, 1), (0, 1), (1, 1), (alpha, 1), (0, 1), (0, 1), (0, 1), (0, 1), (0, 1)]
    # Colours at half the size, centred across as they are where `av1C` leaves it open; sizes of 15 bits.
    fields += [(1, 2), (orientation - 1, 3), (1, 1), (WIDTH - 1, 15), (HEIGHT - 1, 15), (1, 1), (0, 1)]
    # 8 bits a value, and not multiplied by the opacity; lengths of 12 and of 28 bits.
    fields += [(0, 1), *([(0, 1)] if alpha else []), (1, 1), (1, 1), (len(config), 12), (len(data) - 1, 28)]
    fields += [(len(other), 28), (len(other_config), 12)] if alpha else []
    bits = "".join(f"{value:0{width}b}" for value, width in fields)
    bits += "0" * (-len(bits) % 8)
    body = int(bits, 2).to_bytes(len(bits) // 8)
    body += config + (other_config + other if alpha else b"") + data
    return (box(b"ftyp", b"mif3", b"avif") if head is None else head) + box(b"mini", body)
