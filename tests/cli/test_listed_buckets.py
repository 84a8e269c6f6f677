"""Scans of a bucket by listing, by inventory and by names, whole and in shards: all find the same."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import environment
from tests.pictures import encoded, scene
from tests.prefork import PREFORK
from tests.sources.objects.buckets import SECRET, TestBucket
from tests.sources.objects.inventories import data_file, manifest, rows_of

FILES = {
    b"a/listed.jpg": encoded(scene(5), quality=90),
    b"a//alike.jpg": encoded(scene(5).resize((240, 180)), quality=40),
    b"/other.jpg": encoded(scene(6)),
    b"plus+ and space": b"text",
    **{b"many/%d" % number: b"%d" % number for number in range(30)},
}


@pytest.fixture
def bucket() -> Iterator[TestBucket]:
    with TestBucket() as made:
        for key, content in FILES.items():
            made.put(key, content)
        yield made


def scan(
    state: Path, bucket: TestBucket, *arguments: object, names: bytes = b""
) -> tuple[int, list[dict[str, Any]]]:
    endpoint = ["--endpoint", str(bucket.access.endpoint)]
    done = subprocess.run(
        [PREFORK.program(), "scan", *map(str, arguments), *endpoint, "--report", "-", "--workers", "1"],
        input=names,
        # The bucket has put credentials into our own environment.
        env=environment(state, os.environ),
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    assert SECRET.encode() not in done.stderr + done.stdout
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    if lines:
        said = b"hashscan: the inventory is from 2026-11-25T00:00:00+00:00"
        assert (said in done.stderr) is ("inventory" in lines[0])
    return done.returncode, lines


def findings(lines: list[dict[str, Any]]) -> dict[str, list[str]]:
    return {
        line["path"]: [m["entry"] for m in line["matches"]] for line in lines if line["type"] == "finding"
    }


@pytest.mark.slow
def test_all_ways_find_the_same(state: Path, bucket: TestBucket, local_list: str, tmp_path: Path) -> None:
    url = bucket.url.decode()
    code, listed = scan(state, bucket, url)
    assert code == 1
    assert listed[-1]["files"] == len(FILES)
    assert set(findings(listed)) == {f"{url}/a/listed.jpg", f"{url}/a//alike.jpg"}

    content = data_file(rows_of(bucket))
    (tmp_path / "data.csv.gz").write_bytes(content)
    (tmp_path / "manifest.json").write_bytes(manifest(bucket.name, {"data.csv.gz": content}))
    code, reported = scan(state, bucket, "--inventory", tmp_path / "manifest.json")
    assert (code, findings(reported)) == (1, findings(listed))
    assert reported[-1]["verdicts"] == listed[-1]["verdicts"]
    assert reported[0]["targets"] == [{"path": url}]
    assert reported[0]["inventory"] == {
        "path": str(tmp_path / "manifest.json"), "created": "2026-11-25T00:00:00+00:00",
    }  # fmt: skip

    names = b"\0".join(bucket.url + b"/" + key for key in FILES)
    code, named = scan(state, bucket, "--files-from", "-", names=names)
    assert (code, findings(named)) == (1, findings(listed))
    assert named[-1]["verdicts"] == listed[-1]["verdicts"]

    together: dict[str, list[str]] = {}
    files = 0
    for index in (1, 2, 3):
        _, part = scan(state, bucket, url, "--shard", f"{index}/3")
        assert not findings(part).keys() & together.keys()
        together |= findings(part)
        files += part[-1]["files"]
        assert part[-1]["listed"] == len(FILES)
    assert (together, files) == (findings(listed), len(FILES))


def test_paths_and_urls_in_one_list(state: Path, bucket: TestBucket, local_list: str, uploads: Path) -> None:
    names = [bucket.url + b"/a/listed.jpg", bytes(uploads / "listed.jpg"), bucket.url + b"/gone", b"gone"]
    code, lines = scan(state, bucket, "--files-from", "-", names=b"\n".join(names))
    assert code == 4
    assert set(findings(lines)) == {name.decode() for name in names[:2]}
    assert lines[-1]["reasons"] == {"unreadable": {"vanished": 2}}
    code, lines = scan(state, bucket, uploads, "--files-from", "-", names=b"\n".join(names))
    assert lines[-1]["reasons"] == {"unreadable": {"outside the targets": 3}}


def test_misuse(state: Path, bucket: TestBucket, local_list: str, tmp_path: Path) -> None:
    assert scan(state, bucket, "--inventory", tmp_path / "none")[0] == 2
    assert scan(state, bucket, "--inventory", "s3://no-such-bucket-here/manifest.json")[0] == 2
    assert scan(state, bucket, "--inventory", tmp_path / "none", "--files-from", "-")[0] == 2
    (tmp_path / "m").write_bytes(manifest(bucket.name, {}))
    assert scan(state, bucket, "--inventory", tmp_path / "m", "s3://another")[0] == 2
    # One that lists nothing is as suspicious as a bucket that holds nothing.
    assert scan(state, bucket, "--inventory", tmp_path / "m")[0] == 3
