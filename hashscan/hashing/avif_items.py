"""Read the items of HEIF and AVIF files (ISO/IEC 23008-12): repairs, and pictures beside the primary one.

A file names one of its pictures as primary. Viewers show others, too: the first that they can decode of a
group of alternatives (`altr`), a layer of a pyramid (`pymd`) that fits the window, a thumbnail, or each in
turn. Pillow decodes the primary picture of an AVIF alone, so the file is read again with each other one as
the primary.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from hashscan.hashing.pread import PictureFile
from hashscan.model import Reason

Patch = tuple[int, bytes]
"""Offset of bytes in a file, and the bytes to read there instead."""

Repair = tuple[list[Patch], Reason | None]
"""Changes to a file in ascending order, and why a file decoded with them was not decoded completely."""

_UNKNOWN, _FREE = b"junk", b"free"
_DESCRIPTIONS = frozenset({b"Exif", b"mime"})
_COMPOSED = frozenset({b"grid", b"iovl", b"iden"})
"""Types of pictures that are made of others alone."""
_PICTURES = _COMPOSED | {b"av01", b"hvc1", b"hev1", b"vvc1", b"evc1", b"avc1", b"jpeg", b"j2k1", b"unci"}
"""Types of pictures. One with a gain map (`tmap`) is shown from others, which are hashed."""
_GROUPS = frozenset({b"altr", b"pymd"})
_BOXES_MAX = 1000
"""Boxes of an AVIF or HEIF."""
_PATCHES_MAX = 1 << 12
_OTHERS_MAX = 16
"""Pictures of an AVIF or HEIF besides the first."""


class _Item(NamedTuple):
    """An item of a file."""

    place: int
    """Offset of its type."""
    kind: bytes
    hidden: bool


class _Reference(NamedTuple):
    """A box of references from one item to others."""

    place: int
    """Offset of its type."""
    kind: bytes
    source: int
    targets: tuple[int, ...]


class _Meta:
    """The items of a file, and what refers to them."""

    def __init__(self, file: PictureFile) -> None:
        self._file = file
        self.items: dict[int, _Item] = {}
        self.references: list[_Reference] = []
        self.grouped: set[int] = set()
        """Items in groups of which viewers show one."""
        self.groups: list[int] = []
        """Offsets of the types of boxes of groups."""
        self.uses: list[tuple[int, list[int]]] = []
        """Offset of each box of properties, and of the associations within it."""
        self.primary = self.primary_place = self.primary_size = 0
        # The content of a box with a version begins after version and flags, of 4 bytes.
        for kind, first, after in _boxes_of_meta(file):
            version = self._read(first, 1)
            wide = 2 if version == b"\0" else 4
            if kind == b"pitm":
                self.primary, self.primary_place, self.primary_size = (
                    self._int(first + 4, wide),
                    first + 4,
                    wide,
                )
            elif kind == b"iinf":
                self._read_items(first + 4 + wide, after)
            elif kind == b"iref":
                self._read_references(first + 4, after, wide)
            elif kind == b"grpl":
                self.groups.append(first - 4)
                for name, start, end in _boxes(file, first, after):
                    if name in _GROUPS:
                        numbers = self._ints(start + 12, self._int(start + 8, 4), 4, end)
                        self.grouped.update(numbers)
            elif kind == b"iprp":
                inner = [start for name, start, _ in _boxes(file, first, after) if name == b"ipma"]
                self.uses.append((first, inner))

    def _read(self, place: int, size: int) -> bytes:
        self._file.seek(place)
        return self._file.read(size)

    def _int(self, place: int, size: int) -> int:
        return int.from_bytes(self._read(place, size))

    def _ints(self, place: int, number: int, size: int, end: int) -> tuple[int, ...]:
        content = self._read(place, max(0, min(number * size, end - place)))
        return tuple(int.from_bytes(content[at : at + size]) for at in range(0, len(content), size))

    def _read_items(self, start: int, end: int) -> None:
        for _, first, after in _boxes(self._file, start, end):
            # Version and flags, number of 16 bits (version 2) or 32 bits, protection, type.
            head = self._read(first, 4)
            size = 2 if head[:1] == b"\2" else 4
            place = first + 6 + size
            if place + 4 <= after:
                self.items[self._int(first + 4, size)] = _Item(place, self._read(place, 4), bool(head[3] & 1))

    def _read_references(self, start: int, end: int, size: int) -> None:
        for kind, first, after in _boxes(self._file, start, end):
            targets = self._ints(first + size + 2, self._int(first + size, 2), size, after)
            self.references.append(_Reference(first - 4, kind, self._int(first, size), targets))

    def others(self) -> list[int]:
        """Return the pictures that are no part of the primary one, nor of each other."""
        inputs: dict[int, set[int]] = {}
        for reference in self.references:
            if reference.kind == b"dimg" and self._kind(reference.source) in _COMPOSED:
                inputs.setdefault(reference.source, set()).update(reference.targets)
        used = set().union(*inputs.values())
        auxiliary = {reference.source for reference in self.references if reference.kind == b"auxl"}
        found = []
        covered = {self.primary, *_reached(self.primary, inputs)}
        pictures = [number for number, item in self.items.items() if item.kind in _PICTURES]
        for number in sorted(pictures, key=used.__contains__):
            if number != self.primary and (
                number in self.grouped or (number not in covered and number not in auxiliary)
            ):
                found.append(number)
                covered |= {number, *_reached(number, inputs)}
        return found

    def _kind(self, number: int) -> bytes:
        return self.items[number].kind if number in self.items else b""


def _reached(number: int, inputs: dict[int, set[int]]) -> set[int]:
    found: set[int] = set()
    left = [number]
    while left:
        new = inputs.get(left.pop(), set()) - found
        found |= new
        left += new
    return found


def other_pictures(file: PictureFile) -> list[list[Patch]]:
    """Return changes to an AVIF, each of which makes another of its pictures the primary one.

    Raises:
        NotImplementedError: there are too many, or too many boxes.
    """
    meta = _Meta(file)
    others = meta.others()
    if len(others) > _OTHERS_MAX or any(number >> 8 * meta.primary_size for number in others):
        raise NotImplementedError
    # libavif shows no thumbnail.
    hidden = [(each.place, _UNKNOWN) for each in meta.references if each.kind == b"thmb"]
    hidden += [(place, _FREE) for place in meta.groups]
    return [sorted([(meta.primary_place, number.to_bytes(meta.primary_size)), *hidden]) for number in others]


def has_hidden_alternatives(file: PictureFile) -> bool:
    """Return True if viewers may show pictures of a HEIF that libheif leaves out as hidden.

    Raises:
        NotImplementedError: the file has too many boxes.
    """
    meta = _Meta(file)
    return any(meta.items[number].hidden and number in meta.grouped for number in meta.others())


def avif_repairs(file: PictureFile) -> list[Repair]:
    """Rename groups and the items of Exif and XMP; then also those of opacity, and repeated associations.

    There are none for a file with too many boxes.
    """
    try:
        meta = _Meta(file)
    except NotImplementedError:
        return []
    auxiliary = {reference.source for reference in meta.references if reference.kind == b"auxl"}
    associations: list[Patch] = []
    for first, inner in meta.uses:
        for place in inner[1:]:
            # The properties end before it, and it becomes free space behind them.
            associations += [(first - 8, (inner[1] - first).to_bytes(4)), (place - 4, _FREE)]
    described = [(item.place, _UNKNOWN) for item in meta.items.values() if item.kind in _DESCRIPTIONS]
    # All pictures of groups are decoded: see `other_pictures`.
    described += [(place, _FREE) for place in meta.groups]
    opacity = [(item.place, _UNKNOWN) for number, item in meta.items.items() if number in auxiliary]
    return [
        (sorted(described), None),
        (sorted({*described, *opacity, *associations}), Reason.BROKEN),
    ]


def multiplication_of(file: PictureFile) -> list[Patch]:
    """Return changes to an AVIF that hide that its colours are multiplied by opacity; none for others."""
    return [(each.place, _UNKNOWN) for each in _Meta(file).references if each.kind == b"prem"][:_PATCHES_MAX]


def _boxes_of_meta(file: PictureFile) -> Iterator[tuple[bytes, int, int]]:
    """Yield the boxes within the first `meta`, whose content begins after version and flags."""
    for kind, first, after in _boxes(file, 0, file.size):
        if kind == b"meta":
            yield from _boxes(file, first + 4, after)
            return


def _boxes(file: PictureFile, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    for number, box in enumerate(boxes_of(file, start, end)):
        if number == _BOXES_MAX:
            raise NotImplementedError
        yield box


def boxes_of(file: PictureFile, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield the kind, first content byte and end of each box between two positions."""
    while start + 8 <= end:
        file.seek(start)
        head = file.read(16)
        length, kind, first = int.from_bytes(head[:4]), head[4:8], start + 8
        if length == 1:
            length, first = int.from_bytes(head[8:16]), start + 16
        after = start + length if length else end
        if after < first or after > end:
            return
        yield kind, first, after
        start = after
