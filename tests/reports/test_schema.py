from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashscan.errors import UsageError
from hashscan.registry import REPORT_FORMATS
from hashscan.reports.report import Report
from hashscan.shortcomings import ShortcomingCode
from tests.reports.documents import CONTEXT, SCAN, finding, summary, unreadable, written
from tests.shortcomings import shortcoming

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.just(-(10**400)) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)
STANDING = {"type": "standing", "schema": 1, "path": "/srv/a", "was": "match", "because": "b", "first": "x",
            "last": "y"}  # fmt: skip


def test_what_scans_write_is_taken(tmp_path: Path) -> None:
    records = [finding(b"/srv/\xff"), unreadable(b"/srv/b"), STANDING]
    path = written(tmp_path / "r.jsonl", records)
    report = Report(path)
    assert [record["type"] for record in report.records()] == [
        "scan", "finding", "unreadable", "standing", "summary",
    ]  # fmt: skip
    assert report.summary is not None


@pytest.mark.parametrize(
    "changes",
    [
        {"path": 7},
        {"path": None},
        {"path_b64": "%%"},
        {"verdict": "guilty"},
        {"verdict": None},
        {"matches": {}},
        {"matches": [7]},
        {"matches": [{"distance": "far"}]},
        {"matches": [{"category": ["A1"]}]},
        {"size": "large"},
        {"mtime_ns": True},
        {"customer": 7},
        {"digests": {"md5": 7}},
        {"picture": {"format": "JPEG"}},
        {"quarantine": "moved"},
        {"quarantine": {"outcome": ["done"]}},
        {"size": 10**400},
    ],
    ids=str,
)
def test_a_finding_in_another_shape_is_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    records = [finding(b"/srv/a"), {**finding(b"/srv/b"), **changes}]
    path = written(tmp_path / "r.jsonl", records, whole=False)
    with pytest.raises(UsageError, match=r"line 3: this record can't be understood"):
        list(Report(path).records())


def test_a_finding_without_a_path_is_refused(tmp_path: Path) -> None:
    record = finding(b"/srv/a")
    del record["path"]
    with pytest.raises(UsageError, match=r"line 2: .* path"):
        list(Report(written(tmp_path / "r.jsonl", [record])).records())


def test_a_standing_finding_needs_the_verdict_it_had(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"line 2: .* was:"):
        list(Report(written(tmp_path / "r.jsonl", [{**STANDING, "was": "gone"}])).records())


@pytest.mark.parametrize(
    "changes",
    [
        {"verdicts": {"match": "many"}},
        {"incomplete": [7]},
        {"exit_code": "1"},
        {"reasons": {"skipped": 7}},
        {"ended": "today"},
        {"ended": "2026-11-26T01:00:00"},
    ],
    ids=str,
)
def test_a_summary_in_another_shape_is_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    lines = (SCAN, summary([], **changes))
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(UsageError, match="can't be understood"):
        _ = Report(path).summary


LINES: tuple[dict[str, Any], ...] = (SCAN, finding(b"/srv/a"), summary([finding(b"/srv/a")]))


def places(value: Any, place: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The keys and numbers that lead to each value inside another one."""
    inside = value.items() if isinstance(value, dict) else enumerate(value if isinstance(value, list) else ())
    for key, inner in inside:
        yield (*place, key)
        yield from places(inner, (*place, key))


HOSTILE_VALUES = JSON_VALUES | st.sampled_from(
    ["\ud800", "\x1b[31m", "x" * 5000, 1e308, -0.5, 2**63, 2**97, {"\ud800": 1}, ["\ud800"], [[[]]] * 3]
)


@given(st.data(), st.integers(0, len(LINES) - 1), HOSTILE_VALUES)
def test_a_value_of_another_type_is_named(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, number: int, value: Any
) -> None:
    """A report that another version or program wrote: taken, or refused with its file, line and field."""
    lines = json.loads(json.dumps(LINES))
    *way, last = data.draw(st.sampled_from(list(places(lines[number]))))
    inner = lines[number]
    for key in way:
        inner = inner[key]
    inner[last] = value
    path = tmp_path_factory.mktemp("odd") / "r.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    refused: list[UsageError] = []
    try:
        list(Report(path).records())
    except UsageError as error:
        refused.append(error)
    for error in refused:
        message = str(error)
        assert message.startswith(f"{path}, line {number + 1}: ")
        assert message.isprintable()
        # With another type of record, other fields are missing; a first record has to be that of a scan.
        assert str([*way, last][0]) in message or [*way, last] == ["type"]
        assert error.remedy


@given(
    st.dictionaries(
        st.sampled_from(sorted({*finding(b"/a"), "detail", "digests", "customer", "quarantine", "picture"})),
        JSON_VALUES,
        max_size=3,
    ),
    st.dictionaries(st.sampled_from(sorted({*summary([]), "reasons"})), JSON_VALUES, max_size=2),
)
def test_whatever_is_taken_can_be_reported_in_every_format(
    tmp_path_factory: pytest.TempPathFactory, changes: dict[str, Any], ending: dict[str, Any]
) -> None:
    path = tmp_path_factory.mktemp("shapes") / "r.jsonl"
    lines = (SCAN, finding(b"/srv/a") | changes, summary([]) | ending)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    for name in REPORT_FORMATS:
        try:
            REPORT_FORMATS[name]().write(Report(path, CONTEXT), io.BytesIO())
        except UsageError:
            continue


TEXTS = st.text(st.characters(exclude_categories=()), max_size=6) | st.sampled_from(
    ["", "2026-11-26T01:00:00+00:00", "A1", "match", "held", "done", "sha256"]
)
MOMENTS = st.sampled_from(
    ["2026-11-26T01:00:00+00:00", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59.999999-12:00", "\x1b", ""]
)
NUMBERS = st.integers(-(2**70), 2**70)
MATCHES = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("list", "entry", "algorithm", "variant", "category"), TEXTS),
        **dict.fromkeys(("distance", "threshold"), NUMBERS),
    },
)
VERDICTS = st.sampled_from(["match", "held", "review", "unreadable", "undecoded", "skipped", "clean"])
RECORDS = st.fixed_dictionaries(
    {
        "type": st.sampled_from(
            ["finding", "unreadable", "standing", "folder", "silent-change", "unheard of"]
        ),
        "schema": st.just(1),
        "path": TEXTS,
        "verdict": VERDICTS,
        "was": VERDICTS,
    },
    optional={
        **dict.fromkeys(
            ("because", "action", "reason", "detail", "customer", "version", "first", "last"), TEXTS
        ),
        **dict.fromkeys(("size", "mtime_ns", "ctime_ns", "uid", "links", "device", "inode"), NUMBERS),
        "matches": st.lists(MATCHES, max_size=2),
        "digests": st.dictionaries(st.sampled_from(["md5", "sha1", "sha256", "pdq"]), TEXTS, max_size=2),
        "picture": st.fixed_dictionaries({"format": TEXTS, "width": NUMBERS, "height": NUMBERS}),
        "quarantine": st.fixed_dictionaries({}, optional={"outcome": TEXTS}),
    },
)
SCANS = st.fixed_dictionaries(
    {
        "type": st.just("scan"),
        "schema": st.just(1),
        "started": MOMENTS,
    },
    optional={
        **dict.fromkeys(("uuid", "host", "fail_on", "version"), TEXTS),
        "targets": st.lists(st.fixed_dictionaries({}, optional={"path": TEXTS}), max_size=2),
        "lists": st.lists(
            st.fixed_dictionaries({}, optional={"name": TEXTS, "state": TEXTS, "version": NUMBERS}),
            max_size=2,
        ),
    },
)
SUMMARIES = st.fixed_dictionaries(
    {"type": st.just("summary"), "schema": st.just(1)},
    optional={
        "ended": MOMENTS,
        "exit_code": NUMBERS,
        "incomplete": st.lists(
            st.builds(shortcoming, TEXTS, st.sampled_from(ShortcomingCode), TEXTS), max_size=2
        ),
        "verdicts": st.dictionaries(VERDICTS, NUMBERS, max_size=2),
        "bytes": NUMBERS,
    },
)


@given(SCANS, st.lists(RECORDS, max_size=3), SUMMARIES)
def test_a_record_may_say_anything_in_the_right_shape(
    tmp_path_factory: pytest.TempPathFactory,
    scan: dict[str, Any],
    records: list[dict[str, Any]],
    ending: dict[str, Any],
) -> None:
    path = tmp_path_factory.mktemp("shapes") / "r.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in (scan, *records, ending)))
    for name in REPORT_FORMATS:
        stream = io.BytesIO()
        with suppress(UsageError):
            REPORT_FORMATS[name]().write(Report(path, CONTEXT), stream)
        assert b"\x1b" not in stream.getvalue()
