"""Take `multipart/form-data` apart as its bytes arrive, strictly: no two readers may see other files in it.

A body that a lenient reader behind us would divide otherwise could hide a file: the part that we check as
one text would be two files for the application. So everything that readers are known to disagree about is an
error, and none of it is sent by browsers or by common libraries:

 * a type with other text around `multipart/form-data`, a boundary given twice, or with characters beyond
   those of RFC 2046, without space;
 * text before the first delimiter or after the last one, and a body without a last one;
 * the boundary's text anywhere but in a delimiter, such as after a bare line feed, or with more behind it;
 * header lines that are folded, end in a bare line feed, hold a NUL, have no name, or come twice;
 * parts that are stored in another form than they are sent: a `Content-Transfer-Encoding` such as base64, a
   `Content-Encoding`, or a multipart of their own.

Every part is a file here, with a name or without: applications store text fields, too.

A caller that decodes encoded parts and takes apart inner multiparts himself can ask for them (`inner`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar

from msgspec import Struct

from hashscan.errors import HashscanError

HEADERS_MAX = 8 << 10
"""Longest headers of one part in bytes."""
NAME_MAX = 1024
"""Longest name of a file or field in bytes; a longer one is cut."""
SNIFF_BYTES = 1024
"""Bytes at the beginning of a body in which a form is looked for that no `Content-Type` announces."""

_TYPE = re.compile(
    r"multipart/form-data[ \t]*;[ \t]*boundary="
    r"""(?:([\w'+.-]{1,70})|"([\w'()+,./:=?-]{1,70})")[ \t]*;?[ \t]*""",
    re.ASCII | re.IGNORECASE,
)
_PARAMETER = r"""[ \t]*;[ \t]*([\w!#$%&'*+.^`|~-]+)=(?:([\w!#$%&'*+.^`|~-]+)|"([^"\\\x00-\x1f\x7f]*)")"""
_PARAMETERS = re.compile(_PARAMETER, re.ASCII)
_ANY_TYPE = re.compile(rf"multipart/[a-z0-9.+-]+((?:{_PARAMETER})+)[ \t]*;?[ \t]*", re.ASCII | re.IGNORECASE)
_BOUNDARY_IS = re.compile(r"boundary[ \t]*=", re.IGNORECASE)
_BOUNDARY = re.compile(r"[\w'()+./:=?-]{1,70}", re.ASCII)
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00\r\n]*)")
_NAME = re.compile(rb';[ \t]*(filename|name)=(?:"((?:[^"\\]|\\.)*)"|([^";\s]+))', re.IGNORECASE)
_FORM = re.compile(
    rb"--[^\r\n]{1,200}\r?\n(?:[^\r\n]*\r?\n)*?content-(?:disposition|type)[ \t]*:", re.IGNORECASE
)
_PLAIN = frozenset({b"", b"7bit", b"8bit", b"binary", b"identity"})


class MultipartError(HashscanError):
    """A body that can't be taken apart, or could be taken apart in more than one way."""

    code: ClassVar[str] = "multipart_invalid"


class EncodedPartError(MultipartError):
    """A part that is sent in another form than it would be stored in, or is divided itself."""

    code = "multipart_encoded"


class TooManyPartsError(MultipartError):
    """A body of more parts than allowed."""

    code = "multipart_too_many"


class Part(Struct, frozen=True):
    """The beginning of a part."""

    name: bytes
    """Name of the form's field; untrusted."""
    filename: bytes
    """Name of the file; untrusted, empty for a part without one."""
    content_type: bytes = b""
    """Its `Content-Type`, if it is a multipart itself."""
    encoding: bytes = b""
    """Its `Content-Transfer-Encoding` in lower case, if it is encoded."""


class PartEnd(Struct, frozen=True):
    """The end of a part."""


Event = Part | bytes | PartEnd
"""The finds in a body: the beginning of a part, some of its bytes, its end."""


def boundary_of(content_type: str) -> bytes | None:
    """Return the boundary that a `Content-Type` names; None where it is no multipart at all. Another
    multipart than a form, and a boundary that is not clear, are MultipartError."""
    if "multipart" not in content_type.lower():
        return None
    found = _TYPE.fullmatch(content_type.strip())
    if found is None:
        raise MultipartError("the Content-Type is not multipart/form-data with one plain boundary")
    return (found[1] or found[2]).encode("ascii")


def looks_like_form(begin: bytes) -> bool:
    """Return True if a body begins like a form, with a delimiter and the headers of a part."""
    return _FORM.match(begin[:SNIFF_BYTES]) is not None


def any_boundary_of(content_type: str) -> bytes | None:
    """Return the boundary of a multipart of any kind; None where the `Content-Type` does not speak of one;
    MultipartError where it is not clear."""
    if "multipart" not in content_type.lower():
        return None
    found = _ANY_TYPE.fullmatch(content_type.strip())
    if found is None:
        raise MultipartError("the Content-Type is no multipart with one plain boundary")
    values: dict[str, str] = {}
    for name, bare, quoted in _PARAMETERS.findall(found[1]):
        # PHP looks for this text anywhere, and takes what follows the first one; others may take the last.
        if "boundary" not in name.lower() and "boundary" in (bare + quoted).lower() and not values:
            raise MultipartError("another parameter before the boundary looks like one")
        if "boundary" in name.lower():
            values[name.lower()] = bare or quoted
    boundary = values.get("boundary", "")
    if len(values) != 1 or len(_BOUNDARY_IS.findall(content_type)) != 1 or not _BOUNDARY.fullmatch(boundary):
        raise MultipartError("the boundary is not plain, or not the only one")
    return str(boundary).encode("ascii")


class MultipartParser:
    """A parser of one body, fed with bytes; it keeps less than a delimiter and one part's headers."""

    def __init__(self, boundary: bytes, parts_max: int, *, inner: bool = False) -> None:
        """Begin to take a body apart, whose boundary is as its `Content-Type` has it; with `inner`, the
        caller decodes parts and takes inner multiparts apart."""
        self._marker = b"--" + boundary
        self._parts_left = parts_max
        self._inner = inner
        # As if a line had ended before the body: then its first delimiter is like all others.
        self._buffer = bytearray(b"\r\n")
        self._state = self._preamble

    def feed(self, data: bytes) -> Iterator[Event]:
        """Yield the events that more bytes complete; exhaust it before the next call."""
        self._buffer += data
        while True:
            before = self._state, len(self._buffer)
            yield from self._state()
            if (self._state, len(self._buffer)) == before:
                return

    def finish(self) -> None:
        if self._state != self._epilogue or len(self._buffer) == 1:
            raise MultipartError("the body ends before its last delimiter")

    def _preamble(self) -> Iterator[Event]:
        if self._buffer.startswith(b"\r\n\r\n"):
            del self._buffer[:2]
        begin = b"\r\n" + self._marker
        if not begin.startswith(self._buffer[: len(begin)]) and self._buffer != b"\r\n\r":
            raise MultipartError("the body does not begin with its boundary")
        if len(self._buffer) >= len(begin):
            del self._buffer[: len(begin)]
            self._state = self._delimiter
        yield from ()

    def _delimiter(self) -> Iterator[Event]:
        """Read what is behind a boundary."""
        if len(self._buffer) < 2:
            return
        behind = bytes(self._buffer[:2])
        del self._buffer[:2]
        if behind == b"--":
            self._state = self._epilogue
        elif behind == b"\r\n":
            self._state = self._headers
        else:
            raise MultipartError("the boundary's text is found within a line")
        yield from ()

    def _headers(self) -> Iterator[Event]:
        if self._buffer.startswith(b"\r\n"):
            # Some programs end the headers here, others skip the line and read headers behind it.
            raise MultipartError("a part has no headers")
        end = self._buffer.find(b"\r\n\r\n", 0, HEADERS_MAX)
        if end < 0:
            if len(self._buffer) >= HEADERS_MAX:
                raise MultipartError(f"a part's headers are longer than {HEADERS_MAX} bytes")
            return
        lines = bytes(self._buffer[:end])
        if self._marker in lines:
            raise MultipartError("the boundary's text is found in a part's headers")
        del self._buffer[: end + 4]
        if not self._parts_left:
            raise TooManyPartsError("the body has too many parts")
        self._parts_left -= 1
        self._state = self._content
        yield _part(lines, inner=self._inner)

    def _content(self) -> Iterator[Event]:
        found = self._buffer.find(self._marker)
        if found < 0:
            # The rest may be the beginning of a delimiter.
            data = bytes(self._buffer[: -len(self._marker) - 1])
            del self._buffer[: len(data)]
            if data:
                yield data
            return
        if found < 2 or self._buffer[found - 2 : found] != b"\r\n":
            raise MultipartError("the boundary's text is found within a line")
        data = bytes(self._buffer[: found - 2])
        del self._buffer[: found + len(self._marker)]
        self._state = self._delimiter
        if data:
            yield data
        yield PartEnd()

    def _epilogue(self) -> Iterator[Event]:
        if not b"\r\n".startswith(self._buffer):
            raise MultipartError("there are bytes behind the last delimiter")
        yield from ()


def _part(lines: bytes, *, inner: bool) -> Part:
    fields: dict[bytes, bytes] = {}
    for line in lines.split(b"\r\n"):
        found = _FIELD.fullmatch(line)
        if found is None:
            raise MultipartError("a part has a header line that is not valid")
        name = found[1].lower()
        if name in fields:
            raise MultipartError("a part has a header twice")
        fields[name] = found[2].strip(b" \t")
    content_type = fields.get(b"content-type", b"")
    if b"multipart" not in content_type.lower():
        content_type = b""
    encoding = fields.get(b"content-transfer-encoding", b"").lower()
    if encoding in _PLAIN:
        encoding = b""
    if content_type and not inner:
        raise EncodedPartError("a part is a multipart itself")
    if (encoding and not inner) or fields.get(b"content-encoding", b"").lower() not in _PLAIN:
        raise EncodedPartError("a part is encoded; send it as it is")
    names: dict[bytes, bytes] = {}
    for kind, quoted, bare in _NAME.findall(fields.get(b"content-disposition", b"")):
        value = re.sub(rb"\\(.)", rb"\1", quoted) if quoted else bare
        names.setdefault(kind.lower(), value[:NAME_MAX])
    return Part(names.get(b"name", b""), names.get(b"filename", b""), content_type, encoding)
