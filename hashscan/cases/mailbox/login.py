"""Log in to an IMAP server: by a password, or by an access token (XOAUTH2)."""

from __future__ import annotations

import imaplib

from hashscan.errors import UsageError
from hashscan.oauth import access_token, xoauth2
from hashscan.settings.mailbox import MailboxSettings


class Login:
    """The login of a mailbox; it keeps an access token, and gets another when the server refuses it."""

    def __init__(self, settings: MailboxSettings) -> None:
        self._settings = settings
        self._token = ""

    def log_in(self, server: imaplib.IMAP4) -> None:
        """Log in.

        Raises:
            UsageError: the server refuses the password, or a new token; or there is no secret.
            UnreachableError: the token endpoint can't be reached.
        """
        oauth, user = self._settings.oauth, self._settings.user
        try:
            if oauth is None:
                _by_password(server, user, self._settings.password.read("the password of the mailbox"))
                return
            if self._token:
                try:
                    _by_token(server, user, self._token)
                    return
                except imaplib.IMAP4.error as error:
                    if isinstance(error, imaplib.IMAP4.abort):
                        raise
            self._token = access_token(oauth, self._settings.ca_file)
            _by_token(server, user, self._token)
        except imaplib.IMAP4.abort:
            raise
        except imaplib.IMAP4.error as error:
            # The server's text is not repeated, since it may hold what was sent.
            raise UsageError(
                f"{self._settings.host} refuses the login of {user}",
                advice="Check the password; for OAuth2, the scope, and that the account permits IMAP.",
            ) from error


def _by_password(server: imaplib.IMAP4, user: str, password: str) -> None:
    if "AUTH=PLAIN" in server.capabilities:
        server.authenticate("PLAIN", lambda _: f"\0{user}\0{password}".encode())
    else:
        server.login(quoted(user), password)


def _by_token(server: imaplib.IMAP4, user: str, token: str) -> None:
    answers = iter((xoauth2(user, token).encode(),))
    # A refusal comes as a second challenge, which an empty answer ends.
    server.authenticate("XOAUTH2", lambda _: next(answers, b""))


def quoted(text: str) -> str:
    """Return a text as a quoted string of IMAP."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
