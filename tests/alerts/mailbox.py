"""A mail server on loopback, which keeps what it is sent."""

from __future__ import annotations

import email
import email.policy
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Any

from aiosmtpd.controller import Controller


@dataclass
class Mailbox:
    """The mails that the server has accepted, and its replies."""

    port: int = 0
    raw: list[bytes] = field(default_factory=list)
    recipients: list[list[str]] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)
    """Recipients that it refuses."""
    reply: str = "250 OK"
    accepted: Callable[[], None] = lambda: None
    """Called when it has a message, before it answers."""

    @property
    def url(self) -> str:
        return f"mailto://127.0.0.1:{self.port}/?mode=insecure&from=scan@example.com&to=abuse@example.com"

    @property
    def mails(self) -> list[EmailMessage]:
        parsed = [email.message_from_bytes(raw, policy=email.policy.default) for raw in self.raw]
        assert not any(mail.defects for mail in parsed)
        return parsed  # type: ignore[return-value]

    async def handle_RCPT(  # noqa: N802
        self, server: object, session: object, envelope: Any, address: str, options: object
    ) -> str:
        if address in self.refused:
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: object, session: object, envelope: Any) -> str:  # noqa: N802
        if self.reply.startswith("250"):
            self.raw.append(envelope.content)
            self.recipients.append(envelope.rcpt_tos)
        self.accepted()
        return self.reply


@contextmanager
def mailbox(box: Mailbox | None = None, **options: Any) -> Iterator[Mailbox]:
    box = box or Mailbox()

    class AtAnyPort(Controller):
        def _create_server(self) -> Any:
            listener = socket.create_server(("127.0.0.1", 0))
            box.port = self.port = listener.getsockname()[1]
            return self.loop.create_server(self._factory_invoker, sock=listener)

    controller = AtAnyPort(box, hostname="127.0.0.1", **options)
    controller.start()
    try:
        yield box
    finally:
        controller.stop()
