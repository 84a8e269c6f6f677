"""`hashscan hub user`, and the options of `hub serve` that are about people."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hashscan.cli.hub.node import serve
from hashscan.hub.accounts.audit import read_audit
from hashscan.hub.accounts.sign_in import sign_in
from hashscan.hub.storage.database import open_database
from hashscan.state_dir import StateDir
from tests.cli.conftest import Run, runner

DOCS = Path(__file__).parents[2] / "docs"
SHOWN = "\n".join(
    block
    for page, section in (("hub", "People and their pages"), ("hub-reference", "Sign-in"))
    for text in (DOCS / f"{page}.md").read_text(encoding="utf-8").split(f"\n## {section}\n")[1:]
    for block in re.findall(r"```sh\n(.*?)\n```", text.split("\n## ")[0], re.DOTALL)
)
"""The commands about people and their pages."""


@pytest.fixture
def hub(tmp_path: Path, sqlite_file: Path) -> tuple[Run, StateDir]:
    """Commands of a hub that has its tables."""
    state = StateDir(tmp_path / "state")
    state.make()
    state.hub.write_bytes(sqlite_file.read_bytes())
    state.hub.chmod(0o600)
    return runner(state.path), state


def test_the_commands_of_the_page_are_run(hub: tuple[Run, StateDir]) -> None:
    """All of `hub user` in the documentation, one after the other."""
    run, state = hub
    assert run("hub", "org", "add", "example-hosting").code == 0
    lines = re.findall(r"^hashscan (hub user .+)$", SHOWN, re.MULTILINE)
    assert len(lines) == 7
    printed = {}
    for line in lines:
        done = run(*line.split())
        assert done.code == 0, done.err
        printed[line] = done.out.strip()
    once = printed["hub user add alice --role operator"]
    with open_database(state) as database:
        found = sign_in(database, "alice", once, "", "", 1)
        assert found is not None
        assert found[0].must_change
        actions = [line["action"] for line, _ in read_audit(database)]
    assert actions == [
        "organisation.add", *["user.add"] * 3, "user.reset", "user.disable", "user.add", "user.sign-in",
    ]  # fmt: skip
    listed = {each["name"]: each for each in run("hub", "user", "list", "--format", "json").lines}
    assert listed["rita"]["disabled"] is True
    assert listed["bob@example.net"]["organisation"] == "example-hosting"
    assert listed["alice@example.net"]["password"] == "none"
    assert run("hub", "user", "disable", "rita", "--enable").code == 0


def test_the_nodes_of_the_page_have_the_options() -> None:
    """Each `hub serve` of the documentation is read as a user's; those that listen are in other tests."""
    lines = re.findall(r"^hashscan hub serve (.+)$", SHOWN.replace("\\\n", " "), re.MULTILINE)
    assert len(lines) == 2
    for line in lines:
        read = serve.make_context("serve", line.split()).params
        assert read["public_url"] == "https://hub.example.net"


def test_a_password_is_read_from_a_file(hub: tuple[Run, StateDir], tmp_path: Path) -> None:
    run, state = hub
    file = tmp_path / "password"
    file.write_text("one-time-password\n")
    arguments = ("hub", "user", "add", "vera", "--role", "viewer", "--password-file", file)
    file.chmod(0o644)
    assert run(*arguments).code == 2
    file.chmod(0o600)
    done = run(*arguments)
    assert (done.code, done.out) == (0, "")
    assert "one-time-password" not in done.err
    with open_database(state) as database:
        assert sign_in(database, "vera", "one-time-password", "", "", 1) is not None
    file.write_text("")
    assert run("hub", "user", "reset", "vera", "--password-file", file).code == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ("--public-url", "http://hub.example.net"),
        ("--public-url", "https://hub.example.net/path"),
        ("--public-url", "https://a@hub.example.net"),
        ("--trust-user-header", "X-Remote-User"),
        ("--trust-user-header", "X: y", "--trusted-proxy", "127.0.0.1"),
        ("--trusted-proxy", "proxy.example.net"),
    ],
)
def test_wrong_options_of_a_node(hub: tuple[Run, StateDir], arguments: tuple[str, ...]) -> None:
    assert hub[0]("hub", "serve", *arguments).code == 2
