"""Opening compound files in a confined decoder: messages, thumbnails, old Office documents, hostile ones."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from hashscan.hashing.member_records import ContainerEnd
from hashscan.model import Reason
from tests.hashing.documents.compound_files import compound
from tests.hashing.documents.conftest import WITHOUT_MAIL, Open, made, records_of
from tests.hashing.documents.drawn import JPEG, PNG, SCENE, by_place, digests, distance, reasons, zipped
from tests.hashing.documents.metafiles import bitmap_record, emf
from tests.pictures import encoded

pytest.importorskip("olefile")
pytest.importorskip("libarchive")
pytestmark = pytest.mark.integration

ATTACHED = "__attach_version1.0_#00000000/__substg1.0_37010102"


def message(content: bytes) -> bytes:
    return compound({"__properties_version1.0": b"", ATTACHED: content})


def blip(kind: int, instance: int, content: bytes, identifiers: int = 1) -> bytes:
    body = bytes(16 * identifiers) + b"\xff" + content
    return struct.pack("<HHI", instance << 4, kind, len(body)) + body


BITMAP = encoded(SCENE, "BMP")[14:]


def workbook(content: bytes, before: bytes = b"") -> bytes:
    """A workbook whose drawings are cut into records."""
    parts = [content[at : at + 8224] for at in range(0, len(content), 8224)]
    kinds = [0x00EB, 0x00EB] + [0x003C] * len(parts)
    return (
        struct.pack("<HH", 0x0809, 16)
        + bytes(16)
        + before
        + b"".join(
            struct.pack("<HH", kind, len(part)) + part for kind, part in zip(kinds, parts, strict=False)
        )
    )


def test_an_attachment_of_a_message(opened: Open) -> None:
    members, end = opened(message(JPEG))
    assert by_place(members)[ATTACHED][0].exact == digests(JPEG)
    assert distance(by_place(members)[ATTACHED][0]) <= 8
    assert (end.reason, reasons(members)) == (None, {})


def test_an_archive_in_a_message_in_an_archive(opened: Open) -> None:
    members, _ = opened(zipped({"a.msg": message(zipped({"b.jpg": JPEG}))}))
    assert by_place(members)[f"a.msg!{ATTACHED}!b.jpg"][0].exact == digests(JPEG)


def test_messages_are_opened_on_request_only(tmp_path: Path) -> None:
    with made(kinds=WITHOUT_MAIL) as sandbox:
        members, end = records_of(sandbox, tmp_path / "a.msg", message(JPEG))
        assert (members, end.reason) == ([], Reason.CONTAINER)
        members, end = records_of(sandbox, tmp_path / "a.zip", zipped({"a.msg": message(JPEG)}))
    assert (reasons(members), end.reason) == ({"a.msg!": Reason.CONTAINER}, None)


@pytest.mark.parametrize("name", ["1", "256_0123456789abcdef"])
def test_a_thumbnail(opened: Open, name: str) -> None:
    header = struct.pack("<III", 12, 1, len(JPEG))
    members, end = opened(compound({"Catalog": b"", name: header + JPEG}))
    assert by_place(members)[f"{name}@12"][0].exact == digests(JPEG)
    assert (end.reason, reasons(members)) == (None, {})


def test_the_thumbnail_of_a_document(opened: Open) -> None:
    name = "\5SummaryInformation"
    members, _ = opened(compound({"WordDocument": b"", name: bytes(300) + JPEG}))
    assert by_place(members)[f"{name}@300"][0].exact == digests(JPEG)


@pytest.mark.parametrize(
    ("main", "stream", "content"),
    [
        ("WordDocument", "Data", bytes(68) + blip(0xF01D, 0x46A, JPEG)),
        ("WordDocument", "Data", bytes(68) + blip(0xF01D, 0x46B, JPEG, 2)),
        ("PowerPoint Document", "Pictures", blip(0xF01E, 0x6E0, PNG) + blip(0xF01D, 0x46A, JPEG)),
        ("PowerPoint Document", "Pictures", blip(0xF01F, 0x7A8, BITMAP)),
        ("Workbook", "Workbook", workbook(bytes(100) + blip(0xF01D, 0x46A, JPEG))),
    ],
)
def test_a_picture_in_an_office_document(opened: Open, main: str, stream: str, content: bytes) -> None:
    members, end = opened(compound({main: b"", stream: content}))
    assert min(map(distance, members)) <= 8
    assert BITMAP in content or digests(JPEG) in {member.exact for member in members}
    assert (end.reason, reasons(members)) == (None, {})


def test_a_metafile_in_an_office_document(opened: Open) -> None:
    metafile = emf((81, bitmap_record()))
    for body in (bytes(32) + b"\xfe\xfe" + metafile, bytes(34) + zlib.compress(metafile)):
        members, end = opened(compound({"WordDocument": b"", "Data": blip(0xF01A, 0x3D4, body[1:])}))
        assert min(map(distance, members)) <= 8
        assert (end.reason, reasons(members)) == (None, {})


def theme(content: bytes) -> bytes:
    return struct.pack("<HHHH", 0x896, 16 + len(content), 0x896, 0) + bytes(12) + content


@pytest.mark.parametrize("main", ["PowerPoint Document", "Workbook"])
def test_an_archive_in_a_stream_is_opened_there(opened: Open, main: str) -> None:
    """The themes of presentations and workbooks."""
    archive = zipped({"a.jpg": JPEG})
    content = bytes(300) + 2 * archive + bytes(9) if main == "PowerPoint Document" else theme(archive)
    members, end = opened(compound({main: content}))
    assert digests(JPEG) in {member.exact for member in members}
    assert (end.reason, reasons(members)) == (None, {})


def test_an_archive_behind_a_document_is_opened(opened: Open) -> None:
    document = compound({"WordDocument": b""})
    members, end = opened(document + zipped({"a.jpg": JPEG})[:-40])
    assert end.reason is None
    members, end = opened(document + zipped({"a.jpg": JPEG}))
    assert (digests(JPEG) in {member.exact for member in members}, reasons(members)) == (True, {})
    broken = bytearray(zipped({"a.jpg": JPEG, "b.jpg": PNG}))
    broken[broken.index(b"PK\1\2") + 42] ^= 1
    members, end = opened(document + broken)
    assert Reason.AMBIGUOUS in reasons(members).values()


def test_a_project_of_macros(opened: Open) -> None:
    form = b"..lt\0\0" + struct.pack("<I", len(JPEG)) + JPEG + bytes(10)
    project = {"PROJECT": b"", "VBA/dir": b"", "VBA/Module1": b"", "UserForm1/o": form, "UserForm1/f": b""}
    members, end = opened(compound(project))
    assert min(map(distance, members)) <= 8
    assert (end.reason, reasons(members)) == (None, {})
    _, end = opened(compound(project | {"VisioDocument": b""}))
    assert end.reason is Reason.CONTAINER


def test_one_without_a_stream_is_broken(opened: Open) -> None:
    assert opened(compound({})) == ([], ContainerEnd(0, 0, Reason.CONTAINER_BROKEN))


def test_what_is_not_a_picture_file(opened: Open) -> None:
    members, end = opened(
        compound(
            {
                "WordDocument": b"",
                "Data": blip(0xF01A, 0x3D4, bytes(100)),
                "Table": blip(0xF01C, 0x542, bytes(31) + b"\xfe" + bytes(100)),
                "Pictures": blip(0xF01D, 0x46A, JPEG)[:-200],
                "Other": struct.pack("<HHI", 0x46A0, 0xF01D, 1 << 30) + bytes(17) + JPEG,
                "\1Ole10Native": JPEG,
            }
        )
    )
    found = reasons(members)
    assert found.pop("Data@0") is Reason.CONTAINER_BROKEN
    assert found.pop("Table@0") is Reason.UNSUPPORTED
    assert found.pop("\1Ole10Native") is Reason.CONTAINER
    assert set(found.values()) <= {Reason.CONTAINER_BROKEN}
    assert end.reason is None


def looped() -> bytes:
    """A chain of sectors that leads back to its first."""
    content = message(JPEG)
    at = content.rindex(struct.pack("<II", 10, 11))
    return content[:at] + struct.pack("<II", 9, 9) + content[at + 8 :]


def deep() -> bytes:
    """A directory whose entries follow one another as a list that is deeper than a stack."""
    return compound({f"{number:04}": b"" for number in range(1400)})


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(lambda: message(JPEG)[:600], {Reason.CONTAINER_BROKEN}, id="truncated"),
        pytest.param(lambda: message(JPEG)[:8].ljust(5000, b"\xff"), {Reason.CONTAINER_BROKEN}, id="none"),
        pytest.param(looped, {None, Reason.CONTAINER_BROKEN, Reason.AMBIGUOUS}, id="loop"),
        pytest.param(deep, {Reason.CONTAINER_BROKEN, Reason.CONTAINER}, id="deep"),
        pytest.param(lambda: compound({"EncryptedPackage": b""}), {Reason.ENCRYPTED}, id="encrypted"),
        pytest.param(
            lambda: compound({"WordDocument": bytes(11) + b"\1"}), {Reason.ENCRYPTED}, id="encrypted Word"
        ),
        pytest.param(
            lambda: compound({"Workbook": workbook(b"", struct.pack("<HH", 0x2F, 0))}),
            {Reason.ENCRYPTED},
            id="encrypted Excel",
        ),
        pytest.param(lambda: compound({"Unknown": JPEG}), {Reason.CONTAINER}, id="unknown"),
    ],
)
def test_hostile_files(opened: Open, content: Callable[[], bytes], expected: set[Reason | None]) -> None:
    members, end = opened(content())
    assert {end.reason, *reasons(members).values()} & expected
