"""Log in to an IMAP server: by a password, or by an access token (XOAUTH2)."""

from __future__ import annotations

import imaplib
import logging
from pathlib import Path
from urllib.parse import urlencode

from msgspec import Struct

from hashscan.atomic_files import replace_file
from hashscan.errors import UnreachableError, UsageError
from hashscan.schema import InvalidDocumentError, decode_json, validated
from hashscan.settings.mailbox import MailboxSettings, OAuthSettings

_LOG = logging.getLogger(__name__)
_FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class _TokenAnswer(Struct):
    access_token: str
    refresh_token: str = ""


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
            self._token = self._new_token(oauth)
            _by_token(server, user, self._token)
        except imaplib.IMAP4.abort:
            raise
        except imaplib.IMAP4.error as error:
            # The server's text is not repeated, since it may hold what was sent.
            raise UsageError(
                f"{self._settings.host} refuses the login of {user}",
                advice="Check the password; for OAuth2, the scope, and that the account permits IMAP.",
            ) from error

    def _new_token(self, oauth: OAuthSettings) -> str:
        """Return a new access token; store the refresh token that comes with it, if it is another."""
        from hashscan import service_client
        from hashscan.lists.services.settings import ServiceSettings

        old = oauth.refresh_token.read("the refresh token of the mailbox")
        fields = {"grant_type": "refresh_token", "refresh_token": old, "client_id": oauth.client_id}
        if oauth.client_secret:
            fields["client_secret"] = oauth.client_secret.read("the client secret of the mailbox")
        if oauth.scope:
            fields["scope"] = oauth.scope
        settings = ServiceSettings(oauth.token_url, "token", ca_file=self._settings.ca_file)
        client = service_client.ServiceClient(settings, {})
        try:
            answer = validated(
                decode_json(client("POST", "", urlencode(fields).encode(), _FORM)), _TokenAnswer
            )
        except service_client.ServiceBusyError as error:
            raise UnreachableError(
                f"the token endpoint {oauth.token_url} {error}", advice="Run the command again later."
            ) from error
        except (service_client.ServiceRefusedError, InvalidDocumentError) as error:
            raise UsageError(
                f"the token endpoint {oauth.token_url} gives no access token: {error}",
                advice="The refresh token may have expired: log in again, and store the new one.",
            ) from error
        finally:
            client.close()
        if answer.refresh_token and answer.refresh_token != old and oauth.refresh_token.file:
            try:
                replace_file(Path(oauth.refresh_token.file), f"{answer.refresh_token}\n".encode())
            except OSError as error:
                # Notices must not wait for it: most providers take the old one for some time.
                _LOG.warning(
                    "can't store the new refresh token in %s: %s. Make its folder writable for this user.",
                    oauth.refresh_token.file, error.strerror,
                )  # fmt: skip
        return answer.access_token


def _by_password(server: imaplib.IMAP4, user: str, password: str) -> None:
    if "AUTH=PLAIN" in server.capabilities:
        server.authenticate("PLAIN", lambda _: f"\0{user}\0{password}".encode())
    else:
        server.login(quoted(user), password)


def _by_token(server: imaplib.IMAP4, user: str, token: str) -> None:
    answers = iter((f"user={user}\1auth=Bearer {token}\1\1".encode(),))
    # A refusal comes as a second challenge, which an empty answer ends.
    server.authenticate("XOAUTH2", lambda _: next(answers, b""))


def quoted(text: str) -> str:
    """Return a text as a quoted string of IMAP."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
