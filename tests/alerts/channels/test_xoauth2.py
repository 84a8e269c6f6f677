"""Mail by a server that wants an access token: another one each time, and none in the clear."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import AuthResult

from hashscan.alerts.alert import Alert, Kind
from hashscan.alerts.channels.apprise import AppriseChannel
from hashscan.alerts.channels.base import DeliveryError
from tests.alerts.mailbox import Mailbox, mailbox
from tests.imap_server import TokenServer, token_server


class TokenMailbox(Mailbox):
    """A mail server that accepts the tokens of a server, and nothing else."""

    tokens: TokenServer

    async def auth_XOAUTH2(self, server: Any, args: list[str]) -> AuthResult:  # noqa: N802
        given = base64.b64decode(args[1]).decode()
        accepted = {f"user=me@example.com\1auth=Bearer {token}\1\1" for token in self.tokens.active}
        return AuthResult(success=given in accepted, handled=False)


@pytest.mark.filterwarnings("ignore:Requiring AUTH")
def test_it_logs_in_by_a_new_token_each_time(tmp_path: Path) -> None:
    alert = Alert(Kind.TEST, (), "a test").document("host", "2026-11-26T09:30:00+00:00")
    with token_server() as tokens:
        secret, file = tmp_path / "refresh", tmp_path / "oauth.json"
        secret.write_text(f"{tokens.refresh}\n")
        secret.chmod(0o600)
        settings = {"token_url": tokens.url, "client_id": "x", "refresh_token": {"file": str(secret)}}
        file.write_text(json.dumps(settings))
        file.chmod(0o600)
        box = TokenMailbox()
        box.tokens = tokens
        with mailbox(box, auth_require_tls=False, auth_required=True):
            url = box.url.replace("mailto://", "mailto://me%40example.com@") + f"&oauth={file}"
            channel = AppriseChannel(url)
            for _ in range(2):
                channel.deliver(alert, 20)
            assert (len(box.raw), len(tokens.given)) == (2, 2)
            secret.write_text("expired\n")
            with pytest.raises(DeliveryError):
                channel.deliver(alert, 20)
            with pytest.raises(DeliveryError):
                AppriseChannel(url.replace("127.0.0.1", "mail.invalid")).deliver(alert, 20)
            assert len(box.raw) == 2
