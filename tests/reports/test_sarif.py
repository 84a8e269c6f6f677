"""Tests of reports.sarif."""

from __future__ import annotations

import io
import json
import re
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashscan.model import CATEGORIES
from hashscan.reports.records import line_of
from hashscan.reports.report import Report
from hashscan.reports.sarif import Sarif, rule_of, uri_of
from tests.reports.checkers import node_module
from tests.reports.documents import HOSTILE, SCAN, finding, summary, unreadable, written
from tests.shortcomings import shortcoming

STANDING = {"type": "standing", "schema": 1, "path": "/srv/s", "was": "match", "because": "b", "first": "x",
            "last": "2026-11-02"}  # fmt: skip


def document(path: Path) -> bytes:
    stream = io.BytesIO()
    Sarif().write(Report(path), stream)
    return stream.getvalue()


def run_of(path: Path) -> dict[str, Any]:
    log = json.loads(document(path))
    assert log["version"] == "2.1.0"
    (run,) = log["runs"]
    assert isinstance(run, dict)
    return run


def everything(path: Path) -> Path:
    folder = {"type": "folder", "schema": 1, "path": "/srv/closed", "reason": "permission denied"}
    changed = {"type": "silent-change", "schema": 1, "path": "/srv/changed"}
    records = [*map(finding, HOSTILE), *map(unreadable, HOSTILE), finding(b"/h", "held"),
               finding(b"/r", "review"), STANDING]  # fmt: skip
    lines = [
        SCAN,
        *records,
        folder,
        changed,
        summary(records, exit_code=4, incomplete=[shortcoming("1 folders")]),
    ]
    path.write_bytes(b"".join(map(line_of, lines)))
    return path


def test_a_result_for_each_finding(tmp_path: Path) -> None:
    run = run_of(written(tmp_path / "r.jsonl", [finding(b"/srv/\xff?#.jpg", customer="ada")]))
    (result,) = run["results"]
    (location,) = result["locations"]
    uri = location["physicalLocation"]["artifactLocation"]["uri"]
    assert unquote_to_bytes(uri.removeprefix("file://")) == b"/srv/\xff?#.jpg"
    assert result["ruleId"] == "known-A1"
    assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == "known-A1"
    assert result["level"] == "error"
    assert result["message"]["text"] == "entry e-1 of national"
    assert result["properties"]["customer"] == "ada"
    assert result["properties"]["matches"][0]["entry"] == "e-1"
    assert "suppressions" not in result
    (invocation,) = run["invocations"]
    assert invocation["executionSuccessful"] is True
    assert invocation["exitCode"] == 1
    assert invocation["startTimeUtc"] == "2026-11-26T01:00:00.000Z"
    assert invocation["toolExecutionNotifications"] == []


def test_the_rules_are_always_the_same(tmp_path: Path) -> None:
    record = finding(b"/srv/a")
    record["matches"] = [{**record["matches"][0], "category": "made up"}]
    run = run_of(written(tmp_path / "r.jsonl", [record]))
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == [f"known-{c}" for c in CATEGORIES]
    assert run["results"][0]["ruleId"] == rule_of("other") == "known-other"


def test_a_finding_is_recognised_again(tmp_path: Path) -> None:
    def prints(*records: dict[str, Any]) -> list[str]:
        run = run_of(written(tmp_path / "r.jsonl", records))
        return [result["partialFingerprints"]["primaryLocationLineHash"] for result in run["results"]]

    first = finding(b"/srv/a")
    other = {**first, "matches": [{**first["matches"][0], "entry": "e-2"}]}
    before = prints(first, finding(b"/srv/b"), finding(b"/srv/a", version="2"), other)
    assert len(set(before)) == 4
    assert prints({**first, "mtime_ns": 5, "because": "in other words", "uid": 7}) == before[:1]


def test_what_was_not_checked_is_a_notification(tmp_path: Path) -> None:
    run = run_of(everything(tmp_path / "r.jsonl"))
    (invocation,) = run["invocations"]
    assert invocation["executionSuccessful"] is False
    notices = invocation["toolExecutionNotifications"]
    kinds = [notice["descriptor"]["id"] for notice in notices]
    assert kinds == ["incomplete", *["unreadable"] * len(HOSTILE), "folder", "silent-change"]
    known = run["tool"]["driver"]["notifications"]
    assert all(known[n["descriptor"]["index"]]["id"] == n["descriptor"]["id"] for n in notices)
    assert notices[1]["message"]["text"] == "permission denied: Permission denied"


def test_a_killed_scan_was_no_success(tmp_path: Path) -> None:
    (invocation,) = run_of(written(tmp_path / "r.jsonl", [finding(b"/a")], whole=False))["invocations"]
    assert invocation["executionSuccessful"] is False
    assert "exitCode" not in invocation
    (notice,) = invocation["toolExecutionNotifications"]
    assert "killed" in notice["message"]["text"]


def test_what_is_held_is_suppressed_only_where_a_person_said_so(tmp_path: Path) -> None:
    match = {**finding(b"/a")["matches"][0], "excepted": {"reason": "ours", "until": "2027"}}
    run = run_of(written(tmp_path / "r.jsonl", [
        finding(b"/a", "held", matches=[match]), finding(b"/b", "held"), finding(b"/c", "review"), STANDING,
    ]))  # fmt: skip
    states = [
        [suppression["status"] for suppression in result.get("suppressions", ())] for result in run["results"]
    ]
    assert states == [["accepted"], ["underReview"], [], []]
    assert [result["level"] for result in run["results"]] == ["warning", "warning", "note", "error"]
    assert "2026-11-02" in run["results"][3]["message"]["text"]


@given(st.binary(max_size=20), st.text(max_size=20))
def test_words_are_neither_links_nor_places_to_fill_in(
    tmp_path_factory: pytest.TempPathFactory, path: bytes, label: str
) -> None:
    text = f"[{label}](https://x.example) {{0}}"
    record = finding(b"/" + path, because=text, customer=label)
    report = written(tmp_path_factory.mktemp("sarif") / "r.jsonl", [record])
    made = document(report)
    assert made.isascii()
    (result,) = json.loads(made)["runs"][0]["results"]
    message = result["message"]["text"]
    assert message.startswith(r"\[")
    assert message.endswith(r"\](https://x.example) {{0}}")
    assert result["properties"].get("customer") == label


def test_the_schema_takes_it(tmp_path: Path) -> None:
    schema = node_module("@microsoft/sarif-multitool-linux/sarif-2.1.0.json")
    validator = jsonschema.Draft202012Validator(json.loads(schema.read_text(encoding="utf-8-sig")))
    for path in (
        everything(tmp_path / "r.jsonl"),
        written(tmp_path / "k.jsonl", [finding(b"/a")], whole=False),
        written(tmp_path / "n.jsonl", []),
    ):
        assert not list(validator.iter_errors(json.loads(document(path))))


@pytest.mark.slow
@pytest.mark.integration
def test_their_own_tool_finds_nothing_wrong_for_code_scanning(tmp_path: Path) -> None:
    tool = node_module("@microsoft/sarif-multitool-linux/Sarif.Multitool")
    log, found = tmp_path / "out.sarif", tmp_path / "found.sarif"
    log.write_bytes(document(everything(tmp_path / "r.jsonl")))
    done = subprocess.run(
        [tool, "validate", log, "--rule-kind", "Sarif;Gh", "--output", found, "--log", "ForceOverwrite"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads(found.read_text(encoding="utf-8-sig"))["runs"][0].get("results", [])
    # We have no page to name, so it misses one.
    assert [
        result for result in results
        if result.get("level", "warning") in {"error", "warning"}
        and result["message"].get("id") != "Warning_ProvideToolnformationUri"
    ] == []  # fmt: skip


# RFC 3986, a URI or a relative reference without query and fragment, or with a query.
PCHAR = r"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@]|%[0-9A-F]{2})"
VALID = re.compile(rf"(?:[a-z][a-z0-9]*:)?(?:{PCHAR}|/)*(?:\?(?:{PCHAR}|[/?])*)?")


@given(st.binary().map(lambda name: b"/" + name) | st.sampled_from(HOSTILE))
def test_a_path_comes_back_byte_for_byte(path: bytes) -> None:
    uri = uri_of(path)
    assert VALID.fullmatch(uri)
    if path.startswith(b"/"):
        assert uri.startswith("file:///")
        uri = uri.removeprefix("file://")
    assert unquote_to_bytes(uri) == path


@given(st.sampled_from((b"s3", b"gs", b"az")), st.binary())
def test_a_key_comes_back_byte_for_byte(scheme: bytes, key: bytes) -> None:
    uri = uri_of(scheme + b"://uploads/" + key)
    assert VALID.fullmatch(uri)
    split = urlsplit(uri)
    assert (split.scheme, split.netloc, split.query, split.fragment) == (scheme.decode(), "uploads", "", "")
    assert unquote_to_bytes(split.path) == b"/" + key


@pytest.mark.parametrize(
    ("address", "uri"),
    [
        (b"https://host.example/a%20b.jpg?x=1", "https://host.example/a%20b.jpg?x=1"),
        (b"https://[2001:db8::1]:8443/a.jpg", "https://[2001:db8::1]:8443/a.jpg"),
        (b"https://host.example/100%.jpg", "https://host.example/100%25.jpg"),
        ("https://host.example/a.jpg?…1f2e".encode(), "https://host.example/a.jpg?%E2%80%A61f2e"),
        (b"https://host.example/<b>\x1b", "https://host.example/%3Cb%3E%1B"),
    ],
)
def test_a_web_address_is_escaped_already(address: bytes, uri: str) -> None:
    assert uri_of(address) == uri


@given(st.binary())
def test_whatever_a_path_is_the_uri_is_ascii(path: bytes) -> None:
    assert uri_of(path).isascii()
    assert uri_of(path).isprintable()
