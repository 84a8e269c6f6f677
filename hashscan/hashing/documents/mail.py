"""Read mails and mailboxes: the parts that mail programs show or save.

The parser of the standard library splits a mail into its parts; what it holds in memory is bounded. A part is
named by its number as in IMAP (RFC 3501, 6.4.5) and its file name: `part=2.1/photo.jpg`; in a mailbox after
the number of its message: `message=7/part=2/photo.jpg`. Each part is recognised by its bytes, and not by the
type that it states.

Programs read a malformed mail differently, so that a sender could show a picture to all but us. Each such
part has a record of its own with `Reason.AMBIGUOUS`, beside what is found in it by our reading: two headers
or boundaries where one belongs, a boundary where none belongs, headers that end early, lines that end in a
carriage return alone, Base64 with something else in it, messages of a mailbox without the blank line
between, text outside the parts that looks like a part.

Where the headers of a mail are not as they should be, programs differ in where they begin, and in which lines
they pass over: the mail is read without what is no header, and searched as a text.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from email import errors, policy
from email.header import decode_header, make_header
from email.message import Message
from email.parser import BytesFeedParser
from itertools import count

from hashscan.hashing.archives.library import PIECE_SIZE, ArchiveMember
from hashscan.hashing.archives.openers import READ_MAX, failed, guarded, stored
from hashscan.hashing.documents.texts import digest_of, members_of_text
from hashscan.hashing.member_records import ContainerError
from hashscan.hashing.pread import PreadFile
from hashscan.hashing.recognition.names import ending_of_type
from hashscan.model import Reason

DEPTH_MAX = 100
"""Parts of a mail within each other."""

_LINE_MAX = 1 << 20
"""A longer line is taken in pieces."""

_SINGLE_HEADERS = ("content-type", "content-transfer-encoding", "content-disposition", "content-length")
_BARE_RETURN = re.compile(rb"\r(?!\n)[ \t]*(?:--|content-)", re.IGNORECASE)
_PART_HEADER = re.compile(r"^content-(?:type|transfer-encoding)[ \t]*:", re.IGNORECASE | re.MULTILINE)
_BOUNDARY = re.compile(r"boundary[0-9*]*\s*=", re.IGNORECASE)
_CODED_BOUNDARY = re.compile(r"boundary(?:[0-9*]+\s*=|\s*=\s*\"?[^;\"]*=\?)", re.IGNORECASE)
_TOKEN = re.compile(r"[ \t\r\n\"]*([\w-]*)")
_AS_IT_IS = frozenset({"", "7bit", "8bit", "binary", "7-bit", "8-bit"})
_UUENCODED = frozenset({"uuencode", "x-uuencode", "uue", "x-uue"})


_SAMPLE = b"""Content-Type: multipart/mixed; boundary=x

--x
Content-Type: image/png; name*=utf-8''a%20b
Content-Transfer-Encoding: base64

--x
Content-Disposition: attachment; filename="=?utf-8?q?=c3=bc?="

\xff
--x--
"""


class MailOpener:
    """Opens mails."""

    def __init__(self) -> None:
        """Read a sample, since the library imports some of its modules on first use."""
        for _ in _parts(_SAMPLE, b""):
            pass

    def members(self, file: PreadFile) -> Iterator[ArchiveMember]:
        """Yield the parts of a mail."""
        if file.size > READ_MAX:
            raise ContainerError(Reason.CONTAINER_BYTES)
        yield from _mail(file.read(), b"")


class MailboxOpener(MailOpener):
    """Opens mailboxes: mails one after another, each behind a line that begins with "From "."""

    def members(self, file: PreadFile) -> Iterator[ArchiveMember]:
        for number, (message, sure) in enumerate(_messages(file), 1):
            name = b"message=%d" % number
            if message is None:
                yield failed(name, Reason.CONTAINER_BYTES)
                continue
            if not sure:
                yield failed(name, Reason.AMBIGUOUS)
            yield from guarded(name, _mail(message, name + b"/"))


class UuOpener:
    """Opens texts of uuencoded files."""

    def members(self, file: PreadFile) -> Iterator[ArchiveMember]:
        """Yield the files."""
        if file.size > READ_MAX:
            raise ContainerError(Reason.CONTAINER_BYTES)
        yield from _uuencoded(file.read(), b"")


_ENVELOPE = b"From "
_AFTER_ENVELOPE = re.compile(rb"[!-9;-~\x80-\xff]{1,1000}[ \t]*:|>From ")


def _lines(file: PreadFile) -> Iterator[bytes]:
    """Yield the lines of a file with their ends; a very long one in pieces."""
    rest = b""
    while block := file.read(PIECE_SIZE):
        *lines, rest = (rest + block).split(b"\n")
        for line in lines:
            yield line + b"\n"
        if len(rest) > _LINE_MAX:
            yield rest
            rest = b""
    if rest:
        yield rest


class _Message:
    """A mail of a mailbox, while its lines are read."""

    def __init__(self, *, sure: bool) -> None:
        self._lines: list[bytes] = []
        self._size, self._sure = 0, sure

    def add(self, line: bytes) -> None:
        self._size += len(line)
        if self._size <= READ_MAX:
            self._lines.append(line)
        else:
            self._lines.clear()

    def finished(self) -> tuple[bytes | None, bool]:
        """Return its bytes, None where they are too many; and False if its begin or end is in doubt."""
        if self._size > READ_MAX:
            return None, self._sure
        content = b"".join(self._lines)
        return content, self._sure and not _is_longer(content)


def _messages(file: PreadFile) -> Iterator[tuple[bytes | None, bool]]:
    """Yield the mails of a mailbox, as `_Message.finished` returns them."""
    message: _Message | None = None
    for line, begins, sure in _marked_lines(file):
        if begins and message is not None:
            yield message.finished()
            message = None
        message = message or _Message(sure=sure)
        message.add(line)
    if message is not None:
        yield message.finished()


def _marked_lines(file: PreadFile) -> Iterator[tuple[bytes, bool, bool]]:
    """Yield the lines of a mailbox; True where a mail begins; False if not all programs see it begin there.

    A mail begins at a line of the envelope that a header follows. Some programs want a blank line before it.
    """
    envelope, blank, sure = b"", True, True
    for line in _lines(file):
        if envelope:
            yield envelope, _AFTER_ENVELOPE.match(line) is not None, sure
            envelope = b""
        if line.startswith(_ENVELOPE):
            envelope, sure = line, blank
        else:
            yield line, False, True
        blank = line in {b"\n", b"\r\n"}
    if envelope:
        yield envelope, False, True


_LENGTH = re.compile(rb"^content-length:[ \t]*([0-9]{1,18})", re.IGNORECASE | re.MULTILINE)
_HEADER_END = re.compile(rb"\r?\n\r?\n")


def _is_longer(message: bytes) -> bool:
    """Return True if a mail says that it goes on beyond the next line of an envelope."""
    end = _HEADER_END.search(message)
    if end is None:
        return False
    found = _LENGTH.search(message, 0, end.start())
    # Programs count the ends of lines differently.
    lines = message.count(b"\n", end.end())
    return found is not None and int(found[1]) > len(message) - end.end() + lines + 2


_MIME_HEADER = re.compile(
    rb"(?:\A|(?<=[\r\n]))(?:\xef\xbb\xbf)?(?:content-(?:type|transfer-encoding)|mime-version)[ \t]*:",
    re.IGNORECASE,
)
_LONE_RETURN = re.compile(rb"\r(?!\n)")
_NAME = re.compile(rb"([!-9;-~]+)[ \t]*:")
_BLANK = re.compile(rb"(?:\A|\n)[ \t]*\r?\n")


def _repaired(content: bytes) -> bytes:
    """Return a mail without what precedes its headers, and without lines in them that are none.

    Most programs read past these; the parser ends the headers there.
    """
    if content.count(b"\r") > 2 * content.count(b"\n"):
        content = _LONE_RETURN.sub(b"\n", content)
    first = _MIME_HEADER.search(content)
    if first is None:
        return content
    before = 0
    for blank_line in _BLANK.finditer(content, 0, first.start()):
        before = blank_line.end()
    blank = _BLANK.search(content, first.start())
    end = blank.start() + 1 if blank else len(content)
    kept: list[bytes] = []
    for number, line in enumerate(
        content[before:end].removeprefix(b"\xef\xbb\xbf").splitlines(keepends=True)
    ):
        name = _NAME.match(line)
        if name is not None:
            kept.append(name[1] + b":" + line[name.end() :])
        elif (kept and line[:1] in {b" ", b"\t"}) or (number == 0 and line.startswith(_ENVELOPE)):
            kept.append(line)
    return b"".join(kept) + content[end:]


def _mail(content: bytes, before: bytes) -> Iterator[ArchiveMember]:
    """Yield the parts of a mail; if its headers are not as they should be, all that may be found in it."""
    repaired = _repaired(content)
    if repaired == content:
        yield from _parts(content, before)
        return
    seen: set[bytes] = set()
    yield from _remembered(_parts(repaired, before), seen)
    for view in (content, binascii.a2b_qp(content)):
        yield from _remembered(members_of_text(view, seen), seen)


def _remembered(members: Iterator[ArchiveMember], seen: set[bytes]) -> Iterator[ArchiveMember]:
    """Yield members, and add the digest of each to `seen` when it was read."""
    for member in members:
        yield member._replace(pieces=_digested(member.pieces, seen))


def _digested(pieces: Iterator[bytes], seen: set[bytes]) -> Iterator[bytes]:
    whole = []
    for piece in pieces:
        whole.append(piece)
        yield piece
    seen.add(digest_of(b"".join(whole)))


def _parts(content: bytes, before: bytes) -> Iterator[ArchiveMember]:
    message = _parsed(content)
    if message is None:
        yield failed(before + b"part=1", Reason.CONTAINER_DEPTH)
        return
    if _BARE_RETURN.search(content):
        yield failed(before + b"part=1", Reason.AMBIGUOUS)
    del content
    waiting: list[tuple[str, Message, int]] = [("", message, 1)]
    while waiting:
        number, part, depth = waiting.pop()
        name = before + b"part=" + (number or "1").encode()
        yield from guarded(name, _part(name, number, part, depth, waiting))


def _part(
    name: bytes, number: str, part: Message, depth: int, waiting: list[tuple[str, Message, int]]
) -> Iterator[ArchiveMember]:
    """Yield one part of a mail, whose number is empty for the mail itself, or add its parts to those that
    wait."""
    name += _file_name(part)
    if (reason := _doubt(part)) is not None:
        yield failed(name, reason)
    payload = part.get_payload() if part.is_multipart() else None
    if payload is None:
        yield from _leaf(name, part, _encoding(part), _raw(part))
        return
    part.set_payload("")
    inner = [child for child in payload if isinstance(child, Message)]
    if depth >= DEPTH_MAX:
        yield failed(name, Reason.CONTAINER_DEPTH)
    elif part.get_content_maintype() == "message" and _encoding(part) not in _AS_IT_IS:
        # Against RFC 2046, 5.2.1; some programs decode it.
        yield from _encoded_message(name, part, inner)
    else:
        waiting += [(place, child, depth + 1) for place, child in _numbered(number, part, inner)][::-1]


def _parsed(content: bytes) -> Message | None:
    """Return a mail; None if it has too many parts within each other."""
    parser = BytesFeedParser(policy=policy.compat32)
    try:
        for at in range(0, len(content), PIECE_SIZE):
            parser.feed(content[at : at + PIECE_SIZE])
        return parser.close()
    except RecursionError:
        return None


def _numbered(number: str, part: Message, inner: list[Message]) -> Iterator[tuple[str, Message]]:
    """Yield the parts of a part with their numbers."""
    # The number of a message in a mail is that of its part; the message's own parts follow after a dot.
    if number and part.get_content_maintype() == "message" and len(inner) == 1 and inner[0].is_multipart():
        yield number, inner[0]
        return
    for place, child in enumerate(inner, 1):
        yield f"{number}.{place}" if number else f"{place}", child


def _raw(part: Message) -> bytes:
    """Take the bytes of a part that has no parts, as they are encoded."""
    # The library returns them as they are only if they seem not to be encoded.
    del part["content-transfer-encoding"]
    raw = part.get_payload(decode=True)
    part.set_payload("")
    return raw if isinstance(raw, bytes) else b""


def _encoding(part: Message) -> str:
    found = _TOKEN.match(str(part.get("content-transfer-encoding", "")))
    return found[1].lower() if found else ""


def _file_name(part: Message) -> bytes:
    """Return the file name of a part behind a slash; nothing if it has none."""
    try:
        name = part.get_filename() or ""
        if "=?" in name:
            name = str(make_header(decode_header(name)))
    except Exception:
        return b"/?"
    return b"/" + name.encode("utf-8", "surrogatepass") if name else b""


def _doubt(part: Message) -> Reason | None:
    """Return a reason if programs may read a part differently."""
    if part.get_content_type() == "message/partial":
        return Reason.PARTIAL
    if any(isinstance(defect, errors.CloseBoundaryNotFoundDefect) for defect in part.defects):
        return Reason.CONTAINER_BROKEN
    if any(not isinstance(defect, errors.HeaderDefect) for defect in part.defects):
        return Reason.AMBIGUOUS
    if any(len(part.get_all(name, ())) > 1 for name in _SINGLE_HEADERS):
        return Reason.AMBIGUOUS
    stated = str(part.get("content-type", ""))
    boundaries = len(_BOUNDARY.findall(stated))
    if boundaries > (part.get_content_maintype() == "multipart") or _CODED_BOUNDARY.search(stated):
        return Reason.AMBIGUOUS
    outside = (part.preamble, part.epilogue)
    if any(text is not None and _PART_HEADER.search(text) for text in outside):
        return Reason.AMBIGUOUS
    return None


def _leaf(name: bytes, part: Message, encoding: str, raw: bytes) -> Iterator[ArchiveMember]:
    """Yield a part that has no parts, decoded. Uuencoded files in it are recognised as in other texts."""
    reason = None
    if encoding in _AS_IT_IS:
        content = raw
    elif encoding == "base64":
        content, reason = _from_base64(raw)
    elif encoding == "quoted-printable":
        content = binascii.a2b_qp(raw)
    elif encoding in _UUENCODED:
        yield from _uuencoded(raw, name + b"/")
        return
    else:
        content, reason = raw, Reason.METHOD
    del raw
    if reason is not None:
        yield failed(name, reason)
    if content:
        yield stored(name, content)._replace(ending=ending_of_type(str(part.get("content-type", ""))))


def _encoded_message(name: bytes, part: Message, inner: list[Message]) -> Iterator[ArchiveMember]:
    """Yield a message in a message that is encoded: the parser took what it is encoded in for its text."""
    yield failed(name, Reason.AMBIGUOUS)
    if inner and not inner[0].is_multipart():
        yield from _leaf(name, part, _encoding(part), _raw(inner[0]))


_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/=]+")
_SPACES = b" \t\r\n\f\v"


def _from_base64(raw: bytes) -> tuple[bytes, Reason | None]:
    """Decode Base64, and return a reason if programs decode it differently: characters that do not belong
    there, or more after the end."""
    packed = raw.translate(None, _SPACES)
    clean = _NOT_BASE64.sub(b"", packed)
    reason = Reason.AMBIGUOUS if len(clean) < len(packed) else None
    end = clean.find(b"=")
    if end >= 0 and clean[end:].strip(b"="):
        reason = Reason.AMBIGUOUS
        parts = [part for part in re.split(rb"=+", clean) if part]
    else:
        parts = [clean.rstrip(b"=")]
    return b"".join(map(_whole_bytes, parts)), reason


def _whole_bytes(digits: bytes) -> bytes:
    # One digit more than a multiple of four is no byte.
    kept = len(digits) - (len(digits) % 4 == 1)
    return binascii.a2b_base64(digits[:kept] + b"=" * (-kept % 4))


_BEGIN = re.compile(rb"begin(?<![^\r\n]begin)(-base64)? [0-7]{3,4} ([^\r\n]*)(?:\r?\n|\r)")
_UU_LINE = re.compile(rb"[!-`][ -`]{2,}(?:[\r\n]|\Z)")
_BASE64_LINE = re.compile(rb"[A-Za-z0-9+/]{4}")
_END_OF_UU = re.compile(rb"[\r\n]end")
_END_OF_BASE64 = re.compile(rb"[\r\n]====")


def _uuencoded(text: bytes, before: bytes) -> Iterator[ArchiveMember]:
    """Yield the uuencoded files in a text (POSIX, uuencode)."""
    at = 0
    for number in count(1):
        begin = _BEGIN.search(text, at)
        if begin is None:
            return
        name = before + b"uu=%d/" % number + begin[2]
        end = (_END_OF_BASE64 if begin[1] else _END_OF_UU).search(text, begin.end() - 1)
        at = len(text) if end is None else end.start()
        lines = text[begin.end() : at]
        content, whole = _from_base64(lines) if begin[1] else _from_uu(lines)
        if whole is not None or end is None:
            yield failed(name, whole or Reason.CONTAINER_BROKEN)
        if content:
            yield stored(name, content)


def has_uuencoded(text: bytes) -> bool:
    """Return True if a text has a uuencoded file in it that is not empty."""
    return any(
        (_BASE64_LINE if begin[1] else _UU_LINE).match(text, begin.end()) is not None
        for begin in _BEGIN.finditer(text)
    )


def _from_uu(lines: bytes) -> tuple[bytes, Reason | None]:
    """Decode the lines of a uuencoded file."""
    decoded, reason = [], None
    for line in lines.splitlines():
        try:
            decoded.append(binascii.a2b_uu(line))
        except binascii.Error:
            # Some programs put more digits into a line than it says.
            length = (((line[0] - 32) & 63) * 4 + 5) // 3 if line else 0
            try:
                decoded.append(binascii.a2b_uu(line[:length]))
            except binascii.Error:
                reason = Reason.AMBIGUOUS
    return b"".join(decoded), reason
