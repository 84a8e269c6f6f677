"""Make the mail of an alert: headers and text, by RFC 5322, 3834 and 2919."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Any

_DOMAIN = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,62})(\.[A-Za-z0-9]([A-Za-z0-9-]{0,62}))*", re.ASCII)
LETTER = "letter"
"""The kind of a mail to a customer, who may answer it and has no list of such mails."""


def mail_domain(host: str) -> str:
    """Return a machine's name as it may be the domain of a message's id."""
    return host.lower() if len(host) <= 253 and _DOMAIN.fullmatch(host) else "localhost"


def new_message_id(kind: str, host: str) -> str:
    """Return an id for a new message; it stays the same however often the message is sent."""
    return f"<{kind}.{uuid.uuid4().hex}@{mail_domain(host)}>"


def mail_of(
    document: Mapping[str, Any],
    sender: Address | None = None,
    to: Sequence[Address] = (),
    cc: Sequence[Address] = (),
    reply_to: Sequence[Address] = (),
) -> EmailMessage:
    """Return the mail of an alert's document (see `Alert.document`); the same document gives the same mail. A
    document may have an `attachment`: its `name`, media `type` and `text`. A header of several lines is an
    error."""
    message = EmailMessage(policy=SMTP)
    for name, addresses in (("From", sender), ("To", to), ("Cc", cc), ("Reply-To", reply_to)):
        if addresses:
            message[name] = addresses
    # An encoded word would be decoded, with whatever is in it.
    message["Subject"] = document["subject"].replace("=?", "= ?")
    message["Date"] = format_datetime(datetime.fromisoformat(document["at"]).astimezone(UTC))
    message["Message-ID"] = document["message_id"]
    # By RFC 3834, so that nobody's absence notice answers it.
    message["Auto-Submitted"] = "auto-generated"
    if document["kind"] != LETTER:
        message["List-Id"] = f"hashscan <alerts.hashscan.{mail_domain(document['host'])}>"
    message.set_content(document["text"] + "\n")
    if attachment := document.get("attachment"):
        maintype, _, subtype = attachment["type"].partition("/")
        message.add_attachment(
            attachment["text"].encode(), maintype=maintype, subtype=subtype, filename=attachment["name"]
        )
    return message


def mail_text(document: Mapping[str, Any]) -> str:
    """Return the mail of a document as a person reads it: its headers, and its text without coding."""
    to, reply_to = (
        [Address(addr_spec=document[name])] if name in document else [] for name in ("to", "reply_to")
    )
    message = mail_of(document, to=to, reply_to=reply_to)
    headers = [f"{name}: {value}" for name, value in message.items() if not name.startswith("Content-")]
    return "\n".join((*headers, "", document["text"], ""))
