"""Web archives: records of a crawler, of tools that store files, and broken ones."""

from __future__ import annotations

import gzip

import pytest

from hashscan.hashing.archives import warc
from hashscan.hashing.archives.library import MemberError
from hashscan.hashing.archives.warc import WarcOpener
from hashscan.hashing.container_kinds import is_opened
from hashscan.hashing.formats import sniff
from hashscan.hashing.member_records import ContainerError
from hashscan.hashing.pread import PreadFile
from hashscan.model import ContainerKind, Reason

CONTENT = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20


def record(block: bytes, *headers: bytes) -> bytes:
    lines = (b"WARC/1.1", *headers, b"WARC-Target-URI: http://a/p.png", b"Content-Length: %d" % len(block))
    return b"\r\n".join(lines) + b"\r\n\r\n" + block + b"\r\n\r\n"


def response(body: bytes, *headers: bytes) -> bytes:
    lines = (b"HTTP/1.1 200 OK", b"Content-Type: image/png", *headers)
    block = b"\r\n".join(lines) + b"\r\n\r\n" + body
    return record(block, b"WARC-Type: response", b"Content-Type: application/http; msgtype=response")


def chunked(content: bytes, size: int) -> bytes:
    pieces = [content[at : at + size] for at in range(0, len(content), size)]
    return b"".join(b"%X;x=y\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def read(content: bytes) -> list[bytes | Reason]:
    found: list[bytes | Reason] = []
    for member in WarcOpener().members(PreadFile(content)):
        assert member.name == b"http://a/p.png"
        try:
            found.append(b"".join(member.pieces))
        except MemberError as error:
            found.append(error.reason)
    return found


def test_files_of_all_kinds_of_records_are_read() -> None:
    made = (
        record(b"software: x\r\n", b"WARC-Type: warcinfo", b"Content-Type: application/warc-fields"),
        response(CONTENT),
        response(chunked(CONTENT, 1000), b"Transfer-Encoding: chunked"),
        response(CONTENT, b"transfer-encoding: chunked"),
        response(gzip.compress(CONTENT, mtime=0), b"Content-Encoding: gzip"),
        record(CONTENT, b"WARC-Type: resource", b"Content-Type: image/png"),
    )
    assert read(b"".join(made))[1:] == [
        *(CONTENT, CONTENT, CONTENT),
        *(gzip.compress(CONTENT, mtime=0), CONTENT),
    ]
    kind = sniff(b"".join(made))
    assert kind is not None
    assert kind.name == "WARC"
    assert is_opened(kind, (ContainerKind.ARCHIVE,))


def test_what_can_not_be_read_has_a_reason() -> None:
    assert read(response(b"1\r\nx\r\n" + CONTENT, b"Transfer-Encoding: chunked")) == [Reason.AMBIGUOUS]
    assert read(response(CONTENT, b"Content-Encoding: br")) == [Reason.METHOD]
    assert read(record(CONTENT, b"WARC-Type: continuation", b"WARC-Segment-Number: 2")) == [Reason.PARTIAL]


@pytest.mark.parametrize(("length", "expected"), [(64_000, CONTENT), (66_000, Reason.AMBIGUOUS)])
def test_long_headers_of_http_are_no_file(length: int, expected: bytes | Reason) -> None:
    assert read(response(CONTENT, b"Long: " + b"x" * length)) == [expected]


@pytest.mark.parametrize(
    "broken",
    [
        b"garbage" + response(CONTENT),
        response(CONTENT)[:-2000],
        response(CONTENT).replace(b"Content-Length", b"Content-Longth"),
        record(CONTENT, b"Long: " + b"x" * (64 << 10)),
    ],
)
def test_broken_ones_are_not_clean(broken: bytes) -> None:
    with pytest.raises(ContainerError):
        read(record(CONTENT) + broken)


def test_chunks_beyond_the_bound_are_not_clean(monkeypatch: pytest.MonkeyPatch) -> None:
    content = response(chunked(CONTENT, 1000), b"Transfer-Encoding: chunked")
    for bound, expected in ((len(chunked(CONTENT, 1000)), CONTENT), (len(CONTENT), Reason.CONTAINER_MEMBER)):
        monkeypatch.setattr(warc, "READ_MAX", bound)
        assert read(content) == [expected]
