"""Read tar archives from their first byte to their last, header by header.

A header's fields are read by `tarfile`; which headers follow each other is decided here, with bounded memory,
and what programs read differently is said (POSIX.1-2017, pax; GNU tar's manual, "Basic Tar Format").
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from typing import NamedTuple

from hashscan.hashing.archives.library import PIECE_SIZE, ArchiveMember, MemberError
from hashscan.hashing.member_records import ContainerError
from hashscan.model import Reason

_BLOCK = 512
_EMPTY = bytes(_BLOCK)
_ABOUT_MAX = 1 << 20
"""Most bytes that are read about one member: a long name, or the fields of pax."""
_SIZE_MAX = 8**11 - 1
"""The largest length in bytes that the header itself can state in digits."""
_SIZE = re.compile(rb"[ \0]*[0-7]*[ \0]*|[\x80\xff].*", re.DOTALL)
_RECORD = re.compile(rb"([0-9]{1,7}) ([^=]+)=")
_LONG_NAME, _LONG_LINK, _SPARSE = b"L", b"K", b"S"
_HOLES = (b"GNU.sparse.", b"SUN.holesdata", b"SCHILY.realsize")
"""Begins of fields of pax about files with holes."""
_PAX, _PAX_GLOBAL = frozenset({b"x", b"X"}), b"g"
_WITHOUT_BYTES = frozenset({b"1", b"2", b"3", b"4", b"5", b"6"})
_NOT_REGULAR = _WITHOUT_BYTES | {b"D", b"M", b"N", b"V"}


class Source:
    """Bytes that are read once, from the first to the last."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._piece, self._at = pieces, b"", 0

    def peek(self, size: int) -> bytes:
        """Return the next bytes and keep them; fewer at the end."""
        left = len(self._piece) - self._at
        if left < size:
            pieces = [self._piece[self._at :]]
            while left < size and (piece := next(self._pieces, b"")):
                pieces.append(piece)
                left += len(piece)
            self._piece, self._at = b"".join(pieces), 0
        return self._piece[self._at : self._at + size]

    def read(self, size: int) -> bytes:
        """Return the next bytes; fewer at the end."""
        found = self.peek(size)
        self._at += len(found)
        return found

    def some(self, most: int) -> bytes:
        """Return some of the next bytes; none at the end."""
        if self._at == len(self._piece):
            self._piece, self._at = next(self._pieces, b""), 0
        found = self._piece[self._at : self._at + most]
        self._at += len(found)
        return found


class _About(NamedTuple):
    """The fields that precede the header of a member."""

    name: bytes | None = None
    size: int | None = None
    sparse: bool = False
    doubt: bool = False


def tar_members(source: Source) -> Iterator[ArchiveMember]:
    """Yield the members of a tar archive, and of those behind it."""
    about, ended = _About(), False
    while block := source.read(_BLOCK):
        if block == _EMPTY:
            ended = True
            continue
        header = _header(block, ended)
        if header is None:
            return
        size = header.size
        if header.type in {_LONG_NAME, _LONG_LINK, _PAX_GLOBAL, *_PAX}:
            about = _with(about, header.type, _text(source, size))
            continue
        doubt = about.doubt
        if about.size is not None:
            # Programs that ignore pax see the next header behind as many bytes as this one states.
            doubt |= size != about.size and (
                about.size <= _SIZE_MAX
                or size not in {0, _SIZE_MAX}
                or ((first := source.peek(_BLOCK)) != _EMPTY and _is_header(first))
            )
            size = about.size
        if size and header.type in _WITHOUT_BYTES:
            # Some programs pass over as many bytes, others see the next header there.
            doubt = True
            size = 0 if _is_header(source.peek(_BLOCK)) else size
        sparse = about.sparse or header.type == _SPARSE
        if header.type == _SPARSE:
            _pass_over_map(source, block)
        name = about.name
        if name is None:
            name = header.name.encode("utf-8", "surrogateescape")
        body = _Body(source, size)
        reason = Reason.AMBIGUOUS if doubt else Reason.METHOD if sparse else None
        yield ArchiveMember(name, header.type not in _NOT_REGULAR, body.pieces(reason))
        body.finish()
        about = _About()
    if about != _About():
        raise ContainerError(Reason.CONTAINER_BROKEN)


class _Header(NamedTuple):
    name: str
    type: bytes
    size: int


def _header(block: bytes, ended: bool) -> _Header | None:
    """Return the fields of a header; None for the last bytes behind the end, if they are shorter than one."""
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.TarError, ValueError):
        # Behind anything longer, some programs search for the next header.
        if ended and len(block) < _BLOCK:
            return None
        raise ContainerError(Reason.CONTAINER_BROKEN) from None
    if info.size < 0 or _SIZE.fullmatch(block[124:136]) is None:
        raise ContainerError(Reason.CONTAINER_BROKEN)
    # `tarfile` takes some files for folders by their names.
    kind = block[156:157]
    return _Header(info.name, tarfile.DIRTYPE if info.type == tarfile.DIRTYPE else kind, info.size)


def _is_header(block: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.TarError, ValueError):
        return block == _EMPTY
    return True


def _text(source: Source, size: int) -> bytes:
    """Return what a header is followed by about the next member."""
    if size > _ABOUT_MAX:
        raise ContainerError(Reason.CONTAINER_BROKEN)
    found = source.read(size + -size % _BLOCK)
    if len(found) < size:
        raise ContainerError(Reason.CONTAINER_BROKEN)
    return found[:size]


def _with(about: _About, kind: bytes, text: bytes) -> _About:
    """Return the fields together with those of one more header."""
    if kind == _LONG_LINK:
        return about
    if kind == _LONG_NAME:
        return about._replace(name=text.partition(b"\0")[0])
    fields = _fields(text)
    sparse = any(key.startswith(_HOLES) for key in fields)
    size = fields.get(b"size")
    if kind == _PAX_GLOBAL:
        # Some programs ignore these.
        return about._replace(doubt=about.doubt or sparse or size is not None)
    if size is not None:
        if not size.isdigit() or len(size) > 19:
            raise ContainerError(Reason.CONTAINER_BROKEN)
        about = about._replace(size=int(size))
    name = fields.get(b"GNU.sparse.name", fields.get(b"path", about.name))
    return about._replace(name=name, sparse=about.sparse or sparse)


def _fields(text: bytes) -> dict[bytes, bytes]:
    """Return the fields of pax."""
    found: dict[bytes, bytes] = {}
    at = 0
    while at < len(text) and text[at]:
        record = _RECORD.match(text, at)
        end = 0 if record is None else at + int(record[1])
        if record is None or not record.end() < end <= len(text) or text[end - 1 : end] != b"\n":
            raise ContainerError(Reason.CONTAINER_BROKEN)
        found[record[2]] = text[record.end() : end - 1]
        at = end
    return found


def _pass_over_map(source: Source, block: bytes) -> None:
    """Read the further blocks that say where the holes of a file are."""
    more = block[482]
    while more:
        more = source.read(_BLOCK)[504:505] not in {b"\0", b""}


class _Body:
    """The bytes of one member."""

    def __init__(self, source: Source, size: int) -> None:
        self._source, self._left, self._padding = source, size, -size % _BLOCK

    def pieces(self, reason: Reason | None) -> Iterator[bytes]:
        """Yield the bytes; then raise MemberError if there is a reason why they are not all."""
        while self._left:
            piece = self._source.some(min(PIECE_SIZE, self._left))
            if not piece:
                raise ContainerError(Reason.CONTAINER_BROKEN)
            self._left -= len(piece)
            yield piece
        if reason is not None:
            raise MemberError(reason)

    def finish(self) -> None:
        for _ in self.pieces(None):
            pass
        self._source.read(self._padding)
