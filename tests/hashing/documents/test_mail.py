"""Opening mails and mailboxes in a confined decoder: parts, forms that programs read differently."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path

import pytest

from hashscan.hashing.archives.library import MemberError
from hashscan.hashing.containers import CONTAINERS
from hashscan.hashing.documents import mail as mail_module
from hashscan.hashing.documents.mail import MailboxOpener, MailOpener
from hashscan.hashing.member_records import ContainerError
from hashscan.hashing.pread import PreadFile
from hashscan.model import Reason
from tests.hashing.documents.conftest import WITHOUT_MAIL, Open, made, records_of
from tests.hashing.documents.drawn import JPEG, LETTER, by_place, digests, distance, reasons, zipped

pytest.importorskip("libarchive")
pytestmark = pytest.mark.integration

MAIL = next(known for known in CONTAINERS if known.name == "mail")
MAILBOX = next(known for known in CONTAINERS if known.name == "mailbox")


def mail(name: str = "photo.jpg", content: bytes = JPEG, kind: str = "image/jpeg") -> bytes:
    """A mail with an attachment."""
    message = EmailMessage()
    message["From"], message["Subject"] = "a@example.org", "A picture"
    message.set_content("See the picture.\n")
    main, _, sub = kind.partition("/")
    message.add_attachment(content, maintype=main, subtype=sub, filename=name)
    return message.as_bytes()


def uu(content: bytes, name: bytes = b"photo.jpg") -> bytes:
    lines = [binascii.b2a_uu(content[at : at + 45]) for at in range(0, len(content), 45)]
    return b"begin 644 %b\n%b`\nend\n" % (name, b"".join(lines))


ENCODED = base64.encodebytes(JPEG)
TWICE = base64.b64encode(JPEG[:100]) + b"\n" + base64.b64encode(JPEG[100:])
PART = b"Content-Type: image/jpeg\nContent-Transfer-Encoding: base64\n\n" + ENCODED


def parted(*parts: bytes, header: bytes = b'multipart/mixed; boundary="b"') -> bytes:
    body = b"".join(b"--b\n%b\n" % part for part in parts)
    return b"Subject: x\nContent-Type: %b\n\n%b--b--\n" % (header, body)


def found_places(opened: Open, content: bytes) -> dict[str, Reason]:
    """Open a mail, check that the picture is found, and return the reasons."""
    members, end = opened(content, MAIL)
    assert digests(JPEG) in {member.exact for member in members}, by_place(members).keys()
    assert end.reason is None
    return reasons(members)


@pytest.mark.parametrize(
    ("place", "content"),
    [
        ("part=2/photo.jpg", mail()),
        ("part=2/bücher.jpg", mail("bücher.jpg")),
        ("part=2/../../x", mail("../../x", kind="text/plain")),
        ("part=2/a.zip!photo.jpg", mail("a.zip", zipped({"photo.jpg": JPEG}), "application/zip")),
        ("part=2/x!a.zip!photo.jpg", mail("x", zipped({"a.zip": zipped({"photo.jpg": JPEG})}))),
        ("part=2/letter.pdf#page=1,image=1", mail("letter.pdf", LETTER, "application/pdf")),
        ("part=2/inner.eml!part=2/photo.jpg", mail("inner.eml", mail(), "application/octet-stream")),
        ("part=1", parted(PART)),
        ("part=1", parted(PART, header=b"multipart/related; boundary=b; type=x")),
        ("part=1", parted(PART.replace(b"image/jpeg", b"text/plain"))),
        ("part=1", parted(PART.replace(b": base64", b':   "BASE64" (quoted)'))),
        ("part=1", PART),
        ("part=1", parted(b"Content-Transfer-Encoding: binary\n\n" + JPEG)),
        ("part=1", parted(b"Content-Transfer-Encoding: quoted-printable\n\n" + binascii.b2a_qp(JPEG))),
        ("part=1", parted(b"Content-Transfer-Encoding: x-uuencode\n\n" + uu(JPEG))),
        ("part=1!uu=1/photo.jpg", b"Subject: x\nContent-Type: text/plain\n\nSee:\n\n" + uu(JPEG)),
        ("part=2.2/photo.jpg", parted(b"\nSee.", b"Content-Type: message/rfc822\n\n" + mail())),
        ("part=1.1", parted(b"Content-Type: message/rfc822\n\n" + PART)),
        (
            "part=1#data=1",
            b"Content-Type: text/html\n\n<img src='data:image/jpeg;base64," + ENCODED + b"'>",
        ),
    ],
)
def test_a_picture_in_a_mail(opened: Open, place: str, content: bytes) -> None:
    members, end = opened(content)
    found = by_place(members)
    places = {name for name, all_of_them in found.items() for m in all_of_them if m.exact == digests(JPEG)}
    assert {name.removesuffix("/uu=1/photo.jpg") if "x-uu" in str(content) else name for name in places} == {
        place
    }
    assert min(map(distance, members)) <= 8
    assert (end.reason, reasons(members)) == (None, {})


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_mailbox(opened: Open, end: bytes) -> None:
    one, other = mail(), parted(PART)
    envelope = b"From a@example.org Thu Jan  1 00:00:00 2026\n"
    text = b"Subject: y\n\nThis came\nFrom me, and\n\n>From you.\n\nFrom now on.\n"
    content = b"\n".join(envelope + message for message in (one, text, other)).replace(b"\n", end)
    members, found_end = opened(content)
    found = by_place(members)
    assert found["message=1/part=2/photo.jpg"][0].exact == digests(JPEG)
    assert found["message=3/part=1"][0].exact == digests(JPEG)
    assert set(found) == {
        "message=1/part=1",
        "message=1/part=2/photo.jpg",
        "message=2/part=1",
        "message=3/part=1",
    }
    assert (found_end.reason, reasons(members)) == (None, {})


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(parted(b"Content-Type: text/plain\n" + PART), id="two types"),
        pytest.param(parted(b"Content-Transfer-Encoding: base64\n" + PART), id="two encodings"),
        pytest.param(parted(PART, header=b"multipart/mixed; boundary=b; boundary=c"), id="two boundaries"),
        pytest.param(parted(PART, header=b"multipart/mixed; boundary=b; boundary*=c"), id="coded boundary"),
        pytest.param(parted(PART, header=b"multipart/mixed; boundary*=us-ascii''b"), id="RFC 2231"),
        pytest.param(parted(PART).replace(b"--b--\n", b"--b--\n--c\n" + PART), id="behind the end"),
        pytest.param(parted(PART).replace(b"--b\n", b"--bb\n" + PART + b"--b\n", 1), id="before the begin"),
        pytest.param(parted(PART.replace(b"\n\n", b"\nNo header\n\n", 1), PART), id="header ends early"),
        pytest.param(parted(PART.replace(ENCODED, ENCODED[:80] + b"!" + ENCODED[80:])), id="not Base64"),
        pytest.param(parted(PART.replace(ENCODED, TWICE)), id="more after the end of Base64"),
        pytest.param(
            parted(
                b"Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\n"
                + base64.encodebytes(mail())
            ),
            id="encoded message",
        ),
    ],
)
def test_what_programs_read_differently_is_said(opened: Open, content: bytes) -> None:
    assert Reason.AMBIGUOUS in found_places(opened, content).values()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(parted(PART, header=b"text/plain; boundary=b"), Reason.AMBIGUOUS, id="no parts"),
        pytest.param(b"Content-Type: image/png\n" + parted(PART), Reason.AMBIGUOUS, id="two types"),
        pytest.param(parted(PART, header=b"multipart/mixed"), Reason.AMBIGUOUS, id="no boundary"),
        pytest.param(parted(PART, header=b"multipart/mixed; boundary=c"), Reason.AMBIGUOUS, id="other one"),
        pytest.param(parted(b"a\r--b\rContent-Type: x/y\r\rb"), Reason.AMBIGUOUS, id="carriage returns"),
        pytest.param(parted(PART)[:4000], Reason.CONTAINER_BROKEN, id="truncated"),
        pytest.param(
            parted(b"Content-Type: message/partial; id=x; number=1\n\n" + PART), Reason.PARTIAL, id="a part"
        ),
        pytest.param(
            parted(b"Content-Transfer-Encoding: x-yenc\n\n" + JPEG), Reason.METHOD, id="unknown encoding"
        ),
        pytest.param(parted(b"\n=ybegin line=128 name=a.jpg\n=yend\n"), Reason.CONTAINER, id="yEnc"),
        pytest.param(parted(b"\n" + uu(JPEG)[:300]), Reason.CONTAINER_BROKEN, id="truncated uuencode"),
    ],
)
def test_what_can_not_be_read_is_said(opened: Open, content: bytes, reason: Reason) -> None:
    members, end = opened(content, MAIL)
    assert reason in reasons(members).values()
    assert end.reason is None


def nested(depth: int) -> bytes:
    """A mail of parts within each other."""
    begin = b"".join(
        b"Content-Type: multipart/mixed; boundary=%d\n\n--%d\n" % (level, level) for level in range(depth)
    )
    end = b"".join(b"\n--%d--\n" % level for level in reversed(range(depth)))
    return begin + PART + end


def forwarded(depth: int) -> bytes:
    return b"Content-Type: message/rfc822\n\n" * depth + PART


@pytest.mark.parametrize(
    ("made_of", "depth"), [(nested, mail_module.DEPTH_MAX + 1), (nested, 1000), (forwarded, 1000)]
)
def test_too_deep(opened: Open, made_of: Callable[[int], bytes], depth: int) -> None:
    members, end = opened(made_of(depth), MAIL)
    assert (list(reasons(members).values()), end.reason) == ([Reason.CONTAINER_DEPTH], None)


def test_not_too_deep(opened: Open) -> None:
    assert found_places(opened, nested(mail_module.DEPTH_MAX - 1)) == {}


def test_a_message_without_a_blank_line_before_is_in_doubt(opened: Open) -> None:
    envelope = b"From a@example.org Thu Jan  1 00:00:00 2026\n"
    content = envelope + parted(b"\nText") + envelope + parted(PART)
    members, _ = opened(content, MAILBOX)
    assert reasons(members) == {"message=2": Reason.AMBIGUOUS}
    assert by_place(members)["message=2/part=1"][0].exact == digests(JPEG)


def test_a_message_that_says_it_is_longer_is_in_doubt(opened: Open) -> None:
    envelope = b"From a@example.org Thu Jan  1 00:00:00 2026\n"
    content = envelope + b"Content-Length: 9999\nSubject: x\n\nText\n\n" + envelope + parted(PART)
    members, _ = opened(content, MAILBOX)
    assert reasons(members) == {"message=1": Reason.AMBIGUOUS}


def test_a_mail_that_is_too_large_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail_module, "READ_MAX", 50_000)
    large = b"Subject: x\nContent-Type: image/x\n\n" + b"A\n" * 30_000
    with pytest.raises(ContainerError) as caught:
        list(MailOpener().members(PreadFile(large)))
    assert caught.value.reason is Reason.CONTAINER_BYTES
    envelope = b"From a@example.org Thu Jan  1 00:00:00 2026\n"
    box = PreadFile(envelope + large + b"\n" + envelope + mail())
    first, *others = MailboxOpener().members(box)
    assert first.name == b"message=1"
    with pytest.raises(MemberError):
        list(first.pieces)
    assert [member.name for member in others] == [b"message=2/part=1", b"message=2/part=2/photo.jpg"]


def test_mails_are_opened_on_request_only(opened: Open, tmp_path: Path) -> None:
    with made(kinds=WITHOUT_MAIL) as sandbox:
        members, _ = records_of(sandbox, tmp_path / "mails.zip", zipped({"a.eml": mail()}))
    assert reasons(members) == {"a.eml": Reason.CONTAINER}
    members, _ = opened(zipped({"a.eml": mail()}))
    assert by_place(members)["a.eml!part=2/photo.jpg"][0].exact == digests(JPEG)


def test_hostile_headers_raise_nothing() -> None:
    hostile = [
        b"Content-Disposition: attachment; filename*=x'y",
        b"Content-Disposition: attachment; filename*0*=utf-8''%ff; filename*2=b",
        b'Content-Disposition: attachment; filename="=?utf-8?b?A?="',
        b'Content-Disposition: attachment; filename="=?unknown?q?=ff?="',
        b'Content-Disposition: attachment; filename="' + b'\xff\xfe\0\x1b[31m"',
        b"Content-Type: image/jpeg; name*999999999999=x",
        b"Content-Type: ;;;=;",
        b"Content-Type: message/delivery-status\n\nA: b\n\nC: d",
        b"Content-Type: multipart/; boundary=",
        b"Content-Type: multipart/x; boundary=" + b"(" * 1000,
        b"Content-Transfer-Encoding: \xff",
        b": x\n:\n",
    ]
    for lines in hostile:
        for content in (lines + b"\n\n" + ENCODED, parted(lines + b"\n\n" + ENCODED)):
            for opener in (MailOpener(), MailboxOpener()):
                assert list(opener.members(PreadFile(content))) is not None
