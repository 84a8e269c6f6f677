"""Mails become notices, and each gets its receipt, with real servers for both, over kills at any moment."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hashscan.cases.ledger import Ledger
from hashscan.state_dir import StateDir
from tests.alerts.mailbox import mailbox
from tests.cases.mailbox.test_fetching import mail
from tests.imap_server import DOVECOT, USER, dovecot, token_server

pytestmark = [
    pytest.mark.slow,
    pytest.mark.integration,
    pytest.mark.skipif(DOVECOT is None or os.getuid() != 0, reason="needs dovecot, and root to start it"),
]
MAILS, KILLS = 10, 24
COMMAND = (sys.executable, "-m", "hashscan")


def killed_after(seconds: float, *command: object) -> bool:
    """Run a command for so long at most; return True if it was killed."""
    process = subprocess.Popen(
        [*COMMAND, *map(str, command)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        return process.wait(seconds) not in {0, 3}
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        return True


def test_each_mail_is_one_notice_with_one_receipt(tmp_path: Path) -> None:
    chance, state, settings = random.Random(7), tmp_path / "state", tmp_path / "hashscan.toml"
    senders = [f"person{number}@example.org" for number in range(MAILS)]
    with token_server() as tokens, dovecot(token_url=tokens.url) as server, mailbox() as box:
        for number, sender in enumerate(senders):
            message = mail(number)
            message.replace_header("From", sender)
            server.deliver(bytes(message))
        tokens.keeps_replaced = True
        refresh = tmp_path / "refresh"
        refresh.write_text("refresh-0\n")
        refresh.chmod(0o600)
        settings.write_text(
            '[reporter]\norganisation = "Example Hosting"\nemail = "abuse@example.org"\n'
            '[cases]\nanswers = "send"\n'
            f'[mailbox]\nhost = "127.0.0.1"\nport = {server.port}\ntls = "none"\nuser = "{USER}"\n'
            f'token_url = "{tokens.url}token"\nclient_id = "hashscan"\nrefresh_token_file = "{refresh}"\n'
        )
        base = ("--config", settings, "cases")
        fetch = (*base, "fetch", "--state", state)

        def receipt(number: int) -> tuple[object, ...]:
            return (
                *base, "draft", "--notice", number, "--kind", "receipt", "--to", senders[number - 1],
                "--notify", box.url, "--state", state,
            )  # fmt: skip

        killed = 0
        for _ in range(KILLS):
            command = fetch if chance.random() < 0.4 else receipt(chance.randint(1, MAILS))
            killed += killed_after(chance.uniform(0.3, 1.2), *command)
        assert killed
        assert not killed_after(60, *fetch)
        for number in range(1, MAILS + 1):
            assert not killed_after(60, *receipt(number))
        # A kill after the server has accepted a mail sends the same mail again, with the same Message-ID.
        assert len(set(box.raw)) == MAILS
        assert len(box.raw) - MAILS <= killed
        assert sorted({recipient for (recipient,) in box.recipients}) == sorted(senders)
    with Ledger(StateDir(state)) as ledger:
        found = list(ledger.rows("SELECT sender, count(*) FROM notices GROUP BY sender"))
        assert sorted(found) == sorted((sender, 1) for sender in senders)
        assert ledger.one("SELECT count(*) FROM mails WHERE waits")[0] == 0
