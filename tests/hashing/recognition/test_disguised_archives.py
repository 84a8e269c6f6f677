"""Archives and compressed files with bytes before and behind them: what a program unpacks, is not clean.

Those are asked that are installed: 7-Zip, unzip, GNU tar, gzip, and Python's own modules.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import os
import shutil
import struct
import subprocess
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from hashscan.hashing.archives.library import ArchiveLibrary
from hashscan.hashing.archives.members import MemberReader
from hashscan.hashing.archives.standard_library import StandardLibrary
from hashscan.hashing.containers import ARCHIVES_SEARCHED, SEARCHED, TAIL_SIZE, UNRECOGNISED, container_behind
from hashscan.hashing.embedded.within import containers_within
from hashscan.hashing.formats import sniff
from hashscan.hashing.hash_algorithms import ExactHash, Hasher
from hashscan.hashing.member_records import ContainerEnd, Member
from hashscan.hashing.pread import PreadFile
from hashscan.hashing.recognition.archive_probe import (
    DOUBTFUL_MAX,
    FAILED_MAX,
    FAILED_SHORT_MAX,
    archive_probe,
)
from hashscan.hashing.recognition.none_kinds import none_kind
from hashscan.hashing.recognition.recogniser import Recogniser
from hashscan.model import Entry, MemberLimits, Reason, Verdict
from tests.hashing.recognition.disguises import LENGTHS, disguised
from tests.pictures import encoded, scene
from tests.scan.workers.test_worker import CONTAINERS, check, worker_with

pytestmark = pytest.mark.integration

PICTURE = encoded(scene(5, 96, 64), "JPEG")
LIMITS = MemberLimits(members=1000, bytes=256 << 20, member_bytes=16 << 20, ratio=1000, depth=4)


class Begin(ExactHash):
    """The first bytes in place of a digest: of some kinds, what is behind is unpacked as well."""

    name = "begin"

    def new(self) -> Hasher:
        return _Begin()


class _Begin:
    def __init__(self) -> None:
        self._begin = b""

    def update(self, data: bytes, /) -> None:
        self._begin = (self._begin + data)[: len(PICTURE)]

    def digest(self) -> bytes:
        return self._begin


def zipfile_of(files: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return made.getvalue()


def tar(form: int, name: str = "p.jpg") -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=form) as archive:
        info = tarfile.TarInfo(name)
        info.size = len(PICTURE)
        archive.addfile(info, io.BytesIO(PICTURE))
    return made.getvalue()


def by_libarchive(form: str, filter_name: str | None = None) -> bytes:
    libarchive = pytest.importorskip("libarchive")
    pieces: list[bytes] = []

    def take(piece: bytes) -> int:
        pieces.append(bytes(piece))
        return len(piece)

    with libarchive.custom_writer(take, form, filter_name) as archive:
        archive.add_file_from_memory("p.jpg", len(PICTURE), PICTURE)
    return b"".join(pieces)


def old_cpio() -> bytes:
    """Return a binary archive of cpio, of before POSIX."""
    name, end = b"p.jpg\0", b"TRAILER!!!\0"

    def entry(name: bytes, content: bytes) -> bytes:
        size = struct.pack("<HH", len(content) >> 16, len(content) & 0xFFFF)
        header = struct.pack("<10H", 0o070707, 0, 1, 0o100644, 0, 0, 1, 0, 0, 0)
        padded = name + bytes(len(name) % 2) + content + bytes(len(content) % 2)
        return header + struct.pack("<H", len(name)) + size + padded

    return entry(name, PICTURE) + entry(end, b"")


def cab() -> bytes:
    """Return a cabinet of one folder without compression."""
    name = b"p.jpg\0"
    files = 36 + 8
    blocks = files + 16 + len(name)
    pieces = [PICTURE[at : at + 32768] for at in range(0, len(PICTURE), 32768)]
    data = b"".join(struct.pack("<IHH", 0, len(piece), len(piece)) + piece for piece in pieces)
    return (
        struct.pack("<4sIIIIIBBHHHHH", b"MSCF", 0, blocks + len(data), 0, files, 0, 3, 1, 1, 1, 0, 1, 0)
        + struct.pack("<IHH", blocks, len(pieces), 0)
        + struct.pack("<IIHHHH", len(PICTURE), 0, 0, 0, 0, 32)
        + name
        + data
    )


def other_lzma(**options: int) -> bytes:
    filters = [{"id": lzma.FILTER_LZMA1, **options}]
    return lzma.compress(PICTURE, format=lzma.FORMAT_ALONE, filters=filters)


def lha() -> bytes:
    """Return an archive with a header of level 0 and a member that is stored."""
    crc = 0
    for byte in PICTURE:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    name = b"p.jpg"
    rest = b"-lh0-" + struct.pack("<IIIBBB", len(PICTURE), len(PICTURE), 0, 0x20, 0, len(name))
    rest += name + struct.pack("<H", crc)
    return bytes((len(rest), sum(rest) & 0xFF)) + rest + PICTURE + b"\0"


def rar() -> bytes:
    """Return an archive of RAR 5 with a member that is stored."""

    def number(value: int) -> bytes:
        made = b""
        while value > 0x7F:
            made, value = made + bytes((value & 0x7F | 0x80,)), value >> 7
        return made + bytes((value,))

    def block(content: bytes) -> bytes:
        sized = number(len(content)) + content
        return struct.pack("<I", zlib.crc32(sized)) + sized

    size = number(len(PICTURE))
    member = number(2) + number(2) + size + number(4) + size + number(0o100644)
    member += struct.pack("<I", zlib.crc32(PICTURE)) + number(0) + number(1) + number(5) + b"p.jpg"
    return b"Rar!\x1a\7\1\0" + block(number(1) + number(0) + number(0)) + block(member) + PICTURE


MADE: dict[str, Callable[[], bytes]] = {
    "ZIP": lambda: zipfile_of({"p.jpg": PICTURE}),
    "tar, ustar": lambda: tar(tarfile.USTAR_FORMAT),
    "tar, GNU": lambda: tar(tarfile.GNU_FORMAT, "long/" * 30 + "p.jpg"),
    "tar, pax": lambda: tar(tarfile.PAX_FORMAT, "é" * 60 + "p.jpg"),
    "tar, of before POSIX": lambda: by_libarchive("v7tar"),
    "tar.gz": lambda: gzip.compress(tar(tarfile.GNU_FORMAT), mtime=0),
    "tar.xz": lambda: lzma.compress(tar(tarfile.GNU_FORMAT)),
    "gzip": lambda: gzip.compress(PICTURE, mtime=0),
    "bzip2": lambda: bz2.compress(PICTURE),
    "xz": lambda: lzma.compress(PICTURE),
    "LZMA": lambda: lzma.compress(PICTURE, format=lzma.FORMAT_ALONE),
    "LZMA, other properties": lambda: other_lzma(lc=0, lp=2, pb=0, dict_size=3 << 13),
    "LZMA of another dictionary": lambda: other_lzma(lc=3, lp=0, pb=2, dict_size=123_456),
    "LZMA86": lambda: b"\0" + lzma.compress(PICTURE, format=lzma.FORMAT_ALONE),
    "Zstandard": lambda: by_libarchive("raw", "zstd"),
    "lzip": lambda: by_libarchive("raw", "lzip"),
    "LZ4": lambda: by_libarchive("raw", "lz4"),
    "compress": lambda: by_libarchive("raw", "compress"),
    "7z": lambda: by_libarchive("7zip"),
    "cpio": lambda: by_libarchive("cpio"),
    "cpio, new": lambda: by_libarchive("cpio_newc"),
    "cpio, binary": old_cpio,
    "ar": lambda: by_libarchive("ar_svr4"),
    "ISO 9660": lambda: by_libarchive("iso9660"),
    "xar": lambda: by_libarchive("xar"),
    "CAB": cab,
    "LHA": lha,
    "RAR": rar,
}
NOT_SEARCHED = frozenset(
    {kind for kind in MADE if "LZMA" in kind} | {"lzip", "LZ4", "compress", "ar", "tar, of before POSIX"}
)
"""Kinds that no program finds behind other bytes; old tar archives by GNU tar alone, at multiples of 512."""


@cache
def content_of(kind: str) -> bytes:
    return MADE[kind]()


@pytest.fixture(scope="module")
def library() -> ArchiveLibrary:
    pytest.importorskip("libarchive")
    return ArchiveLibrary(StandardLibrary())


def seen(content: bytes, library: ArchiveLibrary) -> tuple[bool, Reason | None]:
    """Return if the picture was digested, and a reason why the file is not checked in full, if any."""
    kind = sniff(content[:SEARCHED]) or container_behind(content[-TAIL_SIZE:])
    if kind is None:
        if none_kind(PreadFile(content)):
            return False, None
        kind = UNRECOGNISED
    recogniser = Recogniser(archives=[archive_probe])
    reader = MemberReader(
        library, len(content), (Begin(),), None, LIMITS, {}, None, recogniser, by_bytes=True
    )
    found, reason = False, None
    for record in reader.records(PreadFile(content), kind):
        if isinstance(record, Member):
            found |= PICTURE in record.exact
        if isinstance(record, Member | ContainerEnd):
            reason = reason or record.reason
    return found, reason


@pytest.mark.parametrize("kind", MADE)
def test_disguised_archives_are_not_clean(kind: str, library: ArchiveLibrary) -> None:
    clean = []
    for how, content in disguised(content_of(kind)):
        before = how.endswith("before")
        found, reason = seen(content, library)
        if not found and reason is None and not (before and kind in NOT_SEARCHED):
            clean.append(how)
    assert clean == []


@pytest.mark.parametrize("kind", [kind for kind in MADE if kind not in {*NOT_SEARCHED, "xar"}])
def test_archives_behind_zeros_are_opened(kind: str, library: ArchiveLibrary) -> None:
    assert seen(bytes(1000) + content_of(kind), library)[0]


@pytest.mark.parametrize("kind", ["7z", "RAR"])
def test_archives_behind_others_are_opened(kind: str, library: ArchiveLibrary) -> None:
    archive = content_of(kind).replace(b"\x1d\x77\x56\x51", b"")
    empty = zipfile_of({"text": b"words"})
    photo = encoded(scene(6, 96, 64), "JPEG")
    for before, behind in ((photo, b""), (photo, empty), (b"MZ" + bytes(100), empty), (b"%PDF-1.4\n", b"")):
        content = before + archive + behind
        assert seen(content, library)[0]
        assert UNRECOGNISED in containers_within(PreadFile(content), sniff(content))[0]


def unpacked_by(command: list[str], folder: Path) -> bool:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if PICTURE in done.stdout:
        return True
    return any(PICTURE in path.read_bytes() for path in folder.rglob("*") if path.is_file())


def programs(path: Path, folder: Path) -> Iterator[bool]:
    """Yield for each program whether it unpacks the picture of a file."""
    commands = {
        "7z": ["7z", "x", "-y", str(path)],
        "unzip": ["unzip", "-o", str(path)],
        "tar": ["tar", "-xf", str(path)],
        "gzip": ["gzip", "-dc", str(path)],
    }
    for name, command in commands.items():
        if shutil.which(name) is not None:
            yield unpacked_by(command, folder)
    try:
        with zipfile.ZipFile(path) as archive:
            yield any(archive.read(name) == PICTURE for name in archive.namelist())
    except (zipfile.BadZipFile, OSError, zlib.error):
        yield False
    try:
        with tarfile.open(path) as tarred:
            files = (tarred.extractfile(member) for member in tarred if member.isfile())
            yield any(file is not None and file.read() == PICTURE for file in files)
    except (tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError):
        yield False


@pytest.mark.slow
@pytest.mark.parametrize("kind", MADE)
def test_whatever_unpacks_a_picture_is_not_clean(kind: str, library: ArchiveLibrary, tmp_path: Path) -> None:
    clean = []
    for how, content in disguised(content_of(kind), (*LENGTHS, 512)):
        # Only of those that are clean, as each program is a process.
        if seen(content, library) == (False, None):
            (tmp_path / "file").write_bytes(content)
            if any(programs(tmp_path / "file", tmp_path / "unpacked")):
                clean.append(how)
    assert clean == []


@pytest.mark.parametrize("kind", ["tar, ustar", "tar, of before POSIX"])
@pytest.mark.parametrize("blocks", [1, 3, 20_000])
def test_tar_behind_blocks_is_opened_wherever_it_is(kind: str, blocks: int, library: ArchiveLibrary) -> None:
    assert seen(b"\1" * (512 * blocks) + content_of(kind), library)[0]


@pytest.mark.parametrize("kind", ["7z", "gzip", "RAR"])
def test_archives_are_searched_for_as_far_as_7zip_does(kind: str, library: ArchiveLibrary) -> None:
    last = b"\1" * ARCHIVES_SEARCHED + content_of(kind)
    probed = list(archive_probe(PreadFile(last)))
    assert [(each.certain, each.start) for each in probed] == [(True, ARCHIVES_SEARCHED)]
    assert list(archive_probe(PreadFile(b"\1" + last))) == []


@pytest.mark.parametrize("more", [-1, 0, 1, 100_000])
def test_zip_archives_with_much_behind_are_not_clean(more: int, library: ArchiveLibrary) -> None:
    archive = content_of("ZIP")
    content = b"\1" + archive + b"\1" * (TAIL_SIZE - 22 + more)
    found, reason = seen(content, library)
    assert found or reason is not None
    assert (container_behind(content[-TAIL_SIZE:]) is None) is (more > 0)


def test_programs_with_signatures_are_no_archives(library: ArchiveLibrary) -> None:
    signatures = (
        b"7z\xbc\xaf\x27\x1c",
        b"Rar!\x1a\7\0",
        b"MSCF\0\0\0\0",
        b"PK\3\4",
        b"\x1f\x8b\x08",
        b"\xfd7zXZ\0",
    )
    assert seen(b"MZ" + bytes(3000).join(signatures) + os.urandom(50), library) == (False, None)


def test_self_extracting_programs_are_opened_behind_long_stubs(library: ArchiveLibrary) -> None:
    for kind in ("7z", "RAR", "CAB"):
        for stub in (b"MZ", b"\x7fELF\2\1\1", b"#!/bin/sh\nexit\n\0"):
            found, _ = seen(stub + bytes(400_000) + content_of(kind), library)
            assert found, (kind, stub)


def test_many_false_begins_do_not_hide_an_archive() -> None:
    false = b"\x28\xb5\x2f\xfd\x00\x58\1\0\0abcdefgh"
    for count in (DOUBTFUL_MAX, DOUBTFUL_MAX + 1, 10_000):
        probed = list(archive_probe(PreadFile(b"\1" + false * count)))
        assert any(each.certain for each in probed) is (count > DOUBTFUL_MAX)
        assert len(probed) == min(count, DOUBTFUL_MAX + 1)


@pytest.mark.parametrize(
    ("signature", "most"),
    [
        (b"PK\3\4", FAILED_MAX),
        pytest.param(b"\xc7\x71", FAILED_SHORT_MAX, marks=pytest.mark.slow),
    ],
)
def test_too_many_wrong_signatures_are_undecoded(signature: bytes, most: int) -> None:
    for count, given_up in ((most, False), (most + 1, True)):
        # The last signature is cut off, so that the search for traces does not prove that there is none.
        probed = list(archive_probe(PreadFile(b"\1" + signature * count + b"xar!")))
        assert [each.kind.name for each in probed if each.certain] == ["other archive"] * given_up


def test_wrong_signatures_are_passed_over(library: ArchiveLibrary) -> None:
    for signature in (
        b"7z\xbc\xaf\x27\x1c",
        b"PK\5\6",
        b"PK\3\4",
        b"ustar",
        b"\x1f\x8b\x08",
        b"Rar!\x1a\7\0",
    ):
        assert seen(b"\1" + signature * 20_000 + content_of("7z"), library)[0], signature


def test_a_scan_finds_a_listed_picture_in_archives_behind_others(tmp_path: Path) -> None:
    pytest.importorskip("libarchive")
    photo = encoded(scene(6, 96, 64), "JPEG")
    contents = {
        "byte": b"\1" + content_of("7z"),
        "photo": photo + content_of("7z"),
        "program": b"MZ" + bytes(300_000) + content_of("RAR"),
        "blocks": bytes(1024) + content_of("tar, ustar"),
        "gzip": b"\1" * 100 + content_of("gzip"),
    }
    (tmp_path / "files").mkdir()
    for name, content in contents.items():
        (tmp_path / "files" / name).write_bytes(content)
    entry = Entry("listed", "sha256", hashlib.sha256(PICTURE).digest(), "A1")
    with worker_with(tmp_path, entry, containers=CONTAINERS) as worker:
        found = check(worker, tmp_path / "files")
    assert {name: result.verdict for name, result in found.items()} == dict.fromkeys(contents, Verdict.MATCH)
