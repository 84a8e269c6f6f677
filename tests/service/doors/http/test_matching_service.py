"""Another hashscan uses this server as its matching service."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from hashscan.errors import UsageError
from hashscan.lists.publishing.filters import publish_filter_of
from hashscan.lists.services.settings import ServiceSettings
from hashscan.lists.store import ListStore
from hashscan.service.engine.engine import Engine
from hashscan.state_dir import StateDir
from tests.cli.conftest import runner
from tests.lists.builders import Filters, read_filter
from tests.service.doors.http.conftest import LISTED
from tests.service.doors.http.serving import DOOR, add_key, http_server
from tests.service.engine.serving import entry_of, picture, settings_of, store_list
from tests.web import serving


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


def test_a_scan_asks_this_server_only_about_what_its_filter_lets_through(tmp_path: Path) -> None:
    store_list(tmp_path / "server", entry_of(LISTED))
    files = tmp_path / "files"
    files.mkdir()
    contents = [LISTED, *(b"%d" % number for number in range(40))]
    for number, content in enumerate(contents):
        (files / f"{number}").write_bytes(content)
    client = runner(tmp_path / "client")
    key = tmp_path / "key"
    key.write_text(add_key(tmp_path / "keys", "check"))
    key.chmod(0o600)
    filters = Filters(tmp_path)
    state = StateDir(tmp_path / "server")
    made = publish_filter_of(filters.work, state, None)
    with (
        serving(filters.repository) as web,
        http_server(tmp_path / "server", workers=1) as server,
        server.door(replace(DOOR, show_entries=False), keys=tmp_path / "keys") as site,
    ):
        server.engine.settings = replace(server.engine.settings, filter=(web.url, filters.fingerprint))
        assert server.engine.filter == filters.address(web.url, made.version)
        added = client("lists", "add", "far", "--service", site.url, "--key-file", key, "--accept-answers")
        assert added.code == 0, added.err
        report = tmp_path / "report.jsonl"
        scanned = client("scan", files, "--report", report, "--show-requests")
        assert scanned.code == 1, scanned.err
        found = read_filter(filters.folder)[1]
        sent = re.findall(r'"algorithm":"(\w+)","value":"(\w+)"', scanned.err)
        assert ("sha256", hashlib.sha256(LISTED).hexdigest()) in sent
        assert all(name == "pdq" or found.lets_through(name, bytes.fromhex(value)) for name, value in sent)
        # The key is for the server, and not for those who keep its filter.
        assert {headers["Authorization"] for headers in web.headers} == {None}
        # The lists change before there is a filter of them.
        store_list(tmp_path / "server", entry_of(contents[3], 7))
        assert server.call(server.engine.reload())
        again = client("scan", files, "--report", report)
        records = [json.loads(line) for line in report.read_text().splitlines()]
        assert {Path(r["path"]).name for r in records if r.get("verdict") == "match"} == {"3"}
        assert "can't be used" in again.err
        publish_filter_of(filters.work, state, None)
        assert "can't be used" not in client("scan", files, "--report", report).err


def test_a_server_that_asks_others_has_no_filter(tmp_path: Path) -> None:
    store_list(tmp_path, entry_of(LISTED))
    key = tmp_path / "key"
    key.write_text("secret")
    key.chmod(0o600)
    far = ServiceSettings("https://service.example/", "hashscan", str(key))
    ListStore(StateDir(tmp_path).lists).add_service("far", far)
    engine = Engine(replace(settings_of(tmp_path), filter=("https://service.example/", "0" * 64)))
    with pytest.raises(UsageError):
        asyncio.run(engine.start())


@pytest.mark.parametrize(
    "options",
    [
        ["--filter", "https://files.example/"],
        ["--filter-root", "0" * 64],
        ["--filter", "file:///srv", "--filter-root", "0" * 64],
        ["--filter", "https://files.example/", "--filter-root", "0" * 63],
    ],
)
def test_half_a_filter_is_refused(tmp_path: Path, options: list[str]) -> None:
    refused = runner(tmp_path)("serve", "--http", "tcp:127.0.0.1:0", *options)
    assert refused.code == 2
    assert "--filter" in refused.err
