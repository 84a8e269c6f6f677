"""`report push` is killed whenever it sends something: the next sends the rest, and nothing counts twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import delete, func, select

from hashscan.hub.storage.database import Database
from hashscan.hub.storage.tables import CASES, EVENTS, SCANS, SERVERS
from hashscan.model import Entry
from hashscan.state_dir import StateDir
from tests.dying_calls import DyingCommands, dying_commands
from tests.hub.intake.reports import finding, lines, long_matches, report
from tests.hub.serving import Node, new_key, node
from tests.service.engine.serving import store_list

pytestmark = pytest.mark.slow

_FINDINGS = 300
"""With long records, so that there are several parts."""
_DEATHS = 4
"""Least number of calls at which it is killed."""


@pytest.fixture(scope="module")
def dying(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DyingCommands]:
    with dying_commands(tmp_path_factory.mktemp("dying")) as made:
        yield made


@pytest.fixture
def site(database: Database, hub_state: StateDir) -> Iterator[Node]:
    store_list(hub_state.path, Entry("e0", "md5", bytes(16), "A1"))
    with node(database, hub_state) as running:
        yield running


def received(database: Database) -> tuple[int, bool]:
    """Return how many records were received, and if those are all, after comparing them with the cases."""
    with database.reading() as connection:
        row = connection.execute(select(SCANS.c.records, SCANS.c.complete)).first()
        records, complete = (0, False) if row is None else row
        for table in (CASES, EVENTS):
            number = connection.execute(select(func.count()).select_from(table)).scalar_one()
            assert number == max(records - 1 - complete, 0)
    return records, complete


def test_nothing_counts_twice(dying: DyingCommands, site: Node, tmp_path: Path) -> None:
    key_file, path = tmp_path / "hub.key", tmp_path / "report.jsonl"
    key_file.write_text(new_key(site.database, "alpha", "report"))
    key_file.chmod(0o600)
    _, records = report(*(finding(f"/srv/{n}", matches=long_matches()) for n in range(_FINDINGS)))
    path.write_bytes(lines(records))
    words = ["report", "push", path, "--send-names", "--hub", site.url, "--key-file", key_file]
    state = tmp_path / "state"
    found = set()
    deaths = 0
    for number in dying.deaths(state, words, _DEATHS, "socket:"):
        deaths += number > 0
        found.add(received(site.database))
        again = dying.run(state, words)
        assert again.code == 0, again.err
        assert received(site.database) == (len(records), True)
        with site.database.transaction() as connection:
            connection.execute(delete(SERVERS))
    assert deaths >= _DEATHS
    assert len(found) > 2
