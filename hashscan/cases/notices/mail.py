"""Read notices from an e-mail: XARF, removal orders, ARF (RFC 5965), or else the addresses in its text."""

from __future__ import annotations

import codecs
import email
import email.policy
import hashlib
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from email.errors import MessageError
from email.message import Message
from email.utils import parseaddr, parsedate_to_datetime
from itertools import islice
from typing import BinaryIO

from hashscan.cases.notices import fields
from hashscan.cases.notices.notice import Notice
from hashscan.cases.notices.reader import NoticeError, NoticeFormat, Skipped, SkipReason
from hashscan.cases.notices.removal_order import forms_of, is_form
from hashscan.cases.notices.urls import text_of_html, urls_of
from hashscan.cases.notices.xarf import NotXarfError, notice_of, parse
from hashscan.lists.formats.text import shown
from hashscan.text import printable

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
_URLS_MAX = 20_000
_PAGE_MAX = 2 << 20
"""Largest HTML part in characters; the parser is slow."""
_FEEDBACK = "message/feedback-report"
_OTHER_FEEDBACK = frozenset({"auth-failure", "fraud", "not-spam", "opt-out", "virus"})
"""Types of ARF reports that are about other things than content."""
_ADVICE = "Put what the mail names into a CSV file with the columns url, reference and received."


_AUTHENTICATION_MAX = 500


class NothingReportedError(NoticeError):
    """An error for a mail without a report and without a web address."""


class MailNotices(NoticeFormat):
    """Notices in RFC 5322 and MIME, also in forwarded mails within it; each XARF report in it is a notice.

    Each form of a removal order in a mail without XARF is a notice, also in an attached text. Any other mail
    is one notice of all addresses in its report (ARF), or else in its text; its reference
    is the Message-ID. The receipt time of a notice is that of the innermost mail around it. The sender may be
    forged: nothing is decided by it but what [[sender_rule]] tables say.
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
            if not found and not any(one.reason is SkipReason.OTHER_ABUSE for one in self.passed_over):
                found = self._orders(message, label) or list(self._of_addresses(message, label))
        except NotXarfError as error:
            raise NoticeError(f"{label}: {error}", advice=_ADVICE) from error
        except (MessageError, RecursionError) as error:
            raise NoticeError(f"{label}: a mail that can't be taken apart", advice=_ADVICE) from error
        if found:
            # Those further down were written by the sender, or by servers that he names.
            line = " ".join(str(message.get("Authentication-Results", "")).split())
            authentication = printable(line)[:_AUTHENTICATION_MAX]
            pictures = self._pictures(message)
            found = [replace(one, authentication=authentication, pictures=pictures) for one in found]
        yield from found

    def _pictures(self, message: Message) -> tuple[tuple[tuple[str, str], ...], ...]:
        """Return the digests of the attached pictures, each once."""
        if self.digest is None:
            return ()
        found: dict[tuple[tuple[str, str], ...], None] = {}
        for part in islice(_leaves(message), _PARTS_MAX):
            data = part.get_payload(decode=True)
            digests = self.digest(data) if isinstance(data, bytes) else ()
            if digests:
                found[digests] = None
        return tuple(found)

    def _orders(self, message: Message, label: str) -> list[Notice]:
        """Return an item for each address in the removal orders of a mail, each once."""
        texts = [
            text
            for kind in ("text/plain", "text/html")
            for part in _parts(message)
            if part.get_content_type() == kind and is_form(text := _text(part, attached=True))
        ]
        forms = [form for text in texts for form in forms_of(text, label)]
        if forms and not any(forms):
            raise NothingReportedError(f"{label}: the removal order names no web address", advice=_ADVICE)
        if empty := forms.count([]):
            self.passed_over[Skipped(SkipReason.NO_ADDRESS)] = empty
        came, sender = _came(message), parseaddr(header_line(message, "From"))[1]
        items = [replace(one, sender=sender or one.sender, received=came) for form in forms for one in form]
        return list({one.key: one for one in reversed(items)}.values())[::-1]

    def _of_addresses(self, message: Message, label: str) -> Iterator[Notice]:
        """Yield an item for each address that the mail reports."""
        reports = [part for part in _parts(message) if part.get_content_type() == _FEEDBACK]
        kinds = {_field(report, "Feedback-Type").lower() for report in reports}
        if kinds and kinds <= _OTHER_FEEDBACK:
            self.passed_over.update(Skipped(SkipReason.OTHER_ABUSE, shown(kind)) for kind in kinds)
            return
        reported = [url for report in reports for url in _values(report, "Reported-URI")]
        texts = reported or [text for part in _parts(message) if (text := _text(part))]
        urls = list(dict.fromkeys(url for text in texts for url in urls_of(text)))
        sender = parseaddr(header_line(message, "From"))[1]
        if not reported:
            urls = self._without_own(urls, sender)
        if not urls:
            raise NothingReportedError(
                f"{label}: there is no report and no web address in the mail", advice=_ADVICE
            )
        if len(urls) > _URLS_MAX:
            raise NoticeError(f"{label}: more than {_URLS_MAX} web addresses in the mail", advice=_ADVICE)
        came, reference = _came(message), header_line(message, "Message-ID")
        # Without a Message-ID, the addresses themselves identify the mail.
        reference = reference or hashlib.sha256("\n".join(urls).encode()).hexdigest()[:32]
        for url in urls:
            yield Notice(reference, sender, url, received=came)

    def _without_own(self, urls: list[str], sender: str) -> list[str]:
        """Leave out addresses of the sender's own site, such as in a signature, unless he names no others."""
        domain = sender.rpartition("@")[2].lower()
        others = [url for url in urls if not domain or not _is_within(url, domain)]
        if not others:
            return urls
        if len(others) < len(urls):
            self.passed_over[Skipped(SkipReason.OWN_SITE, shown(domain))] = len(urls) - len(others)
        return others

    def _found(self, message: Message, came: datetime | None, mail_id: str, depth: int) -> Iterator[Notice]:
        """Yield the notices in a part; `came` and `mail_id` are those of the mail around it."""
        if depth > _DEPTH_MAX:
            raise NotXarfError("a mail of parts within parts without an end")
        came = _came(message) or came
        mail_id = header_line(message, "Message-ID") or mail_id
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


def _is_within(url: str, domain: str) -> bool:
    host = url.split("/", 3)[2].rpartition("@")[2].partition(":")[0].lower()
    return host == domain or host.endswith(f".{domain}")


def _parts(message: Message, depth: int = 0) -> Iterator[Message]:
    """Yield the parts of a mail that hold no others, except those of a mail that an ARF report encloses."""
    if not message.is_multipart() or message.get_content_type() == _FEEDBACK:
        yield message
        return
    parts = message.get_payload()
    is_report = message.get_content_type() == "multipart/report"
    for part in parts if depth <= _DEPTH_MAX else ():
        if isinstance(part, Message) and not (
            is_report and part.get_content_maintype() == "message" and part.get_content_type() != _FEEDBACK
        ):
            yield from _parts(part, depth + 1)


def _leaves(message: Message) -> Iterator[Message]:
    """Yield the parts of a mail, and of mails in it, that hold no others."""
    waiting = [message]
    while waiting:
        part = waiting.pop()
        inner = part.get_payload()
        if isinstance(inner, list):
            waiting.extend(each for each in reversed(inner) if isinstance(each, Message))
        else:
            yield part


def _values(report: Message, name: str) -> list[str]:
    """Return the values of a field of an ARF report, which is a part with a header alone."""
    inner = report.get_payload()
    first = inner[0] if isinstance(inner, list) and inner else None
    head = first if isinstance(first, Message) else email.message_from_string(str(inner))
    return [" ".join(str(value).split()) for value in head.get_all(name) or []]


def _field(report: Message, name: str) -> str:
    return next(iter(_values(report, name)), "")


def _text(part: Message, *, attached: bool = False) -> str:
    """Return the text of a part of text or HTML, of an attachment only if `attached`; else an empty one."""
    kind = part.get_content_type()
    if kind not in {"text/plain", "text/html"} or (_filename(part) and not attached):
        return ""
    data = part.get_payload(decode=True)
    if not isinstance(data, bytes):
        return ""
    charset = part.get_content_charset() or "utf-8"
    try:
        known = codecs.lookup(charset).name not in _SLOW_CHARSETS
        text = data.decode(charset if known else "utf-8", "replace")
    except (LookupError, ValueError):
        text = data.decode("utf-8", "replace")
    if kind == "text/html":
        if len(text) > _PAGE_MAX:
            raise NotXarfError(f"a page of more than {_PAGE_MAX >> 20} million characters in the mail")
        return text_of_html(text)
    return text


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
    texts = [str(mark).rpartition(";")[2] for mark in marks[:1]] + [header_line(message, "Date")]
    for text in texts:
        if not text.strip():
            continue
        try:
            found = parsedate_to_datetime(text.strip())
            return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
        except (ValueError, TypeError, OverflowError, IndexError):
            continue  # Not a date; try the next.
    return None


def header_line(message: Message, name: str) -> str:
    """Return a header as one line; empty if it is missing or not printable text."""
    try:
        return fields.printable_line(name, " ".join(str(message.get(name, "")).split()))
    except fields.FieldError:
        return ""
