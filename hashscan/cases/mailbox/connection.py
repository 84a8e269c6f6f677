"""Read a folder of an IMAP server (RFC 3501) in bounded memory; change nothing in it unless that is set."""

from __future__ import annotations

import imaplib
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from hashscan.cases.mailbox.login import Login, quoted
from hashscan.errors import UnreachableError, UsageError
from hashscan.locking import ClosedOnExit
from hashscan.settings.mailbox import MOVE, MailboxSettings
from hashscan.web_connection import tls_context

_SECONDS = 60.0
"""Longest time without a byte of an answer."""
_BATCH = 500
"""Mails whose sizes are asked for at once."""
HEAD_MAX = 64 << 10
"""Bytes of the header that are read of a mail over the size limit."""
_UID = re.compile(rb"\bUID (\d{1,10})\b")
_SIZE = re.compile(rb"\bRFC822\.SIZE (\d{1,20})\b")


class ConnectionLostError(Exception):
    """An error for a connection that ended, or on which the server no longer answers as it should."""


class StoredMail(NamedTuple):
    """A mail of the folder."""

    uid: int
    size: int
    """Bytes, as the server states them."""


class _Bounded(imaplib.IMAP4):
    """A connection that takes no literal longer than a mail may be."""

    literal_max = 0

    def read(self, size: int) -> bytes:
        if size > self.literal_max:
            raise self.abort(f"the server sends {size} bytes")
        return super().read(size)


class _BoundedTls(_Bounded, imaplib.IMAP4_SSL):
    pass


class Mailbox(ClosedOnExit):
    """An open folder.

    Raises, in all methods:
        ConnectionLostError: the connection is lost; a new one may help.
    """

    def __init__(self, settings: MailboxSettings, login: Login) -> None:
        """Connect, log in, and open the folder.

        Raises:
            UsageError: the login is refused, the certificate is not valid, or there is no such folder.
            UnreachableError: the server of the access token can't be reached.
        """
        self._settings = settings
        with _lost():
            self._server = _connect(settings)
        try:
            with _lost():
                login.log_in(self._server)
                self._check_move()
            self.validity, _ = self._open()
        except BaseException:
            self.close()
            raise

    def _check_move(self) -> None:
        answer = self._server.capability()[1]
        known = b" ".join(each for each in answer if isinstance(each, bytes)).upper().split()
        if self._settings.after.startswith(MOVE) and b"MOVE" not in known:
            raise UsageError(
                f"{self._settings.host} can't move mails (RFC 6851)", advice='Set after to "keep" or "seen".'
            )

    def _open(self) -> tuple[int, int]:
        """Open the folder; return its UIDVALIDITY and the number of its mails."""
        settings, validity = self._settings, None
        with _lost():
            try:
                status, answer = self._server.select(
                    quoted(settings.folder), readonly=settings.after == "keep"
                )
                validity = self._server.response("UIDVALIDITY")[1][0]
            except imaplib.IMAP4.readonly:
                status = "NO"
        if status != "OK" or not isinstance(validity, bytes) or not validity.isdigit():
            raise UsageError(
                f"{settings.host} can't open the folder {settings.folder}",
                advice='Check its name and the rights of the user; `after` other than "keep" changes mails.',
            )
        return int(validity), int(answer[0] or 0)

    def mails_after(self, uid: int) -> Iterator[StoredMail]:
        """Yield the mails with a larger UID, ordered by UID.

        Mails are counted by their place, since UIDs may have gaps of billions. Places change when somebody
        deletes mails, so the folder is opened anew for each batch, and the batch is found by its UID.
        """
        while True:
            validity, count = self._open()
            if validity != self.validity:
                raise ConnectionLostError("the server numbers the mails anew")
            first = self._place_after(uid, count)
            if first > count:
                return
            answer = self._ask("FETCH", f"{first}:{min(first + _BATCH - 1, count)}", "(UID RFC822.SIZE)")
            found = ((_UID.search(line), _SIZE.search(line)) for line in map(_line, answer))
            mails = sorted(StoredMail(int(a[1]), int(b[1])) for a, b in found if a and b)
            mails = [mail for mail in mails if mail.uid > uid]
            if not mails:
                raise ConnectionLostError("the server names no sizes")
            yield from mails
            uid = mails[-1].uid

    def _place_after(self, uid: int, count: int) -> int:
        """Return the place, counted from 1, of the first of so many mails with a larger UID."""
        low, high = 1, count + 1
        if count and self._uid_at(count) <= uid:
            return high
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self._uid_at(middle) > uid else (middle + 1, high)
        return low

    def _uid_at(self, place: int) -> int:
        for line in map(_line, self._ask("FETCH", str(place), "(UID)")):
            if found := _UID.search(line):
                return int(found[1])
        raise ConnectionLostError("the server names no UID")

    def content(self, uid: int, most: int) -> bytes | None:
        """Return at most so many bytes of a mail, from its begin; None if it is no longer there."""
        self._server.literal_max = most
        answer = self._ask("UID", "FETCH", str(uid), f"(BODY.PEEK[]<0.{most}>)")
        return next((item[1] for item in answer if isinstance(item, tuple)), None)

    def mark(self, uid: int) -> None:
        """Make the change that the settings ask for, to one mail; nothing if it is no longer there.

        Raises:
            UsageError: the folder to move mails to can't be used.
        """
        after = self._settings.after
        if after == "seen":
            self._ask("UID", "STORE", str(uid), "+FLAGS.SILENT", r"(\Seen)")
        elif after.startswith(MOVE):
            folder = after.removeprefix(MOVE)
            with _lost():
                status, _ = self._server.uid("MOVE", str(uid), quoted(folder))
            if status != "OK":
                raise UsageError(
                    f"{self._settings.host} can't move mails to {folder}",
                    advice="Create the folder, or change `after`.",
                )

    def _ask(self, command: str, *arguments: str) -> list[Any]:
        with _lost():
            status, answer = (
                self._server.uid(*arguments) if command == "UID" else self._server.fetch(*arguments)
            )
            if status != "OK":
                raise ConnectionLostError("the server refuses a command")
            return answer

    def close(self) -> None:
        """Log out, and close the connection."""
        with suppress(imaplib.IMAP4.error, OSError):
            self._server.logout()
        with suppress(OSError):
            self._server.shutdown()


@contextmanager
def _lost() -> Iterator[None]:
    try:
        yield
    except (imaplib.IMAP4.error, OSError) as error:
        raise ConnectionLostError(str(error)) from error


def _connect(settings: MailboxSettings) -> _Bounded:
    where = (settings.host, settings.port)
    context = None if settings.tls == "none" else tls_context(settings.ca_file)
    try:
        if settings.tls == "implicit":
            return _BoundedTls(*where, ssl_context=context, timeout=_SECONDS)
        server = _Bounded(*where, timeout=_SECONDS)
        if context is not None:
            try:
                server.starttls(context)
            except BaseException:
                with suppress(OSError):
                    server.shutdown()
                raise
        return server
    except ssl.SSLCertVerificationError as error:
        raise UsageError(
            f"the certificate of {settings.host} can't be verified: {error.verify_message}",
            advice="Correct host, or name the authority's certificate as ca_file.",
        ) from error
    except imaplib.IMAP4.abort:
        raise
    except imaplib.IMAP4.error as error:
        raise UsageError(
            f"{settings.host} begins no encrypted connection", advice="Set tls as the server's operator says."
        ) from error


def unreachable(settings: MailboxSettings) -> UnreachableError:
    """Return the error for a server that can't be reached, or that ends the connection."""
    return UnreachableError(
        f"the mail server {settings.host}, port {settings.port}, can't be reached, or ends the connection",
        advice="Run the command again later; it goes on from there.",
    )


def _line(item: object) -> bytes:
    """Return a part of an answer without literals."""
    return item if isinstance(item, bytes) else item[0] if isinstance(item, tuple) else b""
