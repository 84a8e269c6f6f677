"""The notification channel for people: mail, chats and webhooks, through Apprise."""

from __future__ import annotations

import json
import re
import sys
from typing import Any, ClassVar
from urllib.parse import unquote

from hashscan.alerts.channels.apprise_process import NO_APPRISE, NO_MAIL, NO_URL, SENT
from hashscan.alerts.channels.base import Channel, DeliveryError, Document, ProgramResult, run_bounded
from hashscan.alerts.channels.mail import LETTER
from hashscan.errors import UsageError

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,30})://")
_ANY_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")
"""A pattern for URLs in Apprise's messages, which show the first and the last letter of a password."""
_PIECES = re.compile(r"[^/:@?&=#,+;\s]+")
_SHORT = 2
"""The length up to which a piece of a URL is no secret."""
_LOOK_SECONDS = 30
_MESSAGE_MAX = 300
_TYPES = {"alert": "failure", "crit": "failure", "err": "failure", "warning": "warning", "info": "success"}
"""Apprise's names of the severities."""


class AppriseChannel(Channel):
    """A channel with one Apprise URL."""

    kind = "notify"
    mail_only: ClassVar[bool] = False
    """True if only mail may be sent by the URL, and to other recipients than it names."""

    def __init__(self, url: str) -> None:
        scheme = _SCHEME.match(url)
        super().__init__(scheme[1].lower() if scheme else "notify", url)
        self._url = url
        self._secrets = secrets_of(url)

    def check(self) -> None:
        """Check that Apprise accepts the URL; nothing is sent."""
        ended = self._run({"url": self._url, "mail_only": self.mail_only}, _LOOK_SECONDS)
        if ended.code == NO_MAIL:
            raise UsageError(
                f"--notify {self.label} can't send mails: it is no mail server, or it encrypts mails",
                advice="Put a URL such as mailto://user:password@mail.example.org first.",
            )
        if ended.code == NO_APPRISE:
            raise UsageError(
                "--notify needs Apprise, which is not installed", advice="pip install 'hashscan[alerts]'"
            )
        if ended.code != SENT:
            raise UsageError(
                f"Apprise can't use the URL of --notify {self.label}{self._reason_suffix(ended)}",
                advice="See https://github.com/caronc/apprise/wiki for how URLs are written.",
            )

    def deliver(self, document: Document, seconds: float) -> None:
        task = {
            "url": self._url,
            "document": dict(document),
            "mail_only": self.mail_only,
            "type": _TYPES.get(document["severity"], "info"),
        }
        ended = self._run(task, seconds)
        if ended.code == SENT:
            return
        if ended.code is None:
            raise DeliveryError(f"no answer within {seconds:.0f} s")
        why = {
            NO_APPRISE: "Apprise is not installed",
            NO_URL: "Apprise can't use the URL",
            NO_MAIL: "it is no mail server, or it encrypts mails",
        }
        raise DeliveryError(why.get(ended.code, "not taken") + self._reason_suffix(ended))

    def _run(self, task: dict[str, Any], seconds: float) -> ProgramResult:
        # -P: files in the working folder must not be imported as modules.
        command = [sys.executable, "-P", "-m", "hashscan.alerts.channels.apprise_process"]
        try:
            return run_bounded(command, json.dumps(task).encode(), seconds)
        except OSError as error:
            raise DeliveryError(f"Apprise can't be started: {error.strerror}") from error

    def _reason_suffix(self, ended: ProgramResult) -> str:
        # Cut afterwards: half a secret would not be recognised.
        message = redact(_ANY_URL.sub("***", " ".join(ended.stderr.split())), self._secrets)[-_MESSAGE_MAX:]
        return f": {message}" if message else ""


class EscalationChannel(AppriseChannel):
    """A channel for orders of which half of the time is gone."""

    kind = "escalate"


class LetterChannel(AppriseChannel):
    """A channel for letters to customers, by the mail server of an Apprise URL."""

    kind = LETTER
    mail_only = True


def secrets_of(url: str) -> tuple[str, ...]:
    """Return all pieces of a URL that may be secrets, longest first; in some URLs the host is the token."""
    found: set[str] = set()
    rest = url.partition("://")[2]
    for text in (rest, unquote(rest)):
        found |= {piece for piece in _PIECES.findall(text) if len(piece) > _SHORT}
    return tuple(sorted(found, key=len, reverse=True))


def redact(text: str, secrets: tuple[str, ...]) -> str:
    """Return a text with the secrets replaced."""
    for secret in secrets:
        text = re.sub(re.escape(secret), "***", text, flags=re.IGNORECASE)
    return text
