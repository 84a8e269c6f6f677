"""Reports that no scan wrote: each ends in a clear error, or is joined as far as it goes."""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashscan.errors import HashscanError, UsageError
from hashscan.model import Verdict
from hashscan.reports.records import Record
from hashscan.reports.report_file import ReportFile
from hashscan.scan.reporting.shard_merging import MergeResult, merge_reports
from tests.examples import examples
from tests.scan.made_reports import clean, many_findings


class Collected(ReportFile):
    """Keeps records in place of writing them, and as standard output takes none back."""

    def __init__(self) -> None:
        self.destination = None
        self.records: list[Record] = []

    def write(self, record: Record) -> None:
        self.records.append(record)

    def replace_matches(self, final_records: Iterable[Record]) -> None:
        self.records += final_records


def merged(*paths: Path) -> tuple[MergeResult, list[Record]]:
    sink = Collected()
    return merge_reports(paths, sink), sink.records


def spoil_middle(content: bytes) -> bytes:
    lines = content.splitlines(keepends=True)
    return lines[0] + b'{"type":"find\n' + lines[-1]


def go_on(content: bytes) -> bytes:
    return content + b'{"type":"folder","schema":1,"path":"/x","reason":"vanished"}\n'


def lose_a_record(content: bytes) -> bytes:
    return content.replace(b'"verdicts": {"clean": 5}', b'"verdicts": {"clean": 4, "match": 1}')


def from_the_future(content: bytes) -> bytes:
    return content.replace(b'"schema": 1', b'"schema": 2')


def strange_reason(content: bytes) -> bytes:
    lines = content.splitlines(keepends=True)
    strange = b'{"type":"folder","schema":1,"path":"/x","reason":"gone fishing"}\n'
    return lines[0] + strange + lines[-1]


def summary_first(content: bytes) -> bytes:
    return b"".join(reversed(content.splitlines(keepends=True)))


def record(**fields: Any) -> Callable[[bytes], bytes]:
    """Put one more record before the summary."""

    def spoil(content: bytes) -> bytes:
        first, last = content.splitlines(keepends=True)
        return first + json.dumps({"schema": 1, "path": "/t/x", **fields}).encode() + b"\n" + last

    return spoil


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_middle, "line 2: this is not what hashscan writes"),
        (go_on, "goes on after its summary"),
        (lose_a_record, "counts other records than there are"),
        (from_the_future, "its schema is 2"),
        (strange_reason, "doesn't understand: 'gone fishing'"),
        (summary_first, "line 1"),
        (
            record(type="finding"),
            "line 2: this record can't be understood: Object missing required field verdict",
        ),
        (
            record(type="finding", verdict="clean", because="b"),
            "line 2: this record can't be understood: verdict",
        ),
        (record(type="unreadable", verdict="match"), "line 2: this record can't be understood: verdict"),
        (
            record(type="finding", verdict="match", because="b", matches=5),
            "line 2: this record can't be understood: matches",
        ),
        (
            record(type="finding", verdict="match", because="b", matches=[1]),
            "can't be understood: matches[0]",
        ),
        (record(type="finding", verdict="match", detail=float("nan")), "line 2"),
        (record(type="finding", verdict="match", size=float("inf")), "line 2"),
        (record(type="finding", verdict="match", path=None), "line 2: this record can't be understood: path"),
        (record(type="news"), "doesn't understand"),
        (
            record(
                type="finding",
                verdict="held",
                because="b",
                matches=[
                    {
                        "list": "l",
                        "entry": "e",
                        "algorithm": "crc",
                        "distance": 0,
                        "threshold": 0,
                        "category": "A1",
                    }
                ],
            ),
            "doesn't understand: 'crc'",
        ),
        (lambda content: content.replace(b'"bytes": 7', b'"bytes": 1e999'), "line 2"),
        (lambda content: content.replace(b'"bytes": 7', b'"bytes": ' + b"9" * 5000), "line 2"),
        (
            lambda content: content.replace(b'"bytes": 7', b'"bytes": ' + b"9" * 4000),
            "can't be understood: bytes",
        ),
        (lambda content: b"", "is empty"),
        (lambda content: b"\0" * 100, "line 1"),
        (lambda content: b"\xff\xfe" + content, "line 1"),
        (lambda content: content.decode().encode("utf-16"), "line 1"),
        (lambda content: content.replace(b'"host": "h"', b'"host": "\xff"'), "line 1"),
        (lambda content: b'{"type":"scan","schema":1}\n', "line 1"),
        (lambda content: b'{"type":"scan","schema":true}\n', "line 1"),
        (lambda content: b"[" * 1_000_000 + b"\n", "line 1"),
        (lambda content: content.replace(b'"host": "h"', b'"host": ' + b"[" * 500 + b"]" * 500), "line 1"),
        (lambda content: b'{"a":' * 1_000_000 + b"\n", "line 1"),
        (lambda content: b"9" * (17 << 20) + b"\n", "line 1"),
        (lambda content: content + content, "line 3"),
    ],
)
def test_damaged_reports(spoil: Callable[[bytes], bytes], message: str, tmp_path: Path) -> None:
    one, two = clean(tmp_path / "1", 1, 2), clean(tmp_path / "2", 2, 2)
    assert merged(one, two)[0].exit_code == 0
    two.write_bytes(spoil(two.read_bytes()))
    with pytest.raises(UsageError) as refused:
        merged(one, two)
    assert message in str(refused.value)
    assert str(two) in str(refused.value)
    assert refused.value.remedy


@pytest.mark.parametrize(
    "shard",
    [
        {"index": 17, "count": 16}, {"index": 0, "count": 2}, {"index": 1, "count": 10**9},
        {"index": -1, "count": 2}, {"index": 2.0, "count": 2}, {"index": True, "count": 2},
        {"index": "2", "count": 2}, {"index": 10**4000, "count": 2},
        {"count": 2}, [2, 2], 5, "2/2",
    ],
    ids=lambda value: repr(value)[:30],
)  # fmt: skip
def test_shards_that_there_can_not_be(shard: object, tmp_path: Path) -> None:
    one, two = clean(tmp_path / "1", 1, 2), clean(tmp_path / "2", 2, 2, shard=shard)
    with pytest.raises(UsageError) as refused:
        merged(one, two)
    assert str(two) in str(refused.value)


def test_what_stands_from_earlier_scans_is_no_file_of_this_one(tmp_path: Path) -> None:
    one, two = clean(tmp_path / "1", 1, 2), clean(tmp_path / "2", 2, 2)
    two.write_bytes(record(type="standing", was="match", because="md5 equal")(two.read_bytes()))
    joined, records = merged(one, two)
    assert [r["path"] for r in records if r["type"] == "standing"] == ["/t/x"]
    assert joined.exit_code == 0
    for was in ("clean", [], None):
        two.write_bytes(record(type="standing", was=was)(clean(two, 2, 2).read_bytes()))
        with pytest.raises(UsageError, match=r"line 2: .* was: "):
            merged(one, two)


@pytest.mark.parametrize(("listed", "joined"), [(0, True), (1, True), (5, True), (6, False)])
def test_clean_files_may_be_listed_but_not_more_than_were_counted(
    listed: int, joined: bool, tmp_path: Path
) -> None:
    one, two = clean(tmp_path / "1", 1, 2), clean(tmp_path / "2", 2, 2)
    first, last = two.read_text().splitlines(keepends=True)
    line = json.dumps({"type": "clean", "schema": 1, "path": "/t/x", "verdict": "clean"}) + "\n"
    two.write_text(first + line * listed + last)
    if not joined:
        with pytest.raises(UsageError):
            merged(one, two)
        return
    result, records = merged(one, two)
    assert result.summary.verdicts == {Verdict.CLEAN: 10}
    assert [r["type"] for r in records].count("clean") == listed


def test_a_path_longer_than_one_call_of_the_system_takes(tmp_path: Path) -> None:
    """Scans go down folder by folder, so that no limit of the system applies to the whole path."""
    one, two = clean(tmp_path / "1", 1, 2), clean(tmp_path / "2", 2, 2, verdicts={"match": 1})
    path = "/t" + f"/{'d' * 200}" * 400
    two.write_bytes(record(type="finding", verdict="match", because="b", path=path)(two.read_bytes()))
    result, records = merged(one, two)
    assert result.exit_code == 1
    assert [r["path"] for r in records if r["type"] == "finding"] == [path]


def test_very_many_missing_shards(tmp_path: Path) -> None:
    joined, _ = merged(clean(tmp_path / "1", 7, 999_999))
    (message,) = [one.message for one in joined.shortcomings]
    assert message.startswith("shards 1, 2, 3, 4, 5, 6, 8, ")
    assert message.endswith(" and 999968 more of 999999 are missing")


def places(value: object, before: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The ways to every value in a document."""
    found = [before]
    if isinstance(value, dict | list):
        for key, inside in value.items() if isinstance(value, dict) else enumerate(value):
            found += places(inside, (*before, key))
    return found


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just(10**30)
    | st.sampled_from(["match", "clean", "finding", "summary", "scan", "off", "fresh", "local", "\ud800"]),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=5), inside, max_size=3),
    max_leaves=5,
)  # fmt: skip


@settings(max_examples=examples(300), deadline=None)
@given(data=st.data())
def test_any_value_in_any_place(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Nothing but our own errors comes of it, and what is written can be read again."""
    folder = tmp_path_factory.mktemp("reports")
    one, two = clean(folder / "1", 1, 2), many_findings(folder / "2", 2, 2)
    documents = [json.loads(line) for line in two.read_text().splitlines()]
    number = data.draw(st.integers(0, len(documents) - 1))
    for _ in range(data.draw(st.integers(1, 2))):
        place = data.draw(st.sampled_from(places(documents[number])[1:] or [()]))
        inside = documents[number]
        for key in place[:-1]:
            inside = inside[key]
        if place and data.draw(st.booleans()):
            inside[place[-1]] = data.draw(anything)
        elif place:
            del inside[place[-1]]
    two.write_text("".join(json.dumps(document) + "\n" for document in documents))
    check(folder, one, two)


@settings(max_examples=examples(200), deadline=None)
@given(data=st.data())
def test_any_bytes_in_any_place(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("reports")
    one, two = clean(folder / "1", 1, 2), many_findings(folder / "2", 2, 2)
    content = two.read_bytes()
    start = data.draw(st.integers(0, len(content)))
    end = data.draw(st.integers(start, min(len(content), start + 300)))
    two.write_bytes(content[:start] + data.draw(st.binary(max_size=20)) + content[end:])
    check(folder, one, two)


def check(folder: Path, *reports: Path) -> None:
    failure = None
    try:
        joined, records = merged(*reports)
    except HashscanError as error:
        failure = error
    if failure is not None:
        assert failure.exit_code == 2
        assert str(folder) in str(failure)
        assert failure.remedy
        return
    again = folder / "joined"
    again.write_text("".join(json.dumps(record, allow_nan=False) + "\n" for record in records))
    assert merged(again)[0].exit_code == joined.exit_code


@pytest.mark.parametrize("kind", ["fifo", "folder", "device", "socket", "nothing", "beneath a file"])
def test_what_is_no_file_is_refused_at_once(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "report"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path = Path("/dev/zero")
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(str(path))
    elif kind == "beneath a file":
        path = clean(tmp_path / "1", 1, 2) / "report"
    with pytest.raises(UsageError, match=re.escape(str(path))):
        merged(path)


def test_a_report_that_grows_after_it_was_opened(tmp_path: Path) -> None:
    """As when another scan writes its own in its place between the two readings."""
    one, two = clean(tmp_path / "1", 1, 2), clean(tmp_path / "2", 2, 2)

    class Replacing(Collected):
        def write(self, record: Record) -> None:
            clean(two, 2, 2, uuid="another")

    with pytest.raises(UsageError, match="was replaced while it was read"):
        merge_reports([one, two], Replacing())


@pytest.mark.parametrize("kind", ["match", "held", "review", "scans", ""])
def test_a_type_of_record_that_no_scan_writes(kind: str, tmp_path: Path) -> None:
    one, two = clean(tmp_path / "1", 1, 2), clean(tmp_path / "2", 2, 2)
    for further in ({}, {"verdict": "match"}, {"verdict": "clean"}):
        two.write_bytes(record(type=kind, **further)(clean(two, 2, 2).read_bytes()))
        with pytest.raises(UsageError, match="doesn't understand"):
            merged(one, two)


@pytest.mark.parametrize(
    "changes",
    [
        {"breaker": {"owners": 0, "files": 10}},
        {"breaker": {"owners": 20}},
        {"sandbox": {"mode": "none"}},
        {"ctime": {"firm": 3}},
        {"only_test_entries": 1},
        {"incomplete": [7]},
    ],
    ids=str,
)
def test_values_that_no_scan_writes(changes: dict[str, Any], tmp_path: Path) -> None:
    one, two = clean(tmp_path / "1", 1, 2), clean(tmp_path / "2", 2, 2, **changes)
    if "ctime" in changes:
        first, last = map(json.loads, clean(two, 2, 2).read_text().splitlines())
        two.write_text("".join(json.dumps(one) + "\n" for one in (first, {**last, **changes})))
    with pytest.raises(UsageError):
        merged(one, two)


def test_a_summary_has_the_level_of_its_sandbox(tmp_path: Path) -> None:
    one, two = clean(tmp_path / "1", 1, 2), clean(tmp_path / "2", 2, 2)
    first, last = map(json.loads, two.read_text().splitlines())
    two.write_text("".join(json.dumps(o) + "\n" for o in (first, {**last, "sandbox": {"mode": "auto"}})))
    with pytest.raises(UsageError, match=r"last line|line 2"):
        merged(one, two)
