from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.shell_completion import BashComplete

from hashscan.cases.ledger import Ledger
from hashscan.cli.commands.about import SHELLS
from hashscan.cli.main import COMMANDS, cli
from hashscan.state_dir import StateDir
from tests.cli.conftest import COMMAND, Run, environment

PATIENCE = 60
"""Seconds after which a shell on a busy machine is given up."""


def completed(*words: str) -> list[str]:
    """Return the completions of the last word."""
    *before, last = words
    found = BashComplete(cli, {}, "hashscan", "_HASHSCAN_COMPLETE").get_completions(list(before), last)
    return [item.value if item.type == "plain" else f"({item.type})" for item in found]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("sca",), ["scan"]),
        (("lists", "pu"), ["pull"]),
        (("scan", "--max-p"), ["--max-pixels"]),
        (("scan", "--sandbox", "re"), ["required"]),
        (("scan", "--report", "csv"), ["csv="]),
        (("scan", "--report", "/tmp/x"), ["(file)"]),
        (("scan", "/va"), ["(file)"]),
        (("scan", "--state", ""), ["(dir)"]),
        (("completion", ""), ["bash", "zsh", "fish"]),
        (("--conf",), ["--config"]),
        (("--config", ""), ["(file)"]),
        (("nothing", ""), sorted(COMMANDS)),
    ],
)
def test_what_is_offered(words: tuple[str, ...], expected: list[str]) -> None:
    found = completed(*words)
    assert (sorted(found) if words == ("nothing", "") else found) == expected


def lists_at(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / "lists" / name).mkdir(parents=True)
    return folder


def test_names_of_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = str(lists_at(tmp_path / "one", "ours", "national", "not\na name", "-x"))
    two = str(lists_at(tmp_path / "two", "other"))
    file = tmp_path / "hashscan.toml"
    file.write_text(f'state = "{two}"\n')
    assert completed("scan", "--state", one, "--list", "") == ["national", "ours"]
    assert completed("lists", "pull", "--state", one, "ou") == ["ours"]
    assert completed("lists", "remove", "--state", str(tmp_path / "none"), "") == []
    assert completed("--config", str(file), "scan", "--list", "") == ["other"]
    monkeypatch.setenv("HASHSCAN_STATE", one)
    assert completed("--config", str(file), "scan", "--list", "o") == ["ours"]
    monkeypatch.delenv("HASHSCAN_STATE")
    file.write_text("= no TOML")
    assert completed("--config", str(file), "scan", "--list", "") == []


def test_numbers_of_cases(tmp_path: Path) -> None:
    with Ledger(StateDir(tmp_path)) as ledger, ledger.transaction() as database:
        for customer in ("acme", "\x1b[31m\n"):
            database.execute(
                "INSERT INTO cases (verdict, categories, customer, found, seen) "
                "VALUES ('match', 'A1', ?, 1, 1)",
                (customer,),
            )
    state = ("--state", str(tmp_path))
    for word in ("tell", "close", "dispute", "show"):
        assert completed("cases", word, *state, "") == ["1", "2"]
    assert completed("cases", "tell", *state, "2") == ["2"]
    found = BashComplete(cli, {}, "", "").get_completions(["cases", "tell", *state], "2")
    assert [item.help for item in found] == ["A1 \\x1b[31m\\x0a"]


def test_a_wrong_value_of_a_variable_is_no_hindrance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HASHSCAN_WORKERS", "many")
    assert completed("scan", "--max-p") == ["--max-pixels"]


def test_completing_a_command_imports_none() -> None:
    code = (
        "import sys; from hashscan.cli.main import run; code = run([]); "
        "print(code, sorted(m for m in sys.modules if m in {'numpy', 'rich', 'hashscan.cli.commands.scan'}))"
    )
    environ = {
        **os.environ,
        "_HASHSCAN_COMPLETE": "bash_complete",
        "COMP_WORDS": "hashscan s",
        "COMP_CWORD": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True
    )
    *offered, ended = done.stdout.splitlines()
    assert {"plain,scan", "plain,state", "plain,selftest"} <= set(offered)
    assert ended == "0 []"


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_does_not_depend_on_settings(run: Run, tmp_path: Path, shell: str) -> None:
    wrong = tmp_path / "wrong.toml"
    wrong.write_text("= no TOML")
    ran = run("--config", wrong, "completion", shell)
    assert ran.code == 0
    assert "_HASHSCAN_COMPLETE" in ran.out
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=ran.out, text=True, check=True, capture_output=True)


class Terminal:
    """A shell at which somebody types."""

    def __init__(self, command: list[str], environ: dict[str, str], cwd: Path) -> None:
        self._descriptor, slave = pty.openpty()
        # Not by a fork of our own, which threads of this process might not survive.
        self._process = subprocess.Popen(
            ["setsid", "--ctty", *command], stdin=slave, stdout=slave, stderr=slave, env=environ, cwd=cwd
        )
        os.close(slave)
        self._seen = ""

    def type(self, text: str) -> None:
        os.write(self._descriptor, text.encode())

    def wait_for(self, pattern: str) -> None:
        end = time.monotonic() + PATIENCE
        while not re.search(pattern, self._seen):
            ready, _, _ = select.select([self._descriptor], [], [], max(0, end - time.monotonic()))
            assert ready, f"{pattern} did not come: {self._seen!r}"
            self._seen += os.read(self._descriptor, 4096).decode(errors="replace")
        self._seen = re.split(pattern, self._seen, maxsplit=1)[-1]

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._descriptor)


@pytest.fixture
def program(tmp_path: Path) -> dict[str, str]:
    """The environment in which shells find a `hashscan` that completes, and else prints what it is given."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "hashscan").write_text(
        f'#!/bin/sh\n[ -z "$_HASHSCAN_COMPLETE" ] || exec {" ".join(COMMAND)}\necho "<$*>"\n'
    )
    (folder / "hashscan").chmod(0o755)
    state = lists_at(tmp_path / "state", "national", "ours")
    path = {"PATH": f"{folder}:{os.environ['PATH']}", "HOME": str(tmp_path), "TERM": "dumb"}
    return {**environment(state), **path}


STARTS = {"bash": ["bash", "--norc", "--noprofile", "-i"], "zsh": ["zsh", "-f", "-i"]}
PREPARES = {
    "bash": "PS1='ready> '; bind 'set enable-bracketed-paste off'; source ./script\n",
    "zsh": "PROMPT='ready> '; autoload -U compinit; compinit -u -D; source ./script\n",
}


@pytest.mark.parametrize("shell", list(STARTS))
def test_somebody_presses_tab(shell: str, run: Run, program: dict[str, str], tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell}")
    (tmp_path / "script").write_text(run("completion", shell).out)
    terminal = Terminal(STARTS[shell], program, tmp_path)
    try:
        terminal.type(PREPARES[shell])
        terminal.wait_for("\nready> |\rready> ")
        terminal.type("hashscan selft\t; hashscan scan --list nat\t--no-sta\t--fail-on nev\t\n")
        terminal.wait_for("<selftest>")
        terminal.wait_for("<scan --list national --no-state --fail-on never>")
    finally:
        terminal.close()


@pytest.mark.skipif(shutil.which("fish") is None, reason="there is no fish")
def test_fish_completes(run: Run, program: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "script").write_text(run("completion", "fish").out)
    lines = [
        f"complete -C '{words}'" for words in ("hashscan sel", "hashscan scan --list ", "hashscan lists pu")
    ]
    done = subprocess.run(
        ["fish", "--no-config", "-c", "; ".join(["source ./script", *lines])],
        env=program,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    words = [line.split("\t")[0] for line in done.stdout.splitlines()]
    assert words == ["selftest", "national", "ours", "pull"]


@pytest.mark.parametrize("name", ["pull", "status", "verify", "diff", "activate", "remove", "export"])
def test_every_command_of_lists_completes_their_names(name: str, tmp_path: Path) -> None:
    state = str(lists_at(tmp_path, "ours", "national"))
    assert completed("lists", name, "--state", state, "ou") == ["ours"]
