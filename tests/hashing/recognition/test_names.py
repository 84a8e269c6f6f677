from __future__ import annotations

import io
import random
import tarfile
import zipfile
from collections.abc import Iterator
from email.message import EmailMessage

import pytest

from hashscan.hashing.archives.members import MemberReader
from hashscan.hashing.archives.standard_library import StandardLibrary
from hashscan.hashing.containers import CONTAINERS, UNRECOGNISED
from hashscan.hashing.documents.mail import MailOpener
from hashscan.hashing.formats import FORMATS
from hashscan.hashing.member_records import ContainerEnd, Member
from hashscan.hashing.pread import PreadFile
from hashscan.hashing.recognition.archive_probe import archive_probe
from hashscan.hashing.recognition.names import claims_to_be_shown, ending_of_type
from hashscan.hashing.recognition.recogniser import Probed, Recogniser
from hashscan.model import MemberLimits, Reason

TAR = next(known for known in FORMATS if known.name == "tar")
MAIL = next(known for known in CONTAINERS if known.name == "mail")
NOISE = random.Random(5).randbytes(3000)


SHOWN = ("a.avi", "A.JPG", "film.ts", "t.tga", "d.docx", "p.html", "a.br", "a.tgz", "m!part=2/p.png")
OTHERS = ("a", "jpg", ".jpga", "a.bin", "a.dat", "a.so", "a.mod", "a.raw", "a.img", "a.pic", "a.jpg/b")


@pytest.mark.parametrize("name", SHOWN)
def test_viewers_open_files_with_these_names(name: str) -> None:
    assert claims_to_be_shown(name.encode())
    assert claims_to_be_shown(name.encode() + b" \n")


@pytest.mark.parametrize("name", OTHERS)
def test_no_viewer_is_chosen_by_these_names(name: str) -> None:
    assert not claims_to_be_shown(name.encode())


def test_a_text_is_what_its_name_says_in_few_cases() -> None:
    assert not claims_to_be_shown(b"code.ts", "text")
    assert not claims_to_be_shown(b"notes.jpg", "text")
    assert claims_to_be_shown(b"code.ts", "ELF")
    assert claims_to_be_shown(b"style.css.br", "text")


def test_a_text_that_was_asked_about_is_what_its_name_says() -> None:
    assert not claims_to_be_shown(b"page.html", "", b"<html>\x1b")
    assert not claims_to_be_shown(b"code.ts", "", b"const a = 'data:image/png;base64,'")
    assert claims_to_be_shown(b"film.ts", "", b"G\x40\0\x10")
    assert claims_to_be_shown(b"page.avi", "", b"<html>")


@pytest.mark.parametrize(
    ("stated", "ending"),
    [
        *(("image/jpeg", b".jpeg"), ("Image/X-MS-BMP", b".bmp"), ("image/svg+xml; charset=utf-8", b".svg")),
        *(("image/vnd.microsoft.icon", b".ico"), ("image/x-canon-cr2", b".cr2"), ("image/x-tga", b".tga")),
        *(("video/x-anything", b".avi"), ("video/mp2t", b".ts"), ("text/html", b".html")),
        *(("application/epub+zip", b".epub"), ("application/x-gzip", b".gz"), ("message/rfc822", b".eml")),
        *(("", b""), ("application/octet-stream", b""), ("text/plain", b""), ("binary/octet-stream", b"")),
        *(("image/vnd.dwg", b""), ("image/x-3ds", b""), ("audio/mpeg", b""), ("font/woff2", b"")),
        *(("application/json", b""), ("application/x-www-form-urlencoded", b""), ("text/css", b"")),
    ],
)
def test_a_mime_type_claims_what_an_ending_does(stated: str, ending: bytes) -> None:
    assert ending_of_type(stated) == ending
    assert claims_to_be_shown(ending) == bool(ending)


@pytest.mark.parametrize(
    ("kind", "expected"), [("image/jpeg", Reason.NAMED), ("application/octet-stream", None)]
)
def test_a_part_of_a_mail_is_what_its_type_says(kind: str, expected: Reason | None) -> None:
    message = EmailMessage()
    main, _, sub = kind.partition("/")
    message.add_attachment(NOISE, maintype=main, subtype=sub)
    content = message.as_bytes()
    reader = MemberReader(
        None, len(content), (), None, MemberLimits(), {MAIL.name: MailOpener()}, recogniser=Recogniser()
    )
    *members, end = reader.records(PreadFile(content), MAIL)
    assert isinstance(end, ContainerEnd)
    reasons = {member.reason for member in members if isinstance(member, Member)} - {None}
    assert reasons == ({expected} if expected else set())


def tarred(name: str, content: bytes) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return made.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("film.avi", NOISE, Reason.NAMED),
        ("film.bin", NOISE, None),
        ("code.ts", b"const a = 1;\n", None),
        ("empty.jpg", b"", None),
    ],
)
def test_members_are_named_too(name: str, content: bytes, expected: Reason | None) -> None:
    archive = tarred(name, content)
    reader = MemberReader(
        StandardLibrary(), len(archive), (), None, MemberLimits(), {}, recogniser=Recogniser()
    )
    *members, end = reader.records(PreadFile(archive), TAR)
    assert isinstance(end, ContainerEnd)
    reasons = {member.reason for member in members if isinstance(member, Member)} - {None}
    assert reasons == ({expected} if expected else set())


def test_what_was_probed_and_holds_nothing_is_not_recognised() -> None:
    def unsure(file: PreadFile) -> Iterator[Probed]:
        yield Probed(TAR, False)

    reader = MemberReader(
        None, len(NOISE), (), None, MemberLimits(), {}, recogniser=Recogniser(headers=[unsure])
    )
    assert list(reader.records(PreadFile(NOISE), UNRECOGNISED))[-1] == ContainerEnd(0, 0, None)


def test_a_member_in_which_one_of_two_readings_holds_nothing_is_recognised() -> None:
    """A ZIP archive behind a script begins like nothing, and is found by its end."""
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as made:
        made.writestr("a", b"words\n")
    archive = tarred("a.jar", b"#!/bin/sh\nexec java -jar $0\n\xff" + zipped.getvalue())
    reader = MemberReader(
        StandardLibrary(),
        len(archive),
        (),
        None,
        MemberLimits(),
        {},
        recogniser=Recogniser(archives=[archive_probe]),
    )
    records = [each for each in reader.records(PreadFile(archive), TAR) if isinstance(each, Member)]
    assert Reason.NAMED not in {each.reason for each in records}
    assert b"a.jar!a" in {each.place for each in records}
