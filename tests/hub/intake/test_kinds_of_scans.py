"""The hub takes in the report of each kind of scan: real commands, and a real node."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from hashscan.hub.storage.database import open_database
from hashscan.hub.storage.tables import CASES
from hashscan.model import Entry
from hashscan.state_dir import StateDir
from tests.cli.conftest import Run, runner
from tests.hub.serving import Node, new_key, node
from tests.scan.cluster.scanning import run_scan, state_with
from tests.scan.nodes import cluster
from tests.service.engine.serving import store_list
from tests.sources.objects.buckets import TestBucket
from tests.sources.objects.inventories import data_file, manifest, rows_of

FILES = {f"{number}.txt": b"content %d" % number for number in range(8)}
LISTED = "3.txt"
ENTRY = Entry("e-1", "sha256", hashlib.sha256(FILES[LISTED]).digest(), "A1")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Node]:
    """A node; both databases take in the same documents, so one of them is enough."""
    state = StateDir(tmp_path / "hub")
    store_list(state.path, ENTRY)
    with open_database(state) as database:
        database.migrate()
        with node(database, state) as running:
            key = tmp_path / "hub.key"
            key.touch(0o600)
            key.write_text(new_key(database, "alpha", "report"))
            yield running


@pytest.fixture
def push(site: Node, tmp_path: Path) -> tuple[str, ...]:
    return ("--push", "--hub", site.url, "--key-file", str(tmp_path / "hub.key"))


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "www"
    folder.mkdir()
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return runner(state_with(tmp_path / "state", [ENTRY]))


def pushed(site: Node) -> list[tuple[int, bool, bool]]:
    """Return the exit code of each scan, in order of arrival, and if it is complete and has a scope."""
    with site.database.reading() as connection:
        scans = connection.exec_driver_sql("SELECT exit_code, complete, scope FROM scans ORDER BY rowid")
        return [(row.exit_code, bool(row.complete), row.scope != "") for row in scans]


def places(site: Node) -> list[bool]:
    """Return for each case at the hub if it is open."""
    with site.database.reading() as connection:
        return [row.removed is None for row in connection.execute(select(CASES).order_by(CASES.c.id))]


@pytest.mark.slow
def test_reports_of_files(site: Node, push: tuple[str, ...], files: Path, run: Run, tmp_path: Path) -> None:
    names = tmp_path / "names"
    names.write_text("".join(f"{files / name}\n" for name in FILES if name != LISTED))
    merged = tmp_path / "merged.jsonl"
    parts = [tmp_path / f"{index}.jsonl" for index in (1, 2)]
    ways: dict[str, list[object]] = {
        "paths": [files],
        "rescan": [files],
        "files-from": ["--files-from", names],
        "files-from within": [files, "--files-from", names],
        "known": ["--known"],
        "known within": [files, "--known"],
        "shard 1": [files, "--shard", "1/2", "--report", parts[0]],
        "shard 2": [files, "--shard", "2/2", "--report", parts[1]],
        "excluded": [files, "--exclude", "*.jpg", "--with-digests", "--reread", "100%"],
    }
    codes = [run("scan", *options, *push).code for options in ways.values()]
    assert codes == [code for code, _, _ in pushed(site)]
    found = dict(zip(ways, pushed(site), strict=True))
    assert {way: code for way, (code, _, _) in found.items() if "shard" not in way} == {
        way: 0 if "files-from" in way else 1 for way in ways if "shard" not in way
    }
    assert all(complete for _, complete, _ in found.values())
    assert [way for way, (_, _, scope) in found.items() if not scope] == [
        "files-from", "files-from within", "known", "known within",
    ]  # fmt: skip
    # Scans that looked at other files have ended nothing.
    assert places(site) == [True]
    assert run("report", "merge", *parts, "--output", merged).code == 1
    assert run("report", "push", merged, *push[1:]).code == 0
    assert pushed(site)[len(ways) :] == [(1, True, True)]


def test_reports_of_buckets(site: Node, push: tuple[str, ...], run: Run, tmp_path: Path) -> None:
    with TestBucket() as bucket:
        for name, content in FILES.items():
            bucket.put(name.encode(), content)
        rows = data_file(rows_of(bucket))
        (tmp_path / "data.csv.gz").write_bytes(rows)
        (tmp_path / "manifest.json").write_bytes(manifest(bucket.name, {"data.csv.gz": rows}))
        endpoint = ("--endpoint", bucket.access.endpoint)
        for options in ((bucket.url.decode(),), ("--inventory", tmp_path / "manifest.json")):
            assert run("scan", *options, *endpoint, *push).code == 1
    assert pushed(site) == [(1, True, True), (1, True, False)]
    assert places(site) == [True]


@pytest.mark.slow
def test_reports_of_a_cluster(
    site: Node, push: tuple[str, ...], files: Path, run: Run, tmp_path: Path
) -> None:
    pytest.importorskip("distributed")
    with cluster(tmp_path / "cluster") as made:
        made.node(tmp_path / "state")
        code, said = run_scan(tmp_path / "state", files, tmp_path / "far.jsonl", *made.options)
        assert code == 1, said
    assert run("report", "push", tmp_path / "far.jsonl", *push[1:]).code == 0
    assert pushed(site) == [(1, True, True)]
    assert places(site) == [True]
