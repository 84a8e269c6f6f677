"""Another hashscan uses this server as its matching service."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from tests.cli.conftest import runner
from tests.service.doors.http.conftest import LISTED
from tests.service.doors.http.serving import DOOR, add_key, http_server
from tests.service.engine.serving import entry_of, picture, store_list


def test_a_scan_asks_this_server_about_digests(tmp_path: Path) -> None:
    store_list(tmp_path / "server", entry_of(LISTED))
    files = tmp_path / "files"
    files.mkdir()
    (files / "listed.jpg").write_bytes(LISTED)
    (files / "other.jpg").write_bytes(picture(2))
    client = runner(tmp_path / "client")
    key = tmp_path / "key"
    key.write_text(add_key(tmp_path / "keys", "check"))
    key.chmod(0o600)
    with (
        http_server(tmp_path / "server", workers=1) as server,
        server.door(replace(DOOR, show_entries=False), keys=tmp_path / "keys") as site,
    ):
        added = client("lists", "add", "far", "--service", site.url, "--key-file", key, "--accept-answers")
        assert added.code == 0, added.err
        report = tmp_path / "report.jsonl"
        scanned = client("scan", files, "--report", report)
        assert scanned.code == 1, scanned.err
        records = [json.loads(line) for line in report.read_text().splitlines()]
        (found,) = [record for record in records if record.get("verdict") == "match"]
        assert found["path"].endswith("listed.jpg")
        assert [(m["list"], m["entry"]) for m in found["matches"]] == [("far", "e0")]
        # A new version of the list on the server makes the client ask again about what it knows.
        store_list(tmp_path / "server", entry_of(picture(2), 7))
        assert server.call(server.engine.reload())
        again = client("scan", files, "--report", report)
        assert again.code == 1, again.err
        records = [json.loads(line) for line in report.read_text().splitlines()]
        assert {Path(r["path"]).name for r in records if r.get("verdict") == "match"} == {"other.jpg"}
        # A revoked key is refused.
        add_key(tmp_path / "keys", "check")
        refused = client("scan", files, "--report", report)
        assert refused.code in (3, 4), refused.err
