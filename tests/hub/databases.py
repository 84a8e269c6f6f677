"""A PostgreSQL server of the tests' own, and databases with a hub's tables."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from hashscan.hub.storage.database import open_database
from hashscan.state_dir import StateDir

TEMPLATE = "hub_template"
_SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",  # what is committed outlives the server, not the machine
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "max_connections": "60",
    "autovacuum": "off",
}


def programs() -> Path | None:
    """The folder of the newest PostgreSQL server that is installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


class PostgresServer:
    """A server on a Unix socket, which runs as another user if we are root, as it refuses root."""

    def __init__(self, folder: Path) -> None:
        bin_folder = programs()
        assert bin_folder is not None
        self._bin = bin_folder
        self.folder = folder
        self._numbers = 0
        self._user: int | None = None
        if os.geteuid() == 0:
            names = {each.pw_name: each for each in pwd.getpwall()}
            other = names.get("postgres") or names["nobody"]
            self._user = other.pw_uid
            os.chown(folder, other.pw_uid, other.pw_gid)
        self._run(
            "initdb", "--auth=trust", "--username=postgres", "--no-sync", "--encoding=UTF8", "--locale=C"
        )
        self.start()

    def start(self) -> None:
        settings = {**_SETTINGS, "unix_socket_directories": str(self.folder)}
        options = " ".join(f"-c {name}='{value}'" for name, value in settings.items())
        self._run("pg_ctl", "-w", "-l", str(self.folder / "log"), "-o", options, "start")

    def stop(self, *, kill: bool = False) -> None:
        """End it with all connections; `kill` leaves it no time to write anything."""
        if kill:
            self._quit()
        self._run("pg_ctl", "-w", "-m", "immediate", "stop", check=not kill)

    def end(self) -> None:
        """End it for good; no process is started, since the last test of a session may be a unit test."""
        self._quit()
        deadline = time.monotonic() + 60
        while (self.folder / "data/postmaster.pid").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def _quit(self) -> None:
        os.kill(int((self.folder / "data/postmaster.pid").read_text().split()[0]), signal.SIGQUIT)

    def address(self, name: str) -> str:
        """The address of a database, as `--database` takes it."""
        return f"postgresql://postgres@/{name}?host={self.folder}"

    def execute(self, statement: str, database: str = "postgres") -> None:
        with psycopg.connect(self.address(database), autocommit=True) as connection:
            connection.execute(statement.encode())

    def create(self, template: str = "template0") -> str:
        """Make a database, and return its name."""
        self._numbers += 1
        name = f"hub_{self._numbers}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def _run(self, program: str, *arguments: str, check: bool = True) -> None:
        done = subprocess.run(
            [self._bin / program, "-D", self.folder / "data", *arguments],
            user=self._user, cwd="/", check=False, text=True, timeout=120,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            extra_groups=None if self._user is None else [],
        )  # fmt: skip
        assert done.returncode == 0 or not check, done.stderr


@contextmanager
def postgres() -> Iterator[PostgresServer]:
    """A server with `TEMPLATE`, a database that has a hub's tables."""
    if programs() is None:
        pytest.skip("PostgreSQL's server is not installed")
    # A socket's path is short.
    folder = Path(tempfile.mkdtemp(prefix="hub-", dir="/tmp"))
    try:
        server = PostgresServer(folder)
        try:
            server.execute(f"CREATE DATABASE {TEMPLATE} TEMPLATE template0")
            with open_database(StateDir(folder / "unused"), server.address(TEMPLATE)) as database:
                database.migrate()
            yield server
        finally:
            server.end()
    finally:
        shutil.rmtree(folder)
