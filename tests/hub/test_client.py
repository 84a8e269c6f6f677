"""Another hashscan asks a hub: from the letter with a key to the first scan."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from hashscan.hub.checks.counting import count_check
from hashscan.hub.storage.database import Database, DatabaseAwayError
from hashscan.hub.storage.tables import CHECKS, REQUESTS
from hashscan.hub.web import check_routes, requests
from hashscan.state_dir import StateDir
from tests.cli.conftest import runner
from tests.hub.serving import new_key, node
from tests.service.engine.serving import entry_of, store_list


def test_a_scan_asks_the_hub_and_is_counted_once(
    database: Database, hub_state: StateDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if the first answer is lost after it was counted."""
    store_list(hub_state.path, entry_of(b"listed"))
    files = tmp_path / "files"
    files.mkdir()
    for name in ("listed", "other"):
        (files / name).write_bytes(name.encode())
    key = tmp_path / "letter.key"
    key.write_text(new_key(database, "alpha", "check"))
    key.chmod(0o600)
    lost = 0

    def count_and_lose(*arguments: Any) -> None:
        nonlocal lost
        count_check(*arguments)
        lost += 1
        if lost == 1:
            raise DatabaseAwayError("the connection was lost")

    monkeypatch.setattr(check_routes, "count_check", count_and_lose)
    monkeypatch.setattr(requests, "DATABASE_SECONDS", 1)
    client = runner(tmp_path / "client")
    with node(database, hub_state) as hub:
        added = client(
            "lists", "add", "national", "--service", hub.url, "--key-file", key, "--accept-answers"
        )
        assert added.code == 0, added.err
        scanned = client("scan", files, "--report", tmp_path / "report.jsonl")
        assert scanned.code == 1, scanned.err
    records = [json.loads(line) for line in (tmp_path / "report.jsonl").read_text().splitlines()]
    found = [Path(record["path"]).name for record in records if record.get("verdict") == "match"]
    assert found == ["listed"]
    with database.reading() as connection:
        (counted,) = connection.execute(select(CHECKS.c.requests, CHECKS.c.exact, CHECKS.c.detected)).all()
        asked = connection.execute(select(REQUESTS)).all()
    assert (lost, len(asked), counted.requests, counted.detected) == (2, 1, 1, 1)
    assert counted.exact >= 2
