from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import pytest
import xmlschema
from defusedxml.ElementTree import fromstring
from hypothesis import given
from hypothesis import strategies as st

from hashscan.reports.junit import JUnit
from hashscan.reports.records import line_of
from hashscan.reports.report import Report
from hashscan.text import printable
from tests.reports.checkers import junit_schema
from tests.reports.documents import HOSTILE, SCAN, finding, summary, unreadable, written
from tests.shortcomings import shortcoming

STANDING = {"type": "standing", "schema": 1, "path": "/srv/s", "was": "held", "because": "b", "first": "x",
            "last": "2026-11-02"}  # fmt: skip


def other(verdict: str, path: str = "/srv/o") -> dict[str, Any]:
    return {"type": verdict, "schema": 1, "path": path, "verdict": verdict, "reason": "excluded"}


def document(path: Path) -> bytes:
    stream = io.BytesIO()
    JUnit().write(Report(path), stream)
    return stream.getvalue()


def suites(path: Path) -> dict[str, Element]:
    root = fromstring(document(path).decode("utf-8"))
    assert root.tag == "testsuites"
    found = {suite.get("name"): suite for suite in root}
    for suite in found.values():
        for attribute, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            assert suite.get(attribute) == str(len(suite.findall(f"testcase/{tag}")))
        assert suite.get("tests") == str(len(suite.findall("testcase")))
    for attribute in ("tests", "failures", "errors"):
        assert root.get(attribute) == str(sum(int(suite.get(attribute, "")) for suite in found.values()))
    return found


def test_a_suite_for_each_verdict_and_a_case_for_each_file(tmp_path: Path) -> None:
    records = [
        finding(b"/srv/a"), unreadable(b"/srv/b"), finding(b"/srv/c", "held"), finding(b"/srv/d", "review"),
        finding(b"/srv/h", "held", breaker="entry"),
        other("skipped"), other("undecoded"), STANDING, finding(b"/srv/e", customer="ada", version="v7"),
        {"type": "folder", "schema": 1, "path": "/srv/f", "reason": "permission denied"},
        {"type": "silent-change", "schema": 1, "path": "/srv/g"},
    ]  # fmt: skip
    found = suites(written(tmp_path / "r.jsonl", records))
    assert [name.removeprefix("hashscan.") for name in found] == [
        "scan", "match", "held", "review", "unreadable", "undecoded", "skipped", "standing",
        "silent-change", "folder",
    ]  # fmt: skip
    outcomes = {name: [case[0].tag for case in suite if len(case)] for name, suite in found.items()}
    assert outcomes == {
        "hashscan.scan": [], "hashscan.match": ["failure", "failure"],
        "hashscan.held": ["skipped", "failure"],
        "hashscan.review": ["skipped"], "hashscan.unreadable": ["error"], "hashscan.undecoded": ["skipped"],
        "hashscan.skipped": ["skipped"], "hashscan.standing": ["skipped"],
        "hashscan.silent-change": ["error"], "hashscan.folder": ["error"],
    }  # fmt: skip
    first, second = found["hashscan.match"]
    assert (first.get("name"), first.get("classname")) == ("/srv/a", "hashscan.match.A1")
    assert first[0].get("message") == first[0].text == "entry e-1 of national"
    assert (second.get("name"), second[0].get("type")) == ("/srv/e (version v7)", "A1")
    assert second[0].text == "entry e-1 of national; customer ada"


@pytest.mark.parametrize(
    ("fail_on", "strict", "outcomes"),
    [
        ("match", False, ["skipped", "skipped"]),
        ("review", True, ["failure", "error"]),
        ("never", False, ["failure", "skipped"]),
    ],
)
def test_what_fails_is_what_the_exit_code_speaks_of(
    fail_on: str, strict: bool, outcomes: list[str], tmp_path: Path
) -> None:
    scan = SCAN | {"fail_on": fail_on, "strict": strict}
    records = [finding(b"/srv/a", "review"), other("undecoded")]
    path = tmp_path / "r.jsonl"
    path.write_bytes(b"".join(map(line_of, [scan, *records, summary(records)])))
    found = suites(path)
    assert [found[f"hashscan.{verdict}"][0][0].tag for verdict in ("review", "undecoded")] == outcomes


def test_a_container_that_is_not_opened_is_no_error(tmp_path: Path) -> None:
    records = [other("undecoded") | {"reason": "container not opened"}]
    path = tmp_path / "r.jsonl"
    path.write_bytes(b"".join(map(line_of, [SCAN | {"strict": True}, *records, summary(records)])))
    assert suites(path)["hashscan.undecoded"][0][0].tag == "skipped"


def test_the_scan_itself_is_a_case(tmp_path: Path) -> None:
    whole = suites(written(tmp_path / "n.jsonl", []))
    assert list(whole) == ["hashscan.scan"]
    (case,) = whole["hashscan.scan"]
    assert len(case) == 0
    (killed,) = suites(written(tmp_path / "k.jsonl", [], whole=False))["hashscan.scan"]
    assert killed.get("name") == case.get("name")
    assert "killed" in (killed[0].text or "")
    path = tmp_path / "i.jsonl"
    path.write_bytes(
        line_of(SCAN)
        + line_of(summary([], incomplete=[shortcoming("a"), shortcoming("b", "folders")], exit_code=3))
    )
    (short,) = suites(path)["hashscan.scan"]
    assert short[0].get("message") == "a; b"


@given(st.binary(max_size=20) | st.sampled_from(HOSTILE), st.text(max_size=20))
def test_any_name_makes_a_document_that_can_be_read(
    tmp_path_factory: pytest.TempPathFactory, path: bytes, text: str
) -> None:
    record = finding(path, because=text, customer=text)
    (case,) = suites(written(tmp_path_factory.mktemp("junit") / "r.jsonl", [record]))["hashscan.match"]
    name = path.decode("utf-8", errors="surrogateescape")
    assert case.get("name") == printable(name)
    assert case[0].get("message", "").startswith(printable(text))
    _, exact, encoded = (case[0].text or "").rpartition("; its name in base64: ")
    assert bool(exact) is not name.isprintable()
    if exact:
        assert base64.b64decode(encoded) == path


def test_the_schema_of_jenkins_takes_it(tmp_path: Path) -> None:
    schema = xmlschema.XMLSchema(junit_schema())
    for path in (
        written(tmp_path / "r.jsonl", [*map(finding, HOSTILE), *map(unreadable, HOSTILE), STANDING]),
        written(tmp_path / "k.jsonl", [finding(b"/a")], whole=False),
        written(tmp_path / "n.jsonl", []),
    ):
        schema.validate(document(path).decode("utf-8"))
