"""Telling containers from other files by their content, whatever they begin with."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import zipfile
from collections.abc import Callable
from email.message import EmailMessage

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashscan.hashing import format_signatures
from hashscan.hashing.containers import (
    SEARCHED,
    START_SIZE,
    TAIL_SIZE,
    container_behind,
    container_beside,
    container_of,
    containers_of,
    is_doubtful,
    is_later_part,
)
from hashscan.hashing.format_signatures import search_in_python
from hashscan.hashing.formats import FORMATS, TEXT, sniff

PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(100)
EXT = struct.pack("<IIIIIIIIIIIIIHHH", 16, 64, 0, 9, 5, 1, 0, 0, 8192, 8192, 16, 0, 0, 0, 0, 0xEF53)
"""A superblock of ext4 in which nothing is set without which Linux does not mount it."""


def zipped(*, comment: bytes = b"", name: str = "a.txt") -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr(zipfile.ZipInfo(name), b"text")
        archive.comment = comment
    return made.getvalue()


def tarred(name: str = "a.txt", form: int = tarfile.USTAR_FORMAT, content: bytes = b"text") -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=form) as archive:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return made.getvalue()


def old_tar(form: bytes = b"%06o\0 ") -> bytes:
    """A tar archive as before POSIX: no signature, a checksum of its header alone."""
    header = bytearray(tarred()[:512])
    header[257:265] = bytes(8)
    header[148:156] = b" " * 8
    header[148:156] = (form % sum(header)).ljust(8)
    return bytes(header) + bytes(1024)


def mail(*, attached: bool) -> bytes:
    message = EmailMessage()
    message["From"], message["Subject"] = "a@example.org", "photos"
    message.set_content("See the photo.")
    if attached:
        message.add_attachment(PICTURE, maintype="image", subtype="png", filename="a.png")
    return message.as_bytes()


PAGE = b"Subject: x\nContent-Type: Text/HTML\nContent-Transfer-Encoding: 7bit\n\n"
"""Headers of a mail that is a page."""

KINDS: list[tuple[str, bytes]] = [
    ("ZIP", zipped()),
    ("tar", tarred()),
    ("tar", tarred(form=tarfile.GNU_FORMAT)),
    ("tar", old_tar()),
    *(("tar", old_tar(form)) for form in (b"%08o", b"\t%06o\0", b"%06o\0x")),
    ("gzip", gzip.compress(b"x", mtime=0)),
    ("bzip2", bz2.compress(b"x")),
    ("bzip2", bz2.compress(b"")),
    ("xz", lzma.compress(b"x")),
    ("LZMA", lzma.compress(b"x", lzma.FORMAT_ALONE)),
    ("Zstandard", b"\x28\xb5\x2f\xfd\x04\0"),
    ("Zstandard", b"\x53\x2a\x4d\x18\x04\0\0\0"),
    ("compress", b"\x1f\x9d\x90"),
    ("7z", b"7z\xbc\xaf\x27\x1c\0\4"),
    ("RAR", b"Rar!\x1a\x07\0"),
    ("RAR", b"Rar!\x1a\x07\1\0"),
    ("CAB", b"MSCF\0\0\0\0"),
    ("cpio", b"070701" + b"0" * 104),
    ("binary cpio", b"\xc7\x71" + bytes(4) + b"\xa4\x81" + bytes(12) + b"\6\0"),
    ("binary cpio", b"\x71\xc7" + bytes(4) + b"\x81\xa4" + bytes(12) + b"\0\6"),
    ("ar", b"!<arch>\n"),
    ("WARC", b"WARC/1.0\r\n"),
    ("other archive", b"ANDROID BACKUP\n5\n1\nnone\n"),
    ("disk image", b"\0" + b"\xff" * 10 + b"\0\0\2\0\1" + bytes(2352)),
    ("disk image", b"QED\0" + bytes(100)),
    ("disk image", b"WithoutFreeSpace" + bytes(100)),
    ("disk image", bytes(1024) + b"\xe2\xe1\xf5\xe0" + bytes(3000)),
    ("LHA", b"\x20\x10-lh5-"),
    ("other archive", b"\0\0\x31\0\0\0\x10**ACE**"),
    ("CD or DVD image", bytes(32769) + b"CD001\1\0"),
    ("CD or DVD image", PICTURE.ljust(32769, b"\0") + b"BEA01\1\0"),
    ("CD or DVD image", bytes(32769) + b"BOOT2\1\0"),
    ("disk image", bytes(1024) + EXT + bytes(2000)),
    ("disk image", bytes(450) + b"\x83" + bytes(59) + b"\x55\xaa"),
    ("disk image", b"\xeb\x3c\x90" + bytes(507) + b"\x55\xaa"),
    ("PDF", b"%PDF-1.7\n"),
    ("PDF", b"\n" * 1000 + b"%PDF-1.7\n"),
    ("PostScript", b"%!PS-Adobe-3.0\n"),
    ("compound file", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"),
    ("Windows metafile", b"\1\0\0\0" + bytes(36) + b" EMF"),
    ("RTF", b"{\\rtf1\\ansi"),
    *(
        ("other document", begin + bytes(600))
        for begin in (
            b"\xcf\xad\x12\xfe",
            b"\x1a\0\0\4\0\0",
            b"\x06\x06\xed\xf5\xd8\x1d\x46\xe5",
            b"RIFF\0\1\0\0CDRC",
        )
    ),
    ("mail", mail(attached=True)),
    ("mail", mail(attached=True).replace(b"\n", b"\r\n")),
    ("mail", b"Subject: a\nTo: b\nDate: c\n\nSee\n\nbegin 644 a.png\nM\n"),
    ("mail", PAGE.replace(b"7bit", b"base64")),
    ("mail", PAGE + b"<img src='data:image/png;base64,AA'>"),
    ("mail", PAGE + b"<img src=3D'DATA:image/png;base64,AA'>"),
    ("mailbox", b"From a@example.org Sat Jan  1 00:00:00 2022\nFrom: a\nTo: b\n\ntext\n"),
    ("uuencoded file", b"begin 644 a.png\nM\n"),
    ("contact with a photo", b"BEGIN:VCARD\r\nVERSION:3.0\r\nPHOTO;ENCODING=b:AAAA\r\n"),
    ("MP4 or QuickTime", b"\0\0\0\x20ftypisom\0\0\2\0"),
    ("MP4 or QuickTime", b"\0\0\0\x08wide\0\0\x10\0mdat"),
    ("Matroska or WebM", b"\x1a\x45\xdf\xa3"),
    ("AVI", b"RIFF\0\0\0\0AVI LIST"),
    ("MPEG", b"\0\0\1\xba\x44"),
    ("MPEG transport stream", (b"G" + bytes(187)) * 6),
    ("MPEG transport stream", (bytes(4) + b"G" + bytes(187)) * 6),
    ("Flash video", b"FLV\1\5"),
    ("Windows Media", b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"),
    ("other video", b"\0\0\0\1\x67\x64"),
    ("music with a picture", b"ID3\3\0\0\0\0\x10\0APIC"),
]


@pytest.mark.parametrize(("name", "content"), KINDS, ids=[f"{n} {name}" for n, (name, _) in enumerate(KINDS)])
def test_containers(name: str, content: bytes) -> None:
    # A picture that is a container as well is found to be one by its decoder.
    found = container_of(content)
    assert found is not None
    assert (found.name, found.container, found.pillow) == (name, True, None)
    assert sniff(content) is found or sniff(content[:8]) is not None
    assert found in FORMATS


@pytest.mark.parametrize(
    "content",
    [
        b"BZh is short for a name",
        b"Good morning",
        b"(G) " + b"G" * 200 + b" x" * 400,
        b"you free the others, and skip the rest",
        b"MZ" + bytes(1000),
        b"#!/bin/sh\necho Rar\n",
        mail(attached=False),
        PAGE + b"<p>See the photo.",
        b"name: value\nother: value\n\ntext\n",
        b"a:hover { color: red }\nb: c\n",
        b"From here on, it is text: all of it\n\n",
        b"Content-Type: text/html\n\n<p>",
        b"BEGIN:VCARD\r\nFN:A\r\n",
        b"ID3\3\0\0\0\0\x10\0TIT2",
        b"begin the day\n",
        b"\x5d\0\0 text",
        b"60\xea",
        bytes(148) + b"001234\0 " + bytes(400),
        b"text".ljust(148) + b"0 0 612 792\0" + bytes(512),
        bytes(1080) + b"\x53\xef" + bytes(100),
        bytes(510) + b"\x55\xaa",
        b"text with PDF- in it",
        PICTURE,
    ],
)
def test_no_containers(content: bytes) -> None:
    assert container_of(content) is None
    assert container_behind(content) is None


@pytest.mark.parametrize("before", [b"", PICTURE, b"MZ" + bytes(range(256)) * 4, b"text\n", b"PK\5\6"])
@pytest.mark.parametrize(
    ("name", "behind"),
    [
        ("ZIP", zipped()),
        ("ZIP", zipped(comment=b"x" * 65_535)),
        ("ZIP", zipped() + b"more text"),
        # The last header of a member is out of sight, or the numbers of members contradict each other.
        ("ZIP", zipped(comment=b"x" * 65_535)[-TAIL_SIZE:]),
        ("ZIP", zipped()[:-12] + b"\7\0" + zipped()[-10:]),
        ("RAR", b"Rar!\x1a\7\0" + b"\xc4\x3d\x7b\0\x40\7\0"),
        ("RAR", b"Rar!\x1a\7\1\0" + b"\x1d\x77\x56\x51\3\5\4\0" + b"more"),
        ("disk image", b"koly" + bytes(508)),
    ],
)
def test_containers_behind_anything(before: bytes, name: str, behind: bytes) -> None:
    found = container_behind((before + behind)[-TAIL_SIZE:])
    assert found is not None
    assert found.name == name


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tar", tarred("GIF89a")),
        ("tar", tarred("BM" + "x" * 40)),
        ("PDF", PICTURE + b"%PDF-1.4"),
        ("CD or DVD image", PICTURE.ljust(32769, b"\0") + b"CD001"),
    ],
)
def test_containers_that_begin_as_a_picture(name: str, content: bytes) -> None:
    found = container_beside(content[:START_SIZE], content)
    assert found is not None
    assert found.name == name


def test_a_signature_alone_in_random_bytes_is_no_archive() -> None:
    assert container_behind(b"PK\5\6" + b"\1\0\2\0\3\0\4\0" + bytes(10)) is None
    assert container_behind(b"PK\5\6") is None


@pytest.mark.parametrize("contains", [format_signatures.contains, search_in_python], ids=["chosen", "Python"])
@given(data=st.binary(max_size=20), sought=st.binary(min_size=1, max_size=3))
def test_both_searches(contains: Callable[[bytes, bytes], bool], data: bytes, sought: bytes) -> None:
    assert contains(data + sought, sought)
    assert contains(data, sought) == (sought in data)


@given(st.binary(max_size=600))
def test_any_bytes(content: bytes) -> None:
    container_behind(content)
    if content:
        assert container_of(content) == container_of(memoryview(content))
        container_beside(content[:START_SIZE], content)


@given(st.text("0189 \0-_+", min_size=8, max_size=8))
def test_any_checksum_of_an_old_archive(field: str) -> None:
    content = bytes(148) + field.encode() + bytes(400)
    container_of(content)
    container_beside(content[:START_SIZE], content)


def names(content: bytes) -> list[str]:
    found = containers_of(sniff(content[:SEARCHED]), content[:TAIL_SIZE], content[-TAIL_SIZE:])
    return [known.name for known in found]


PDF = b"%PDF-1.4\n%%EOF\nstartxref\n0\n%%EOF\n"


@pytest.mark.parametrize(
    ("expected", "content"),
    [
        ([], PICTURE),
        (["ZIP"], zipped()),
        (["PDF", "ZIP"], PDF + zipped()),
        (["PDF", "ZIP"], PICTURE + PDF + zipped()),
        (["ZIP", "RAR"], zipped() + b"Rar!\x1a\7\0\xc4\x3d\x7b\0\x40\7\0"),
        (["gzip", "ZIP"], gzip.compress(b"x", mtime=0) + zipped()),
        (["ZIP"], b"MZ" + bytes(100) + b"7z\xbc\xaf\x27\x1c" + zipped()),
        ([TEXT.name, "ZIP"], b"<img src='data:image/png;base64,AAAA'>" + zipped()),
        # A document in an archive is one of its members, and programs may take all of it for one.
        (["tar", "PDF"], tarred("a.pdf", content=b"%PDF-1.4\n")),
        # The end of the document is behind the archive: both see what they look for.
        (["tar", "PDF"], tarred("a.pdf", content=b"%PDF-1.4\n") + PDF),
        (["ZIP", "PDF"], zipped(comment=PDF)),
    ],
)
def test_all_containers_of_a_file(expected: list[str], content: bytes) -> None:
    assert names(content) == expected


def test_a_document_behind_the_header_of_an_archive_is_in_doubt_without_its_end() -> None:
    kinds = containers_of(None, (content := tarred("a.pdf", content=b"%PDF-1.4\n")), content)
    assert [is_doubtful(kind, kinds, content) for kind in kinds] == [False, True]
    assert not any(is_doubtful(kind, kinds, content + PDF) for kind in kinds)
    assert not is_doubtful(kinds[1], kinds[1:], content)


def test_hostile_headers_of_mails_take_linear_time() -> None:
    # Nothing here ends a header; each line could be the first.
    for line in (b"a:\n", b"a:\n ", b"a" * 79 + b":", b":\n"):
        container_of((line * SEARCHED)[:SEARCHED])


def test_a_page_with_a_picture_is_still_a_text() -> None:
    assert sniff(b"<img src='data:image/png;base64,AAAA'>") is TEXT


@pytest.mark.parametrize(
    ("name", "is_later"),
    [
        *((name, True) for name in ("a.7z.002", "a.zip.010", "A.Z02", "a.r00", "a.part2.rar", "a.tar.gz.ab")),
        *((name, True) for name in ("film.avi.003", "backup.tgz.part-aa", "b.7z.1000")),
        *(
            (name, False)
            for name in ("a.7z.001", "a.part01.rar", "a.7z", "mail.log.002", "a.tar.gz.1", "a.z")
        ),
    ],
)
def test_later_parts_are_known_by_their_names(name: str, is_later: bool) -> None:
    assert is_later_part(name.encode(), None) == is_later


def test_a_container_is_no_later_part() -> None:
    kinds = {known.name: known for known in FORMATS}
    assert [is_later_part(b"a.7z.002", kinds[name]) for name in ("ZIP", "JPEG")] == [False, True]


def test_the_constants_of_a_program_for_archives_are_none() -> None:
    constants = b"PK\1\2\0PK\3\4\0PK\5\6\0PK\x06\6\0zip warning: %s\0" + bytes(64)
    for content in (constants, b"PK\5\6" + bytes(4) + constants, b"PK\5\6" + bytes(60)):
        assert container_behind(b"\x7fELF" + bytes(500) + content + b"\1" * 100) is None
    assert container_behind(b"\x7fELF" + bytes(500) + zipped()) is not None
