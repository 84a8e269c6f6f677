"""The routes of reports, at a real node: keys, sizes, encodings, and what each mistake is answered."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from typing import Any

import pytest

from hashscan.hub.storage.database import Database
from hashscan.hub_api import RECORDS_BYTES_MAX
from hashscan.model import Entry
from hashscan.state_dir import StateDir
from tests.hub.intake.reports import SCOPE, finding, lines, report
from tests.hub.serving import Node, new_key, node
from tests.service.engine.serving import store_list

BEGIN = json.dumps({"host": "web1", "scope": SCOPE}).encode()
NAME, RECORDS = report(finding("/srv/<b>\u202e"))


@pytest.fixture
def site(database: Database, hub_state: StateDir) -> Iterator[Node]:
    store_list(hub_state.path, Entry("e0", "md5", bytes(16), "A1"))
    with node(database, hub_state) as running:
        yield running


def test_a_report_comes_in_once(site: Node) -> None:
    key, other = new_key(site.database), new_key(site.database, "beta")
    path = f"/v1/reports/{NAME}"
    assert site.ask("GET", path, key=key).code == "not_found"
    assert site.ask("POST", f"{path}/records?from=0", lines(RECORDS), key).code == "not_found"
    assert site.ask("POST", path, BEGIN, key).document == {"received": 0, "complete": False}
    part = gzip.compress(lines(RECORDS[:2]))
    for _ in range(2):
        answer = site.ask("POST", f"{path}/records?from=0", part, key, Content_Encoding="gzip")
        assert answer.document == {"received": 2, "complete": False}
    behind = site.ask("POST", f"{path}/records?from=3", lines(RECORDS[2:]), key)
    assert (behind.status, behind.code, behind.document["received"]) == (409, "conflict", 2)
    assert site.ask("GET", path, key=other).code == "not_found"
    done = {"received": 3, "complete": True}
    assert site.ask("POST", f"{path}/records?from=2", lines(RECORDS[2:]), key).document == done
    assert site.ask("POST", path, BEGIN, key).document == done
    assert site.ask("GET", path, key=key).document == done


BOMB = gzip.compress(bytes(RECORDS_BYTES_MAX + 1))
MISTAKES: list[tuple[str, bytes, dict[str, str], str]] = [
    ("records?from=0", b"{}\n", {}, "invalid_document"),
    ("records?from=0", b"x", {"Content_Encoding": "gzip"}, "invalid_request"),
    (
        "records?from=0",
        BOMB,
        {"Content_Encoding": "gzip"},
        "too_large",
    ),
    ("records?from=0", lines([{**RECORDS[0], "schema": 2}]), {}, "newer_schema"),
    ("records", lines(RECORDS), {}, "invalid_document"),
    ("records?from=-1", lines(RECORDS), {}, "invalid_document"),
    ("records?from=1_0", lines(RECORDS), {}, "invalid_document"),
    ("records?from=" + "9" * 30, lines(RECORDS), {}, "invalid_document"),
    ("records?from=0&from=0", lines(RECORDS), {}, "invalid_document"),
    ("", b"[]", {}, "invalid_document"),
    ("", b'{"host": ""}', {}, "invalid_document"),
    ("", b'{"host": "a\\u0000"}', {}, "invalid_document"),
    ("", b'{"host": "a", "scope": "x"}', {}, "invalid_document"),
]


def test_what_each_mistake_is_answered(site: Node) -> None:
    key = new_key(site.database)
    path = f"/v1/reports/{NAME}"
    site.ask("POST", path, BEGIN, key)
    for rest, body, headers, code in MISTAKES:
        answer = site.ask("POST", f"{path}/{rest}".rstrip("/"), body, key, **headers)
        assert (rest, answer.code) == (rest, code)
    for name in ("x", NAME.upper(), "..%2f..", NAME + "%00"):
        assert site.ask("GET", f"/v1/reports/{name}", key=key).code == "not_found"
    assert site.ask("GET", path, key=key).document["received"] == 0


def test_keys(site: Node) -> None:
    wrong: dict[str, Any] = {"": "key_missing", "x": "key_invalid"}
    wrong[new_key(site.database, "alpha", "check", "cases")] = "right_missing"
    for key, code in wrong.items():
        for method, path in (
            ("POST", f"/v1/reports/{NAME}"),
            ("POST", f"/v1/reports/{NAME}/records?from=0"),
            ("GET", f"/v1/reports/{NAME}"),
        ):
            assert site.ask(method, path, key=key).code == code
