"""Read the pictures that texts contain: pages, drawings (SVG) and style sheets as `data:` URLs (RFC 2397),
others as Base64: documents of XML, notebooks of Jupyter, notes of Evernote, records of HTTP, LDIF, property
lists.

Browsers see through the escapes of HTML, XML, CSS and JavaScript, so a text is searched as it is, with its
character references replaced, with its backslashes replaced, and as a parser of XML reads it. An URL may be
Base64 or percent-encoded. Its bytes are recognised, and not the type that it states; drawings and pages in it
are opened, too. Other Base64 counts where its first bytes are those of a picture or container; so
certificates, fonts and digests do not.

All that a text contains as an URL is checked. A drawing (SVG) is also a picture: `hashing.svg` draws it
whole. Not found is an URL that a script puts together, unless its Base64 is in one piece; not drawn is a page
with the drawings in it. UTF-7 is not read: no browser since Internet Explorer does.
"""

from __future__ import annotations

import binascii
import hashlib
import html
import plistlib
import re
from collections.abc import Iterable, Iterator
from itertools import count, pairwise
from urllib.parse import unquote_to_bytes

from hashscan.hashing.archives.library import ArchiveMember
from hashscan.hashing.archives.openers import READ_MAX, failed, guarded, stored
from hashscan.hashing.containers import SEARCHED
from hashscan.hashing.documents.xml_text import xml_texts
from hashscan.hashing.formats import has_scheme, sniff
from hashscan.hashing.member_records import ContainerError
from hashscan.hashing.pread import PreadFile
from hashscan.hashing.recognition.text_proof import (
    RUN_LEAST,
    base64_content,
    base64_runs,
    digits_from,
    is_begin_of_file,
    is_by_chance,
)
from hashscan.model import Reason

_WIDE = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}

_SCHEME, _BEFORE_SCHEME = b"data:", 257
"""The begin of an URL, and the number of bytes before it that are looked at: an opening sign, and blanks."""
_TYPE_MAX = 512
"""Bytes of the type of an URL, up to the comma behind it; of a longer one, no byte may end the URL."""

_ENDS = {
    b'"': re.compile(rb'"'),
    b"'": re.compile(rb"'"),
    b"`": re.compile(rb"`"),
    b"(": re.compile(rb"\)"),
    b"=": re.compile(rb"[\s>]"),
    b"": re.compile(rb"[\s\"'`<>)]"),
}
"""The end of an URL, by what precedes it."""

_IN_SET = re.compile(rb"(?<!\s)\s+[0-9.]+[wxh]\s*(?:,|$)")
"""Stands behind each URL of a `srcset`."""

_IS_BASE64 = re.compile(rb";\s*base64\s*$", re.IGNORECASE)
_ENDS_OF_LINES = b"\t\r\n"
_ANY_SCHEME = re.compile(rb"data:", re.IGNORECASE)
_ELEMENT = re.compile(
    rb"<(?:[\w-]+:)?(?:binary-data|binaryData|binData|binary)(?:\s[^<>]*)?>([A-Za-z0-9+/=\s]+)<"
)
"""Holds a file as Base64 in XML: of OpenDocument and Office in one file, and of FictionBook."""
_BACKSLASH = re.compile(rb"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|([0-9a-fA-F]{1,6})\s?|(\r?\n)|(.))")
_REFERENCES = re.compile(rb"&(?:#[0-9]+|#[xX][0-9a-fA-F]+|[A-Za-z][A-Za-z0-9]{1,31});?")


class TextOpener:
    """Opens texts."""

    def __init__(self) -> None:
        """Read a sample, since libraries import some of their modules on first use."""
        list(_views(b"<a b='&#65;'>\\41</a>"))
        plistlib.loads(plistlib.dumps({}, fmt=plistlib.FMT_BINARY))

    def members(self, file: PreadFile) -> Iterator[ArchiveMember]:
        """Yield what a text contains as URLs or as Base64, each content once; of one longer than the limit,
        only the begin is searched."""
        yield from members_of_text(file.read(READ_MAX))
        if file.size > READ_MAX:
            raise ContainerError(Reason.CONTAINER_BYTES)


def members_of_text(text: bytes, seen: Iterable[bytes] = ()) -> Iterator[ArchiveMember]:
    """Yield what a text contains as URLs or as Base64, each content once, without those whose `digest_of` is
    in `seen`."""
    digests = set(seen)
    if text.startswith(_PROPERTY_LIST):
        yield from guarded(b"data", _distinct(_values(text), digests))
        return
    whole: list[bytes] = []
    for number, (view, has_runs) in enumerate(_views(text), 1):
        yield from guarded(b"view=%d" % number, _distinct(_contents(view), digests))
        if has_runs:
            whole += base64_files(view)
    # A run that goes on in one view may be cut in another one.
    whole.sort()
    yield from _distinct(
        (
            content
            for content, following in pairwise([*whole, b""])
            if not following.startswith(content) or following == content
        ),
        digests,
    )


def digest_of(content: bytes) -> bytes:
    """Return a digest that tells contents apart."""
    return hashlib.blake2b(content, digest_size=16).digest()


def _distinct(contents: Iterable[bytes], seen: set[bytes]) -> Iterator[ArchiveMember]:
    """Yield contents that are not among `seen`, and add their digests."""
    for content in contents:
        digest = digest_of(content)
        if len(content) >= PICTURE_LEAST and digest not in seen:
            seen.add(digest)
            yield stored(b"data=%d" % len(seen), content)


PICTURE_LEAST = 32
"""Length in bytes of what is too short for a picture with content: often one pixel, or the begin of one."""
_PROPERTY_LIST = b"bplist0"
_VALUES_MAX = 100_000
"""Values of a binary property list."""


def _values(text: bytes) -> Iterator[bytes]:
    """Yield the values of a binary property list (Apple) that are bytes; one with too many is an error."""
    try:
        waiting = [plistlib.loads(text)]
    except (plistlib.InvalidFileException, ValueError, OverflowError, RecursionError) as error:
        raise ContainerError(Reason.CONTAINER_BROKEN) from error
    for _ in range(_VALUES_MAX + 1):
        if not waiting:
            return
        value = waiting.pop()
        if isinstance(value, bytes):
            yield value
        elif isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
    raise ContainerError(Reason.CONTAINER_MEMBERS)


_SHIFTS = re.compile(rb"\x1b(?:\([A-Z]|\$[@-Z]|\$\([A-Z])")
"""Changes of the character set in ISO 2022, which browsers pass over."""


def decoded_text(text: bytes) -> bytes:
    """Return a text in UTF-16 with its ASCII as such, and one in ISO 2022 without its shifts."""
    if text[:2] in _WIDE:
        return text[2:].decode(_WIDE[text[:2]], "replace").encode("utf-8", "replace")
    for part in (text[:_WIDE_SEARCHED], text[-_WIDE_SEARCHED:]):
        # In a program, zeros are at all places of a word; characters have one that is seldom zero.
        fewest = min(part[place::4].count(0) for place in range(4))
        if part.count(0) * 5 > len(part) * 2 and fewest * 16 < len(part):
            # UTF-16 without a mark of the byte order; all that matters is ASCII.
            text = text.replace(b"\0", b"")
            break
    return _SHIFTS.sub(b"", text) if b"\x1b" in text else text


_WIDE_SEARCHED = 4096
_REFERENCES_DEEP = 8
"""References to characters within each other."""
_TO_LETTER = re.compile(rb"&(?:amp;?|#0*38;|#x0*26;)*(?:#|colon;|bsol;|Tab;|NewLine;)", re.IGNORECASE)
_TO_BACKSLASH = re.compile(rb"&(?:amp;|#38;)*(?:bsol;|#(?:0*92|x0*5c)(?![0-9a-f]))", re.IGNORECASE)


def _views(text: bytes) -> Iterator[tuple[bytes, bool]]:
    """Yield a text as it is, and with its escapes replaced; True for those to be searched for Base64.
    References within each other beyond a bound are an error."""
    source, text = text, decoded_text(text)
    yield text, True
    plain = text
    # A page in an attribute of another one is written with references to the signs of references.
    for depth in count():
        if depth == _REFERENCES_DEEP:
            if _TO_LETTER.search(plain) is not None:
                raise ContainerError(Reason.CONTAINER_DEPTH)
            break
        replaced = _REFERENCES.sub(_resolved, plain)
        if replaced == plain:
            break
        plain = replaced
        yield plain, True
    if b"\\" in plain:
        yield _BACKSLASH.sub(_unescaped, plain), False
    joined = plain.translate(None, _ENDS_OF_LINES)
    if joined.lower().count(_SCHEME) > plain.lower().count(_SCHEME):
        yield joined, False
    if _XML.match(text) is not None:
        yield xml_texts(source), True


_XML = re.compile(rb"(?:\xef\xbb\xbf)?\s*<")
_CODED_DIGIT = re.compile(rb"\\u00(2[bBfF]|3[dD])")


def base64_files(text: bytes) -> Iterator[bytes]:
    """Decode the runs of Base64 in a text, and yield those that begin like a picture or container."""
    if b"\\u00" in text:
        text = _CODED_DIGIT.sub(lambda found: bytes([int(found[1], 16)]), text)
    end = 0
    for at in base64_runs(text, RUN_LEAST):
        if at < end or text[max(0, at - 7) : at].lower() == b"base64,":
            continue
        if not is_begin_of_file(text, at):
            continue
        digits, end = digits_from(text, at)
        if is_by_chance(text, at, digits):
            continue
        content = base64_content(digits)
        kind = sniff(content[:SEARCHED])
        if kind is not None and not _is_by_chance(kind.name, content, digits):
            yield content


def _is_by_chance(kind: str, content: bytes, digits: bytes) -> bool:
    """Return True for what has a short signature, and is a path, a name, a table or a part of something else.

    `/wp` decodes to that of JPEG XL: of 40 digits or more, two fifths of Base64 are capitals.
    """
    if kind == "JPEG XL":
        capitals = len(digits) - len(digits.translate(None, _CAPITALS))
        return content.startswith(b"\xff\n") and capitals * 5 < len(digits)
    if kind in {"ICO", "CUR"}:
        number = min(int.from_bytes(content[4:6], "little"), _ICONS_MAX)
        places = (int.from_bytes(content[at : at + 4], "little") for at in range(18, 6 + 16 * number, 16))
        return not any(6 + 16 * number <= place < len(content) for place in places)
    return False


_CAPITALS, _ICONS_MAX = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ", 1 << 16


class ContactOpener:
    """Opens contacts (vCard 2.1 to 4.0, RFC 6350)."""

    def members(self, file: PreadFile) -> Iterator[ArchiveMember]:
        """Yield the pictures of all contacts."""
        if file.size > READ_MAX:
            raise ContainerError(Reason.CONTAINER_BYTES)
        text = _FOLDED.sub(b"", decoded_text(file.read()))
        seen: set[bytes] = set()
        for number, found in enumerate(_PICTURE.finditer(text), 1):
            yield from guarded(b"photo=%d" % number, _of_contact(number, found[1].lower(), found[2], seen))


_FOLDED = re.compile(rb"(?:\r\n?|\n)[ \t]+")
_PICTURE = re.compile(
    rb"(?<![^\r\n])[ \t]*(?:[\w-]+\.)?(?:PHOTO|LOGO)"
    rb"((?:[ \t]*;[^:\r\n\"]*(?:\"[^\"\r\n]*\"[^:\r\n\"]*)*)?)[ \t]*:"
    rb"([^\r\n]*(?:=\r?\n[^\r\n]*)*(?:\r?\n[A-Za-z0-9+/]+={0,2}(?=\r?\n|\Z))*)",
    re.IGNORECASE,
)


def _of_contact(number: int, parameters: bytes, value: bytes, seen: set[bytes]) -> Iterator[ArchiveMember]:
    """Yield the picture of one property of a contact."""
    value = value.strip()
    if b"quoted-printable" in parameters:
        value = binascii.a2b_qp(value)
    if _ANY_SCHEME.match(value) is not None:
        contents = list(_contents(b'"' + value.replace(b"\\", b"") + b'"'))
    elif _ADDRESS.match(value) is not None or not value:
        # It is on another server, or there is none.
        return
    else:
        contents = [base64_content(value.translate(None, b"\\ \t\r\n"))]
    if not any(contents):
        yield failed(b"photo=%d" % number, Reason.METHOD)
    for content in contents:
        if content and (digest := digest_of(content)) not in seen:
            seen.add(digest)
            yield stored(b"photo=%d" % number, content)


_ADDRESS = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*:")


def contents_of_urls(text: bytes) -> Iterator[bytes]:
    """Yield the contents of all URLs in a text, as those who read it may."""
    plain = decoded_text(text)
    if has_scheme(plain, False) or _TO_BACKSLASH.search(plain) is not None or _XML.match(plain) is not None:
        for view, _ in _views(text):
            yield from _contents(view)


def _resolved(found: re.Match[bytes]) -> bytes:
    return html.unescape(found[0].decode("ascii")).encode()


def _unescaped(found: re.Match[bytes]) -> bytes:
    digits = found[1] or found[2] or found[3]
    if digits is None:
        return (found[4] and b"") or (found[5] or b"")
    code = int(digits, 16)
    return chr(code).encode("utf-8", "replace") if code < 0x110000 else b""


def _contents(text: bytes) -> Iterator[bytes]:
    """Yield the contents of all URLs in a text.

    No byte is searched twice for the same sign, however many URLs begin before it.
    """
    comma = fragment = -1
    ends, closed, last = dict.fromkeys(_ENDS, -1), dict.fromkeys(_ENDS, -1), dict.fromkeys(_ENDS, -1)
    # The type may hold the begin of another URL, where this is none.
    for before, begin in _schemes(text):
        if comma < begin and (comma := text.find(b",", begin)) < 0:
            break
        if comma - begin > _TYPE_MAX:
            if closed[before] < begin:
                end = _ENDS[before].search(text, begin)
                closed[before] = end.start() if end else len(text)
            if closed[before] < comma or last[before] == comma:
                continue
        last[before] = comma
        if ends[before] <= comma:
            end = _ENDS[before].search(text, comma + 1)
            ends[before] = end.start() if end else len(text)
        if fragment <= comma:
            found = text.find(b"#", comma + 1)
            fragment = found if found >= 0 else len(text)
        body = text[comma + 1 : min(ends[before], fragment)]
        is_base64 = _IS_BASE64.search(text[max(begin, comma - _TYPE_MAX) : comma]) is not None
        yield from _readings(body, is_base64=is_base64, quoted=bool(before))
    for element in _ELEMENT.finditer(text):
        yield _content(element[1], is_base64=True)


def _schemes(text: bytes) -> Iterator[tuple[bytes, int]]:
    """Yield the sign that opens an URL, empty if there is none, and the place behind its scheme."""
    # Words are found in a twentieth of the time of a pattern.
    small = text.lower()
    at = small.find(_SCHEME)
    while at >= 0:
        sign = text[max(0, at - _BEFORE_SCHEME) : at].rstrip()[-1:]
        yield sign if sign in _ENDS else b"", at + len(_SCHEME)
        at = small.find(_SCHEME, at + len(_SCHEME))


def _readings(body: bytes, *, is_base64: bool, quoted: bool) -> Iterator[bytes]:
    """Yield the contents of an URL by its part behind the comma; several where its end is not certain."""
    in_set = _IN_SET.search(body)
    if in_set is not None:
        yield _content(body[: in_set.start()], is_base64=is_base64)
    if quoted and body.endswith(b"\\"):
        # The quotation mark is escaped: the text is in a string of a script. Without an end of its first
        # element, it is the begin of what is found whole without the escapes.
        body = body[:-1]
        if not is_base64 and b"<" in body and b">" not in body:
            return
    yield _content(body, is_base64=is_base64)


def _content(body: bytes, *, is_base64: bool) -> bytes:
    """Return the content of an URL by its part behind the comma, as browsers decode it."""
    body = unquote_to_bytes(body.translate(None, b"\t\r\n"))
    if not is_base64:
        return body
    return base64_content(body.translate(None, b" \f"))
