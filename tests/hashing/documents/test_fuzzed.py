"""Mutated documents: each has a verdict, only the errors that are defined are raised, no decoder lives on."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from hashscan.hashing.archives.library import MemberError
from hashscan.hashing.archives.openers import DrawnPicture, Found, Opener
from hashscan.hashing.container_kinds import is_opened
from hashscan.hashing.formats import FORMATS, TEXT
from hashscan.hashing.media.container_decoder import load_openers
from hashscan.hashing.member_records import ContainerError
from hashscan.hashing.pread import PreadFile
from hashscan.model import ContainerKind, Reason
from hashscan.sandbox.client import Sandbox
from hashscan.sandbox.decoders import DecoderLost
from tests.hashing.documents import test_pdf
from tests.hashing.documents.compound_files import compound
from tests.hashing.documents.conftest import records_of
from tests.hashing.documents.drawn import JPEG, LETTER
from tests.hashing.documents.metafiles import DIB, bitmap_record, emf, plus, wmf
from tests.hashing.documents.test_compound import blip, message, workbook
from tests.hashing.documents.test_mail import mail, parted, uu
from tests.hashing.documents.test_rtf import LINES, ole_1, packed, rtf
from tests.hashing.documents.test_texts import SVG, URL

pytest.importorskip("libarchive")
pytest.importorskip("olefile")
pytest.importorskip("pypdfium2_raw")

KINDS = {known.name: known for known in FORMATS}
ENVELOPE = b"From a@example.org Thu Jan  1 00:00:00 2026\n"
BLIP = blip(0xF01D, 0x46A, JPEG[:5000])
DOCUMENTS: list[tuple[str, bytes]] = [
    ("mail", mail(content=JPEG[:2000])),
    ("mail", parted(b"Content-Type: message/rfc822\n\n" + mail(content=JPEG[:500]), b"\n" + uu(JPEG[:500]))),
    ("mailbox", ENVELOPE + mail(content=JPEG[:500]) + b"\n" + ENVELOPE + mail(content=JPEG[:500])),
    (TEXT.name, SVG % URL[:3000]),
    ("compound file", message(JPEG[:5000])),
    ("compound file", compound({"Workbook": workbook(bytes(9000) + BLIP), "Data": BLIP})),
    ("compound file", compound({"PROJECT": b"", "VBA/dir": b"", "A/f": b"lt\0\0\x88\x13\0\0" + JPEG[:5000]})),
    ("Windows metafile", emf((81, bitmap_record(pixels=JPEG[:500])), plus((0x4008, 0x500, bytes(60))))),
    ("Windows metafile", wmf((0x0F43, bytes(22) + DIB[:900]), (0x0626, JPEG[:200]))),
    ("RTF", rtf(rb"{\pict\jpegblip " + LINES[:900] + rb"}{\pict\bin500 " + JPEG[:500] + b"}")),
    ("RTF", rtf(rb"{\*\objdata " + ole_1(packed(JPEG[:300]), b"\xff\xd8\xff" + bytes(50)) + b"}")),
    ("PDF", LETTER),
    ("PDF", test_pdf.in_type_3_letter()),
    ("PDF", test_pdf.in_stamp()),
    ("PDF", test_pdf.attached(b"x", JPEG[:500])),
]


VALUES = (b"\xff" * 4, bytes(4), b"\0\0\0\x80", b"9999", b"\n\n--", b"\\=?(")


def mutated(chance: random.Random, content: bytes) -> bytes:
    """A document with some bytes changed, a part removed, repeated or cut off."""
    made = bytearray(content)
    for _ in range(chance.choice((1, 1, 3, 10, 40))):
        at = chance.randrange(len(made))
        length = min(len(made) - at, 1 << chance.randrange(10))
        way = chance.randrange(5)
        if way == 0:
            made[at] = chance.randrange(256)
        elif way == 1 and len(made) > length + 1:
            del made[at : at + length]
        elif way == 2:
            made[at:at] = made[at : at + length]
        elif way == 3:
            made[at : at + 4] = chance.choice(VALUES)
        else:
            other = chance.randrange(len(made))
            made[at : at + length] = made[other : other + length]
    return bytes(made[: chance.randrange(len(made))] if chance.randrange(8) == 0 else made)


def cases(number: int, seed: int, *names: str) -> Iterator[tuple[str, bytes]]:
    chance = random.Random(seed)
    chosen = [(name, content) for name, content in DOCUMENTS if name in names]
    for at in range(number):
        name, content = chosen[at % len(chosen)]
        yield name, mutated(chance, content)


def exhaust(opener: Opener, content: bytes) -> None:
    """Read all members; only the errors that are defined may be raised."""
    try:
        for found in opener.members(PreadFile(content)):
            read(found)
    except ContainerError:
        pass


def read(found: Found) -> None:
    if isinstance(found, DrawnPicture):
        return
    try:
        for piece in found.pieces:
            assert piece
    except MemberError as error:
        if error.reason is Reason.PART_FAILED:
            pytest.fail(error.fault)


@pytest.mark.unit
def test_mutated_documents_raise_nothing_else() -> None:
    openers = load_openers(tuple(ContainerKind))
    assert {name for name, _ in DOCUMENTS} <= set(openers)
    assert all(is_opened(KINDS[name], tuple(ContainerKind)) for name in openers)
    for name, content in cases(
        400, 1, "mail", "mailbox", TEXT.name, "compound file", "Windows metafile", "RTF"
    ):
        exhaust(openers[name], content)


@pytest.mark.integration
def test_files_in_are_verdicts_out(sandbox: Sandbox, tmp_path: Path) -> None:
    lost: list[str] = []
    ends = 0
    for name, content in cases(100, 2, *{name for name, _ in DOCUMENTS}):
        try:
            members, _ = records_of(sandbox, tmp_path / "document", content, KINDS[name])
            assert not [member.fault for member in members if member.reason is Reason.PART_FAILED]
            ends += 1
        except DecoderLost as error:
            # PDFium ends a process that runs out of memory, for example.
            lost.append(error.detail)
            assert sandbox._decoders.link is None
    assert ends + len(lost) == 100
    assert not [detail for detail in lost if "exception" in detail]
