"""Read objects that documents embed: files that Windows has packed, and objects of OLE 1 ([MS-OLEDS] 2.2)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from hashscan.hashing.archives.library import ArchiveMember
from hashscan.hashing.archives.openers import failed, guarded, stored
from hashscan.hashing.documents.metafiles import in_bytes
from hashscan.hashing.formats import sniff
from hashscan.model import Reason

_NUMBER = struct.Struct("<I")
_EMBEDDED = 2
_NAMES = 3


def native(name: bytes, content: bytes) -> Iterator[ArchiveMember]:
    """Yield the data of an object, as it is for its own program; a packed file, or one without a package."""
    try:
        packed = _packed_file(content)
    except (ValueError, struct.error):
        packed = None
    if packed is not None:
        yield stored(name + b"/" + packed[0], packed[1])
    elif sniff(content) is not None:
        yield stored(name, content)
    else:
        yield failed(name, Reason.CONTAINER)


def object_of_ole_1(name: bytes, content: bytes) -> Iterator[ArchiveMember]:
    """Yield the data of an object of OLE 1, and the pictures by which it is shown."""
    try:
        (form,) = _NUMBER.unpack_from(content, 4)
        at = 8
        for _ in range(_NAMES):
            at += _NUMBER.size + _NUMBER.unpack_from(content, at)[0]
        (size,) = _NUMBER.unpack_from(content, at)
    except struct.error:
        form = size = at = 0
    begin = at + _NUMBER.size
    if form != _EMBEDDED or size > len(content) - begin:
        yield failed(name, Reason.CONTAINER)
        yield from in_bytes(name, content)
        return
    yield from guarded(name, native(name, content[begin : begin + size]))
    shown = name + b"/shown"
    yield from guarded(shown, in_bytes(shown, content[begin + size :]))


def _packed_file(content: bytes) -> tuple[bytes, bytes] | None:
    """Return the name and the bytes of a packed file; None if it is a link to one."""
    if not content.startswith(b"\2\0"):
        raise ValueError
    label = content.index(b"\0", 2)
    at = content.index(b"\0", label + 1) + 1
    _, kind, length = struct.unpack_from("<HHI", content, at)
    at += 8 + length
    (size,) = _NUMBER.unpack_from(content, at)
    at += _NUMBER.size
    if size > len(content) - at:
        raise ValueError
    return (content[2:label], content[at : at + size]) if kind == 3 else None
