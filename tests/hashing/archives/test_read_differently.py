"""A picture in an archive that only some programs show: it is found, or the archive is in doubt."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from hashscan.hashing.member_records import Member
from hashscan.model import Reason
from tests.hashing.archives.test_members import (
    Open,
    directory,
    libraries,
    local_header,
    opened,
    sandbox,
    tarred,
    zipped,
)
from tests.pictures import encoded, scene

__all__ = ["libraries", "opened", "sandbox"]  # fixtures

pytestmark = pytest.mark.integration

PICTURE = encoded(scene(1, 96, 96), "PNG")
OTHER = encoded(scene(2, 96, 96), "PNG")
ONE = zipped({"b.png": PICTURE}, zipfile.ZIP_STORED)
TWO = zipped({"a.png": OTHER}, zipfile.ZIP_STORED)
GZIPPED = gzip.compress(PICTURE, mtime=0)


def is_picture(member: Member) -> bool:
    return hashlib.sha256(PICTURE).digest() in member.exact


OTHER_HEADER = local_header(b"a.png", OTHER, len(OTHER), 0)
HEADER = local_header(b"h.png", PICTURE, len(PICTURE), 0)


def hidden(*, before: bool) -> bytes:
    """A ZIP archive with a member that its directory does not name."""
    header, own = (
        local_header(b"a.png", OTHER, len(OTHER), 0),
        local_header(b"h.png", PICTURE, len(PICTURE), 0),
    )
    named, unnamed = header + OTHER, own + PICTURE
    body = unnamed + named if before else named + unnamed
    return body + directory([(OTHER_HEADER, len(unnamed) if before else 0)], len(body))


def two_directories() -> bytes:
    """A ZIP archive whose last record states the place of another directory than the one in front of it."""
    header, own = (
        local_header(b"a.png", OTHER, len(OTHER), 0),
        local_header(b"h.png", PICTURE, len(PICTURE), 0),
    )
    body = header + OTHER + own + PICTURE
    there = directory([(own, len(header) + len(OTHER))], len(body))[:-22]
    here = directory([(header, 0)], len(body))
    return body + there + here


def of_mode(mode: int, content: bytes = PICTURE, method: int = zipfile.ZIP_STORED) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        info = zipfile.ZipInfo("b.png")
        info.create_system, info.external_attr = 3, mode << 16
        archive.writestr(info, content, method)
    return made.getvalue()


def changed(signature: bytes, offset: int, value: bytes) -> bytes:
    """A ZIP archive with a changed field of a header."""
    made, at = bytearray(ONE), ONE.rindex(signature) + offset
    made[at : at + len(value)] = value
    return bytes(made)


LOCAL, CENTRAL = b"PK\3\4", b"PK\1\2"


def described(content: bytes, method: int, unpacked: bytes) -> bytes:
    """A member whose lengths stand behind it."""
    header = b"PK\3\4" + struct.pack("<HHHHH", 20, 8, method, 0, 0) + struct.pack("<IIIHH", 0, 0, 0, 1, 0)
    sizes = struct.pack("<III", zlib.crc32(unpacked), len(content), len(unpacked))
    return header + b"a" + content + b"PK\7\x08" + sizes


def longer(method: int) -> bytes:
    """A ZIP archive with a member that ends before its directory says, and another one behind that end."""
    packed = OTHER if method == zipfile.ZIP_STORED else zlib.compress(OTHER, wbits=-15)
    inner = packed + described(packed, method, OTHER)[31 + len(packed) :]
    inner += described(zlib.compress(PICTURE, wbits=-15), zipfile.ZIP_DEFLATED, PICTURE)
    content = inner if method == zipfile.ZIP_STORED else OTHER
    body = described(inner, method, content)
    sizes = struct.pack("<III", zlib.crc32(content), len(inner), len(content))
    return body + directory([(body[:14] + sizes + body[26:31], 0)], len(body))


def in_descriptor() -> bytes:
    """A ZIP archive with the header of a member where the lengths of the one before it usually stand."""
    body = described(OTHER, zipfile.ZIP_STORED, OTHER)[:-16]
    header = body[:14] + struct.pack("<III", zlib.crc32(OTHER), len(OTHER), len(OTHER)) + body[26:31]
    body += HEADER[:24]
    return body + directory([(header, 0)], len(body))


@pytest.mark.parametrize(
    ("content", "found"),
    [
        pytest.param(longer(zipfile.ZIP_STORED), True, id="stored member that ends before"),
        pytest.param(longer(zipfile.ZIP_DEFLATED), False, id="member that ends before"),
        pytest.param(in_descriptor(), False, id="header behind a member"),
        pytest.param(gzip.compress(b"") + lzma.compress(PICTURE), False, id="xz behind empty gzip"),
        pytest.param(gzip.compress(b"words") + lzma.compress(PICTURE), False, id="xz behind gzip"),
        pytest.param(bz2.compress(b"words") + bytes(600_000) + GZIPPED, False, id="gzip behind bzip2"),
        pytest.param(tarred("a.png", OTHER, "w:gz") + lzma.compress(PICTURE), False, id="xz behind tar.gz"),
        pytest.param(gzip.compress(gzip.compress(b"words") + lzma.compress(PICTURE)), False, id="in gzip"),
        pytest.param(ONE + TWO, True, id="the first of two"),
        pytest.param(TWO + ONE, True, id="the second of two"),
        pytest.param(TWO[:-2] + struct.pack("<H", len(ONE)) + ONE, True, id="in a comment"),
        pytest.param(ONE[:-2] + struct.pack("<H", len(TWO)) + TWO, True, id="before a comment"),
        pytest.param(hidden(before=True), True, id="before the first member"),
        pytest.param(hidden(before=False), True, id="behind the last member"),
        pytest.param(two_directories(), False, id="two directories"),
        pytest.param(of_mode(stat.S_IFDIR | 0o755), True, id="folder"),
        pytest.param(of_mode(stat.S_IFLNK | 0o777), True, id="link"),
        pytest.param(of_mode(stat.S_IFLNK, b"<svg>data:,x", zipfile.ZIP_DEFLATED), False, id="short link"),
        pytest.param(of_mode(stat.S_IFCHR), True, id="device"),
        pytest.param(zipped({"b.png/": PICTURE}), False, id="slash"),
        pytest.param(changed(LOCAL, 8, b"\x63\0"), False, id="method"),
        pytest.param(changed(CENTRAL, 10, b"\x63\0"), True, id="method in the directory"),
        pytest.param(changed(LOCAL, 18, bytes(8)), True, id="no size"),
        pytest.param(changed(CENTRAL, 20, bytes(8)), True, id="no size in the directory"),
        pytest.param(changed(CENTRAL, 24, bytes(4)), True, id="no unpacked size in the directory"),
        pytest.param(changed(LOCAL, 6, b"\1"), False, id="encrypted"),
        pytest.param(changed(CENTRAL, 8, b"\1"), True, id="encrypted in the directory"),
        pytest.param(gzip.compress(ONE + TWO), True, id="the first of two in gzip"),
        pytest.param(gzip.compress(TWO + ONE), True, id="the second of two in gzip"),
    ],
)
def test_a_picture_that_some_programs_show(opened: Open, content: bytes, found: bool) -> None:
    members, end = opened(content)
    assert {Reason.AMBIGUOUS, Reason.CONTAINER_BROKEN} & {end.reason, *(member.reason for member in members)}
    assert not found or any(map(is_picture, members))


def test_an_archive_that_some_programs_do_not_look_for(opened: Open, libraries: str) -> None:
    members, end = opened(b"x" * 100 + ONE + bytes(65_600))
    if libraries == "none":
        assert any(map(is_picture, members))
    else:
        assert end.reason is Reason.CONTAINER_BROKEN


def link_with_content() -> bytes:
    """A cpio archive with two links to a file; its bytes are behind the last one."""
    made = b""
    for name, content in ((b"a.png", b""), (b"b.png", PICTURE), (b"TRAILER!!!", b"")):
        mode = 0o100644 if name[0] > 90 else 0
        fields = [5, mode, 0, 0, 2, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0]
        made += b"070701" + b"".join(b"%08X" % field for field in fields) + name + b"\0"
        made += bytes(-len(made) % 4) + content
        made += bytes(-len(made) % 4)
    return made


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(link_with_content(), id="link"),
        pytest.param(tarred("a.png", OTHER) + tarred("b.png", PICTURE), id="behind the end"),
        pytest.param(
            tarred("a.png", OTHER, "w:gz") + tarred("b.png", PICTURE, "w:gz"), id="behind the end in gzip"
        ),
        pytest.param(tarred("a.png", OTHER) + ONE, id="ZIP behind tar"),
        pytest.param(gzip.compress(b"words") + ONE, id="ZIP behind gzip"),
        pytest.param(gzip.compress(gzip.compress(b"words") + ONE), id="ZIP behind gzip in gzip"),
    ],
)
def test_a_picture_that_the_library_passes_over(opened: Open, content: bytes) -> None:
    members, _ = opened(content)
    assert any(map(is_picture, members))


@pytest.mark.parametrize(
    "content",
    [
        zipped({}),
        gzip.compress(b"", mtime=0),
        bz2.compress(b""),
        lzma.compress(b""),
        b"7z\xbc\xaf\x27\x1c\0\4\x8d\x9b\xd5\x0f".ljust(32, b"\0"),
        gzip.compress(bytes(10_240), mtime=0),
    ],
    ids=["ZIP", "gzip", "bzip2", "xz", "7z", "tar.gz"],
)
def test_an_empty_archive_is_not_broken(opened: Open, content: bytes) -> None:
    assert opened(content)[1].reason is None


@pytest.mark.parametrize("behind", [bytes(600_000), b"\n", b"words" * 9, bytes(range(1, 256))])
def test_what_is_no_stream_behind_a_compressed_file_is_not_in_doubt(opened: Open, behind: bytes) -> None:
    for content in (gzip.compress(b"words", mtime=0), tarred("a.png", OTHER, "w:gz"), bz2.compress(b"words")):
        members, end = opened(content + behind)
        assert (len(members), end.reason) == (1, None)


def streamed(content: bytes) -> bytes:
    """A ZIP archive whose sizes stand behind each member."""

    class Pipe(io.RawIOBase):
        made = b""

        def writable(self) -> bool:
            return True

        def write(self, data: object) -> int:
            piece = bytes(data)  # type: ignore[call-overload]
            self.made += piece
            return len(piece)

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("b.png", content)
        archive.writestr("folder/", b"")
    return pipe.made


def zip64() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive, archive.open("b.png", "w", force_zip64=True) as member:
        member.write(PICTURE)
    return made.getvalue()


def zip64_end() -> bytes:
    """A ZIP archive with a record for large archives at its end."""
    at = ONE.rindex(CENTRAL)
    size = len(ONE) - 22 - at
    large = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, size, at)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, len(ONE) - 22, 1)
    last = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return ONE[:-22] + large + locator + last


def linked(path: Path) -> bytes:
    """A ZIP archive as a system's own program makes it, with a link and folders."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        folder = zipfile.ZipInfo("folder/")
        folder.external_attr = (stat.S_IFDIR | 0o755) << 16
        archive.writestr(folder, b"")
        link = zipfile.ZipInfo("folder/link")
        link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, b"../b.png")
        archive.writestr(zipfile.ZipInfo("b.png"), PICTURE)
    return made.getvalue()


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda path: streamed(PICTURE), id="streamed"),
        pytest.param(lambda path: zip64(), id="zip64"),
        pytest.param(lambda path: zip64_end(), id="zip64 record"),
        pytest.param(linked, id="links"),
        pytest.param(lambda path: ONE + bytes(66_000), id="zeros behind"),
        pytest.param(lambda path: ONE[:-2] + b"\4\0text", id="comment"),
        pytest.param(lambda path: zipped({"x": ONE, "b.png": PICTURE}, zipfile.ZIP_STORED), id="ZIP in ZIP"),
        pytest.param(lambda path: zipped({str(n): b"" for n in range(900)} | {"b.png": PICTURE}), id="many"),
    ],
)
def test_an_honest_archive_is_not_in_doubt(
    opened: Open, tmp_path: Path, make: Callable[[Path], bytes]
) -> None:
    members, end = opened(make(tmp_path))
    assert {end.reason, *(member.reason for member in members)} == {None}
    assert any(map(is_picture, members))


def image_of(path: Path, **members: bytes) -> bytes:
    libarchive = pytest.importorskip("libarchive")
    with libarchive.file_writer(str(path), "iso9660") as archive:
        for name, content in members.items():
            archive.add_file_from_memory(f"folder/{name}.png", len(content), content)
    return path.read_bytes()


def test_both_trees_of_a_disc_are_read_where_they_differ(opened: Open, tmp_path: Path) -> None:
    content = bytearray(image_of(tmp_path / "image", a=OTHER, b=PICTURE))
    members, end = opened(bytes(content))
    assert (len(members), end.reason) == (2, None)
    name = "b.png".encode("utf-16-be")
    at = content.index(name) - 33
    # In the tree of Unicode names the picture is the other one.
    other = content.index("a.png".encode("utf-16-be")) - 33
    content[at + 2 : at + 18] = content[other + 2 : other + 18]
    members, end = opened(bytes(content))
    assert any(map(is_picture, members))
    assert len(members) > 2
    content[20 * 2048 + 1 : 20 * 2048 + 6] = b"NSR02"
    members, _ = opened(bytes(content))
    assert Reason.AMBIGUOUS in {member.reason for member in members}
