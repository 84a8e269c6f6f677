"""Each command that sets up a hub, by a script that runs them in their order."""

from __future__ import annotations

from pathlib import Path

import pytest

from hashscan.hub.storage.database import open_database
from hashscan.state_dir import StateDir
from tests.cli.conftest import Run, runner
from tests.hub.databases import PostgresServer


@pytest.fixture(params=["sqlite", "postgresql"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Run:
    """Return a function that runs commands of a hub, on a database of each kind."""
    plain = runner(tmp_path / "state")
    if request.param == "sqlite":
        return plain
    server: PostgresServer = request.getfixturevalue("postgres_server")
    address = server.address(server.create())
    return lambda *arguments: plain(*arguments, "--database", address)


def test_commands_without_tables_say_how_to_make_them(run: Run) -> None:
    for words in (("org", "list"), ("key", "list"), ("audit", "list"), ("serve",)):
        refused = run("hub", *words)
        assert (refused.code, refused.out) == (2, "")
        assert "hashscan hub init" in refused.err


def test_a_hub_is_set_up(run: Run) -> None:
    assert [run("hub", "init").code for _ in range(2)] == [0, 0]
    added = run(
        "hub", "org", "add", "alpha", "--country", "NL", "--contact", "abuse@alpha.example", "--as", "64496"
    )
    assert added.code == 0, added.err
    assert run("hub", "org", "add", "alpha").code == 2
    assert run("hub", "org", "change", "alpha").code == 2
    assert run("hub", "org", "change", "alpha", "--title", "Alpha B.V.").code == 0
    (listed,) = run("hub", "org", "list", "--format", "json").lines
    assert (listed["title"], listed["contacts"], listed["as_numbers"]) == (
        "Alpha B.V.", ["abuse@alpha.example"], [64496],
    )  # fmt: skip
    key = run("hub", "key", "add", "alpha", "web", "--right", "check", "--until", "2099-01-31")
    assert (key.code, len(key.out.split())) == (0, 1)
    rotated = run("hub", "key", "rotate", "alpha", "web", "--overlap", "1d")
    assert rotated.code == 0
    assert rotated.out != key.out
    listed = run("hub", "key", "list", "alpha", "--format", "json")
    assert [(each["name"].partition(".")[0], each["rights"], each["revoked"]) for each in listed.lines] == [
        ("web", ["check"], False)
    ] * 2
    assert run("hub", "key", "revoke", "alpha", "web").code == 0
    assert all(each["revoked"] for each in run("hub", "key", "list", "--format", "json").lines)
    for secret in (key.out.strip(), rotated.out.strip()):
        assert secret not in listed.out
        assert secret not in run("hub", "audit", "list", "--format", "json").out
    assert run("hub", "org", "close", "alpha").code == 0
    assert run("hub", "org", "delete", "alpha").code == 2
    assert run("hub", "org", "delete", "alpha", "--yes").code == 0
    assert run("hub", "org", "list", "--format", "json").out == ""
    actions = [line["action"] for line in run("hub", "audit", "list", "--format", "json").lines]
    assert actions == [
        *("hub.init", "organisation.add", "organisation.change", "key.add", "key.rotate", "key.add"),
        *("key.revoke", "key.revoke", "organisation.close", "organisation.delete"),
    ]
    verified = run("hub", "audit", "verify")
    assert run("hub", "audit", "verify", "--head", verified.out.strip()).code == 0
    assert run("hub", "audit", "verify", "--head", f"{len(actions) + 1}:{'0' * 64}").code == 12
    assert run("hub", "audit", "verify", "--head", "nonsense").code == 2


def test_no_command_changes_tables_of_a_newer_version(tmp_path: Path) -> None:
    state = StateDir(tmp_path / "state")
    with open_database(state) as database:
        database.migrate()
        with database.transaction() as connection:
            connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    before = state.hub.read_bytes()
    for words in (("init",), ("serve",), ("prune", "--older-than", "1d")):
        ran = runner(state.path)("hub", *words)
        assert (ran.code, ran.out) == (2, ""), words
    assert state.hub.read_bytes() == before


def test_sqlite_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    run = runner(tmp_path / "state")
    assert run("hub", "init").code == 0
    assert StateDir(tmp_path / "state").hub.stat().st_mode & 0o777 == 0o600


def test_a_link_in_place_of_the_database_is_not_followed(tmp_path: Path) -> None:
    state = StateDir(tmp_path / "state")
    state.make()
    state.hub.symlink_to(tmp_path / "other")
    assert runner(state.path)("hub", "init").code == 12
    assert not (tmp_path / "other").exists()


def test_a_file_that_is_no_database_is_kept(tmp_path: Path) -> None:
    state = StateDir(tmp_path / "state")
    state.make()
    state.hub.write_bytes(content := b"something else" * 1000)
    for words in (("init",), ("org", "list")):
        assert runner(state.path)("hub", *words).code == 12
    assert state.hub.read_bytes() == content


def test_options_of_a_node_that_contradict_each_other(tmp_path: Path) -> None:
    with open_database(StateDir(tmp_path / "state")) as database:
        database.migrate()
    run = runner(tmp_path / "state")
    assert run("hub", "serve", "--tls-cert", tmp_path / "cert").code == 2
    assert run("hub", "serve", "--allow-network", "192.0.2.0/24").code == 2
    assert run("hub", "serve", "--allow-network", "192.0.2.1/24").code == 2
    assert run("hub", "serve").code == 10
