from __future__ import annotations

import base64
import csv
import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashscan.reports.csv import COLUMNS, Csv
from hashscan.reports.records import line_of
from hashscan.reports.report import Report
from tests.reports.documents import HOSTILE, SCAN, finding, summary, unreadable, written
from tests.shortcomings import shortcoming

FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\N{FULLWIDTH EQUALS SIGN}", "\N{FULLWIDTH COMMERCIAL AT}")


def rows(path: Path) -> list[dict[str, str]]:
    stream = io.BytesIO()
    Csv().write(Report(path), stream)
    text = stream.getvalue().decode("utf-8")
    assert text.endswith("\r\n")
    return list(csv.DictReader(io.StringIO(text, newline="")))


def name_of(row: dict[str, str]) -> bytes:
    """As the documentation says it is to be had."""
    return base64.b64decode(row["path_b64"]) if row["path_b64"] else row["path"].encode()


def test_every_column_is_filled_from_the_record(tmp_path: Path) -> None:
    record = finding(
        b"/srv/a.jpg", customer="ada", quarantine={"outcome": "done"}, detail="d", reason="broken picture",
        digests={"md5": "00", "sha1": "11", "sha256": "22" * 32, "pdq": "33"}, version="v1",
        picture={"format": "JPEG", "width": 4, "height": 3},
    )  # fmt: skip
    standing = {"type": "standing", "schema": 1, "path": "/srv/b", "was": "review", "because": "b",
                "first": "2026-11-01", "last": "2026-11-02"}  # fmt: skip
    first, second = rows(written(tmp_path / "r.jsonl", [record, standing]))
    assert first == {
        "record": "finding", "verdict": "match", "customer": "ada", "path": "/srv/a.jpg",
        "because": "entry e-1 of national", "action": "report", "quarantine": "done", "accepted": "",
        "category": "A1", "list": "national", "entry": "e-1", "algorithm": "sha256", "variant": "as stored",
        "member": "",
        "distance": "0",
        "threshold": "0", "matches": "1", "size": "1234", "modified": "2026-09-21T14:13:20Z",
        "changed": "2026-09-21T14:13:20Z", "uid": "1000", "links": "1", "version": "v1",
        "picture": "JPEG 4x3", "reason": "broken picture", "detail": "d", "first": "", "last": "",
        "md5": "00", "sha1": "11", "sha256": "22" * 32, "pdq": "33", "host": "web1", "scan": SCAN["uuid"],
        "path_b64": "",
    }  # fmt: skip
    assert (second["record"], second["verdict"]) == ("standing", "review")
    assert (second["first"], second["last"]) == ("2026-11-01", "2026-11-02")
    assert list(first) == list(COLUMNS)


def test_the_match_reported_is_one_that_accuses(tmp_path: Path) -> None:
    good = {"list": "ours", "entry": "g", "algorithm": "sha256", "variant": "as stored", "distance": 0,
            "threshold": 0, "category": "known-good"}  # fmt: skip
    record = finding(b"/srv/a", "held")
    record["matches"] = [good, *record["matches"]]
    (row,) = rows(written(tmp_path / "r.jsonl", [record]))
    assert (row["category"], row["entry"], row["matches"]) == ("A1", "e-1", "2")


def test_a_table_that_is_not_whole_says_why(tmp_path: Path) -> None:
    *_, last = rows(written(tmp_path / "k.jsonl", [finding(b"/srv/a")], whole=False))
    assert last["record"] == "incomplete"
    assert "killed" in last["detail"]
    path = tmp_path / "r.jsonl"
    ending = summary(
        [],
        incomplete=[
            shortcoming("2 folders not entered", "folders"),
            shortcoming("list l is stale", "list", "l"),
        ],
        exit_code=3,
    )
    path.write_bytes(line_of(SCAN) + line_of(ending))
    assert [row["detail"] for row in rows(path)] == ["2 folders not entered", "list l is stale"]


def test_hostile_names_come_back_whole(tmp_path: Path) -> None:
    reported = rows(written(tmp_path / "r.jsonl", [*map(finding, HOSTILE), *map(unreadable, HOSTILE)]))
    assert list(map(name_of, reported)) == [*HOSTILE, *HOSTILE]


def anything(prefix: str = "") -> st.SearchStrategy[str]:
    return st.text(max_size=8).map(lambda text: prefix + text)


@given(
    st.binary(max_size=12)
    | st.sampled_from([*FORMULAS, "'=", ";=1", "|+1"]).flatmap(anything).map(str.encode),
    st.sampled_from([*FORMULAS, "a;=", ""]).flatmap(anything),
)
def test_no_cell_begins_a_formula(tmp_path_factory: pytest.TempPathFactory, path: bytes, text: str) -> None:
    fields: dict[str, Any] = dict.fromkeys(("customer", "because", "detail", "reason", "version"), text)
    report = written(tmp_path_factory.mktemp("csv") / "r.jsonl", [finding(path, **fields)])
    (row,) = rows(report)
    assert name_of(row) == path
    for value in row.values():
        assert value.isprintable()
        assert not value.startswith(FORMULAS)
        for splitting in ";|":
            for cell in value.split(splitting)[1:]:
                assert not cell.strip("\"' ").startswith(FORMULAS)
