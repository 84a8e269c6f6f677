"""Read notices from an e-mail in a file, with XARF attached to it or in its text."""

from __future__ import annotations

import codecs
import email
import email.policy
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from email.errors import MessageError
from email.message import Message
from email.utils import parsedate_to_datetime
from typing import BinaryIO

from hashscan.cases.notices import fields
from hashscan.cases.notices.reader import Notice, NoticeError, NoticeFormat, Skipped, SkipReason
from hashscan.cases.notices.xarf import NotXarfError, notice_of, parse

_MAIL_MAX = 48 << 20
_LINES_MAX = 1_500_000
"""Limit of lines: a header takes ten times the memory of its line; a mail that is all base64 has fewer."""
_COMPARED_MAX = 50_000_000
"""Limit of lines times multipart parts: each line is compared with the boundaries of all parts around it."""
_STRUCTURED = re.compile(
    rb"^content-(?:type|disposition)[ \t]*+:(?:[^\n]++|\n[ \t])*+", re.IGNORECASE | re.MULTILINE
)
_STRUCTURED_MAX = 4096
"""Limit in bytes of such a header: the time to parse one grows with the square of its length."""
_PARTS_MAX = 5_000
"""Limit of lines that could begin a part: each part takes a thousand times the memory of its line."""
_DEPTH_MAX = 30
_SLOW_CHARSETS = frozenset({"punycode", "idna"})
"""Codecs of Python that mail does not use; their time grows with the square of the input."""
_ADVICE = "Put what the mail names into a CSV file with the columns url, reference and received."


class MailNotices(NoticeFormat):
    """Notices in RFC 5322 and MIME, also in forwarded mails within it; each XARF report in it is a notice.

    The receipt time of a notice is that of the innermost mail around it.
    """

    name = "mail"

    def notices(self, stream: BinaryIO, label: str) -> Iterator[Notice]:
        """Read the whole mail, then yield its notices."""
        data = stream.read(_MAIL_MAX + 1)
        if len(data) > _MAIL_MAX:
            raise NoticeError(f"{label}: a mail of more than {_MAIL_MAX >> 20} MiB", advice=_ADVICE)
        if data.startswith(b"From ") and b"\nFrom " in data:
            raise NoticeError(
                f"{label}: it seems to be a mailbox", advice="Save each of its mails into a file of its own."
            )
        # The parser takes both CR LF and CR as line ends, too.
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if _is_too_much(data):
            raise NoticeError(
                f"{label}: a mail of too many parts, or with too much said of them", advice=_ADVICE
            )
        try:
            # The older policy leaves headers as they are: only headers that are asked for are parsed.
            message = email.message_from_bytes(data, policy=email.policy.compat32)
            found = list(self._found(message, None, "", 0))
        except NotXarfError as error:
            raise NoticeError(f"{label}: {error}", advice=_ADVICE) from error
        except (MessageError, RecursionError) as error:
            raise NoticeError(f"{label}: a mail that can't be taken apart", advice=_ADVICE) from error
        if not found and not any(skipped.reason is SkipReason.OTHER_ABUSE for skipped in self.passed_over):
            raise NoticeError(f"{label}: there is no XARF report in the mail", advice=_ADVICE)
        yield from found

    def _found(self, message: Message, came: datetime | None, mail_id: str, depth: int) -> Iterator[Notice]:
        """Yield the notices in a part; `came` and `mail_id` are those of the mail around it."""
        if depth > _DEPTH_MAX:
            raise NotXarfError("a mail of parts within parts without an end")
        came = _came(message) or came
        mail_id = _header(message, "Message-ID") or mail_id
        if message.is_multipart():
            for part in message.get_payload():
                if isinstance(part, Message):
                    yield from self._found(part, came, mail_id, depth + 1)
            return
        text = _json_text(message)
        if text is None:
            return
        value = parse(text)
        for document in value if isinstance(value, list) else [value]:
            if isinstance(document, dict) and not {"xarf_version", "ReporterInfo"} & document.keys():
                self.passed_over[Skipped(SkipReason.NOT_XARF)] += 1
                continue
            notice = notice_of(document)
            if isinstance(notice, Notice):
                yield replace(notice, reference=notice.reference or mail_id, received=came or notice.received)
            else:
                self.passed_over[notice] += 1


def _is_too_much(data: bytes) -> bool:
    """Return True if parsing the mail would take minutes, or gigabytes of memory."""
    lines = data.count(b"\n")
    if data.count(b"\n--") > _PARTS_MAX or lines > _LINES_MAX:
        return True
    if lines * data.lower().count(b"boundary") > _COMPARED_MAX:
        return True
    return any(
        end - start > _STRUCTURED_MAX for start, end in (found.span() for found in _STRUCTURED.finditer(data))
    )


def _json_text(part: Message) -> bytes | str | None:
    """Return the content of a part if it could be XARF, else None."""
    kind = part.get_content_type()
    name = (_filename(part) or "").lower()
    named = kind.endswith(("/json", "+json")) or name.endswith(".json")
    if not named and kind != "text/plain":
        return None
    data = part.get_payload(decode=True)
    if not isinstance(data, bytes) or not (named or data.lstrip().startswith((b"{", b"[{"))):
        return None
    charset = part.get_content_charset()
    if charset and charset not in ("utf-8", "us-ascii"):
        try:
            if codecs.lookup(charset).name not in _SLOW_CHARSETS:
                return data.decode(charset)
        except (LookupError, ValueError):
            pass  # JSON states its own encoding, whatever the mail says.
    return data


def _filename(part: Message) -> str | None:
    try:
        return part.get_filename()
    except (ValueError, LookupError, TypeError):
        return None  # A part whose name can't be decoded is still read.


def _came(message: Message) -> datetime | None:
    """Return the receipt time of a mail: by its first Received header, else by the sender's Date header."""
    marks = message.get_all("Received") or []
    texts = [str(mark).rpartition(";")[2] for mark in marks[:1]] + [_header(message, "Date")]
    for text in texts:
        if not text.strip():
            continue
        try:
            found = parsedate_to_datetime(text.strip())
            return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
        except (ValueError, TypeError, OverflowError, IndexError):
            continue  # Not a date; try the next.
    return None


def _header(message: Message, name: str) -> str:
    """Return a header as one line; empty if it is missing or not printable text."""
    try:
        return fields.printable_line(name, " ".join(str(message.get(name, "")).split()))
    except fields.FieldError:
        return ""
