"""Names from strangers, and whatever else is not ours, on a real terminal."""

from __future__ import annotations

import hashlib
import os
import pty
import subprocess
import termios
import unicodedata
from pathlib import Path

import click
import pytest

from hashscan.cli.config.settings_file import Catalogue
from hashscan.cli.main import cli
from hashscan.cli.main import run as run_here
from hashscan.cli.output.logs import print_message
from hashscan.settings.file import toml_text
from tests.cli.conftest import Run, environment
from tests.prefork import PREFORK

EVIL = b"\x1b]0;x\x07\x1b[31m[bold]x[link=y]\r\n\xc2\x9b2J\xe2\x80\xae\x7f\xff=1+1 <b>"
"""For terminals, for tables that read markup, for readers of lines, and no text."""
TEXT = os.fsdecode(EVIL)
CATALOGUE = Catalogue.of(click.Context(cli))


def on_terminal(state: Path, *arguments: object) -> tuple[int, bytes]:
    """Return the exit code of a command, and its output on a wide terminal without colours."""
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (50, 4000))
    dumb = {"TERM": "dumb", "NO_COLOR": "1", "HASHSCAN_WORKERS": "1"}
    process = subprocess.Popen(
        [PREFORK.program(), *map(str, arguments)],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=environment(state, dumb),
    )
    os.close(slave)
    shown = b""
    while True:
        try:
            piece = os.read(master, 65536)
        except OSError:
            break  # Nobody has the terminal any more.
        if not piece:
            break
        shown += piece
    os.close(master)
    return process.wait(timeout=120), shown


def assert_harmless(shown: bytes, said: str) -> None:
    """All of it is text, in lines and columns; a progress bar goes back to a line's beginning."""
    text = shown.decode("utf-8")
    kinds = {c: unicodedata.category(c) for c in text if c not in "\r\n\t"}
    bad = {c for c, kind in kinds.items() if kind in {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}}
    assert not bad, f"{said}: {bad}: {text[:2000]!r}"
    assert "\n=1+1" not in text, said
    assert "31mx" not in text, f"{said}: it reads markup: {text[:2000]!r}"
    assert "Traceback" not in text, f"{said}: {text}"


@pytest.fixture
def hostile(tmp_path: Path, run: Run) -> Path:
    """Files whose names and folders are hostile; a list accuses two of them."""
    folder = tmp_path / "www" / TEXT
    folder.mkdir(parents=True)
    for number in range(3):
        (folder / f"{number}{TEXT}.jpg").write_bytes(b"content %d" % number)
    (folder / "unreadable").symlink_to("nowhere")
    digests = [hashlib.sha256(b"content %d" % number).hexdigest() for number in range(2)]
    lines = ["id,algorithm,value,category", *(f"e{n},sha256,{one},A1" for n, one in enumerate(digests))]
    (tmp_path / "entries.csv").write_text("\n".join(lines))
    assert run("lists", "import", tmp_path / "entries.csv", "--name", "ours").code == 0
    return tmp_path / "www"


@pytest.mark.slow
def test_no_command_lets_a_name_command_the_terminal(hostile: Path, state: Path, tmp_path: Path) -> None:
    report = tmp_path / "report\x1b[31m[bold].jsonl"
    settings = tmp_path / "settings.toml"
    settings.write_text(
        f"exclude = [{toml_text(TEXT)}]\n"
        f'[[customer]]\nname = "[bold]x"\npath = "/tmp/"\n[[site]]\nurl = "https://a.example/"\npath = "/"\n'
    )
    wrong = tmp_path / "wrong.toml"
    evil = toml_text(TEXT)
    wrong.write_text(f"{evil} = 1\nworkers = {evil}\n[[policy]]\naction = {evil}\n")
    notice = tmp_path / "notice.csv"
    seen_at = b"https://a.example/" + EVIL.replace(b"\n", b"")
    notice.write_bytes(b"url,received\n" + seen_at + b",2026-01-01\n")
    first = next((hostile / TEXT).glob("0*"))
    missing = hostile / TEXT / "none"
    terms = ("--retain-min", "90d", "--destroy-by", "365d")
    own = ("--no-passphrase", "--work", missing)
    commands: list[tuple[object, ...]] = [
        ("scan", hostile, "--report", report, "--act-on", "local"),
        ("--config", settings, "scan", hostile, "--report", tmp_path / "second.jsonl"),
        ("--config", wrong, "scan", hostile),
        ("scan", missing),
        ("scan", "--files-from", hostile / TEXT),
        ("scan", "--known", "--report", "-"),
        ("scan", hostile, "--report", f"{TEXT}=x"),
        ("check", first),
        ("check", missing),
        ("check", TEXT),
        ("hash", first, missing),
        ("lookup", first),
        ("lookup", hashlib.sha256(b"content 0").hexdigest()),
        ("lookup", TEXT),
        *(
            ("serve", "--icap", f"unix:{missing}", option, value)
            for option, value in (
                ("--icap", TEXT),
                ("--answer", TEXT),
                ("--allow", TEXT),
                ("--trust-owner", f"icap={TEXT}"),
                ("--keep-refused", missing),
                ("--socket-mode", TEXT),
                ("--list", TEXT),
            )
        ),
        ("lists", "status"),
        ("lists", "status", TEXT),
        ("lists", "add", TEXT, TEXT),
        ("lists", "pull", TEXT),
        ("lists", "diff", TEXT),
        ("lists", "activate", TEXT),
        ("lists", "accept", TEXT),
        ("lists", "verify", TEXT),
        ("lists", "remove", TEXT),
        ("lists", "import", missing, "--name", TEXT),
        ("lists", "except", TEXT, "--reason", TEXT, "--until", TEXT),
        ("lists", "except", "e0", "--reason", "why", "--until", TEXT),
        ("lists", "feedback", TEXT, "--wrong", "--reason", TEXT),
        ("lists", "feedback", "e0", "--right", "--reason", TEXT),
        ("lists", "export", TEXT, "--format", "csv"),
        ("state", "status"),
        ("state", "check"),
        ("state", "export"),
        ("state", "vacuum", "--state", missing),
        ("state", "status", "--state", missing),
        ("report", "show", report),
        ("report", "show", missing),
        ("report", "merge", report, "--output", tmp_path / TEXT),
        ("report", "convert", report, "--format", "markdown"),
        ("report", "accept", report, "--reason", TEXT, "--until", "2099-01-01", "--output", missing),
        ("report", "prune", "--keep", "1d", missing),
        ("report", "push", report, "--hub", TEXT),
        ("customers", first, "--customers", "home"),
        ("--config", settings, "customers", first),
        ("--config", settings, "customers"),
        ("--config", settings, "config", "show", "scan"),
        ("--config", wrong, "config", "show"),
        ("config", "check", wrong),
        ("--config", hostile / TEXT, "config", "check"),
        ("config", "init", missing / "none" / "none"),
        ("config", "show", TEXT),
        ("schema", TEXT),
        ("setup", hostile / TEXT, "--demo", "--dry-run", "--yes"),
        ("setup", hostile, "--list", TEXT, TEXT, TEXT, "--image", missing, "--yes"),
        ("completion", TEXT),
        ("manual", TEXT),
        ("cases", "list"),
        ("cases", "due"),
        ("cases", "check"),
        ("cases", "show", TEXT),
        ("cases", "letter", TEXT),
        ("--config", settings, "cases", "letter", "--customer", TEXT),
        ("cases", "tell", TEXT),
        ("cases", "close", TEXT, "--reason", TEXT),
        ("cases", "confirm", TEXT, "--reason", TEXT),
        ("cases", "dispute", TEXT, "--reason", TEXT),
        ("cases", "reopen", TEXT),
        ("cases", "withhold", TEXT, "--lift", "--reason", TEXT),
        ("cases", "withhold", "1", "--until", TEXT, "--reason", "x"),
        ("cases", "report-authority", "1", "--to", TEXT),
        ("cases", "queue", "--who", TEXT),
        ("cases", "serve", "--listen", TEXT),
        ("cases", "assign", "1", "--to", TEXT),
        ("cases", "acknowledge", "1", "--recipient", TEXT),
        ("cases", "add", f"https://a.example/{TEXT}", "--sender", TEXT),
        ("cases", "add", missing, "--reference", TEXT, "--legal-basis", TEXT),
        ("cases", "draft", "1", "--kind", "receipt"),
        ("cases", "draft", TEXT, "--kind", TEXT),
        ("cases", "form", "--listen", TEXT),
        ("care", "make", "--from", TEXT, "--to", TEXT, "--output", missing),
        ("care", "make", "--from", "2026", "--to", "2026", "--output", tmp_path / "care.json"),
        ("care", "verify", missing),
        ("care", "verify", first),
        ("cases", "review", "1", "--decision", "wrong", "--reason", TEXT),
        ("--config", settings, "cases", "import", notice),
        ("cases", "import", missing),
        ("cases", "list"),
        ("cases", "fetch"),
        ("cases", "fetch", "--mailbox", missing),
        ("cases", "mails"),
        ("cases", "mails", TEXT, "--done"),
        ("cases", "sync", "--hub", TEXT),
        ("cases", "sync", "--hub", "http://127.0.0.1:1/", "--key-file", missing, "--server-name", TEXT),
        ("cases", "times"),
        ("cases", "prune", "--older-than", TEXT),
        ("stats",),
        ("care", "make", "--from", TEXT, "--to", TEXT, "--output", missing),
        ("care", "verify", missing),
        ("alerts", "list"),
        ("alerts", "digest", "--dry-run", "--notify-details"),
        ("alerts", "digest"),
        ("alerts", "send"),
        ("alerts", "test", "--notify", TEXT),
        ("alerts", "drop", TEXT),
        ("quarantine", "add", report, "--act-on", "local", *terms, "--dry-run"),
        ("quarantine", "add", report, "--act-on", "local", *terms),
        ("quarantine", "add", missing, *terms, "--reason", "why"),
        ("quarantine", "list"),
        ("quarantine", "list", "--owner", TEXT),
        ("quarantine", "verify"),
        ("quarantine", "verify", "--head", TEXT),
        ("quarantine", "restore", TEXT),
        ("quarantine", "destroy", TEXT),
        ("quarantine", "export", TEXT, "--recipient", TEXT, "--output", missing),
        ("quarantine", "restore", "--all"),
        ("publish", "init", "x", "--repository", missing / "none", *own),
        ("publish", "status", "--work", hostile / TEXT),
        ("publish", "add", missing, "--work", hostile / TEXT),
        ("publish", "withdraw", TEXT, "--work", hostile / TEXT),
        ("publish", "feedback", missing, hostile / TEXT),
        ("publish", "hash", missing, "--category", "A1"),
        *(("publish", name, *own) for name in ("release", "refresh", "rotate", "compact", "filter")),
        ("keys", "add", TEXT, "--http-keys", missing, "--right", "scan"),
        ("keys", "list", "--http-keys", first),
        ("keys", "revoke", TEXT, "--http-keys", missing),
        ("hub", "org", "list"),
        ("hub", "init"),
        ("hub", "org", "add", TEXT),
        ("hub", "org", "add", "alpha", "--title", TEXT),
        ("hub", "org", "add", "alpha"),
        ("hub", "org", "change", "alpha", "--contact", TEXT),
        ("hub", "org", "list"),
        ("hub", "org", "close", TEXT),
        ("hub", "org", "delete", TEXT, "--yes"),
        ("hub", "key", "add", "alpha", TEXT),
        ("hub", "key", "add", "alpha", "k", "--until", TEXT),
        ("hub", "key", "list", TEXT),
        ("hub", "key", "rotate", "alpha", TEXT),
        ("hub", "key", "revoke", "alpha", TEXT),
        ("hub", "user", "add", TEXT, "--role", "viewer"),
        ("hub", "user", "add", "vera", "--role", "member", "--organisation", TEXT),
        ("hub", "user", "disable", TEXT),
        ("hub", "user", "reset", TEXT),
        ("hub", "user", "list"),
        ("hub", "notice", "send", "alpha", "--path", f"/{TEXT}", "--category", "A1", "--reference", TEXT),
        ("hub", "notice", "send", "alpha", "--path", f"/{TEXT}", "--category", "A1", "--reference", "P-1"),
        ("hub", "notice", "list"),
        ("hub", "org", "add", "mailed", "--via", TEXT),
        ("hub", "outbox", "list"),
        ("hub", "outbox", "send", "--notify", TEXT),
        ("hub", "outbox", "send", "--reporter", TEXT),
        ("hub", "stats", "prepare", "--month", TEXT),
        ("hub", "stats", "answer", "1", TEXT, "--text", TEXT),
        ("hub", "stats", "show"),
        ("hub", "stats", "release", TEXT),
        ("hub", "stats", "withdraw", TEXT),
        ("hub", "export", TEXT),
        ("hub", "prune", "--older-than", TEXT),
        ("hub", "notice", "mark", "P-1", "disputed", "--how", TEXT),
        ("hub", "notice", "withdraw", TEXT),
        ("hub", "notice", "observe", TEXT, "gone", "--by", TEXT),
        ("hub", "server", "list", TEXT),
        ("hub", "server", "set", "alpha", TEXT, "--silent-after", "2d"),
        ("hub", "server", "defaults", "--category-deadline", TEXT),
        ("hub", "alerts", "--exec", TEXT),
        ("hub", "audit", "list"),
        ("hub", "audit", "verify", "--head", TEXT),
        ("hub", "serve", "--listen", TEXT),
        ("hub", "serve", "--database", TEXT),
        ("worker", "--scheduler", TEXT),
        ("selftest", "--state", missing / "none"),
    ]
    for arguments in commands:
        code, shown = on_terminal(state, *arguments)
        said = " ".join(map(repr, arguments))
        assert code in range(14), f"{said}: {shown!r}"
        assert_harmless(shown, said)
    called = [[a for a in arguments if isinstance(a, str)] for arguments in commands]
    tried = {tuple(words[2 * (words[0] == "--config") :]) for words in called}
    for words, command in CATALOGUE.commands.items():
        if not isinstance(command, click.Group):
            assert any(one[: len(words)] == words for one in tried), f"{words} is new: try it here"


def test_what_is_said_is_harmless(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for arguments in (
        ["scan", str(tmp_path / TEXT)],
        ["scan", "--report", f"{TEXT}=x"],
        [TEXT],
        [f"--{TEXT}"],
    ):
        assert run_here(arguments) == 2
    print_message(f"a name: {TEXT}")
    said = capsys.readouterr().err
    assert_harmless(said.encode(), "said")
    assert "\\x1b[31m[bold]x" in said
