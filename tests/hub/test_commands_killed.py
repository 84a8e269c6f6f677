"""Commands of a hub that are killed at any call: all or nothing is done, and the next succeeds."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import inspect, select

from hashscan.hub.accounts.audit import read_audit
from hashscan.hub.storage.database import Database, open_database
from hashscan.hub.storage.tables import AUDIT, METADATA
from hashscan.state_dir import StateDir
from tests.dying_calls import DyingCommands, dying_commands
from tests.hub.accounts.test_privacy import filled
from tests.hub.databases import PostgresServer
from tests.prefork import HUB, HUB_COMMANDS

pytestmark = pytest.mark.slow

Dump = dict[str, list[Any]]
_DEATHS = 6
"""Least number of calls at which each command is killed."""


@pytest.fixture(scope="module")
def dying(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DyingCommands]:
    with dying_commands(tmp_path_factory.mktemp("dying"), [HUB, HUB_COMMANDS]) as made:
        yield made


class Databases:
    """A database that is made again as it was at first, as often as wanted."""

    def __init__(self, server: PostgresServer | None, folder: Path) -> None:
        self._server, self._first = server, StateDir(folder / "first")
        self.state = StateDir(folder / "hub")
        self._template = "" if server is None else server.create()
        self._name = f"{self._template}_copy"

    def fill(self, make: Callable[[Database], object]) -> None:
        """Make what is copied."""
        address = "" if self._server is None else self._server.address(self._template)
        with open_database(self._first, address) as database:
            make(database)

    def renew(self) -> None:
        """Put a fresh copy in the place of the database."""
        if self._server is not None:
            self._server.execute(f"DROP DATABASE IF EXISTS {self._name} WITH (FORCE)")
            self._server.execute(f"CREATE DATABASE {self._name} TEMPLATE {self._template}")
            return
        shutil.rmtree(self.state.path, ignore_errors=True)
        if self._first.hub.exists():
            shutil.copytree(self._first.path, self.state.path)

    @property
    def _address(self) -> str:
        return "" if self._server is None else self._server.address(self._name)

    def words(self, *arguments: str) -> list[str]:
        """Return the words of a command that uses it."""
        return ["hub", *arguments, "--database", self._address]

    def open(self) -> Database:
        return open_database(self.state, self._address)

    def dump(self) -> Dump:
        """All rows by table, but the log's."""
        with self.open() as database, database.reading() as connection:
            return {
                table.name: [tuple(row) for row in connection.execute(select(table))]
                for table in METADATA.sorted_tables
                if table is not AUDIT
            }

    def actions(self) -> Counter[str]:
        """Number of the lines in the log by action, after checking its chain."""
        with self.open() as database:
            return Counter(line["action"] for line, _ in read_audit(database))

    def tables(self) -> set[str]:
        """Names of the tables."""
        with self.open() as database:
            return set(inspect(database.engine).get_table_names())


@pytest.fixture(params=["sqlite", "postgresql"])
def databases(request: pytest.FixtureRequest, tmp_path: Path) -> Databases:
    is_sqlite = request.param == "sqlite"
    return Databases(None if is_sqlite else request.getfixturevalue("postgres_server"), tmp_path)


def require_no_leftovers(databases: Databases) -> None:
    """Nothing but SQLite's own files is there, which only the owner can read."""
    name = databases.state.hub.name
    for path in databases.state.path.glob("*"):
        assert path.name in {name, f"{name}-wal", f"{name}-shm"}
        assert path.stat().st_mode & 0o077 == 0


def test_init(dying: DyingCommands, databases: Databases) -> None:
    """Tables are made by the next one, and the log says so once."""
    databases.renew()
    deaths = 0
    for number in dying.deaths(databases.state.path, databases.words("init"), _DEATHS):
        deaths += number > 0
        assert databases.tables() in (set(), {*METADATA.tables, "alembic_version"})
        again = dying.run(databases.state.path, databases.words("init"))
        assert again.code == 0, again.err
        with databases.open() as database:
            database.require_schema()
        assert databases.actions() == {"hub.init": 1}
        require_no_leftovers(databases)
        databases.renew()
    assert deaths >= _DEATHS


@pytest.mark.parametrize(
    ("words", "action", "code"),
    [
        (("prune", "--older-than", "730d"), "hub.prune", 0),
        (("org", "delete", "alpha", "--yes"), "organisation.delete", 2),
        (("export", "alpha"), "", 0),
    ],
)
def test_others(
    dying: DyingCommands, databases: Databases, words: tuple[str, ...], action: str, code: int
) -> None:
    """Each is done with its line in the log, or not at all.

    Args:
        code: the exit code of a command that has nothing left to do.
    """
    databases.fill(lambda database: (database.migrate(), filled(database)))
    databases.renew()
    old, log = databases.dump(), databases.actions()
    new: Dump = {}
    deaths = 0
    for number in dying.deaths(databases.state.path, databases.words(*words), _DEATHS):
        deaths += number > 0
        found = databases.dump()
        new = new or found
        assert found in (old, new)
        is_done = bool(action) and found == new
        assert databases.actions() == log + Counter({action: 1} if is_done else {})
        again = dying.run(databases.state.path, databases.words(*words))
        assert again.code == (code if is_done else 0), again.err
        assert databases.dump() == new
        require_no_leftovers(databases)
        if action:
            databases.renew()
    assert (old == new) is not bool(action)
    assert deaths >= _DEATHS
