"""The page for browsers, as bytes."""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hashscan.errors import UsageError
from hashscan.reports.page import rows as kept_rows
from hashscan.reports.page.html import Html
from hashscan.reports.records import line_of
from hashscan.reports.report import Report, ReportContext
from hashscan.text import path_fields
from tests.browser import faults
from tests.examples import examples
from tests.reports.documents import HOSTILE, SCAN, finding, summary, unreadable, written
from tests.shortcomings import shortcoming


def page(path: Path, context: ReportContext | None = None) -> str:
    stream = io.BytesIO()
    Html().write(Report(path) if context is None else Report(path, context), stream)
    return stream.getvalue().decode()


def page_of(folder: Path, records: Iterable[dict[str, Any]], **end: Any) -> str:
    """The page of a whole report whose summary says something else than usually."""
    path = folder / "r.jsonl"
    lines = list(records)
    path.write_bytes(b"".join(map(line_of, [SCAN, *lines, summary(lines, **end)])))
    return page(path)


def rows_of(text: str) -> list[list[Any]]:
    found = re.search('<script type="application/json" id="rows">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    rows: list[list[Any]] = json.loads(found[1])
    return rows


def main_of(text: str) -> str:
    return text[text.index("<main") : text.index("</main>")]


def visible_text(text: str) -> str:
    return " ".join(re.sub("<[^>]*>", " ", main_of(text)).split())


def test_names_come_back_whole(tmp_path: Path) -> None:
    text = page(written(tmp_path / "r.jsonl", [*map(finding, HOSTILE), *map(unreadable, HOSTILE)]))
    names = [os.fsencode(row[1]) for row in rows_of(text)]
    assert names == [*HOSTILE, *HOSTILE]


def test_no_markup_of_strangers_is_markup(tmp_path: Path) -> None:
    hostile = "</script><!--<script>alert(1)</script><img src=x onerror=alert(1)>"
    match = {"list": hostile, "entry": hostile, "algorithm": hostile, "category": hostile, "distance": 1,
             "threshold": 1}  # fmt: skip
    record = finding(
        hostile.encode(), customer=hostile, because=hostile, matches=[match, match], action=hostile
    )
    text = page_of(
        tmp_path, [record, {**unreadable(b"/b"), "reason": hostile}], incomplete=[shortcoming(hostile)]
    )
    assert "<img" not in text
    assert "<!--" not in text
    assert text.count("<script") == text.count("</script>") == 3


def test_a_finding_is_reported_in_full(tmp_path: Path) -> None:
    further = {
        "customer": "acme", "version": "v7", "etag": "e1", "links": 3, "action": "quarantine",
        "picture": {"format": "JPEG", "width": 4, "height": 3}, "digests": {"sha256": "ab" * 32},
        "quarantine": {"outcome": "done", "item": "7", "place": path_fields(b"/q/7")},
        "matches": [
            {"list": "national", "entry": "e-1", "algorithm": "pdq", "variant": "mirrored", "distance": 4,
             "threshold": 31, "category": "A2"},
            {"list": "ours", "entry": "e-2", "algorithm": "md5", "variant": "as stored", "distance": 0,
             "threshold": 0, "category": "B1", "excepted": {"reason": "a logo", "until": "2027-01-01"}},
        ],
    }  # fmt: skip
    context = ReportContext(url_of=lambda record: "https://acme.example/a.jpg")
    text = page(written(tmp_path / "r.jsonl", [finding(b"/srv/a.jpg", **further)]), context)
    ((kind, name, customer, category, list_name, entry, why, changed, uid, details),) = rows_of(text)
    assert (kind, name, customer, category) == ("match", "/srv/a.jpg", "acme", "A2")
    assert (list_name, entry, why) == ("national", "e-1", "pdq 4 of 31 bits, mirrored")
    assert (changed, uid) == (1_790_000_000, 1000)
    said = dict(details)
    assert said["Also"] == "md5 equal: entry e-2 (B1) of list ours; excepted until 2027-01-01: a logo"
    assert said["Quarantine"] == "moved to /q/7 as item 7"
    assert said["Picture"] == "JPEG, 4 by 3 pixels"
    assert said["Address"] == "https://acme.example/a.jpg"
    assert said["sha256"] == "ab" * 32
    assert said["Links"].startswith("has 3 names")
    assert said["Size"].endswith("(1\u202f234 bytes)")


def test_what_was_not_checked_is_reported_too(tmp_path: Path) -> None:
    records = [
        {"type": "folder", "schema": 1, **path_fields(b"/srv/closed"), "reason": "permission denied"},
        {"type": "standing", "schema": 1, **path_fields(b"/srv/old"), "was": "match", "because": "b",
         "first": "2026-01-01", "last": "2026-02-01"},
        {"type": "silent-change", "schema": 1, **path_fields(b"/srv/rot"), "size": 1, "mtime_ns": 1},
        unreadable(b"/srv/x"),
    ]  # fmt: skip
    text = page_of(tmp_path, records, incomplete=[shortcoming("1 folders not entered")])
    assert {row[0]: row[1] for row in rows_of(text)} == {
        "standing": "/srv/old", "silent-change": "/srv/rot", "folder": "/srv/closed", "unreadable": "/srv/x"
    }  # fmt: skip
    assert "folder: permission denied" in visible_text(text)
    assert "1 folders not entered" in visible_text(text)
    assert "Nothing new found; 1 finding of earlier scans still open" in text


@pytest.mark.parametrize(
    ("records", "end", "visible"),
    [
        ([], {}, "Nothing found"),
        (
            [],
            {"incomplete": [shortcoming("list a is stale", "list", "a")]},
            "Nothing found, but the scan is incomplete",
        ),
        ([finding(b"/a")], {}, "1 file matches what is on the lists"),
        (
            [finding(b"/a"), finding(b"/b")],
            {"incomplete": [shortcoming("x")]},
            "2 files match what is on the lists, and the scan is incomplete",
        ),
        ([finding(b"/a")], {"only_test_entries": True}, "1 file matches test entries<"),
        ([finding(b"/a", "held")], {}, "1 file would match and is held"),
        ([finding(b"/a", "review")], {}, "1 file for review"),
    ],
)
def test_the_headline_says_what_it_came_to(
    tmp_path: Path, records: list[dict[str, Any]], end: dict[str, Any], visible: str
) -> None:
    assert f"<h1>{visible}" in page_of(tmp_path, records, **end)


def test_what_must_be_done_next(tmp_path: Path) -> None:
    end = {
        "withdrawn": ["3"],
        "quarantine": {"moved": 1},
        "breaker": {"held": 1, "entries": 1, "first": [{"list": "national", "entry": "e-9", "files": 7}]},
    }
    visible = visible_text(page_of(tmp_path, [finding(b"/a"), finding(b"/b"), finding(b"/c", "held")], **end))
    assert "Act on 1 file ." in visible
    assert "Report 1 file moved into quarantine" in visible
    assert "Check why 1 file is held" in visible
    assert "Restore 1 file that no entry matches any more" in visible
    assert "e-9 of list national" in visible
    assert 'class="mark"' not in main_of(page_of(tmp_path, [finding(b"/a")] * 1200, bytes=1 << 30))
    assert "None until the next scan." in visible_text(page_of(tmp_path, []))


def test_a_killed_scan_is_said_to_be_one(tmp_path: Path) -> None:
    path = written(tmp_path / "r.jsonl", [finding(b"/a")], whole=False, torn=b'{"type":"find')
    visible = visible_text(page(path))
    assert "This scan did not end." in visible
    assert "Scan again" in visible
    assert "at least 1" in visible
    assert "none: it was killed" in visible
    assert "Complete." not in visible


def test_all_are_counted_and_the_most_urgent_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_rows, "ROWS", 5)
    records = [unreadable(b"/u%d" % n) for n in range(4)]
    records += [finding(b"/r%d" % n, "review", customer=f"c{n}") for n in range(30)]
    records += [finding(b"/m%d" % n, customer="last") for n in range(3)]
    text = page(written(tmp_path / "r.jsonl", records))
    assert [row[1] for row in rows_of(text)] == ["/m0", "/m1", "/m2", "/r0", "/r1"]
    visible = visible_text(text)
    assert "The table has 5 of 37 rows" in visible
    assert "20 others 20" in visible
    assert "last 3" in visible


def test_rows_that_take_too_much_room_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_rows, "_BYTES", 10_000)
    text = page(written(tmp_path / "r.jsonl", [finding(b"/" + b"n" * 4000) for _ in range(10)]))
    assert len(rows_of(text)) == 2
    assert "The table has 2 of 10 rows" in visible_text(text)


def test_customers_have_a_column_where_any_is_known(tmp_path: Path) -> None:
    without = main_of(page(written(tmp_path / "a.jsonl", [finding(b"/a")])))
    assert 'data-field="uid"' in without
    assert 'data-field="customer"' not in without
    known = main_of(page(written(tmp_path / "b.jsonl", [finding(b"/a", customer="acme")])))
    assert 'data-field="customer"' in known
    assert 'data-field="uid"' not in known


def test_the_page_asks_no_network_and_shows_no_picture(tmp_path: Path) -> None:
    text = page(written(tmp_path / "r.jsonl", [finding(b"/srv/a.jpg", customer="acme")]))
    assert not re.search(r"<(img|picture|video|iframe|object|embed|link|base|image)\b", text)
    assert not re.search(r"\b(src|href|style|on\w+)=\"(?!#)", text)
    assert "url(" not in text
    assert "@import" not in text


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
UNSHAPED = (
    *(
        "excepted",
        "sandbox",
        "breaker",
        "thresholds",
        "algorithms",
        "variants",
        "policy",
        "selection",
        "shard",
    ),
    *("withdrawn", "passed", "seconds", "only_test_entries", "known", "unchanged", "categories", "expires"),
)
"""Keys that few records have; each may get a value of any type here."""


@settings(
    max_examples=examples(60), suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(st.lists(st.dictionaries(st.sampled_from(UNSHAPED), JSON, max_size=6), min_size=3, max_size=3))
def test_whatever_a_record_holds_makes_a_page(tmp_path: Path, odd: list[dict[str, Any]]) -> None:
    kept = {"schema": 1}
    records = [
        {**SCAN, **odd[0], **kept, "type": "scan"},
        {**finding(b"/a"), **odd[1], **kept, "type": "finding", "verdict": "match"},
        {**summary([]), **odd[2], **kept, "type": "summary"},
    ]
    path = tmp_path / "r.jsonl"
    path.write_bytes(b"".join(map(line_of, records)))
    try:
        text = page(path)
    except UsageError:
        return
    assert len(rows_of(text)) == 1


@pytest.mark.integration
def test_a_validator_finds_no_fault(tmp_path: Path) -> None:
    some = [finding(path, customer="acme") for path in HOSTILE] + [unreadable(path) for path in HOSTILE]
    for name, records, whole in (("none", [], True), ("some", some, True), ("killed", some, False)):
        made = tmp_path / f"{name}.html"
        text = page(written(tmp_path / f"{name}.jsonl", records, whole=whole))
        made.write_text(text, encoding="utf-8")
        assert faults(made) == []


def test_a_shard_that_no_scan_has_turns_no_text_around(tmp_path: Path) -> None:
    path = written(tmp_path / "r.jsonl", [finding(b"/a")])
    records = [json.loads(line) for line in path.read_text().splitlines()]
    records[0]["shard"] = {"index": "\u202e", "count": 2}
    path.write_bytes(b"".join(map(line_of, records)))
    with pytest.raises(UsageError, match=r"line 1: .*shard\.index") as refused:
        page(path)
    assert "\u202e" not in str(refused.value)
