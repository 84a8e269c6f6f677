"""`hashscan alerts digest`, with a mail server, killed at the worst moments."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.alerts.mailbox import mailbox
from tests.cli.conftest import COMMAND, Run, environment


def test_a_digest_is_mailed_once_a_day(run: Run, uploads: Path, local_list: str) -> None:
    (uploads / "half.jpg").write_bytes((uploads / "listed.jpg").read_bytes()[:200])
    assert run("scan", uploads, "--list", local_list).code == 1
    with mailbox() as box:
        shown = run("alerts", "digest", "--dry-run")
        assert shown.code == 0
        assert not box.raw
        assert run("alerts", "digest", "--notify", box.url, "--notify-on", "found").code == 0
        assert run("alerts", "digest", "--notify", box.url).code == 0
        digests = [mail for mail in box.mails if "digest" in mail["Message-ID"]]
    assert len(digests) == 1
    (mail,) = digests
    assert mail["Auto-Submitted"] == "auto-generated"
    text = mail.get_content()
    assert "undecoded: 1 " in text
    assert str(uploads) not in text
    assert f"Subject: {mail['Subject']}" in shown.out
    assert "undecoded: 1 " in shown.out


def test_a_digest_without_a_channel_is_refused(run: Run) -> None:
    assert run("alerts", "digest").code == 2


@pytest.mark.parametrize("moment", ["refused", "accepted"])
def test_a_killed_digest_is_sent_again_as_the_same_mail(
    run: Run, state: Path, uploads: Path, local_list: str, moment: str
) -> None:
    run("scan", uploads, "--list", local_list)
    with mailbox() as box:
        box.reply = "451 later" if moment == "refused" else "250 OK"
        began: list[subprocess.Popen[bytes]] = []
        box.accepted = lambda: began[0].kill()
        options: Sequence[str] = ("--notify", box.url, "--notify-on", "found", "--state", str(state))
        with subprocess.Popen([*COMMAND, "alerts", "digest", *options], env=environment(state)) as process:
            began.append(process)
            assert process.wait(60) == -signal.SIGKILL
        box.accepted, box.reply = lambda: None, "250 OK"
        assert run("alerts", "send", "--now", "--notify", box.url).code == 0
        assert run("alerts", "digest", "--notify", box.url).code == 0
    digests = [raw for raw in box.raw if b"digest." in raw]
    assert len(set(digests)) == 1
    assert len(digests) <= 2
