"""The list owner's commands, by the real command line."""

from __future__ import annotations

import os
import pty
from pathlib import Path

import pytest

from tests.cli.conftest import COMMAND, Run, environment
from tests.web import served


@pytest.fixture
def released(run: Run, entries: Path, tmp_path: Path) -> Path:
    """The working folder of a released list, whose root has three keys on two sticks; two must sign."""
    work = tmp_path / "work"
    sticks = ("--root-keys", tmp_path / "a", "--root-keys", tmp_path / "b")
    for command in (
        ("init", "national", "--repository", tmp_path / "public", *sticks),
        ("add", entries),
        ("release",),
    ):
        more = ("--root-count", 3, "--root-threshold", 2) if command[0] == "init" else ()
        ran = run("publish", *command, *more, "--work", work, env=SECRETS)
        assert ran.code == 0, ran.err
    return work


SECRETS = {"HASHSCAN_PASSPHRASE": "every day", "HASHSCAN_ROOT_PASSPHRASE": "once a year"}


def test_keys_of_each_kind_have_their_passphrase(run: Run, released: Path, tmp_path: Path) -> None:
    every_day, once_a_year = tmp_path / "every-day", tmp_path / "once-a-year"
    every_day.write_text("every day\n")
    once_a_year.write_text("once a year\n")
    refresh = ("publish", "refresh", "--work", released, "--passphrase-file")
    assert run(*refresh, every_day).code == 0
    assert run(*refresh, once_a_year).code == 2
    rotate = ("publish", "rotate", "--work", released, "--root-keys", tmp_path / "a")
    ran = run(*rotate, "--root-passphrase-file", every_day)
    assert ran.code == 2
    assert "must be signed by 2 of its keys, 0 were found" in ran.err
    # Passphrases that don't open a key are passed over.
    ran = run(*rotate, "--root-passphrase-file", every_day, "--root-passphrase-file", once_a_year)
    assert ran.code == 0
    assert "root version 2 is published" in ran.err
    for key in tmp_path.rglob("*.pem"):
        assert b"ENCRYPTED" in key.read_bytes()


def test_a_rotation_says_where_keys_are_and_is_followed(run: Run, released: Path, tmp_path: Path) -> None:
    with served(tmp_path / "public") as url:
        run("lists", "add", "national", url, "--root", released / "root.json")
        assert run("lists", "pull").code == 0
        sticks = ("--root-keys", tmp_path / "a", "--root-keys", tmp_path / "b")
        ran = run("publish", "rotate", "root", "timestamp", "--work", released, *sticks, env=SECRETS)
        assert ran.code == 0, ran.err
        assert f"new key: {released / 'keys' / 'timestamp-3.pem'}" in ran.err
        assert f"kept as {tmp_path / 'a' / 'retired' / '2.pem'}" in ran.err
        ran = run("publish", "rotate", "--work", released, "--root-keys", tmp_path / "b", env=SECRETS)
        assert ran.code == 2
        assert "must be signed by 2 of its keys, 1 were found" in ran.err
        assert run("lists", "pull").code == 0
        assert run("lists", "status").code == 0


def test_status_and_refresh(run: Run, released: Path, entries: Path) -> None:
    ran = run("publish", "status", "--work", released)
    assert ran.code == 0
    assert "list national version 1" in ran.out
    assert "2 of 3" in ran.out
    ran = run("publish", "refresh", "--work", released, env=SECRETS)
    assert ran.code == 0
    assert "signed again: timestamp until" in ran.err
    ran = run("publish", "refresh", "--all", "--work", released, env=SECRETS)
    assert "signed again: targets until" in ran.err


def test_withdrawing_by_name_and_by_file(run: Run, released: Path, entries: Path, tmp_path: Path) -> None:
    first, second = [line.split(",")[0] for line in entries.read_text().splitlines()[1:3]]
    publish = {
        name: ("publish", name, "--work", released)
        for name in ("withdraw", "release", "compact", "status", "add")
    }
    ran = run(*publish["withdraw"], "no-such-entry")
    assert ran.code == 2
    assert "no entry 'no-such-entry' in the list" in ran.err
    file = tmp_path / "ids"
    file.write_bytes(first.encode() + b"\r\n\n")
    assert run(*publish["withdraw"], "--from", file).code == 0
    assert run(*publish["withdraw"], first).code == 2
    assert "2 to be withdrawn" not in run(*publish["status"]).out
    assert run(*publish["withdraw"], "--from", "-", input=second).code == 0
    assert "0 entries wait to be released, 2 to be withdrawn" in run(*publish["status"]).out
    assert run(*publish["release"], env=SECRETS).code == 0
    ran = run(*publish["status"])
    assert "4 entries, the base and 1 increments, 2 withdrawn rows" in ran.out
    assert "`hashscan publish compact`" in ran.out
    assert run(*publish["compact"], env=SECRETS).code == 0
    ran = run(*publish["status"])
    assert "version 3: 4 entries, the base and 0 increments, 0 withdrawn rows" in ran.out
    assert run(*publish["compact"], env=SECRETS).code == 2
    # A withdrawn id can be given again.
    assert run(*publish["add"], entries).code == 0
    for arguments in ((), ("--from", tmp_path / "none"), ("--from", "-")):
        assert run(*publish["withdraw"], *arguments, input="").code == 2


def test_thresholds_that_cant_be_met(run: Run, tmp_path: Path) -> None:
    ran = run(
        *("publish", "init", "x", "--work", tmp_path / "w", "--repository", tmp_path / "p"),
        *("--no-passphrase", "--root-threshold", 2),
    )
    assert ran.code == 2
    assert "can't have 1 keys of which 2 must sign" in ran.err
    assert not (tmp_path / "w").exists()


def test_passphrases_are_asked_for_on_a_terminal(tmp_path: Path, state: Path, released: Path) -> None:
    """Once for the keys in daily use, once for the root's; what is typed isn't shown."""
    child, terminal = pty.fork()
    if child == 0:
        arguments = [
            "publish",
            "rotate",
            "timestamp",
            "--work",
            str(released),
            "--root-keys",
            str(tmp_path / "a"),
        ]
        os.execve(COMMAND[0], [*COMMAND, *arguments], environment(state))
    answers = ["every day", "once a year"]
    shown = b""
    while True:
        try:
            piece = os.read(terminal, 4096)
        except OSError:  # how Linux tells that the child has closed it
            break
        shown += piece
        # The space comes after echo was switched off, which discards whatever was typed before.
        if shown.endswith(b": ") and answers:
            os.write(terminal, answers.pop(0).encode() + b"\n")
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, shown
    assert b"Passphrase of the keys" in shown
    assert f"Passphrase of the root key {tmp_path / 'a' / '2.pem'}".encode() in shown
    assert shown.count(b"Passphrase") == 2
    assert b"every day" not in shown
    assert b"once a year" not in shown
