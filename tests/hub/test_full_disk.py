"""A hub whose database's disk is full: it answers that it can't now, counts nothing, and then goes on."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from sqlalchemy import func, select

from hashscan.hub.storage.database import Database, open_database
from hashscan.hub.storage.tables import CASES, CHECKS, REQUESTS, SCANS
from hashscan.hub_api import RECORDS_MAX
from hashscan.model import Entry
from hashscan.state_dir import StateDir
from tests.hub.databases import TEMPLATE, PostgresServer
from tests.hub.intake.reports import SCOPE, finding, lines, report
from tests.hub.serving import Node, new_key, node
from tests.hub.web.test_check_routes import DIGESTS, asked, counted
from tests.service.engine.serving import store_list

_FREE = 64 << 10
"""Bytes that are free when a part of a report comes: it needs more."""


class Disk:
    """A small file system."""

    def __init__(self, folder: Path, size: str) -> None:
        self.folder = folder
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "none", folder]
        if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("no file system can be mounted here")

    @property
    def _filler(self) -> Path:
        return self.folder / "filler"

    def fill(self, free: int = 0) -> None:
        """Leave only so many bytes free."""
        self.empty()
        with self._filler.open("wb", buffering=0) as stream:
            # The server may take some of it meanwhile, for a checkpoint.
            while (size := shutil.disk_usage(self.folder).free - free) > 0:
                with suppress(OSError):
                    os.posix_fallocate(stream.fileno(), os.fstat(stream.fileno()).st_size, size)
        assert shutil.disk_usage(self.folder).free <= free

    def empty(self) -> None:
        """Make all of it free again."""
        self._filler.unlink(missing_ok=True)

    def unmount(self) -> None:
        """Remove it."""
        subprocess.run(["umount", self.folder], check=True)
        self.folder.rmdir()


@pytest.fixture(params=["sqlite", "postgresql"])
def hub(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Disk, Database]]:
    """A database on a small file system, of each kind."""
    with ExitStack() as stack:
        if request.param == "sqlite":
            disk = Disk(tmp_path / "disk", "4m")
            stack.callback(disk.unmount)
            database = stack.enter_context(open_database(StateDir(disk.folder)))
            database.migrate()
        else:
            server: PostgresServer = request.getfixturevalue("postgres_server")
            disk = Disk(server.folder / "disk", "48m")
            stack.callback(disk.unmount)
            place = disk.folder / "tables"
            place.mkdir()
            owner = server.folder.stat()
            for folder in (disk.folder, place):
                os.chown(folder, owner.st_uid, owner.st_gid)
            server.execute(f"CREATE TABLESPACE small LOCATION '{place}'")
            stack.callback(server.execute, "DROP TABLESPACE small")
            name = server.create(f"{TEMPLATE} TABLESPACE small")
            stack.callback(server.execute, f"DROP DATABASE {name}")
            database = stack.enter_context(open_database(StateDir(tmp_path), server.address(name)))
        yield disk, database


@pytest.fixture
def disk(hub: tuple[Disk, Database]) -> Disk:
    return hub[0]


@pytest.fixture
def site(hub: tuple[Disk, Database], hub_state: StateDir) -> Iterator[Node]:
    store_list(hub_state.path, *(Entry(f"e{n}", *digest, "A1") for n, digest in enumerate(DIGESTS[2:5])))
    with node(hub[1], hub_state) as running:
        yield running


def rows(site: Node) -> list[int]:
    """Number of rows in the tables that checks and reports fill."""
    with site.database.reading() as connection:
        return [
            connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in (REQUESTS, CHECKS, SCANS, CASES)
        ]


def test_a_check_is_counted_when_there_is_space_again(site: Node, disk: Disk) -> None:
    key = new_key(site.database)
    # A key's first use of the day is noted, too.
    assert site.ask("GET", "/v1/info", key=key).status == 200
    disk.fill()
    for _ in range(2):
        refused = site.ask("POST", "/v1/check", asked(*DIGESTS), key, Idempotency_Key="k")
        assert (refused.status, refused.code) == (503, "database_away")
        assert int(refused.headers["retry-after"]) > 0
        assert site.ask("GET", "/v1/info", key=key).status == 200
        assert rows(site) == [0, 0, 0, 0]
    disk.empty()
    for _ in range(2):
        assert site.ask("POST", "/v1/check", asked(*DIGESTS), key, Idempotency_Key="k").status == 200
        assert [row[0] for row in counted(site.database)] == [1]


def test_a_report_is_taken_in_when_there_is_space_again(site: Node, disk: Disk) -> None:
    key = new_key(site.database)
    name, records = report(*(finding(f"/srv/{n}") for n in range(RECORDS_MAX - 2)))
    address = f"/v1/reports/{name}"
    begin = json.dumps({"host": "web1", "scope": SCOPE}).encode()
    part = lines(records)
    disk.fill()
    refused = site.ask("POST", address, begin, key)
    assert (refused.status, refused.code) == (503, "database_away")
    assert rows(site) == [0, 0, 0, 0]
    disk.empty()
    assert site.ask("POST", address, begin, key).status == 200
    disk.fill(_FREE)
    refused = site.ask("POST", f"{address}/records?from=0", part, key)
    assert (refused.status, refused.code) == (503, "database_away")
    state = site.ask("GET", address, key=key).document
    assert (state["received"], state["complete"]) == (0, False)
    assert rows(site) == [0, 0, 1, 0]
    disk.empty()
    state = site.ask("POST", f"{address}/records?from=0", part, key).document
    assert (state["received"], state["complete"]) == (len(records), True)
    assert rows(site) == [0, 0, 1, len(records) - 2]
