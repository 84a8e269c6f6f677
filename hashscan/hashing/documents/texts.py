"""Read the pictures that texts contain: pages, drawings (SVG) and style sheets as `data:` URLs (RFC 2397),
documents of XML as Base64 in elements.

Browsers see through the escapes of HTML, XML, CSS and JavaScript, so a text is searched as it is, with its
character references replaced, and with its backslashes replaced. An URL may be Base64 or percent-encoded. Its
bytes are recognised, and not the type that it states; drawings and pages in it are opened, too.

All that a text contains as an URL is checked. A drawing (SVG) is also a picture: `hashing.svg` draws it
whole. Not found is an URL that a script puts together, and not drawn is a page with the drawings in it.
"""

from __future__ import annotations

import hashlib
import html
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from hashscan.hashing.archives.openers import READ_MAX, guarded, stored
from hashscan.hashing.member_records import ContainerError
from hashscan.hashing.svg.forms import base64_content
from hashscan.model import Reason

if TYPE_CHECKING:
    from hashscan.hashing.archives.library import ArchiveMember
    from hashscan.hashing.pread import PreadFile

_WIDE = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}

_SCHEME = re.compile(rb"(?:([\"'`(=])\s{0,256})?data:", re.IGNORECASE)
"""The begin of an URL, with what precedes it."""
_TYPE_MAX = 512
"""Bytes of the type of an URL, up to the comma behind it."""

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
_REFERENCE = re.compile(rb"&(?:#|[A-Za-z])")


class TextOpener:
    """Opens texts."""

    def members(self, file: PreadFile) -> Iterator[ArchiveMember]:
        """Yield what a text contains as URLs, each content once.

        Raises:
            ContainerError: it is longer than the limit; its begin was searched.
        """
        seen: set[bytes] = set()
        for number, view in enumerate(_views(file.read(READ_MAX)), 1):
            yield from guarded(b"view=%d" % number, _distinct(view, seen))
        if file.size > READ_MAX:
            raise ContainerError(Reason.CONTAINER_BYTES)


def _distinct(text: bytes, seen: set[bytes]) -> Iterator[ArchiveMember]:
    """Yield what a text contains as URLs, and add the digests of the contents to `seen`."""
    for content in _contents(text):
        digest = hashlib.blake2b(content, digest_size=16).digest()
        if content and digest not in seen:
            seen.add(digest)
            yield stored(b"data=%d" % len(seen), content)


def _views(text: bytes) -> Iterator[bytes]:
    """Yield a text as it is, and with its escapes replaced."""
    if text[:2] in _WIDE:
        text = text[2:].decode(_WIDE[text[:2]], "replace").encode("utf-8", "replace")
    yield text
    if _REFERENCE.search(text):
        # All that matters is ASCII.
        plain = html.unescape(text.decode("latin-1")).encode("utf-8", "replace")
        yield plain
    else:
        plain = text
    if b"\\" in plain:
        yield _BACKSLASH.sub(_unescaped, plain)
    joined = plain.translate(None, _ENDS_OF_LINES)
    if len(_ANY_SCHEME.findall(joined)) > len(_ANY_SCHEME.findall(plain)):
        yield joined


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
    ends = dict.fromkeys(_ENDS, -1)
    # The type may hold the begin of another URL, where this is none.
    for begin in _SCHEME.finditer(text):
        if comma < begin.end() and (comma := text.find(b",", begin.end())) < 0:
            break
        if comma - begin.end() > _TYPE_MAX:
            continue
        before = begin[1] or b""
        if ends[before] <= comma:
            end = _ENDS[before].search(text, comma + 1)
            ends[before] = end.start() if end else len(text)
        if fragment <= comma:
            found = text.find(b"#", comma + 1)
            fragment = found if found >= 0 else len(text)
        body = text[comma + 1 : min(ends[before], fragment)]
        is_base64 = _IS_BASE64.search(text[begin.end() : comma]) is not None
        in_set = _IN_SET.search(body)
        if in_set is not None:
            yield _content(body[: in_set.start()], is_base64=is_base64)
        yield _content(body, is_base64=is_base64)
    for element in _ELEMENT.finditer(text):
        yield _content(element[1], is_base64=True)


def _content(body: bytes, *, is_base64: bool) -> bytes:
    """Return the content of an URL by its part behind the comma, as browsers decode it."""
    body = unquote_to_bytes(body.translate(None, b"\t\r\n"))
    if not is_base64:
        return body
    return base64_content(body.translate(None, b" \f"))
