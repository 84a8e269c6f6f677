"""Scans of buckets that remember."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from hashscan.cases.sightings import Sightings
from hashscan.state_dir import StateDir
from tests.cli.conftest import Run
from tests.shortcomings import codes
from tests.sources.objects.buckets import TestBucket, credentials

Records = list[dict[str, Any]]
Scan = Callable[..., tuple[int, Records]]


@pytest.fixture
def bucket(uploads: Path) -> Iterator[TestBucket]:
    with TestBucket() as made:
        for key, name in ((b"a//b", "listed.jpg"), (b"a/b/c", "alike.jpg"), (b"z\xc3\xa9", "other.jpg")):
            made.put(key, (uploads / name).read_bytes())
        made.put(b"broken.png", b"\x89PNG\r\n\x1a\n" + bytes(100))
        made.put(b"text", b"words")
        yield made


@pytest.fixture
def scan(run: Run, bucket: TestBucket, local_list: str, tmp_path: Path) -> Scan:
    def scan(*options: object, prefix: str = "") -> tuple[int, Records]:
        report = tmp_path / "report.jsonl"
        at = () if "--known" in options else ("--endpoint", bucket.access.endpoint)
        with credentials() as env:
            ran = run(
                *("scan", f"s3://{bucket.name}{prefix}", *at),
                *("--list", local_list, "--report", report, *options),
                env=env,
            )
        return ran.code, [json.loads(line) for line in report.read_text().splitlines()]

    return scan


def reported(records: Records) -> list[str]:
    """All but the endpoint, which a scan names in its first record alone."""
    return sorted(
        json.dumps({key: value for key, value in record.items() if key != "endpoint"}, sort_keys=True)
        for record in records[1:-1]
    )


def counts(records: Records) -> tuple[int, int]:
    """Return the number of files, and of those that were not read."""
    summary = records[-1]
    assert (summary["bytes"] == 0) == (summary["files"] == summary["unchanged"])
    return summary["files"], summary["unchanged"]


def test_a_second_scan_downloads_nothing_and_says_the_same(
    scan: Scan, run: Run, bucket: TestBucket, local_list: str, state: Path
) -> None:
    code, first = scan()
    assert (code, counts(first)) == (1, (5, 0))
    again, second = scan()
    assert (again, counts(second)) == (1, (5, 5))
    assert reported(second) == reported(first)
    assert second[-1]["verdicts"] == first[-1]["verdicts"]
    code, known = scan("--known")
    assert (code, reported(known), counts(known)) == (1, reported(first), (5, 5))
    with Sightings(StateDir(state)) as sightings:
        url = b"s3://" + bucket.name.encode()
        seen = sightings.listed(url + b"/text")
        assert seen is not None
        assert seen.who == "scan"
        assert sightings.listed(url + b"/tex") is sightings.listed(url + b"2/text") is None
    assert scan("--known", prefix="/a/")[1][-1]["files"] == 2
    # A bucket whose name begins in the same way is another.
    assert run("scan", "--known", f"s3://{bucket.name[:-1]}", "--list", local_list).code == 3


@pytest.mark.slow
def test_only_what_has_changed_is_read(scan: Scan, bucket: TestBucket, uploads: Path) -> None:
    scan()
    bucket.put(b"text", b"WORDS")
    bucket.put(b"new", (uploads / "listed.jpg").read_bytes())
    bucket.client.delete_object(Bucket=bucket.name, Key="a//b")
    _, records = scan()
    assert counts(records) == (5, 3)
    found = {record["path"].rpartition("/")[2] for record in records if record["type"] == "finding"}
    assert "new" in found
    assert "b" not in found
    _, records = scan()
    assert counts(records) == (5, 5)
    assert not [record for record in records if record["type"] == "standing"]
    # It was forgotten.
    assert not [record for record in scan("--known")[1] if record.get("path", "").endswith("a//b")]


@pytest.mark.slow
def test_objects_are_read_all_the_same_and_compared(scan: Scan, state: Path) -> None:
    scan()
    _, again = scan("--reread", "100%")
    assert (counts(again), again[-1]["incomplete"]) == ((5, 0), [])
    with closing(sqlite3.connect(state / "scans" / "state.sqlite")) as database:
        # As if the store had exchanged it behind its etag.
        other = "(SELECT content FROM objects WHERE key=CAST('broken.png' AS BLOB))"
        database.execute(f"UPDATE objects SET content={other} WHERE key=CAST('text' AS BLOB)")
        database.commit()
    code, records = scan("--reread", "100%", "--with-digests")
    (reported,) = (record for record in records if record["type"] == "silent-change")
    assert reported["path"].endswith("/text")
    assert reported["etag"]
    broken = hashlib.sha256(b"\x89PNG\r\n\x1a\n" + bytes(100)).hexdigest()
    assert reported["before"] == {"sha256": broken}
    assert (code, codes(records[-1])) == (4, ["changed"])
    assert scan("--reread", "100%")[1][-1]["incomplete"] == []


@pytest.mark.slow
def test_what_is_known_of_objects_outlives_a_vacuum(scan: Scan, run: Run, bucket: TestBucket) -> None:
    _, first = scan()
    bucket.put(b"a//b", b"no picture any more")
    scan()
    bucket.put(b"a/b/c", b"nor this")
    _, before = scan()
    assert reported(before) != reported(first)
    assert run("state", "vacuum").code == 0
    _, after = scan()
    assert (counts(after), reported(after)) == ((5, 5), reported(before))


def test_a_prefix_says_nothing_of_the_rest(scan: Scan) -> None:
    scan()
    assert counts(scan(prefix="/a/")[1]) == (2, 2)
    assert counts(scan()[1]) == (5, 5)


@pytest.mark.slow
def test_a_shard_says_nothing_of_the_others(scan: Scan) -> None:
    scan()
    shards = [counts(scan("--shard", f"{index}/2")[1]) for index in (1, 2)]
    assert sum(files for files, _ in shards) == sum(unchanged for _, unchanged in shards) == 5
    assert counts(scan()[1]) == (5, 5)


def test_each_version_is_known_by_itself(run: Run, local_list: str, uploads: Path, tmp_path: Path) -> None:
    with TestBucket(versioned=True) as bucket, credentials() as env:
        for content in (b"words", (uploads / "listed.jpg").read_bytes(), b"words"):
            bucket.put(b"key", content)
        report = tmp_path / "report.jsonl"
        where = f"s3://{bucket.name}", "--endpoint", bucket.access.endpoint, "--report", report
        for unchanged in (0, 3):
            assert run("scan", *where, "--all-versions", "--list", local_list, env=env).code == 1
            assert json.loads(report.read_text().splitlines()[-1])["unchanged"] == unchanged
