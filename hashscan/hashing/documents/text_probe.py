"""Recognise texts that show pictures, wherever in a file they begin: pages, mails, contacts, other Base64.

Browsers show a page whatever comes before its first element, and mail programs read past lines that are no
headers. So the whole file is searched, whether it is text or not. What announces a picture counts only with
one: an URL or Base64 of which the first bytes are those of a picture or container, the header of a mail's
part with content that is no text.
"""

from __future__ import annotations

import binascii
import re
import zlib
from collections.abc import Iterator
from contextlib import suppress

from hashscan.hashing.archives.openers import READ_MAX
from hashscan.hashing.containers import CONTAINERS, SEARCHED
from hashscan.hashing.documents.mail import has_uuencoded
from hashscan.hashing.documents.texts import PICTURE_LEAST, base64_files, contents_of_urls, decoded_text
from hashscan.hashing.font_tables import may_have_pictures
from hashscan.hashing.format_signatures import FileFormat
from hashscan.hashing.formats import TEXT, sniff
from hashscan.hashing.pread import PreadFile
from hashscan.hashing.recognition.recogniser import Probed
from hashscan.hashing.recognition.text_proof import base64_content

_BY_NAME = {known.name: known for known in CONTAINERS}
_MAIL, _MAILBOX, _UUENCODED, _CONTACT = (
    _BY_NAME[name] for name in ("mail", "mailbox", "uuencoded file", "contact with a photo")
)
_OTHER = _BY_NAME["other archive"]

_OVERLAP = 1 << 20
_HEADER = re.compile(rb"content-(?<![^\r\n]content-)(?:type|transfer-encoding)[ \t]*:")
"""In small letters. A pattern that begins with a word is the quickest to find."""
_BLANK = re.compile(rb"\n[ \t]*\r?\n|\r[ \t]*\r(?!\n)")
_HEADERS_MAX = 1 << 20
"""Length in bytes of one header; a longer one counts as that of a part that is no text."""
_TYPE = re.compile(rb"(?:\A|(?<=[\r\n]))content-type[ \t]*:[\s\"]*([\w.+-]*)/?", re.IGNORECASE)
_ENCODING = re.compile(rb"(?:\A|(?<=[\r\n]))content-transfer-encoding[ \t]*:[\s\"]*([\w-]*)", re.IGNORECASE)
_END = re.compile(rb"[\r\n]--")
_CODED = re.compile(rb"\A\s*[A-Za-z0-9+/]{4,}={0,2}\s*(?:[\r\n]|\Z)|[A-Za-z0-9+/]{40}")
"""A first line of Base64 alone, or a long run of its digits anywhere; a template of a mail has neither."""
_AS_IT_IS = frozenset({b"", b"7bit", b"8bit", b"binary", b"7-bit", b"8-bit"})
_TEXTS = frozenset({b"", b"text", b"multipart"})

_CARD = re.compile(rb"(?:\A|(?<=[\r\n]))[ \t]*(?:\xef\xbb\xbf)?begin:vcard", re.IGNORECASE)
_PHOTO = re.compile(
    rb"(?:\A|(?<=[\r\n]))[ \t]*(?:[\w-]+\.)?(?:photo|logo)[ \t]*[;:](?![^\r\n]*:[ \t]*https?:|https?:)",
    re.IGNORECASE,
)
_UNOPENED = re.compile(
    rb"(?:\A|(?<=[\r\n]))(?:=ybegin [^\r\n]*\bname=|\(This file must be converted with BinHex[^\r\n]*[\r\n]+:"
    rb"|-----BEGIN PGP MESSAGE-----\s*(?:[\w-]+: [^\r\n]*\r?\n)*\s*(?:[A-Za-z0-9+/]{60,76}\r?\n){2})"
)
"""Begin of yEnc, of BinHex, and of an encrypted or compressed message (OpenPGP)."""
_UNOPENED_WORDS = (b"=ybegin ", b"with BinHex", b"BEGIN PGP MESSAGE")
_CMS = re.compile(
    rb"0(?:[\x02-\x7f]|\x80|\x81.|\x82..|\x83...|\x84....)\x06(?:\x0b\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x01[\x09\x17]"
    rb"|\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07(?:[\x01\x03\x05\x06]\xa0|\x02\xa0.{1,40}?"
    rb"\x06(?:\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01|\x0b\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x01.)\xa0))",
    re.DOTALL,
)
"""Begin of a message of CMS (RFC 5652) that holds what it signs, is encrypted, or is compressed."""
_LITERAL = re.compile(
    rb"(?:\xac.|\xad..|\xae....|\xaf|\xcb(?:[\0-\xbf]|[\xc0-\xdf].|[\xe0-\xfe]|\xff....))[btu](.)", re.DOTALL
)
"""Begin of a packet of OpenPGP that holds a file as it is (RFC 9580, 5.9)."""
_COMPRESSED = re.compile(
    rb"(?:\xa0.|\xa1..|\xa2....|\xa3|\xc8(?:[\0-\xbf]|[\xc0-\xdf].|[\xe0-\xfe]|\xff....))([\1\2])", re.DOTALL
)
"""Begin of a packet of OpenPGP that holds others, compressed (5.6); bzip2 is found by its own signature."""
_MARKERS = re.compile(rb"(?:[\xca\xa8]\x03PGP)*")
_ONE_PASS = b"\x90\x0d\3", b"\xc4\x0d\3"
"""Begin of a signed file (5.4)."""
_LITERAL_MAX, _PACKED_MAX = 512, 4096


def texts_with_pictures(file: PreadFile) -> Iterator[Probed]:
    """Yield the kinds of text with pictures that programs may take a file for; a probe."""
    found: dict[str, Probed] = {}
    at = 0
    while True:
        file.seek(at)
        piece = file.read(READ_MAX)
        for kind in _kinds(piece, begins=at == 0):
            found.setdefault(kind.name, Probed(kind, True, by="search of texts"))
        if at + len(piece) >= file.size or not piece:
            break
        at += len(piece) - _OVERLAP
    # What is in a mail is opened on the terms of mails alone.
    mails = [each for each in found.values() if each.kind in {_MAIL, _MAILBOX}]
    yield from mails[:1] or found.values()


def _kinds(piece: bytes, *, begins: bool) -> Iterator[FileFormat]:
    if begins and (piece.startswith(b"bplist0")):
        yield TEXT
        return
    if begins and (_CMS.match(piece) is not None or _is_literal(piece)):
        yield _OTHER
    text = decoded_text(piece)
    # A word is searched for in a twentieth of the time of a pattern.
    small = text.lower()
    if any(word in text for word in _UNOPENED_WORDS) and _UNOPENED.search(text) is not None:
        yield _OTHER
    if b"content-t" in small and _has_part(text, small):
        yield _MAILBOX if begins and text.lstrip(b"\xef\xbb\xbf\r\n").startswith(b"From ") else _MAIL
        return
    if b"begin:vcard" in small and _CARD.search(text) is not None and _PHOTO.search(text) is not None:
        yield _CONTACT
    if b"begin" in text and has_uuencoded(text):
        yield _UUENCODED
    if _shows_picture(text, piece):
        yield TEXT


def _is_literal(begin: bytes) -> bool:
    """Return True for a file that OpenPGP packs, perhaps compressed or signed, but does not encrypt."""
    markers = _MARKERS.match(begin)
    begin = begin[markers.end() if markers else 0 :][:_PACKED_MAX]
    packed = _COMPRESSED.match(begin)
    if packed is not None:
        method = -zlib.MAX_WBITS if packed[1] == b"\1" else zlib.MAX_WBITS
        with suppress(zlib.error):
            begin = zlib.decompressobj(method).decompress(begin[packed.end() :], _LITERAL_MAX)
    if begin.startswith(_ONE_PASS):
        return True
    found = _LITERAL.match(begin)
    if found is None:
        return False
    # A name of a file, and a date follow.
    name = begin[found.end() : found.end() + found[1][0]]
    return all(byte >= 32 for byte in name) and len(begin) > found.end() + len(name) + 4


def _shows_picture(text: bytes, source: bytes = b"") -> bool:
    return any(
        sniff(content[:SEARCHED]) is not None or may_have_pictures(content[:SEARCHED])
        for contents in (contents_of_urls(source or text), base64_files(text))
        for content in contents
        if len(content) >= PICTURE_LEAST
    )


def _has_part(text: bytes, small: bytes) -> bool:
    """Return True if a part of a mail in a text (and in small letters) is no text, or shows a picture."""
    end = 0
    for header in _HEADER.finditer(small):
        if header.start() < end:
            continue
        blank = _BLANK.search(text, header.start(), header.start() + _HEADERS_MAX)
        if blank is None:
            # A part without content; or headers that go on beyond what is looked at.
            if len(text) - header.start() > _HEADERS_MAX:
                return True
            continue
        first = max(0, text.rfind(b"\n\n", 0, header.start()), text.rfind(b"\n\r\n", 0, header.start()))
        headers, end = text[first : blank.start() + 1], blank.end()
        if _is_part(headers, text, end):
            return True
    return False


def _is_part(headers: bytes, text: bytes, at: int) -> bool:
    """Return True if a part of a mail, whose content begins at a place of the text, is no text, or shows a
    picture."""
    types = {kind.lower() for kind in _TYPE.findall(headers)}
    encodings = {encoding.lower() for encoding in _ENCODING.findall(headers)}
    following = _END.search(text, at)
    content = text[at : following.start() if following else len(text)]
    if not content.strip():
        return False
    if encodings - _AS_IT_IS and types - _TEXTS and (b"base64" not in encodings or _CODED.search(content)):
        return True
    if b"base64" in encodings:
        plain = base64_content(content.translate(None, b" \t\r\n"))
    elif b"quoted-printable" in encodings:
        plain = binascii.a2b_qp(content)
    elif encodings - _AS_IT_IS:
        return True
    else:
        plain = content
    return (
        (bool(types - _TEXTS or encodings) and sniff(plain[:SEARCHED]) is not None)
        or has_uuencoded(plain)
        or _shows_picture(plain)
    )
