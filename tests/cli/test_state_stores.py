"""The state of objects in each kind of store, and look-ups in it."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Ran, Run
from tests.sources.objects.azurite import PROGRAM, azurite
from tests.sources.objects.buckets import TestBucket, credentials
from tests.sources.objects.google_emulator import EmulatedBucket, emulator_url

WORDS = hashlib.sha256(b"words").hexdigest()


@dataclass
class Store:
    """A bucket or container."""

    url: str
    put: Callable[[str, bytes], object]
    remove: Callable[[str], object]
    options: tuple[str, ...] = ()
    environment: Mapping[str, str] | None = None


@contextmanager
def s3() -> Iterator[Store]:
    with TestBucket() as bucket, credentials() as env:
        yield Store(
            f"s3://{bucket.name}",
            lambda key, content: bucket.put(key.encode(), content),
            lambda key: bucket.remove(key.encode()),
            ("--endpoint", str(bucket.access.endpoint)),
            dict(env),
        )


@contextmanager
def gs() -> Iterator[Store]:
    bucket = EmulatedBucket()
    try:
        yield Store(
            f"gs://{bucket.name}",
            bucket.put,
            bucket.remove,
            environment={"STORAGE_EMULATOR_HOST": emulator_url()},
        )
    finally:
        bucket.close()


@contextmanager
def az() -> Iterator[Store]:
    service = azurite()
    with service.container() as container:
        yield Store(
            f"az://{container.name}", container.put, container.remove, environment=service.environment
        )


@pytest.fixture(
    params=[
        s3,
        pytest.param(gs, marks=pytest.mark.slow),
        pytest.param(
            az,
            marks=[
                pytest.mark.slow,
                pytest.mark.skipif(PROGRAM not in os.environ, reason="Azurite is not there"),
            ],
        ),
    ]
)
def store(request: pytest.FixtureRequest, uploads: Path) -> Iterator[Store]:
    with request.param() as made:
        made.put("a/listed.jpg", (uploads / "listed.jpg").read_bytes())
        made.put("b/text", b"words")
        made.put("c/text", b"words")
        made.put("d/other", b"others")
        yield made


Scan = Callable[..., tuple[Ran, list[dict[str, Any]]]]


@pytest.fixture
def scan(run: Run, store: Store, local_list: str, tmp_path: Path) -> Scan:
    def scan() -> tuple[Ran, list[dict[str, Any]]]:
        report = tmp_path / "report.jsonl"
        ran = run(
            *("scan", store.url, *store.options, "--list", local_list, "--report", report),
            env=store.environment,
        )
        return ran, [json.loads(line) for line in report.read_text().splitlines()]

    return scan


@pytest.mark.slow
def test_objects_are_known(run: Run, scan: Scan, store: Store) -> None:
    assert scan()[0].code == 1
    ran, records = scan()
    assert (ran.code, records[-1]["unchanged"], records[-1]["bytes"]) == (1, 4, 0)

    found = run("lookup", "--format", "json", WORDS)
    assert found.code == 1
    assert [line["path"] for line in found.lines] == [f"{store.url}/{key}" for key in ("b/text", "c/text")]
    assert {(line["presence"], line["size"]) for line in found.lines} == {("unknown", 5)}
    assert all(line["first_read"] <= line["last_seen"] and line["etag"] for line in found.lines)
    (listed,) = (record for record in records if record["type"] == "finding")
    exported = run("state", "export", "--with-digests").lines
    assert [line["path"] for line in exported] == [
        f"{store.url}/{key}" for key in ("a/listed.jpg", "b/text", "c/text", "d/other")
    ]
    assert exported[0]["verdict"] == "match"
    assert {key: exported[0][key] for key in ("size", "mtime_ns", "etag")} == {
        key: listed[key] for key in ("size", "mtime_ns", "etag")
    }
    assert exported[1]["sha256"] == WORDS
    table = list(csv.DictReader(io.StringIO(run("state", "export", "--format", "csv").out)))
    assert [row["path"] for row in table] == [line["path"] for line in exported]
    ran = run("state", "status")
    assert "0 files, 4 objects, 3 contents" in ran.out
    assert store.url in ran.out
    assert "3 contents, no damage" in run("state", "check").err

    store.put("b/text", b"other words")
    store.remove("c/text")
    ran, records = scan()
    assert (records[-1]["files"], records[-1]["unchanged"], records[-1]["bytes"]) == (3, 2, 11)
    assert run("lookup", WORDS).code == 0
    assert len(run("state", "export").lines) == 3
    store.remove("a/listed.jpg")
    ran, records = scan()
    assert (ran.code, [record["type"] for record in records]) == (0, ["scan", "summary"])
    assert "0 open findings, 1 ended" in run("state", "status").out


def test_versions_are_distinguished(run: Run, local_list: str, uploads: Path, tmp_path: Path) -> None:
    with TestBucket(versioned=True) as bucket, credentials() as env:
        versions = [
            bucket.put(b"key", content)["VersionId"]
            for content in (b"words", (uploads / "listed.jpg").read_bytes(), b"words")
        ]
        where = f"s3://{bucket.name}", "--endpoint", bucket.access.endpoint, "--all-versions"
        assert run("scan", *where, "--list", local_list, "--report", tmp_path / "r", env=env).code == 1
    lines = run("state", "export").lines
    assert {line["version"]: line.get("verdict") for line in lines} == {
        versions[0]: None,
        versions[1]: "match",
        versions[2]: None,
    }
    found = run("lookup", "--format", "json", WORDS).lines
    assert {line["version"] for line in found} == {versions[0], versions[2]}
    assert all("verdict" not in line for line in found)
