"""Tar archives that programs read differently, or that would take much memory, read by Python alone."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable

import pytest

from hashscan.hashing.archives.library import ArchiveMember, MemberError
from hashscan.hashing.archives.standard_library import StandardLibrary
from hashscan.hashing.archives.tar_members import Source, tar_members
from hashscan.hashing.member_records import ContainerError
from hashscan.hashing.pread import PreadFile
from hashscan.model import Reason

END = bytes(1024)
Found = list[tuple[bytes, bytes, Reason | None]]


def header(name: str = "a", size: int = 0, kind: bytes = tarfile.REGTYPE) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


def padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % 512)


def file_of(content: bytes, name: str = "a", kind: bytes = tarfile.REGTYPE) -> bytes:
    return header(name, len(content), kind) + padded(content)


def pax(kind: bytes = b"x", **fields: str) -> bytes:
    made = b""
    for key, value in fields.items():
        text = f" {key.replace('__', '.')}={value}\n".encode()
        length = len(text) + 2
        made += b"%d" % length + text
    return file_of(made, "pax", kind)


def with_size(made: bytes, field: bytes) -> bytes:
    """Return a header with another field for the size, and the right checksum."""
    changed = made[:124] + field + made[136:148] + b" " * 8 + made[156:]
    return changed[:148] + b"%06o\0 " % sum(changed[:512]) + changed[156:]


def read(content: bytes) -> tuple[Found, Reason | None]:
    """Return place, bytes and reason of each member, and the reason at the end."""
    found: Found = []

    def taken(member: ArchiveMember) -> tuple[bytes, bytes, Reason | None]:
        pieces: list[bytes] = []
        try:
            pieces.extend(member.pieces)
        except MemberError as error:
            return member.name, b"".join(pieces), error.reason
        return member.name, b"".join(pieces), None

    blocks = io.BytesIO(content)
    try:
        for member in tar_members(Source(iter(lambda: blocks.read(700), b""))):
            found.append(taken(member))
    except ContainerError as error:
        return found, error.reason
    return found, None


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(file_of(b"words"), [(b"a", b"words", None)], id="file"),
        pytest.param(file_of(b"long\0", "L", b"L") + file_of(b"x"), [(b"long", b"x", None)], id="long name"),
        pytest.param(pax(path="é") + file_of(b"x"), [("é".encode(), b"x", None)], id="name of pax"),
        pytest.param(
            header(kind=tarfile.LNKTYPE, size=512) + file_of(b"x", "b"),
            [(b"a", b"", Reason.AMBIGUOUS), (b"b", b"x", None)],
            id="link with bytes that are a header",
        ),
        pytest.param(
            file_of(b"x", kind=tarfile.DIRTYPE), [(b"a", b"x", Reason.AMBIGUOUS)], id="folder with bytes"
        ),
        pytest.param(file_of(b"x", kind=b"!"), [(b"a", b"x", None)], id="unknown type"),
        pytest.param(
            pax(size="3") + header(size=1) + padded(b"xyz"),
            [(b"a", b"xyz", Reason.AMBIGUOUS)],
            id="two lengths",
        ),
        pytest.param(
            pax(b"g", size="3") + file_of(b"x"), [(b"a", b"x", Reason.AMBIGUOUS)], id="length for all"
        ),
        pytest.param(
            pax(GNU__sparse__map="0,1") + file_of(b"x"), [(b"a", b"x", Reason.METHOD)], id="holes of pax"
        ),
        pytest.param(file_of(b"x", kind=b"S"), [(b"a", b"x", Reason.METHOD)], id="holes"),
        pytest.param(
            pax(SUN__holesdata="0 1") + file_of(b"x"), [(b"a", b"x", Reason.METHOD)], id="holes of Solaris"
        ),
    ],
)
def test_members(content: bytes, expected: Found) -> None:
    assert read(content) == read(content + END) == (expected, None)
    # As programs do that go on behind the end; what is no archive there is passed over.
    behind = file_of(b"more", "z") + END + b"a line"
    assert read(content + END + behind) == ([*expected, (b"z", b"more", None)], None)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(lambda: file_of(b"x")[:-512], id="cut"),
        pytest.param(lambda: file_of(b"x") + b"words" + END, id="words between"),
        pytest.param(lambda: file_of(b"x") + END + bytes(range(256)) * 2 + file_of(b"x"), id="words behind"),
        pytest.param(lambda: header(size=2 << 20, kind=b"x") + bytes(2 << 20) + END, id="much about one"),
        pytest.param(lambda: header(size=2 << 20, kind=b"L") + bytes(2 << 20) + END, id="a long name"),
        pytest.param(lambda: file_of(b"9999 path=x\n", kind=b"x") + END, id="fields longer than all"),
        pytest.param(lambda: file_of(b"9 path=xx", kind=b"x") + END, id="fields without an end"),
        pytest.param(lambda: pax(size="-1") + file_of(b"x") + END, id="negative length of pax"),
        pytest.param(lambda: with_size(header(), b"\xff" * 12) + END, id="negative length"),
        pytest.param(lambda: with_size(header(), b"00000_00000\0") + END, id="length with a sign"),
        pytest.param(lambda: pax(path="x") + END, id="fields of no file"),
    ],
)
def test_broken_archives(content: Callable[[], bytes]) -> None:
    assert read(content())[1] is Reason.CONTAINER_BROKEN


def test_a_compressed_picture_that_is_a_tar_archive_too_is_one_member() -> None:
    both = with_size(b"\x89PNG\r\n\x1a\n" + header()[8:], header()[124:136]) + END
    members = StandardLibrary().members(PreadFile(gzip.compress(both)), "gzip")
    assert [(member.name, b"".join(member.pieces)) for member in members] == [(b"data", both)]
