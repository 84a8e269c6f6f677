"""Texts with a picture in them are not taken for clean, whatever is put before or behind them."""

from __future__ import annotations

import base64
import binascii
import json
import plistlib
import shutil
import subprocess
from collections.abc import Iterator
from email import message_from_bytes
from email.message import EmailMessage
from pathlib import Path
from urllib.parse import quote

import pytest

from hashscan.hashing.containers import SEARCHED, TAIL_SIZE, UNRECOGNISED, container_behind
from hashscan.hashing.documents.text_probe import texts_with_pictures
from hashscan.hashing.documents.texts import decoded_text
from hashscan.hashing.formats import sniff
from hashscan.hashing.pread import PreadFile
from hashscan.hashing.recognition.none_kinds import none_kind
from hashscan.model import Reason
from hashscan.sandbox.client import Sandbox
from tests.hashing.documents.conftest import made, records_of
from tests.hashing.documents.drawn import JPEG, by_place, digests, reasons
from tests.hashing.recognition.disguises import disguised

BASE64, LINES = base64.b64encode(JPEG), base64.encodebytes(JPEG)
URL = b"data:image/jpeg;base64," + BASE64


def folded(text: bytes, width: int, end: bytes) -> bytes:
    return end.join(text[at : at + width] for at in range(0, len(text), width))


def mail(kind: str = "image/jpeg") -> bytes:
    message = EmailMessage()
    message["From"], message["Subject"] = "a@example.org", "A picture"
    message.set_content("See the picture.\n")
    main, _, sub = kind.partition("/")
    message.add_attachment(JPEG, maintype=main, subtype=sub, filename="photo.jpg")
    return message.as_bytes()


def uu(content: bytes = JPEG) -> bytes:
    lines = [binascii.b2a_uu(content[at : at + 45]) for at in range(0, len(content), 45)]
    return b"begin 644 photo.jpg\n%b`\nend\n" % b"".join(lines)


def coded(text: bytes, kind: bytes = b"text/plain") -> bytes:
    """A mail of one part in Base64."""
    header = b"Subject: x\nContent-Type: %b; name=p.jpg\nContent-Transfer-Encoding: base64\n\n" % kind
    return header + base64.encodebytes(text)


def quoted(text: bytes) -> bytes:
    header = b"Subject: x\nContent-Type: text/plain\nContent-Transfer-Encoding: quoted-printable\n\n"
    return header + binascii.b2a_qp(text)


def card(photo: bytes) -> bytes:
    return b"BEGIN:VCARD\r\nVERSION:3.0\r\nN:A;B\r\n%b\r\nTEL:1\r\nEND:VCARD\r\n" % photo


def notebook(data: object) -> bytes:
    output = {"output_type": "display_data", "metadata": {}, "data": {"image/jpeg": data}}
    cell = {"cell_type": "code", "metadata": {}, "source": [], "execution_count": 1, "outputs": [output]}
    return json.dumps(
        {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}, indent=1
    ).encode()


PAGE = b"<!DOCTYPE html><title>x</title><img src='%b'>" % URL
PAGES = {
    "page": PAGE,
    "page in UTF-16": b"\xff\xfe" + PAGE.decode().encode("utf-16-le"),
    "page in UTF-16 without a mark": PAGE.decode().encode("utf-16-be"),
    "page that begins with text": b"A picture: " + PAGE,
    "page in Latin-1": b"<p>caf\xe9" + PAGE,
    "percent-encoded": b'<p>x<img src="data:foo,%b">' % quote(JPEG).encode(),
    "shifted in ISO 2022": b"<meta charset=iso-2022-jp><p>" + PAGE.replace(b"data:", b"da\x1b(Bta:"),
    "references": PAGE.replace(b"data:", b"d&#x61;ta&colon;"),
    "page in a page": b"<iframe srcdoc='<img src=&amp;#100;ata:foo,%b>'>" % quote(JPEG).encode(),
    "escape by reference": b"<p style='background:url(&bsol;64 ata:foo,%b)'>" % quote(JPEG).encode(),
    "style": b"p{}\na { background: url(%b) }" % URL,
    "escaped style": b"p{}\na { background: u\\72l(d\\61 ta\\3a image/jpeg;base64,%b) }" % BASE64,
    "broken over lines": b"<p>x<img src='" + folded(b"data:image/jpeg;base64,", 3, b"\n") + LINES + b"'>",
}
XML = {
    "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'><image href='%b'/></svg>" % URL,
    "SVG with an entity": b"<!DOCTYPE svg [<!ENTITY u '%b'>]><svg xmlns='http://www.w3.org/2000/svg'>"
    b"<image href='&u;'/></svg>" % URL,
    "flat OpenDocument": b"<?xml version='1.0'?><o:document><o:binary-data>%b</o:binary-data></o:document>"
    % LINES,
    "CDATA, a comment, an attribute": b"<?xml version='1.0'?><d><x:binary-data a='>'><![CDATA[%b]]><!-- -->%b"
    b"</x:binary-data></d>" % (BASE64[:100], BASE64[100:]),
    "XML in UTF-16 without a mark": b"<?xml version='1.0'?><d><binData>%b</binData></d>".decode()
    .replace("%b", BASE64.decode())
    .encode("utf-16-le"),
    "ENEX": b'<?xml version="1.0"?><en-export><note><resource><data encoding="base64">\n%b</data></resource>'
    b"</note></en-export>" % LINES,
    "property list": plistlib.dumps({"WebMainResource": {"WebResourceData": JPEG}}),
}
SHORT = b"\n\t".join(BASE64[at : at + 20] for at in range(0, len(BASE64), 20))
IN_SHORT_LINES = {
    "ENEX in short lines": b'<?xml version="1.0"?><en-export><data encoding="base64">%b</data></en-export>'
    % SHORT,
    "property list in short lines": b'<?xml version="1.0"?><plist><data>\n\t%b\n</data></plist>' % SHORT,
    "property list with comments": b'<?xml version="1.0"?><plist><data>%b</data></plist>'
    % SHORT.replace(b"\n", b"<!-- -->"),
    "AbiWord in short lines": b'<?xml version="1.0"?><abiword><d name="a" base64="yes">%b</d></abiword>'
    % SHORT,
}
OTHERS = {
    "notebook": notebook(LINES.decode()),
    "notebook in lines": notebook(LINES.decode().splitlines(keepends=True)),
    "HAR": json.dumps({"log": {"entries": [{"text": BASE64.decode(), "encoding": "base64"}]}}).encode(),
    "slashes escaped": json.dumps({"a": BASE64.decode()}).replace("/", "\\/").encode(),
    "pluses escaped": json.dumps({"a": BASE64.decode()}).replace("+", "\\u002B").encode(),
    "Lottie": json.dumps({"v": "5.5.2", "assets": [{"p": URL.decode(), "e": 1}]}).encode(),
    "Markdown": b"# Title\n\n![x][y]\n\n[y]: %b\n" % URL,
    "LDIF": b"dn: cn=a\njpegPhoto:: " + folded(BASE64, 64, b"\n ") + b"\ncn: a\n",
    "YAML": b"a: |\n  " + LINES.strip().replace(b"\n", b"\n  ") + b"\nb: c\n",
    "URL's alphabet": b"x = " + base64.urlsafe_b64encode(JPEG),
    "playlist": b"#EXTM3U\n#EXTINF:1,\n%b\n" % URL,
    "card": card(b"PHOTO;ENCODING=b;TYPE=JPEG:" + folded(BASE64, 70, b"\r\n ")),
    "card, grouped": card(b"item1.photo;encoding=b:" + folded(BASE64, 70, b"\r\n ")),
    "card 2.1": card(b"PHOTO;JPEG;ENCODING=BASE64:\r\n " + folded(BASE64, 70, b"\r\n ") + b"\r\n"),
    "card 4.0": card(b"PHOTO:" + URL.replace(b",", b"\\,")),
    "uuencoded behind text": b"See:\n\n" + uu(),
    "yEnc": b"x\n=ybegin line=128 size=3 name=a.jpg\n\x8a\x8b\x8c\n=yend size=3\n",
    "BinHex": b"x\n(This file must be converted with BinHex 4.0)\n:$f*TEQKPH#jZ\n:\n",
    "encrypted": b"x\n-----BEGIN PGP MESSAGE-----\n\n" + LINES + b"-----END PGP MESSAGE-----\n",
}
MAILS = {
    "mail": mail(),
    "mail, Latin-1": b"X-N\xe4me: a\n" + mail(),
    "mail, long name": b"X" * 3000 + b": a\n" + mail(),
    "mail, long header": b"X: " + b"a" * 300_000 + b"\n" + mail(),
    "mail, space before the colon": mail().replace(b"Content-Type:", b"Content-Type :"),
    "mail, blank first": b"\n\n" + mail(),
    "mail, mark": b"\xef\xbb\xbf" + mail(),
    "mail, carriage returns": mail().replace(b"\n", b"\r"),
    "mail, of no type": mail("application/octet-stream"),
    "mail, stated as text": coded(JPEG),
    "mail, uuencoded in Base64": coded(uu()),
    "mail, uuencoded in quoted-printable": quoted(uu()),
    "mail, URL in quoted-printable": quoted(b"<p>" + b"x" * 300_000 + PAGE),
    "mail, page far behind": b"Content-Type: text/html\n\n<p>" + b"word " * 80_000 + PAGE,
    "mail behind text": b"This is a text.\n\nOf several lines.\n\n" + mail(),
    "mailbox": b"From a@b Thu Jan  1 00:00:00 2026\n" + mail() + b"\n",
    "page of a browser": b"From: <Saved>\r\nContent-Type: multipart/related; boundary=b\r\n\r\n"
    b"--b\r\nContent-Type: image/jpeg\r\nContent-Transfer-Encoding: base64\r\n\r\n%b\r\n--b--\r\n" % LINES,
}
NOT_OPENED = ("yEnc", "BinHex", "encrypted")
KINDS = {**PAGES, **XML, **OTHERS, **MAILS}


def is_clean(content: bytes) -> bool:
    """Return True if a file would not be opened or decoded, nor be undecoded."""
    if sniff(content[:SEARCHED]) is not None or container_behind(content[-TAIL_SIZE:]) is not None:
        return False
    return bool(none_kind(PreadFile(content))) or not any(texts_with_pictures(PreadFile(content)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_disguised_text_is_not_clean(kind: str) -> None:
    assert [each.how for each in disguised(KINDS[kind]) if is_clean(each.content)] == []


@pytest.mark.parametrize("kind", IN_SHORT_LINES)
def test_base64_in_short_lines_of_xml_is_not_clean(kind: str) -> None:
    assert not is_clean(IN_SHORT_LINES[kind])


@pytest.fixture(scope="module")
def decoder() -> Iterator[Sandbox]:
    with made() as sandbox:
        sandbox.start()
        yield sandbox


TEMPLATE = b"""local mail = [[
Content-Type: application/gzip; name="{= name =}"
Content-Transfer-Encoding: base64

]]
send(mail .. encode(report))
"""
HARMLESS = {
    "a template of a mail": TEMPLATE,
    "a documentation of mails": b"Write\n\nContent-Type: image/png\n\nbefore the picture.\n",
    "a text in Base64": coded(b"Hello.\n" * 99),
    "a text in quoted-printable": quoted("Grüße.\n".encode() * 99),
    "a contact without a photo": card(b"TEL:1"),
    "a contact with a photo elsewhere": card(b"PHOTO;VALUE=uri:https://example.org/a.jpg"),
    "TypeScript": b"function load(data: string, url: 'data:' | 'blob:'): void {}\n",
    "a font in a style": b"@font-face { src: url(data:font/woff2;base64,%b) }"
    % base64.b64encode(b"wOF2" + bytes(99)),
}


@pytest.mark.parametrize("kind", HARMLESS)
def test_a_text_without_a_picture_is_none(kind: str) -> None:
    assert list(texts_with_pictures(PreadFile(HARMLESS[kind]))) == []


def saved_by(program: str, content: bytes, folder: Path) -> bool:
    """Return True if a program saves the picture of a mail."""
    if program == "email":
        parts = message_from_bytes(content).walk()
        return any(part.get_payload(decode=True) == JPEG for part in parts if not part.is_multipart())
    folder.mkdir()
    (folder / "mail").write_bytes(content)
    options = ["-q", "-t", "-f", "mail"] if program == "munpack" else ["-i", "mail", "-d", "."]
    subprocess.run([program, *options], cwd=folder, capture_output=True, timeout=60)
    return any(JPEG in file.read_bytes() for file in folder.iterdir() if file.name != "mail")


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.parametrize("program", ["email", "munpack", "ripmime"])
def test_no_mail_is_clean_of_which_a_program_saves_the_picture(program: str, tmp_path: Path) -> None:
    if program != "email" and shutil.which(program) is None:
        pytest.skip("not installed")
    saved = 0
    for kind in (*MAILS, "uuencoded behind text"):
        for number, (how, content) in enumerate(disguised(KINDS[kind], (1, 100))):
            if saved_by(program, content, tmp_path / f"{kind} {number}"):
                saved += 1
                assert not is_clean(content), (kind, how)
    assert saved > 50


BEFORE = {"": sorted(KINDS.keys() - NOT_OPENED), "abc\n": ["page", "LDIF", "card", *MAILS]}


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.parametrize(("before", "kind"), [(before, kind) for before in BEFORE for kind in BEFORE[before]])
def test_the_picture_is_found(decoder: Sandbox, tmp_path: Path, before: str, kind: str) -> None:
    content = before.encode() + KINDS[kind]
    found = sniff(content[:SEARCHED])
    members, _ = records_of(decoder, tmp_path / "text", content, found or UNRECOGNISED)
    assert digests(JPEG) in {member.exact for member in members}, by_place(members)
    assert set(reasons(members).values()) <= ({Reason.AMBIGUOUS} if "space" in kind else set())


def test_zeros_of_a_program_are_not_those_of_wide_characters() -> None:
    words = b"".join(number.to_bytes(8, "little") for number in range(2048))
    # Without its zeros, it would have lines with the header of a mail.
    program = words.replace(b"\1", b"\0") + b"text\n\0Content-Type: a/b\r\n\0" + words
    assert decoded_text(program) == program
    page = "<img src='data:image/png;base64,'>" * 200
    for coding in ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"):
        assert decoded_text(page.encode(coding)) == page.encode()
