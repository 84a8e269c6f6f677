"""Each test that asks for `database` runs on SQLite and on PostgreSQL."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import event

from hashscan.hub.storage.database import Database, open_database
from hashscan.state_dir import StateDir
from tests.hub.databases import TEMPLATE, PostgresServer, postgres

KINDS = ("sqlite", "postgresql")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One server for all tests that don't stop it."""
    with postgres() as server:
        yield server


@pytest.fixture(scope="session")
def sqlite_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with a hub's tables, to be copied."""
    state = StateDir(tmp_path_factory.mktemp("hub") / "state")
    with open_database(state) as database:
        database.migrate()
    assert state.hub.exists()
    return state.hub


@pytest.fixture
def hub_state(tmp_path: Path) -> StateDir:
    """The state folder of a hub, which is empty."""
    state = StateDir(tmp_path / "hub")
    state.make()
    return state


@pytest.fixture(params=KINDS)
def empty_address(request: pytest.FixtureRequest, hub_state: StateDir) -> str:
    """Return the address of a database without tables, of each kind, for `--database`."""
    if request.param == "sqlite":
        return ""
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return server.address(server.create())


@pytest.fixture(params=KINDS)
def address(request: pytest.FixtureRequest, hub_state: StateDir) -> str:
    """Return the address of a database with a hub's tables, of each kind, for `--database`."""
    if request.param == "sqlite":
        shutil.copyfile(request.getfixturevalue("sqlite_file"), hub_state.hub)
        hub_state.hub.chmod(0o600)
        return ""
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return server.address(server.create(TEMPLATE))


@pytest.fixture
def database(address: str, hub_state: StateDir) -> Iterator[Database]:
    """A database with a hub's tables, of each kind."""
    with open_database(hub_state, address) as opened:
        if opened.is_sqlite:
            # What is committed outlives the process, not the machine.
            event.listen(opened.engine, "connect", lambda made, _: made.execute("PRAGMA synchronous = OFF"))
        yield opened
