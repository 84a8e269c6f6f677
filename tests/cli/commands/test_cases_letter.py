"""`hashscan cases letter`, with a mail server."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.alerts.mailbox import Mailbox, mailbox
from tests.cli.conftest import COMMAND, Ran, Run, environment

CUSTOMER = "customer@example.net"


@pytest.fixture
def settings(run: Run, tmp_path: Path, uploads: Path, local_list: str) -> Path:
    """A settings file; one case of one customer is open."""
    file = tmp_path / "hashscan.toml"
    (uploads / "alike.jpg").unlink()
    file.write_text(
        '[reporter]\norganisation = "Example Hosting"\nemail = "abuse@example.org"\n'
        f'[[customer]]\npath = "{uploads}"\nname = "alice"\n'
    )
    assert run("--config", file, "scan", uploads, "--list", local_list).code == 1
    return file


def letter(run: Run, settings: Path, *options: object) -> Ran:
    return run("--config", settings, "cases", "letter", "--customer", "alice", *options)


def events(run: Run) -> list[dict[str, Any]]:
    (case,) = run("cases", "show", 1, "--format", "json").lines
    return [event for event in case["events"] if event["kind"] == "told"]


def send(run: Run, settings: Path, box: Mailbox, *options: object) -> Ran:
    return letter(run, settings, "--to", CUSTOMER, "--notify", box.url, *options)


def test_a_letter_is_printed_and_nothing_is_sent(run: Run, settings: Path, uploads: Path) -> None:
    ran = letter(run, settings)
    assert ran.code == 0
    assert ran.out.startswith("Subject: 1 file to remove by ")
    assert str(uploads) not in ran.out
    assert str(uploads / "listed.jpg") in letter(run, settings, "--with-paths").out
    with mailbox() as box:
        shown = send(run, settings, box, "--dry-run")
        assert shown.out.startswith(
            f"To: {CUSTOMER}\nReply-To: abuse@example.org\nSubject: 1 file to remove by "
        )
        assert "Auto-Submitted: auto-generated\n" in shown.out
        assert not box.raw
    assert events(run) == []
    assert run("--config", settings, "cases", "letter", "--customer", "bob").code == 0


def test_a_letter_is_sent_once_and_its_cases_are_told(run: Run, settings: Path) -> None:
    with mailbox() as box:
        for _ in range(2):
            assert send(run, settings, box).code == 0
        assert box.recipients == [[CUSTOMER]]
        assert send(run, settings, box, "--again").code == 0
        assert box.recipients == [[CUSTOMER]] * 2
        first, second = box.mails
        # Alerts go to the abuse desk, and letters do not.
        assert run("alerts", "send", "--notify", box.url).code == 0
        assert {tuple(to) for to in box.recipients[2:]} == {("abuse@example.com",)}
    assert first["To"] == CUSTOMER
    assert first["From"] == "scan@example.com"
    assert first["Message-ID"] != second["Message-ID"]
    assert [event["words"] for event in events(run)] == [f"letter by mail to {CUSTOMER}"] * 2


def test_a_letter_waits_for_its_server_and_goes_by_no_other_channel(
    run: Run, settings: Path, tmp_path: Path
) -> None:
    got = tmp_path / "got"
    hook = tmp_path / "hook"
    hook.write_text(f"#!/bin/sh\ncat >> {got}\n")
    hook.chmod(0o755)
    with mailbox() as box:
        box.reply = "451 later"
        assert send(run, settings, box).code == 13
        assert events(run) == []
        box.reply = "250 OK"
        run("alerts", "send", "--exec", hook)
        assert CUSTOMER not in got.read_text()
        assert run("alerts", "send", "--now", "--notify", box.url).code == 0
        assert [CUSTOMER] in box.recipients
    assert len(events(run)) == 1


def test_a_letter_killed_after_its_server_took_it_is_sent_again_as_the_same_mail(
    run: Run, state: Path, settings: Path
) -> None:
    with mailbox() as box:
        began: list[subprocess.Popen[bytes]] = []
        box.accepted = lambda: began[0].kill()
        words = ("--config", str(settings), "cases", "letter", "1", "--to", CUSTOMER, "--notify", box.url)
        with subprocess.Popen([*COMMAND, *words], env=environment(state)) as process:
            began.append(process)
            assert process.wait(60) == -signal.SIGKILL
        box.accepted = lambda: None
        assert events(run) == []
        assert send(run, settings, box).code == 0
        assert len(set(box.raw)) == 1
    assert len(events(run)) == 1


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--customer", "alice", "--to", "a@b\r\nBcc: all@example.com"),
        ("--customer", "alice", "--to", CUSTOMER),
        ("--customer", "alice", "--to", CUSTOMER, "--notify", "json://127.0.0.1:1/"),
        ("--customer", "alice", "--language", "xx"),
        ("--customer", "alice", "--templates", "/nowhere"),
        ("99",),
    ],
)
def test_misuse(run: Run, settings: Path, options: tuple[str, ...]) -> None:
    assert run("--config", settings, "cases", "letter", *options).code == 2
    assert run("alerts", "list", "--format", "json").lines == []


def test_a_letter_needs_a_sender(run: Run, settings: Path) -> None:
    assert run("cases", "letter", "--customer", "alice").code == 2
