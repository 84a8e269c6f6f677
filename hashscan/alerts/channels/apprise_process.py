"""Send one message through Apprise, in a process of its own that can be killed when a service hangs.

    python -m hashscan.alerts.channels.apprise_process

reads a JSON document from standard input (`url`; to send an alert also `document`, see `Alert.document`, and
`type`, without which the URL is only checked) and exits with one of the codes below.

Mails are made by `alerts.channels.mail`, so that a mail which is sent again has the id and the time of the
first. Apprise reads from the URL where and how they are sent.
"""

from __future__ import annotations

import json
import logging
import smtplib
import ssl
import sys
from collections.abc import Iterable, Mapping, Sequence
from email.headerregistry import Address
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from hashscan.alerts.channels.mail import mail_of
from hashscan.errors import OutputError, UnreachableError, UsageError
from hashscan.oauth import access_token, xoauth2
from hashscan.schema import InvalidDocumentError, decode_json, validated
from hashscan.secret_files import read_secret
from hashscan.settings.mailbox import OAuthSettings
from hashscan.web_connection import is_loopback

SENT, NOT_SENT, NO_URL, NO_APPRISE, NO_MAIL = range(5)
_CONNECT_SECONDS = 15
_MAIL = "mailto"
"""Apprise's name of the service that sends mail by SMTP."""


def main() -> int:
    task: dict[str, Any] = json.load(sys.stdin)
    try:
        import apprise
    except ImportError:
        return NO_APPRISE
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
    # No picture is fetched from the network when the message is read, and nothing is stored on disk.
    asset = apprise.AppriseAsset(
        app_id="hashscan", app_desc="hashscan", app_url="", image_url_mask="", image_url_logo="",
        async_mode=False, storage_mode=apprise.PersistentStoreMode.MEMORY,
    )  # fmt: skip
    sender = apprise.Apprise(asset=asset)
    if not sender.add(task["url"]):
        return NO_URL
    servers: Sequence[Any] = list(sender)
    for server in servers:
        server.oauth_file = dict(parse_qsl(urlsplit(task["url"]).query)).get("oauth", "")
    if task.get("mail_only") and not (len(servers) == 1 and _takes_mail(servers[0])):
        return NO_MAIL
    if "document" not in task:
        return SENT
    document = task["document"]
    # Mails come last: a service that refuses the alert must not have them sent again.
    for server in sorted(servers, key=_takes_mail):
        if _takes_mail(server):
            if not _send_mail(server, document):
                return NOT_SENT
        elif not server.notify(
            # Some services reject a message without a body.
            body=document["text"] or document["subject"],
            title=document["subject"],
            notify_type=apprise.NotifyType(task["type"]),
            body_format=apprise.NotifyFormat.TEXT,
        ):
            return NOT_SENT
    return SENT


def _takes_mail(server: Any) -> bool:
    """Return True for a server of mail without encryption for its readers, which only Apprise can do."""
    return getattr(server, "protocol", None) == _MAIL and getattr(server, "pgp_mode", "no") == "no"


def _send_mail(server: Any, document: Mapping[str, Any]) -> bool:
    """Send the mail of a document, to its own recipient if it names one; return whether it was accepted."""
    if recipient := document.get("to"):
        to, cc, bcc = [Address(addr_spec=recipient)], [], []
        reply_to = [Address(addr_spec=document["reply_to"])]
    else:
        to = [_address(name, address) for name, address in server.targets]
        cc, bcc = (_addresses(server, found) for found in (server.cc, server.bcc))
        reply_to = _addresses(server, server.reply_to)
    message = mail_of(document, _address(*server.from_addr), to, cc, reply_to)
    for name, value in server.headers.items():
        if name not in message:
            message[name] = value
    try:
        _submit(server, message, [address.addr_spec for address in (*to, *cc, *bcc)])
    except (OSError, smtplib.SMTPException) as error:
        logging.getLogger(__name__).warning("%s", error)
        return False
    return True


def _address(name: object, address: str) -> Address:
    return Address(display_name=name if isinstance(name, str) else "", addr_spec=address)


def _addresses(server: Any, found: Iterable[str]) -> list[Address]:
    return [_address(server.names.get(address), address) for address in sorted(found)]


def _submit(server: Any, message: EmailMessage, recipients: Iterable[str]) -> None:
    """Submit a message to all recipients or to none, so that nobody gets it twice when it is tried again."""
    context = ssl.create_default_context()
    if not server.verify_certificate:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    token = _token_of(server)
    place = (server.smtp_host, server.port)
    accepted = False
    try:
        with (
            smtplib.SMTP_SSL(*place, timeout=_CONNECT_SECONDS, context=context)
            if server.secure_mode == "ssl"
            else smtplib.SMTP(*place, timeout=_CONNECT_SECONDS)
        ) as smtp:
            if server.secure_mode == "starttls":
                smtp.starttls(context=context)
            smtp.ehlo_or_helo_if_needed()
            if token is not None:
                # A refusal comes as a second challenge, which an empty answer ends.
                answers = iter((xoauth2(server.user, token),))
                smtp.auth("XOAUTH2", lambda _=None: next(answers, ""))
            elif server.user and server.password:
                smtp.login(server.user, server.password)
            _expect(smtp.mail(server.from_addr[1]))
            for recipient in recipients:
                _expect(smtp.rcpt(recipient))
            _expect(smtp.data(message.as_bytes()))
            accepted = True
    except (OSError, smtplib.SMTPException):
        # A connection that breaks after the server has accepted the message changes nothing.
        if not accepted:
            raise


def _token_of(server: Any) -> str | None:
    """Return an access token if the URL of a server names a file of OAuth2 settings, else None."""
    if not (path := server.oauth_file):
        return None
    if server.secure_mode == "insecure" and not is_loopback(server.smtp_host):
        raise OSError(f"the access token would travel to {server.smtp_host} in the clear")
    try:
        content = read_secret(Path(path), "the OAuth2 settings of the mail server")
        return access_token(validated(decode_json(content), OAuthSettings))
    except (UsageError, OutputError, InvalidDocumentError, UnreachableError) as error:
        raise OSError(str(error)) from error


def _expect(reply: tuple[int, bytes]) -> None:
    if reply[0] not in (250, 251):
        raise smtplib.SMTPResponseException(*reply)


if __name__ == "__main__":
    sys.exit(main())
