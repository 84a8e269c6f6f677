"""Opening archives in a confined decoder: their members, hostile ones, and limits."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec import json

from hashscan.hashing.container_kinds import opened_by_python
from hashscan.hashing.containers import TAIL_SIZE, container_behind
from hashscan.hashing.formats import sniff
from hashscan.hashing.member_records import (
    PLACE_MAX,
    RECORD_MAX,
    ContainerEnd,
    Member,
    unpack_records,
)
from hashscan.hashing.records import DecodedPicture, pack_request
from hashscan.model import MemberLimits, Reason
from hashscan.sandbox.client import DecoderProgram, Sandbox, SandboxOptions
from hashscan.sandbox.protocol import REPLY_MAX
from tests.pictures import encoded, scene

pytestmark = pytest.mark.integration

EXACT = ("md5", "sha1", "sha256")
KEPT_MAX = 16 << 20
LIMITS = MemberLimits(members=5000, bytes=256 << 20, member_bytes=KEPT_MAX, ratio=200, depth=3)
Opened = tuple[list[Member], ContainerEnd]
Open = Callable[[bytes], Opened]


@pytest.fixture(scope="module", params=["libarchive", "none"])
def libraries(request: pytest.FixtureRequest) -> str:
    """A reader of archives: libarchive, or Python's standard library."""
    if request.param != "none":
        pytest.importorskip(request.param)
    return str(request.param)


@pytest.fixture(scope="module")
def sandbox(libraries: str) -> Iterator[Sandbox]:
    arguments = (
        "hashscan.hashing.pdq:PDQ",
        "exact=" + ",".join(f"hashscan.hashing.exact:{name.upper()}" for name in EXACT),
        f"containers={json.encode(LIMITS).decode()}",
        f"memory={1 << 29}",
        f"libraries={libraries}",
    )
    program = DecoderProgram("hashscan.hashing.media.decoder:load", arguments, REPLY_MAX)
    options = SandboxOptions("auto", memory_bytes=1 << 29, seconds=60.0)
    with Sandbox(program, options) as made:
        yield made


@pytest.fixture
def opened(sandbox: Sandbox, libraries: str, tmp_path: Path) -> Open:
    """Opens a container by a decoder, and checks every record."""

    def opened(content: bytes) -> Opened:
        (tmp_path / "container").write_bytes(content)
        kind = sniff(content[: 256 * 1024]) or container_behind(content[-TAIL_SIZE:])
        assert kind is not None
        if not kind.container:
            kind = container_behind(content[-TAIL_SIZE:])
            assert kind is not None
        descriptor = os.open(tmp_path / "container", os.O_RDONLY)
        try:
            parts = sandbox.parts(descriptor, pack_request(kind), 1000, seconds=60.0, parts_max=10_000)
            records = [record for part in parts for record in unpack_records(part, EXACT)]
        finally:
            os.close(descriptor)
        *members, end = records
        assert isinstance(end, ContainerEnd)
        found = [member for member in members if isinstance(member, Member)]
        if libraries == "none" and not opened_by_python(kind, LIMITS.kinds):
            assert (members, end.reason) == ([], Reason.CONTAINER)
            pytest.skip("needs libarchive")
        assert (end.members, end.size) == (len(members), sum(member.size for member in found))
        return found, end

    return opened


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return made.getvalue()


def tarred(name: str, content: bytes, mode: str = "w") -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode=mode) as archive:  # type: ignore[call-overload]
        info = tarfile.TarInfo(name)
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return made.getvalue()


def rar(name: str, content: bytes, folder: bytes = b"") -> bytes:
    """Return a RAR 5 archive of a file, stored, and of a folder with bytes that no program unpacks."""

    def block(kind: int, fields: bytes, data: bytes | None = None) -> bytes:
        sized = number(kind) + (number(0) if data is None else number(2) + number(len(data))) + fields
        sized = number(len(sized)) + sized
        return struct.pack("<I", zlib.crc32(sized)) + sized + (data or b"")

    def number(value: int) -> bytes:
        made = bytearray()
        while value > 0x7F:
            made.append(value & 0x7F | 0x80)
            value >>= 7
        return bytes((*made, value))

    def member(mode: int, called: bytes, data: bytes) -> bytes:
        about = b"".join(map(number, (mode == 0o040755, len(data), mode, 0, 1, len(called))))
        return block(2, about + called, data)

    return (
        b"Rar!\x1a\7\1\0" + block(1, number(0)) + member(0o040755, b"folder", folder)
        + member(0o100644, name.encode(), content) + block(5, number(0))
    )  # fmt: skip


PICTURE = encoded(scene(1, 128, 96), "PNG")


def is_picture(member: Member) -> bool:
    """Return True if it is the picture, with its exact digests and its PDQ."""
    found = member.decoded(("pdq",))
    return (
        member.exact == tuple(hashlib.new(name, PICTURE).digest() for name in EXACT)
        and isinstance(found, DecodedPicture)
        and bool(found.runs)
    )


@pytest.mark.parametrize(
    ("places", "content"),
    [
        (["a/b.png"], zipped({"a/b.png": PICTURE})),
        (["b.png"], zipped({"b.png": PICTURE}, zipfile.ZIP_STORED)),
        (["b.png"], zipped({"b.png": PICTURE}, zipfile.ZIP_BZIP2)),
        (["b.png"], zipped({"b.png": PICTURE}, zipfile.ZIP_LZMA)),
        (["b.png"], b"MZ" + bytes(100_000) + zipped({"b.png": PICTURE})),
        (["b.png"], encoded(scene(2), "PNG") + zipped({"b.png": PICTURE})),
        (["b.png"], tarred("b.png", PICTURE)),
        (["b.png"], tarred("b.png", PICTURE, "w:gz")),
        (["b.png"], tarred("b.png", PICTURE, "w:bz2")),
        (["b.png"], tarred("b.png", PICTURE, "w:xz")),
        (["b.png"], rar("b.png", PICTURE)),
        (["b.png"], rar("b.png", PICTURE, folder=b"bytes")),
        (["data"], gzip.compress(PICTURE, mtime=0)),
        (["data"], bz2.compress(PICTURE)),
        (["data"], lzma.compress(PICTURE)),
        (["x.zip", "x.zip!b.png"], zipped({"x.zip": zipped({"b.png": PICTURE})})),
        (
            ["x.png", "x.png!b.png"],
            zipped({"x.png": encoded(scene(2), "PNG") + zipped({"b.png": PICTURE})}),
        ),
        (
            ["x.tgz", "x.tgz!y.zip", "x.tgz!y.zip!b.png"],
            zipped({"x.tgz": tarred("y.zip", zipped({"b.png": PICTURE}), "w:gz")}),
        ),
    ],
)
def test_a_picture_in_an_archive(opened: Open, places: list[str], content: bytes) -> None:
    members, end = opened(content)
    assert [member.place.decode() for member in members] == places
    assert is_picture(members[-1])
    assert (end.reason, {member.reason for member in members}) == (None, {None})


def test_a_picture_with_an_archive_at_the_limit_of_depth(opened: Open) -> None:
    both = encoded(scene(2), "PNG") + zipped({"b.png": PICTURE})
    members, _ = opened(zipped({"1.zip": zipped({"2.zip": zipped({"x.png": both})})}))
    assert members[-1].place == b"1.zip!2.zip!x.png"
    decoded = members[-1].decoded(("pdq",))
    assert isinstance(decoded, DecodedPicture)
    assert decoded.damage is Reason.CONTAINER


def test_the_sandbox_is_as_tight_as_for_pictures(sandbox: Sandbox, opened: Open) -> None:
    opened(zipped({"b.png": PICTURE}))
    assert sandbox.level is not None
    assert sandbox.level.full or os.geteuid() != 0


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/passwd", "a\nb", "\x1b[31m", "", "a!b", "C:\\x", "a" * 60_000]
)
def test_hostile_names_are_bytes_like_others(opened: Open, name: str) -> None:
    (member,), end = opened(zipped({name or "": PICTURE}))
    # The library takes both slashes for the same.
    assert member.place == name.replace("\\", "/").encode()[:PLACE_MAX]
    assert is_picture(member)
    assert end.reason is None


def test_members_of_all_kinds_say_why_they_are_not_checked(opened: Open, libraries: str) -> None:
    large = encoded(scene(1), "PNG").ljust(KEPT_MAX + 1, b"\0")
    members, end = opened(
        zipped(
            {
                "text": b"words",
                "cut.webp": encoded(scene(1), "WEBP")[:1500],
                "film.mp4": b"\0\0\0\x20ftypisom\0\0\2\0",
                "raw.exr": b"\x76\x2f\x31\x01" + bytes(60),
                "large.png": large,
            },
            zipfile.ZIP_STORED,
        )
    )
    assert end.reason is None
    found = {member.place.decode(): member for member in members}
    assert found["text"].reason is None
    if libraries == "none":
        assert found["film.mp4"].reason is Reason.CONTAINER
    else:
        assert found["film.mp4"].reason is None
        assert found["film.mp4@00:00:00"].reason is Reason.CONTAINER_BROKEN
    assert (found["raw.exr"].reason, found["large.png"].reason) == (
        Reason.UNSUPPORTED,
        Reason.CONTAINER_MEMBER,
    )
    assert found["cut.webp"].decoded(("pdq",)) is Reason.TRUNCATED


@pytest.mark.parametrize(
    ("kind", "packing", "places"),
    [
        ("7zip", None, ["dir/b.png"]),
        ("cpio", None, ["dir/b.png"]),
        ("cpio_newc", None, ["dir/b.png"]),
        ("iso9660", None, ["dir/b.png"]),
        ("ar_bsd", None, ["b.png"]),
        ("ustar", "zstd", ["dir/b.png"]),
        ("ustar", "compress", ["dir/b.png"]),
        ("ustar", "lzma", ["dir/b.png"]),
    ],
)
def test_a_picture_in_an_archive_that_the_library_wrote(
    opened: Open, tmp_path: Path, kind: str, packing: str | None, places: list[str]
) -> None:
    members, end = opened(written(tmp_path / "made", kind, packing, places[-1]))
    assert ([member.place.decode() for member in members], end.reason) == (places, None)
    assert is_picture(members[-1])


def test_a_compressed_disc_is_no_archive_that_ends_at_once(
    opened: Open, tmp_path: Path, libraries: str
) -> None:
    # Both begin with zeros.
    members, end = opened(written(tmp_path / "made", "iso9660", "gzip", "b.png"))
    if libraries == "none":
        assert [(member.place, member.reason) for member in members] == [(b"data", Reason.CONTAINER)]
    else:
        assert ([member.place for member in members], end.reason) == ([b"data", b"data!b.png"], None)
        assert is_picture(members[-1])


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
@pytest.mark.parametrize("times", [1, 30])
def test_a_member_with_a_wrong_checksum_is_checked(opened: Open, method: int, times: int) -> None:
    # Programs unpack it, and warn.
    picture = PICTURE + bytes(10_000 * times)
    (member,), end = opened(spoilt("b.png", picture, method))
    assert (member.reason, end.reason) == (Reason.CONTAINER_BROKEN, None)
    assert hashlib.sha256(picture).digest() in member.exact
    assert isinstance(member.decoded(("pdq",)), DecodedPicture)


def test_deflate64(opened: Open, libraries: str) -> None:
    for content in (PICTURE, PICTURE + bytes(3 << 20)):
        members, end = opened(deflate64(content))
        read = libraries == "libarchive"
        assert [member.reason for member in members] == [None if read else Reason.METHOD]
        assert not read or members[0].exact[2] == hashlib.sha256(content).digest()
        assert end.reason is None


@pytest.mark.parametrize("more", [b"PK\3\4" + bytes(26) + PICTURE, bytes(2000), bytes(300_000)], ids=len)
def test_what_follows_a_stream_of_deflate64_is_no_part_of_it(
    opened: Open, libraries: str, more: bytes
) -> None:
    members, _ = opened(deflate64(PICTURE, more))
    reasons = {Reason.CONTAINER_BROKEN} if libraries == "libarchive" else {Reason.METHOD}
    assert {member.reason for member in members} == reasons


def spoilt(name: str, content: bytes, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A ZIP archive of a member with a wrong checksum."""
    return zipped({name: content}, method).replace(zlib.crc32(content).to_bytes(4, "little"), bytes(4))


@pytest.mark.parametrize("picture", [PICTURE, encoded(scene(1, 96, 96), "PNG")], ids=["large", "small"])
@pytest.mark.parametrize(
    "made",
    [
        pytest.param(lambda picture: gzip.compress(picture)[:-4], id="gzip without its length"),
        pytest.param(lambda picture: gzip.compress(picture)[:-8], id="gzip without its checksum"),
        pytest.param(lambda picture: lzma.compress(picture)[:-12], id="xz without its end"),
        pytest.param(lambda picture: tarred("b.png", picture, "w:gz")[:-8], id="tar.gz without its checksum"),
        pytest.param(lambda picture: spoilt("x.zip", zipped({"b.png": picture})), id="inner ZIP"),
        pytest.param(lambda picture: spoilt("x.tgz", tarred("b.png", picture, "w:gz")), id="inner tar.gz"),
    ],
)
def test_what_programs_unpack_before_they_fail_is_checked(
    opened: Open, made: Callable[[bytes], bytes], picture: bytes
) -> None:
    members, end = opened(made(picture))
    assert {end.reason, *(member.reason for member in members)} - {None}
    assert any(hashlib.sha256(picture).digest() in member.exact for member in members)


def written(path: Path, kind: str, packing: str | None, place: str) -> bytes:
    """Return an archive with the picture, of a format that Python can't write."""
    libarchive = pytest.importorskip("libarchive")
    with libarchive.file_writer(str(path), kind, packing) as archive:
        archive.add_file_from_memory(place, len(PICTURE), PICTURE)
    return path.read_bytes()


def lying(content: bytes, sizes: bytes) -> bytes:
    """A ZIP archive whose headers state other sizes."""
    at = content.index(b"PK\1\2")
    return content[:18] + sizes + content[26:at] + content[at : at + 20] + sizes + content[at + 28 :]


def encrypted() -> bytes:
    """A ZIP archive whose member is marked as encrypted."""
    content = bytearray(zipped({"b.png": PICTURE}, zipfile.ZIP_STORED))
    content[6] |= 1
    content[content.index(b"PK\1\2") + 8] |= 1
    return bytes(content)


def unknown_method() -> bytes:
    content = bytearray(zipped({"b.png": PICTURE}, zipfile.ZIP_STORED))
    at = content.index(b"PK\1\2") + 10
    content[8:10] = content[at : at + 2] = b"\x40\0"
    return bytes(content)


def sevenzip_of_deflate64(packed: bytes) -> bytes:
    """A 7z archive with one member of 9 bytes."""
    streams = b"\6\0\1\x09%c\0" % len(packed) + bytes.fromhex("07 0b 01 00 01 03 040109 0c 09 00")
    checked = b"\x08\x0a\1" + struct.pack("<I", zlib.crc32(b"content")) + b"\0"
    header = b"\1\4" + streams + checked + b"\0\5\1\x11\5\0a\0\0\0\0\0"
    start = struct.pack("<QQI", len(packed), len(header), zlib.crc32(header))
    return b"7z\xbc\xaf\x27\x1c\0\4" + struct.pack("<I", zlib.crc32(start)) + start + packed + header


def deflate64(content: bytes, more: bytes = b"") -> bytes:
    """A ZIP archive whose member is packed by Deflate64, perhaps with bytes behind its stream."""
    deflater = pytest.importorskip("inflate64").Deflater()
    packed = deflater.deflate(content) + deflater.flush() + more
    header = local_header(b"a.png", content, len(packed), 9)
    return header + packed + directory([(header, 0)], len(header) + len(packed))


def overlapping(times: int, content: bytes) -> bytes:
    """A ZIP archive in which many members are the same bytes (as of zbsm.zip)."""
    packed = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = packed.compress(content) + packed.flush()
    crc, sizes = zlib.crc32(content), struct.pack("<II", len(data), len(content))
    local = b"PK\3\4" + struct.pack("<HHHHHI", 20, 0, 8, 0, 0, crc) + sizes + struct.pack("<HH", 1, 0) + b"a"
    central = b"".join(
        b"PK\1\2"
        + struct.pack("<HHHHHHI", 20, 20, 0, 8, 0, 0, crc)
        + sizes
        + struct.pack("<HHHHHII", 1, 0, 0, 0, 0, 0, 0)
        + b"a"
        for _ in range(times)
    )
    at = len(local) + len(data)
    end = b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, times, times, len(central), at, 0)
    return local + data + central + end


def local_header(name: bytes, content: bytes, length: int, method: int = 8) -> bytes:
    sizes = struct.pack("<IIIHH", zlib.crc32(content), length, len(content), len(name), 0)
    return b"PK\3\4" + struct.pack("<HHHHH", 20, 0, method, 0, 0) + sizes + name


def directory(headers: list[tuple[bytes, int]], at: int) -> bytes:
    """The directory at the end, of local headers with their places."""
    central = b"".join(
        b"PK\1\2\x14\0" + header[4:30] + struct.pack("<HHHII", 0, 0, 0, 0, place) + header[30:]
        for header, place in headers
    )
    count = min(len(headers), 0xFFFF)
    return central + b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, count, count, len(central), at, 0)


def quoting(times: int, content: bytes) -> bytes:
    """A ZIP archive whose members each hold all that follow, with their headers quoted in Deflate blocks."""
    packed = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = packed.compress(content) + packed.flush()
    headers = [local_header(b"%05d" % times, content, len(data))]
    for number in reversed(range(times)):
        quoted = headers[-1]
        data = b"\0" + struct.pack("<HH", len(quoted), len(quoted) ^ 0xFFFF) + quoted + data
        content = quoted + content
        headers.append(local_header(b"%05d" % number, content, len(data)))
    headers.reverse()
    step = len(headers[0]) + 5
    body = headers[0] + data
    return body + directory([(header, n * step) for n, header in enumerate(headers)], len(body))


def many_empty(number: int) -> bytes:
    """A ZIP archive of very many empty members."""
    names = (b"%07d" % n for n in range(number))
    headers = [local_header(name, b"", 0, 0) for name in names]
    body = b"".join(headers)
    return body + directory([(header, n * len(header)) for n, header in enumerate(headers)], len(body))


def spanned() -> bytes:
    """The last part of a ZIP archive that is divided among several files."""
    content = zipped({"a.png": PICTURE, "b.png": PICTURE}, zipfile.ZIP_STORED)
    at = content.rindex(b"PK\5\6")
    return content[len(PICTURE) : at] + b"PK\5\6\1\0\1\0" + content[at + 8 :]


def nested(depth: int) -> bytes:
    content = zipped({"b.png": PICTURE})
    for _ in range(depth - 1):
        content = zipped({"x.zip": content})
    return content


def bomb(levels: int, wide: int) -> bytes:
    """A ZIP archive of ZIP archives of zeros (as 42.zip)."""
    content = zipped({"zeros": bytes(10 << 20)})
    for _ in range(levels):
        content = zipped({f"{number}.zip": content for number in range(wide)})
    return content


@pytest.mark.parametrize(
    ("content", "reasons"),
    [
        pytest.param(lambda: bomb(2, 16), {Reason.CONTAINER_RATIO}, id="42.zip"),
        # The library reads members that begin at one place once.
        pytest.param(lambda: overlapping(4000, bytes(1 << 20)), {None}, id="overlapping"),
        pytest.param(lambda: gzip.compress(b"x" * (100 << 20), mtime=0), {Reason.CONTAINER_RATIO}, id="gzip"),
        pytest.param(lambda: gzip.compress(bytes(100 << 20), mtime=0), {Reason.CONTAINER_RATIO}, id="zeros"),
        pytest.param(
            lambda: zipped({str(n): b"" for n in range(6000)}), {Reason.CONTAINER_MEMBERS}, id="members"
        ),
        pytest.param(lambda: quoting(300, bytes(1 << 20)), {Reason.CONTAINER_RATIO}, id="quoting"),
        pytest.param(spanned, {Reason.CONTAINER_BROKEN}, id="spanned"),
        pytest.param(
            lambda: many_empty(1_000_000),
            {Reason.CONTAINER_MEMBERS},
            id="a million members",
            marks=pytest.mark.slow,
        ),
        pytest.param(lambda: nested(4), {Reason.CONTAINER_DEPTH}, id="nested"),
        pytest.param(encrypted, {Reason.ENCRYPTED}, id="encrypted"),
        pytest.param(unknown_method, {Reason.METHOD, Reason.CONTAINER_BROKEN}, id="unknown method"),
        pytest.param(lambda: sevenzip_of_deflate64(b"packed"), {Reason.METHOD}, id="Deflate64 in 7z"),
        pytest.param(lambda: zipped({"b.png": PICTURE})[:-600], {Reason.CONTAINER_BROKEN}, id="truncated"),
        pytest.param(
            lambda: tarred("b.png", PICTURE, "w:gz")[:900], {Reason.CONTAINER_BROKEN}, id="truncated tar"
        ),
        pytest.param(
            lambda: lying(zipped({"b": bytes(1000)}), struct.pack("<II", 1 << 31, 1 << 31)),
            {Reason.CONTAINER_BROKEN},
            id="lying sizes",
        ),
        pytest.param(lambda: b"Rar!\x1a\7\1\0" + bytes(1000), {Reason.CONTAINER_BROKEN}, id="no RAR"),
        pytest.param(lambda: b"7z\xbc\xaf\x27\x1c" + bytes(1000), {Reason.CONTAINER_BROKEN}, id="no 7z"),
        pytest.param(lambda: b"\x1f\x8b\x08" + bytes(1000), {Reason.CONTAINER_BROKEN}, id="no gzip"),
        pytest.param(lambda: b"PK\3\4" + bytes(1000), {Reason.CONTAINER_BROKEN}, id="no ZIP"),
    ],
)
def test_hostile_archives(opened: Open, content: Callable[[], bytes], reasons: set[Reason | None]) -> None:
    members, end = opened(content())
    given = {member.reason for member in members} | {end.reason}
    assert given & reasons, given
    # Nor does it change how the next one is read.
    ((member,), end) = opened(zipped({"b.png": PICTURE}))
    assert (is_picture(member), end.reason) == (True, None)


@pytest.mark.slow
def test_no_record_is_longer_than_a_message() -> None:
    assert RECORD_MAX <= REPLY_MAX
