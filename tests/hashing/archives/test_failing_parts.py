"""An exception that nothing is known to raise costs one part of a file, and its type is recorded."""

from __future__ import annotations

import hashlib
import importlib
import io
import zipfile
from collections.abc import Collection, Iterator

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from hashscan.hashing.archives.library import ArchiveMember
from hashscan.hashing.archives.members import MemberReader
from hashscan.hashing.archives.openers import Found, guarded, stored
from hashscan.hashing.archives.standard_library import StandardLibrary
from hashscan.hashing.container_kinds import openers_of
from hashscan.hashing.documents import compound as compound_module
from hashscan.hashing.documents import metafiles, rtf
from hashscan.hashing.exact import MD5
from hashscan.hashing.formats import FORMATS, sniff
from hashscan.hashing.hash_algorithms import RenderingDigests
from hashscan.hashing.media.decoder import _decoder
from hashscan.hashing.media.picture_opening import Limits
from hashscan.hashing.member_records import (
    ContainerEnd,
    Member,
    OpenedContainer,
    pack_messages,
    unpack_records,
)
from hashscan.hashing.pdq import PDQ
from hashscan.hashing.pread import PreadFile
from hashscan.hashing.records import (
    DecodedPicture,
    fault_in,
    pack_request,
    unpack_reply,
)
from hashscan.matching.container_members import MemberMatching
from hashscan.matching.worker_setup import WorkerSetup
from hashscan.model import ContainerKind, FileStat, Item, MemberLimits, Reason
from hashscan.sandbox.client import SandboxOptions
from hashscan.state.store.members import pack_members, unpack_members
from hashscan.state.store.packing import pack, unpack
from tests.hashing.documents.compound_files import compound
from tests.hashing.documents.metafiles import DIB, wmf
from tests.hashing.documents.test_compound import blip
from tests.pictures import encoded, scene

KINDS = {known.name: known for known in FORMATS}
ITEM = Item(b"file", FileStat(0, 0, 0, 0, 0, 0, 0))
Read = tuple[list[tuple[str, Reason | None, str]], Reason | None]


class Opener:
    """Opens a document of three parts, of which the second one raises an exception."""

    def __init__(self, error: Exception, *, where: str) -> None:
        self._error, self._where = error, where

    def members(self, file: PreadFile) -> Iterator[Found]:
        for number in (1, 2, 3):
            name = b"part=%d" % number
            yield from guarded(name, self._part(name, fails=number == 2))
            if number == 2 and self._where == "between parts":
                raise self._error

    def _part(self, name: bytes, *, fails: bool) -> Iterator[ArchiveMember]:
        if fails and self._where == "in a part":
            raise self._error
        yield ArchiveMember(name, True, self._pieces()) if fails else stored(name, b"content")

    def _pieces(self) -> Iterator[bytes]:
        yield b"the begin"
        if self._where == "in its bytes":
            raise self._error


def messages(content: bytes, opener: Opener) -> tuple[bytes, ...]:
    reader = MemberReader(StandardLibrary(), len(content), [MD5()], None, MemberLimits(), {"PDF": opener})
    kind = sniff(content)
    assert kind is not None
    packing = pack_messages(reader.records(PreadFile(content), kind))
    made = []
    while True:
        try:
            made.append(next(packing))
        except StopIteration as end:
            return (*made, end.value)


def records(content: bytes, opener: Opener) -> Read:
    found = [record for message in messages(content, opener) for record in unpack_records(message, ["md5"])]
    *members, end = found
    assert isinstance(end, ContainerEnd)
    assert end.members == len(members)
    kept = [member for member in members if isinstance(member, Member)]
    again = pack_members(OpenedContainer(kept, None), ["pdq"])
    assert again is not None
    assert list(unpack_members(again, ["pdq"]).members) == kept
    return [(member.place.decode(), member.reason, member.fault) for member in kept], end.reason


LOST = Reason.PART_FAILED, "ZeroDivisionError"
WHERE = {
    "in a part": [("part=1", None, ""), ("part=2", *LOST), ("part=3", None, "")],
    "in its bytes": [("part=1", None, ""), ("part=2", *LOST), ("part=3", None, "")],
    "between parts": [("part=1", None, ""), ("part=2", None, ""), ("", *LOST)],
}


@pytest.mark.parametrize("where", WHERE)
def test_the_other_parts_of_a_document_are_read(where: str) -> None:
    opener = Opener(ZeroDivisionError(), where=where)
    assert records(b"%PDF-1.7", opener) == (WHERE[where], None)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.pdf", b"%PDF-1.7")
        archive.writestr("b.bin", b"content")
    within = [("a.pdf#" + place, *rest) for place, *rest in WHERE[where]]
    expected = [("a.pdf", None, ""), *within, ("b.bin", None, "")]
    assert records(packed.getvalue(), opener) == (expected, None)


def two_pictures(bitmap: bytes, picture: bytes) -> dict[str, bytes]:
    """A document with a bitmap and another picture, by the name of its format."""
    digits = (
        rb"{\pict\dibitmap " + bitmap.hex().encode() + rb"}{\pict\pngblip " + picture.hex().encode() + b"}"
    )
    drawings = blip(0xF01F, 0x7A8, bitmap) + blip(0xF01E, 0x6E0, picture)
    return {
        "RTF": rb"{\rtf1" + digits + b"}",
        "compound file": compound({"WordDocument": b"", "Data": drawings}),
        "Windows metafile": wmf((0x0F43, bytes(22) + bitmap), (0x0626, b"\x0f\0\0\0" + picture)),
    }


@pytest.mark.parametrize("kind", ["RTF", "compound file", "Windows metafile"])
def test_the_other_pictures_of_a_document_are_read(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    def fails(_: bytes) -> bytes:
        raise ZeroDivisionError

    for module in (rtf, compound_module, metafiles):
        monkeypatch.setattr(module, "bitmap_file", fails)
    picture = encoded(scene(1, 64), "PNG")
    picture += b"\0" * (len(picture) % 2)
    content = two_pictures(DIB, picture)[kind]
    place = openers_of(tuple(ContainerKind))[kind]
    opener = getattr(importlib.import_module(place.module), place.name)()
    reader = MemberReader(None, len(content), [MD5()], None, MemberLimits(), {kind: opener})
    *found, end = reader.records(PreadFile(content), KINDS[kind])
    members = [member for member in found if isinstance(member, Member)]
    assert [member.fault for member in members if member.reason is Reason.PART_FAILED] == [
        "ZeroDivisionError"
    ]
    assert hashlib.md5(picture, usedforsecurity=False).digest() in {
        digest for member in members for digest in member.exact
    }
    assert isinstance(end, ContainerEnd)
    assert end.reason is None


@pytest.mark.parametrize("where", WHERE)
def test_a_lack_of_memory_is_none_of_them(where: str) -> None:
    assert records(b"%PDF-1.7", Opener(MemoryError(), where=where))[1] is Reason.MEMORY


def test_the_type_of_the_exception_is_reported() -> None:
    setup = WorkerSetup((), SandboxOptions("auto"), ("md5",), 1 << 20)
    matching = MemberMatching(None, ITEM, setup, "PDF")
    for message in messages(b"%PDF-1.7", Opener(ZeroDivisionError(), where="in a part")):
        matching.take(message)
    reason, detail = matching.finish()
    assert reason is Reason.PART_FAILED
    assert detail.endswith("; ZeroDivisionError")


class Failing(PDQ):
    """PDQ, but for white pictures."""

    def runs(
        self,
        luma: NDArray[np.uint8],
        stored: tuple[int, int] | None = None,
        turns: tuple[int, ...] = (0,),
        wanted: Collection[str] = (),
    ) -> Iterator[RenderingDigests]:
        if luma.mean() > 250:
            raise ZeroDivisionError
        yield from super().runs(luma, stored, turns, wanted)


FRAMES = [scene(1, 160, 120), Image.new("RGB", (160, 120), "white"), scene(2, 160, 120)]


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_the_other_pages_of_a_picture_are_hashed(lost: int) -> None:
    pages = [FRAMES[0], FRAMES[2]]
    pages.insert(lost, FRAMES[1])
    stream = io.BytesIO()
    pages[0].save(stream, "TIFF", save_all=True, append_images=pages[1:])
    decode = _decoder([Failing()], Limits(), (), parts=frozenset())
    reply = decode(PreadFile(stream.getvalue()), pack_request(KINDS["TIFF"]))
    found = unpack_reply(reply, KINDS["TIFF"], ["pdq"])
    assert isinstance(found, DecodedPicture)
    assert (found.damage, fault_in(reply)) == LOST
    numbers = {digest.part.number for digest in found.digests}
    assert numbers == {0 if page == 0 else page + 1 for page in range(3) if page != lost}
    assert unpack(pack(reply, ["pdq"]), ["pdq"]) == reply


def test_a_picture_without_digests_says_why() -> None:
    decode = _decoder([Failing()], Limits(), (), parts=frozenset())
    reply = decode(PreadFile(encoded(FRAMES[1], "PNG")), pack_request(KINDS["PNG"]))
    assert (unpack_reply(reply, KINDS["PNG"], ["pdq"]), fault_in(reply)) == LOST
    assert unpack(pack(reply, ["pdq"]), ["pdq"]) == reply


def test_the_other_frames_of_a_video_are_hashed() -> None:
    pytest.importorskip("av")
    from hashscan.hashing.video.opening import VideoOpener
    from tests.hashing.video.drawn import RATE, video

    content = video([frame for frame in FRAMES for _ in range(RATE)])
    kind = sniff(content)
    assert kind is not None
    opener = VideoOpener([Failing()], (), 1 << 26)
    reader = MemberReader(None, len(content), [], None, MemberLimits(), {}, opener.frames)
    members = [record for record in reader.records(PreadFile(content), kind) if isinstance(record, Member)]
    assert {member.place.decode()[:8] for member in members if member.reply} == {"00:00:00", "00:00:02"}
    assert [(member.reason, member.fault) for member in members if member.reason] == [LOST]


def test_the_pages_behind_a_broken_one_are_hashed() -> None:
    pages = [scene(seed, 160, 120) for seed in (1, 2, 3)]
    stream = io.BytesIO()
    pages[0].save(stream, "TIFF", save_all=True, append_images=pages[1:], compression="tiff_lzw")
    content = bytearray(stream.getvalue())
    with Image.open(stream) as image:
        image.seek(1)
        start = image.tag_v2[273][0]  # type: ignore[attr-defined]
    content[start : start + 400] = b"\xff" * 400
    decode = _decoder([PDQ()], Limits(), (), parts=frozenset())
    reply = decode(PreadFile(bytes(content)), pack_request(KINDS["TIFF"]))
    found = unpack_reply(reply, KINDS["TIFF"], ["pdq"])
    assert isinstance(found, DecodedPicture)
    assert found.damage is Reason.BROKEN
    assert {digest.part.number for digest in found.digests} >= {0, 3}
