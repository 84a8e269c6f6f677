"""Read web archives (WARC, ISO 28500): records of headers and a block, one after another.

The block of a response is what the server sent: a header of HTTP, and then the file, perhaps in chunks (RFC
9112, 7.1). A web archive that is compressed is a file of gzip with a web archive in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from hashscan.hashing.archives.library import ArchiveMember
from hashscan.hashing.archives.openers import READ_MAX, failed, stored
from hashscan.hashing.archives.unpacking import blocks_of
from hashscan.hashing.member_records import ContainerError
from hashscan.hashing.pread import PreadFile
from hashscan.hashing.recognition.names import ending_of_type
from hashscan.model import Reason

_HEAD_MAX = 64 << 10
"""Maximum length in bytes of the headers of a record, and of those of HTTP; longer ones are not read."""
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_FIELD = re.compile(rb"^([!-9;-~]+)[ \t]*:[ \t]*([^\r\n]*)", re.MULTILINE)
_DIGITS = re.compile(rb"[0-9]{1,15}\Z")
_CHUNK = re.compile(rb"(?:\r\n)?([0-9A-Fa-f]{1,8})[^\n]{0,1000}\n")
_PLAIN = frozenset({b"", b"identity", b"gzip", b"x-gzip"})
"""Encodings of the content; a file of gzip is opened as such."""
_BETWEEN = b"\r\n"


class WarcOpener:
    """Opens web archives."""

    def members(self, file: PreadFile) -> Iterator[ArchiveMember]:
        """Yield what is in the block of each record."""
        at = 0
        while at < file.size:
            file.seek(at)
            head = file.read(_HEAD_MAX)
            skipped = len(head) - len(head.lstrip(_BETWEEN))
            if skipped == len(head):
                at += skipped
                continue
            end = _HEAD_END.search(head, skipped)
            fields = {} if end is None else _fields(head[skipped : end.start()])
            length = fields.get(b"content-length", b"")
            if end is None or not head.startswith(b"WARC/", skipped) or _DIGITS.match(length) is None:
                raise ContainerError(Reason.CONTAINER_BROKEN)
            begin, size = at + end.end(), int(length)
            if begin + size > file.size:
                raise ContainerError(Reason.CONTAINER_BROKEN)
            yield _member(file, begin, size, fields)
            at = begin + size


def _fields(head: bytes) -> dict[bytes, bytes]:
    return {name.lower(): text.strip() for name, text in _FIELD.findall(head)}


def _member(file: PreadFile, begin: int, size: int, fields: dict[bytes, bytes]) -> ArchiveMember:
    name = fields.get(b"warc-target-uri") or fields.get(b"warc-record-id", b"")
    if b"warc-segment-number" in fields:
        # A part of a file, which begins in another record.
        return failed(name, Reason.PARTIAL)
    if not fields.get(b"content-type", b"").lower().startswith(b"application/http"):
        return ArchiveMember(name, True, blocks_of(file, begin, size))
    file.seek(begin)
    head = file.read(min(_HEAD_MAX, size))
    end = _HEAD_END.search(head)
    if end is None and size > _HEAD_MAX:
        return failed(name, Reason.AMBIGUOUS)
    if end is None:
        # Without the end of the headers nothing was sent but these.
        return ArchiveMember(name, True, blocks_of(file, begin, size))
    sent = _fields(head[: end.start()])
    if sent.get(b"content-encoding", b"").lower() not in _PLAIN:
        return failed(name, Reason.METHOD)
    begin, size = begin + end.end(), size - end.end()
    ending = ending_of_type(sent.get(b"content-type", b"").decode("latin-1"))
    if b"chunked" not in sent.get(b"transfer-encoding", b"").lower():
        return ArchiveMember(name, True, blocks_of(file, begin, size), ending=ending)
    if size > READ_MAX:
        return failed(name, Reason.CONTAINER_MEMBER)
    file.seek(begin)
    content = _joined(file.read(size))
    return (
        failed(name, Reason.AMBIGUOUS) if content is None else stored(name, content)._replace(ending=ending)
    )


def _joined(chunks: bytes) -> bytes | None:
    """Return the content that was sent in chunks; as it is if some tool has joined them before.

    None if they don't end as chunks do: programs differ in how they go on.
    """
    pieces: list[bytes] = []
    at = 0
    while (found := _CHUNK.match(chunks, at)) is not None and (size := int(found[1], 16)):
        pieces.append(chunks[found.end() : found.end() + size])
        at = found.end() + size
    if found is None:
        return None if pieces else chunks
    return b"".join(pieces)
