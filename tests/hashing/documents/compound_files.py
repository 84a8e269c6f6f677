"""Compound files (OLE2) drawn by code: [MS-CFB] with sectors of 512 bytes and no short streams."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from itertools import pairwise

_SECTOR = 512
_END, _FREE, _TABLE, _NONE = 0xFFFFFFFE, 0xFFFFFFFF, 0xFFFFFFFD, 0xFFFFFFFF


def _padded(content: bytes) -> bytes:
    # A shorter stream would lie in the stream of short ones.
    content = content.ljust(4096, b"\0")
    return content.ljust(-(-len(content) // _SECTOR) * _SECTOR, b"\0")


def _entry(name: str, kind: int, start: int, size: int, right: int = _NONE, child: int = _NONE) -> bytes:
    coded = name.encode("utf-16-le")
    return (
        coded.ljust(64, b"\0")
        + struct.pack("<HBBIII", len(coded) + 2 if coded else 0, kind, 1, _NONE, right, child)
        + bytes(36)
        + struct.pack("<IQ", start, size)
    )


def compound(streams: Mapping[str, bytes]) -> bytes:
    """A compound file; a slash in a name separates a storage from a stream in it."""
    sectors: list[bytes] = []
    table: list[int] = []

    def stored(content: bytes) -> int:
        first, count = len(sectors), len(content) // _SECTOR
        sectors.extend(content[at : at + _SECTOR] for at in range(0, len(content), _SECTOR))
        table.extend([*range(first + 1, first + count), _END])
        return first

    names: list[tuple[str, str]] = []
    for path in streams:
        storage, _, name = path.rpartition("/")
        names.append((storage, name))
    storages = ["", *sorted({storage for storage, _ in names if storage})]
    items: list[tuple[str, str, bytes | None]] = [("", storage, None) for storage in storages[1:]]
    items += [(storage, name, streams[f"{storage}/{name}" if storage else name]) for storage, name in names]
    children: dict[str, list[int]] = {storage: [] for storage in storages}
    for at, (storage, _, _) in enumerate(items, 1):
        children[storage].append(at)
    follows = {one: other for all_of in children.values() for one, other in pairwise(all_of)}
    entries = []
    for at, (_, name, content) in enumerate(items, 1):
        right = follows.get(at, _NONE)
        if content is None:
            inner = children[name]
            entries.append(_entry(name, 1, 0, 0, right, inner[0] if inner else _NONE))
        else:
            entries.append(_entry(name, 2, stored(_padded(content)), max(4096, len(content)), right))
    top = children[""][0] if children[""] else _NONE
    listing = b"".join([_entry("Root Entry", 5, _END, 0, _NONE, top), *entries])
    while len(listing) % _SECTOR:
        listing += _entry("", 0, 0, 0)
    directory = stored(listing)
    count = -(-(len(table) + 1) // (_SECTOR // 4 - 1))
    places = [len(sectors) + at for at in range(count)]
    table += [_TABLE] * count
    table += [_FREE] * (count * _SECTOR // 4 - len(table))
    header = (
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
        + bytes(16)
        + struct.pack("<HHHHH6x", 0x3E, 3, 0xFFFE, 9, 6)
        + struct.pack("<IIIIIIIII", 0, count, directory, 0, 4096, _END, 0, _END, 0)
        + struct.pack("<109I", *places, *[_FREE] * (109 - count))
    )
    return header + b"".join(sectors) + struct.pack(f"<{len(table)}I", *table)
