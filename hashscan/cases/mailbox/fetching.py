"""Take notices from a mailbox: each mail once, in one transaction with its notices."""

from __future__ import annotations

import email
import email.policy
import hashlib
import logging
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import Message
from email.utils import parseaddr
from enum import StrEnum
from io import BytesIO

from msgspec import Struct

from hashscan.cases.ledger import Ledger
from hashscan.cases.mailbox.connection import HEAD_MAX, ConnectionLostError, Mailbox, StoredMail, unreachable
from hashscan.cases.mailbox.login import Login
from hashscan.cases.notice_import import NoticeImporter
from hashscan.cases.notices.mail import MailNotices, NothingReportedError, header_line
from hashscan.cases.notices.notice import Notice
from hashscan.cases.notices.reader import DigestPicture, NoticeError
from hashscan.schema import Time
from hashscan.settings.mailbox import MailboxSettings
from hashscan.text import printable
from hashscan.timefmt import format_time

_LOG = logging.getLogger(__name__)
_TOGETHER = 50
_NOTICES_TOGETHER = 2_000
"""Numbers of mails and of notices after which a transaction begins."""
_DETAIL_MAX = 300
_DEFECTS = (ValueError, TypeError, LookupError, AttributeError, AssertionError, RecursionError)
"""Errors that Python's mail parser raises by mistake. One mail must not keep back all that come after it."""


class MailReason(StrEnum):
    """The reason why a mail brought no notice."""

    TOO_LARGE = "too_large"
    NO_ADDRESS = "no_address"
    """There is neither a report nor a web address in it."""
    OTHER_ABUSE = "other_abuse"
    """It reports only other kinds of abuse."""
    MALFORMED = "malformed"
    """It can't be taken apart, or a report in it is not valid."""


class ListedMail(Struct):
    """A mail without notices, which a person has to read."""

    number: int
    mailbox: str
    uid: int
    sender: str
    reference: str
    """The Message-ID."""
    fetched: Time
    reason: str
    """A value of `MailReason`."""
    detail: str


@dataclass(frozen=True, slots=True)
class _ReadMail:
    uid: int
    digest: bytes
    sender: str
    reference: str
    notices: list[Notice] = field(default_factory=list)
    reason: str = ""
    detail: str = ""


@dataclass(slots=True)
class MailCounts:
    """Counts of one run."""

    mails: int = 0
    """Mails that were not taken before."""
    waiting: int = 0
    """Mails, among these, without notices."""


class MailboxFetcher:
    """Takes the new mails of one mailbox.

    After a kill, the next run goes on with the first mail that is not stored.
    """

    def __init__(
        self,
        ledger: Ledger,
        settings: MailboxSettings,
        importer: NoticeImporter,
        digest: DigestPicture | None,
    ) -> None:
        self.counts = MailCounts()
        self._ledger = ledger
        self._settings = settings
        self._importer = importer
        self._digest = digest

    def fetch(self, now: int) -> None:
        """Take all new mails; connect again after a lost connection that brought some.

        Args:
            now: seconds since 1970.

        Raises:
            UnreachableError: a server can't be reached; what was taken is stored.
            UsageError: a server refuses the login, or the settings can't be used.
            LedgerError: the ledger can't be written.
        """
        login = Login(self._settings)
        while True:
            before = self.counts.mails
            try:
                with Mailbox(self._settings, login) as mailbox:
                    self._mark(mailbox)
                    self._take(mailbox, now)
                    return
            except ConnectionLostError as error:
                if self.counts.mails == before:
                    raise unreachable(self._settings) from error

    def _take(self, mailbox: Mailbox, now: int) -> None:
        last = self._ledger.one(
            "SELECT max(uid) FROM mails WHERE mailbox=? AND validity=?", self._settings.name, mailbox.validity
        )[0]
        some: list[_ReadMail] = []
        try:
            for mail in mailbox.mails_after(last or 0):
                read = self._read(mailbox, mail)
                some += [] if read is None else [read]
                if len(some) >= _TOGETHER or sum(len(each.notices) for each in some) >= _NOTICES_TOGETHER:
                    self._store(mailbox.validity, some, now)
                    some = []
                    self._mark(mailbox)
        except ConnectionLostError:
            self._store(mailbox.validity, some, now)
            raise
        self._store(mailbox.validity, some, now)
        self._mark(mailbox)

    def _read(self, mailbox: Mailbox, mail: StoredMail) -> _ReadMail | None:
        """Read a mail; return None if it is no longer there."""
        most = self._settings.max_size
        is_large = mail.size > most
        data = mailbox.content(mail.uid, HEAD_MAX if is_large else most + 1)
        if data is None:
            return None
        head, _, body = data.replace(b"\r\n", b"\n").partition(b"\n\n")
        header = email.message_from_bytes(head[:HEAD_MAX], policy=email.policy.compat32)
        sender, reference = _sender_of(header), header_line(header, "Message-ID")
        # Servers add header lines when they move or restore a mail.
        facts = "\n".join((reference, sender, header_line(header, "Date"))).encode()
        digest = hashlib.sha256(facts + b"\0" + (str(mail.size).encode() if is_large else body)).digest()
        if is_large or len(data) > most:
            detail = f"{mail.size} bytes, more than {most}"
            return _ReadMail(mail.uid, digest, sender, reference, [], MailReason.TOO_LARGE, detail)
        notices, reason, detail = self._parse(data, f"mail {mail.uid}")
        return _ReadMail(mail.uid, digest, sender, reference, notices, reason, detail[:_DETAIL_MAX])

    def _parse(self, data: bytes, label: str) -> tuple[list[Notice], str, str]:
        """Return the notices of a mail, or the reason why there are none, also in words."""
        form = MailNotices(self._digest)
        try:
            notices = list(form.notices(BytesIO(data), label))
        except NothingReportedError as error:
            return [], MailReason.NO_ADDRESS, printable(str(error))
        except NoticeError as error:
            return [], MailReason.MALFORMED, printable(str(error))
        except _DEFECTS as error:
            _LOG.warning("%s can't be parsed", label, exc_info=True)
            return [], MailReason.MALFORMED, type(error).__name__
        skipped = "; ".join(map(str, form.passed_over))
        return notices, "" if notices else MailReason.OTHER_ABUSE, printable(skipped)

    def _store(self, validity: int, some: list[_ReadMail], now: int) -> None:
        if not some:
            return
        with self._ledger.transaction() as database:
            for mail in some:
                if not self._insert(database, validity, mail, now):
                    continue
                self._importer.take(database, mail.notices, now)
                self.counts.waiting += bool(mail.reason)
        self.counts.mails += len(some)

    def _insert(self, database: sqlite3.Connection, validity: int, mail: _ReadMail, now: int) -> bool:
        """Store that a mail was taken; return False if that is stored already, maybe by another UID."""
        name = self._settings.name
        renumbered = database.execute(
            # Two ranges, for the index: a sender may send the same mail a million times.
            "UPDATE OR IGNORE mails SET validity=?1, uid=?2 WHERE number=("
            "SELECT number FROM mails WHERE mailbox=?3 AND digest=?4 AND validity<?1 UNION ALL "
            "SELECT number FROM mails WHERE mailbox=?3 AND digest=?4 AND validity>?1 LIMIT 1)",
            (validity, mail.uid, name, mail.digest),
        ).rowcount
        if renumbered:
            return False
        marks = self._settings.after != "keep" and not mail.reason
        return bool(
            database.execute(
                "INSERT INTO mails (mailbox, validity, uid, digest, sender, reference, fetched, reason, "
                "detail, waits, marks) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (
                    name, validity, mail.uid, mail.digest, mail.sender, mail.reference, now,
                    mail.reason, mail.detail, bool(mail.reason), marks,
                ),
            ).rowcount
        )  # fmt: skip

    def _mark(self, mailbox: Mailbox) -> None:
        """Flag or move the mails whose notices are stored, also those that an earlier run has left."""
        if self._settings.after == "keep":
            return
        query = "SELECT number, uid FROM mails WHERE marks AND mailbox=? AND validity=? ORDER BY uid LIMIT ?"
        while rows := list(self._ledger.rows(query, self._settings.name, mailbox.validity, _TOGETHER)):
            for _, uid in rows:
                mailbox.mark(uid)
            with self._ledger.transaction() as database:
                database.executemany("UPDATE mails SET marks=0 WHERE number=?", [row[:1] for row in rows])


def _sender_of(header: Message) -> str:
    try:
        return parseaddr(header_line(header, "From"))[1]
    except _DEFECTS:
        return ""


def waiting_mails(ledger: Ledger) -> Iterator[ListedMail]:
    """Yield the mails without notices that no person has dealt with, ordered by number."""
    columns = ", ".join(ListedMail.__struct_fields__)
    for row in ledger.rows(f"SELECT {columns} FROM mails WHERE waits ORDER BY number"):  # noqa: S608 - our own
        values = list(row)
        values[5] = format_time(values[5])
        yield ListedMail(*values)


def record_read(ledger: Ledger, numbers: tuple[int, ...]) -> list[int]:
    """Record that a person has dealt with mails; return those that waited."""
    with ledger.transaction() as database:
        return [
            number
            for number in dict.fromkeys(numbers)
            if database.execute("UPDATE mails SET waits=0 WHERE number=? AND waits", (number,)).rowcount
        ]
