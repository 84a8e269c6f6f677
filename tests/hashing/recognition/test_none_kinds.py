"""Proofs of none: what they hold for, and attacks that hide a video, an archive or a page in each format."""

from __future__ import annotations

import gzip
import io
import marshal
import random
import sqlite3
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashscan.hashing.pread import PreadFile
from hashscan.hashing.recognition import none_kinds
from hashscan.hashing.recognition.archive_probe import archive_probe
from hashscan.hashing.recognition.names import claims_to_be_shown
from hashscan.hashing.recognition.none_kinds import none_kind
from hashscan.hashing.recognition.recogniser import Probe
from tests.examples import quick_first
from tests.pictures import encoded, scene

pytestmark = pytest.mark.skipif(none_kinds.has_traces is None, reason="the search in C is not built")

RANDOM = random.Random(8)
PLAIN = (b"The quick brown fox jumps over the lazy dog. " * 40)[:1500]


def elf(content: bytes) -> bytes:
    """A program of 64 bits with a section that is not loaded."""
    names = b"\0.data\0"
    sections = struct.pack("<IIQQQQIIQQ", 1, 1, 0, 0, 64, len(content), 0, 0, 1, 0)
    sections += struct.pack("<IIQQQQIIQQ", 1, 3, 0, 0, 64 + len(content), len(names), 0, 0, 1, 0)
    head = struct.pack(
        "<HHIQQQIHHHHHH", 3, 62, 1, 0, 0, 64 + len(content) + len(names), 0, 64, 56, 0, 64, 2, 1
    )
    return b"\x7fELF\2\1\1" + bytes(9) + head + content + names + sections


def bytecode(content: bytes) -> bytes:
    code = compile("x = 1", "x", "exec").replace(co_consts=(content,))
    return (
        b"\xa7\r\r\n"
        + bytes(4)
        + struct.pack("<II", 1_700_000_000, len(content) % 1000)
        + marshal.dumps(code)
    )


def translations(content: bytes) -> bytes:
    return (
        struct.pack("<7I", 0x950412DE, 0, 1, 28, 36, 0, 0)
        + struct.pack("<4I", 0, 44, len(content), 44)
        + content
    )


def time_zone(content: bytes) -> bytes:
    return b"TZif2" + bytes(15) + struct.pack(">6I", 0, 0, 0, 0, 1, 4) + content + b"\nUTC0\n"


def database(content: bytes) -> bytes:
    with sqlite3.connect(":memory:") as made:
        made.execute("CREATE TABLE t (x BLOB)")
        made.execute("INSERT INTO t VALUES (?)", (content,))
    made.commit()
    return made.serialize()


def font(content: bytes) -> bytes:
    return b"\0\1\0\0\0\1\0\x10\0\0\0\0" + struct.pack(">4sIII", b"glyf", 0, 28, len(content)) + content


def web_font(content: bytes) -> bytes:
    return b"wOFF\0\1\0\0" + struct.pack(">I", 44 + len(content)) + bytes(32) + content


def class_of_java(content: bytes) -> bytes:
    return b"\xca\xfe\xba\xbe\0\0\0\x34" + content


def git_object(content: bytes) -> bytes:
    return zlib.compress(b"blob %d\0" % len(content) + content, 0)


def bitcode(content: bytes) -> bytes:
    return b"BC\xc0\xde\x35\x14\0\0" + content


HOLDERS: dict[str, Callable[[bytes], bytes]] = {
    "ELF": elf,
    "Python bytecode": bytecode,
    "translations": translations,
    "time zone": time_zone,
    "SQLite": database,
    "font": font,
    "web font": web_font,
    "Java class": class_of_java,
    "object of Git": git_object,
    "LLVM bitcode": bitcode,
}


@cache
def archives() -> dict[str, bytes]:
    picture = RANDOM.randbytes(3000)
    tar, zipped = io.BytesIO(), io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w", format=tarfile.GNU_FORMAT) as archive:
        member = tarfile.TarInfo("p.png")
        member.size = len(picture)
        archive.addfile(member, io.BytesIO(picture))
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("p.png", picture)
    name = b"p.png\0"
    fields = (1, 0o100644, 0, 0, 1, 0, len(picture), 0, 0, 0, 0, len(name), 0)
    cpio = b"070701" + b"".join(b"%08X" % field for field in fields) + name + picture
    return {
        "zip": zipped.getvalue(),
        "gzip": gzip.compress(picture),
        "cpio": cpio,
        "7z": b"7z\xbc\xaf\x27\x1c\0\4" + RANDOM.randbytes(400),
        "tar": tar.getvalue(),
    }


@cache
def videos() -> dict[str, bytes]:
    pytest.importorskip("av")
    from tests.hashing.video.drawn import scenes, video

    frames = scenes(range(2), 4, (352, 288))
    forms = {
        "avi": ("avi", "mpeg4"),
        "mpeg": ("mpeg", "mpeg1video"),
        "mpegts": ("mpegts", "mpeg2video"),
        "h264": ("h264", "libx264"),
        "m4v": ("m4v", "mpeg4"),
        "h263": ("h263", "h263"),
        "h261": ("h261", "h261"),
        "mxf": ("mxf", "mpeg2video"),
        "nut": ("nut", "mpeg4"),
        "matroska": ("matroska", "libx264"),
    }
    made = {name: video(frames, form=form, codec=codec, rate=25) for name, (form, codec) in forms.items()}
    made["mjpeg"] = video(frames, form="mjpeg", codec="mjpeg", pixels="yuvj420p", rate=25)
    return made


@pytest.mark.parametrize("name", HOLDERS)
def test_files_that_hold_nothing_are_proven(name: str) -> None:
    assert none_kind(PreadFile(HOLDERS[name](PLAIN))) == name


@pytest.mark.parametrize("name", quick_first(HOLDERS, 3))
def test_an_archive_hides_in_none(name: str) -> None:
    """Whatever is found there by the rules of 7-Zip, unzip and GNU tar is asked about."""
    for kind, archive in archives().items():
        for before in (b"", PLAIN[:100], PLAIN * 2000):
            held = HOLDERS[name](before + archive + PLAIN)
            found = list(archive_probe(PreadFile(held)))
            assert not (found and none_kind(PreadFile(held))), (kind, found)
        # GNU tar goes on from one multiple of 512 bytes to the next.
        start = HOLDERS[name](bytes(9000) + archive).find(archive[:100])
        held = HOLDERS[name](bytes(9000 + -start % 512) + archive)
        assert none_kind(PreadFile(held)) == "", kind


def asks_all() -> Probe:
    """The probe of videos, without what proves that there is none."""
    from hashscan.hashing.recognition.video_probe import VideoProbe, score_function

    return VideoProbe(score_function(), everywhere=True)


@pytest.mark.parametrize("name", HOLDERS)
def test_a_video_hides_in_none(name: str) -> None:
    """Whatever libavformat takes for a video is asked about."""
    probe = asks_all()
    bites = 0
    for kind, content in videos().items():
        for before in (b"", bytes(1000), RANDOM.randbytes(777)):
            held = HOLDERS[name](before + content)
            file = PreadFile(held)
            found = [each.by for each in probe(file) if each.score > 1]
            bites += bool(found)
            assert not (found and none_kind(file)), (kind, found)
    assert bites > 15


STREAM_PIECES = (
    *(b"\0\0\1\xba\x44\0\4\0\4\1\1\x89\xc3\xf8", b"\0\0\1\xba\x21\0\1\0\1\x80\0\1", b"\0\0\1\xba\xff"),
    *(b"\0\0\1\xbb\0\x0c\x80\4\1", b"\0\0\1\xe0\0\x20\x81\x80\5\x21\0\1\0\1", b"\0\0\1\xe1\2\0\x80\0\0"),
    *(b"\0\0\1\xc0\0\x20\x81\x80\5\x21\0\1\0\1", b"\0\0\1\xbd\0\4\x81\0\0", b"\0\0\1\xfd\0\0\x81\0\0"),
    *(b"\0\0\1\xe0\0\x20\0\0\0\0\0", b"\0\0\1\x0f\xca\0\0\0\0\0", b"\0\0\1\x0e\0\0", b"\0\0\1\x0d\0\0"),
    *(
        b"\0\0\1\x67\x42\0\x1e",
        b"\0\0\1\x68\xce",
        b"\0\0\1\x65\x88",
        b"\0\0\1\x41\x9a",
        b"\0\0\1\xb3\x16\0\x12\0\x13",
    ),
    *(b"\0\0\1\0\0\x0a", b"\0\0\1\1\x22", b"\0\0\1\x40\1\x0c", b"\0\0\1\x42\1\1", b"\0\0\1\x44\1\xc1"),
    *(b"\0\0\1\x26\1\xaf", b"\x11" * 40, b"\x55" * 700),
)


@pytest.mark.parametrize("seed", range(4))
def test_any_start_codes_that_libavformat_takes_are_asked_about(seed: int) -> None:
    """The rules of its probes are copied: packets that are few, false or within others count as there."""
    pytest.importorskip("av")
    probe, choose = asks_all(), random.Random(seed)
    bites = 0
    for _ in range(150):
        pieces = choose.sample(STREAM_PIECES, choose.randint(2, 6))
        file = PreadFile(elf(b"".join(choose.choices(pieces, k=choose.randint(2, 60)))))
        found = [each for each in probe(file) if each.score > 1]
        bites += bool(found)
        assert not (found and none_kind(file)), (pieces, found)
    assert bites > 15


MARKERS = (
    *(0xD8, 0xC0, 0xC2, 0xC4, 0xC8, 0xCC, 0xDA, 0xD9, 0xF7, 0xC9),
    *(0xFF, 0, 1, 2, 0xBF, 0xE0, 0xD0, 0xFE),
)
JPEG_PIECES = (
    *(bytes((0xFF, marker)) for marker in MARKERS),
    *(b"\0", b"ab"),
    *(b"\xff\xd8\xff\xc0\xff\xda\xff\xd9", b"\xff\xd8\xff\xe0\xff\xc2\xff\xda") * 8,
)


@pytest.mark.parametrize("seed", range(2))
def test_any_markers_that_libavformat_takes_for_a_jpeg_are_asked_about(seed: int) -> None:
    pytest.importorskip("av")
    probe, choose = asks_all(), random.Random(seed)
    bites = 0
    for _ in range(1000):
        content = b"".join(choose.choices(JPEG_PIECES, k=choose.randint(3, 30)))
        file = PreadFile(elf(bytes(300) + content + bytes(2100)))
        found = [each for each in probe(file) if each.score > 1]
        bites += bool(found)
        assert not (found and none_kind(file)), (content, found)
    assert bites > 15


@pytest.mark.parametrize("junk", [b"", b"\0", b"\xff", b"\x0f\x0f", b"\xff\x01", b"\xff\xd0", b"\xff\0"])
def test_a_jpeg_with_bytes_before_its_first_segment_hides_in_none(junk: bytes) -> None:
    """FFmpeg passes over them and shows the picture."""
    content = encoded(scene(1))
    held = elf(bytes(5) + content[:2] + junk + content[2:])
    assert none_kind(PreadFile(held)) == ""


def test_jpegs_that_do_not_end_are_searched_once() -> None:
    """Or the bytes behind each of the begins would be."""
    assert none_kind(PreadFile(elf(b"\xff\xd8" * 500_000 + b"\xff\xbf" + bytes(9)))) == "ELF"


def boxed(tag: bytes, size: int) -> bytes:
    """A font of which the second box, for libavformat, is of this type and size."""
    head = b"\0\1\0\0\0\1\0\x10\0\0\0\0" + struct.pack(">4sIII", b"glyf", 0, 28, 70_000)
    return (head.ljust(65536, b"x") + struct.pack(">I4s", size, tag)).ljust(70_028, b"x")


@pytest.mark.parametrize("tag", [b"ftyp", b"moov", b"mdat", b"wide", b"uuid"])
def test_boxes_are_followed_as_libavformat_follows_them(tag: bytes) -> None:
    assert none_kind(PreadFile(boxed(b"abcd", 100))) == "font"
    for size in (0, 1, 7, 8, 100, 0x61626364):
        file = PreadFile(boxed(tag, size))
        assert none_kind(file) == "" or not any(each.score > 1 for each in asks_all()(file)), size
    assert none_kind(PreadFile(boxed(tag, 100))) == ""
    assert none_kind(PreadFile(elf(b"a bad " + tag + b"es" + bytes(3000)))) == "ELF"


def test_headers_known_by_two_bytes_hide_in_none() -> None:
    """A file with the checksum or fields of ARJ, LHA or binary cpio is examined; one with two bytes alone
    is not."""
    head = bytes((30, 11, 1, 2, 0, 2, 0, 0, *range(22)))
    arj = b"\x60\xea\x1e\0" + head + struct.pack("<I", zlib.crc32(head)) + bytes(40)
    fields = b"-lh0-" + bytes(13) + b"\0\5p.png" + bytes(2)
    lha = bytes((len(fields), sum(fields) & 0xFF)) + fields + bytes(40)
    words, name = (0o070707, 1, 1, 0o100644, 0, 0, 1, 0, 0, 0, 6, 0, 9), b"p.png\0" + bytes(40)
    cpio, swapped = struct.pack("<13H", *words) + name, struct.pack(">13H", *words) + name
    for archive in (arj, lha, cpio, swapped):
        for before in (3, (2 << 20) - 530, (2 << 20) - 20, 3 << 20):
            file = PreadFile(elf(b"x" * before + archive))
            assert before > 3 or list(archive_probe(file)), archive
            assert none_kind(file) == "", (archive, before)
    for bare in (b"\x60\xea\x1e\0" + bytes(80), b"-lh0-" + bytes(80), b"\xc7\x71" + bytes(80)):
        assert none_kind(PreadFile(elf(b"x" * 9 + bare))) == "ELF"
    # Beyond a number of headers, none is checked.
    assert none_kind(PreadFile(elf((b"\x60\xea\x28\x0a" + bytes(60)) * 300 + bytes(3000)))) == ""


@pytest.mark.parametrize("name", HOLDERS)
def test_a_page_hides_in_none(name: str) -> None:
    """Browsers take none of these for a page, except by its name."""
    page = HOLDERS[name](b"<html><img src='data:image/png;base64,iVBORw0KGgo='></html>" + PLAIN)
    assert claims_to_be_shown(b"page.html", none_kind(PreadFile(page)))


@pytest.mark.parametrize("behind", [b"x", bytes(4096), PLAIN])
@pytest.mark.parametrize("name", ["ELF", "SQLite", "font", "web font"])
def test_nothing_stands_behind_a_file_that_says_where_it_ends(name: str, behind: bytes) -> None:
    held = HOLDERS[name](PLAIN)
    held += behind if name != "font" else behind + bytes(4)
    assert none_kind(PreadFile(held)) == ""


def test_an_archive_far_behind_is_noticed() -> None:
    for size in (2 << 20, 3 << 20):
        for shift in range(-40, 560, 40):
            content = bytes(size + shift) + archives()["cpio"][:600]
            assert none_kind(PreadFile(elf(content))) == "", (size, shift)


@given(st.sampled_from(sorted(HOLDERS)), st.binary(max_size=300), st.integers(0, 400), st.binary(max_size=40))
def test_any_bytes_are_answered(name: str, content: bytes, place: int, other: bytes) -> None:
    held = bytearray(HOLDERS[name](content))
    held[place : place + len(other)] = other
    assert none_kind(PreadFile(bytes(held))) in {"", "text", *HOLDERS}
    assert none_kind(PreadFile(bytes(held[:place]))) in {"", "text", *HOLDERS}


def test_this_installation_is_proven_mostly() -> None:
    """The fast path would be of no use if real files did not pass."""
    files = list(Path(none_kinds.__file__).parents[2].glob("**/*.pyc"))
    proven = [none_kind(PreadFile(path.read_bytes())) for path in files]
    assert proven.count("Python bytecode") >= 0.8 * len(proven)


def h261(before: int) -> bytes:
    """Groups of blocks of H.261, of which the codes begin at all bits of a byte."""
    bits = "1" * before + "".join(f"{1:016b}{group % 13:04b}{'1' * (29 + group % 3)}" for group in range(100))
    return int(bits.ljust(-(-len(bits) // 8) * 8, "1"), 2).to_bytes(-(-len(bits) // 8))


TRACES = [
    *(
        b"7z\xbc\xaf\x27\x1c",
        b"Rar!\x1a\7",
        b"\x1f\x8b\x08\0\0\0\0\0\0\3\x4b",
        b"070701" + b"0" * 104,
        b"\x40\0-lh5-" + bytes(13) + b"\2" + bytes(9),
        b"MSWIM\0\0\0",
    ),
    *(
        b"OggS",
        b"\xff\xd8\0\xff\xc0\xff\xda\xff\xd9",
        b"\x1a\x45\xdf\xa3",
        b"\0\0\1\xb3\0\0\1\0\0\0\1\1",
        h261(0),
        h261(3),
    ),
]


@pytest.mark.parametrize("trace", TRACES)
def test_a_trace_is_found_at_each_place(trace: bytes) -> None:
    """Many bytes are compared at once, but the first and the last ones."""
    last = 4096 - len(trace)
    for at in (*range(1000, 1100), *range(last - 70, last + 1)):
        content = bytearray(b"x" * 4096)
        content[at : at + len(trace)] = trace
        assert none_kinds.has_traces(bytes(content), none_kinds.FIRST)


CHECKED = (
    b"\x1f\x8b\x08",
    b"\xfd7zXZ\0",
    b"070707",
    b"070701",
    b"ustar\0",
    b"hsqs",
    b"sqsh",
    b"shsq",
    b"qshs",
    b"PK\3\4",
    b"\x28\xb5\x2f\xfd",
    b"xar!",
    b"\xed\xab\xee\xdb\3",
)
CHECKED_DISKS = (b"KDMV", b"QFI\xfb", b"H+\0\4", b"HX\0\5", b"FAT1")


@pytest.mark.parametrize("signature", quick_first([*CHECKED, *CHECKED_DISKS], 4))
def test_a_signature_by_chance_is_no_trace_unless_a_probe_takes_it(signature: bytes) -> None:
    chance = random.Random(signature)
    found = 0
    for _ in range(300):
        # Small numbers are the commonest in headers.
        fields = [
            chance.randrange(3) if chance.random() < 0.5 else chance.randrange(256) for _ in range(2048)
        ]
        content = bytes(1024) + signature + bytes(fields)
        has_trace = none_kinds.has_traces(content, none_kinds.FURTHER)
        found += has_trace
        assert has_trace or not any(archive_probe(PreadFile(content)))
    assert found < 150


def test_headers_of_two_bytes_that_fail_at_once_are_not_counted() -> None:
    assert not none_kinds.has_traces((b"\xc7\x71" + b"\xff" * 30) * 10_000, none_kinds.FURTHER)
    header = b"\xc7\x71" + bytes(5) + b"\x80" + bytes(12) + b"\3\0" + bytes(4) + b"\1x\0"
    for count, is_found in ((256, False), (2000, True)):
        assert none_kinds.has_traces(header * count + bytes(64), none_kinds.FURTHER) is is_found
