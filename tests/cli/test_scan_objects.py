"""Scans of buckets by the real command: findings as on disk, every fault counted, no secret shown."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from hashscan.model import Reason
from tests.cli.conftest import COMMAND, Ran, Run, environment
from tests.object_server import object_server
from tests.pictures import encoded, scene
from tests.sources.objects.buckets import KEY_ID, SECRET, TestBucket, credentials
from tests.sources.objects.s3.test_source import EXPECTED, ODD

UPLOADS = Path(__file__).parents[2] / "examples" / "uploads"
FINDING_FIELDS = ("verdict", "matches", "because", "picture", "digests", "quality", "size")


def scan(run: Run, endpoint: str, *options: object, target: str = "s3://bucket", **more: Any) -> Ran:
    with credentials() as env:
        return run("scan", target, "--endpoint", endpoint, "--report", "-", *options, env=env, **more)


def findings(ran: Ran, root: str) -> dict[str, dict[str, Any]]:
    """Return the record of each file that isn't clean, by its path beneath the target."""
    return {
        line["path"].removeprefix(root + "/"): {key: line.get(key) for key in FINDING_FIELDS}
        for line in ran.lines
        if line["type"] not in {"scan", "summary"}
    }


def test_the_same_tree_as_files_and_as_objects(run: Run) -> None:
    on_disk = run("scan", UPLOADS, "--list", "demo", "--report", "-", "--with-digests")
    with TestBucket() as bucket:
        for path in UPLOADS.rglob("*"):
            if path.is_file():
                bucket.put(os.fsencode(path.relative_to(UPLOADS)), path.read_bytes())
        url = f"s3://{bucket.name}"
        assert bucket.access.endpoint is not None
        ran = scan(run, bucket.access.endpoint, "--list", "demo", "--with-digests", target=url)
    assert findings(ran, url) == findings(on_disk, str(UPLOADS))
    assert len(findings(ran, url)) == 6
    assert ran.code == on_disk.code == 1
    counts = ("files", "verdicts", "reasons", "bytes")
    assert [ran.lines[-1][key] for key in counts] == [on_disk.lines[-1][key] for key in counts]
    assert ran.lines[0]["targets"] == [{"path": url}]


def test_what_a_finding_says_of_an_object(run: Run, uploads: Path, local_list: str) -> None:
    with object_server(files={b"a//b\n": uploads / "listed.jpg"}) as url:
        ran = scan(run, url)
    (found,) = (line for line in ran.lines if line["type"] == "finding")
    assert found["path"] == "s3://bucket/a//b\n"
    assert found["size"] == (uploads / "listed.jpg").stat().st_size
    assert found["mtime_ns"] == 1767323045_000_000_000
    assert found["etag"].startswith('"')
    assert not found.keys() & {"device", "inode", "uid", "ctime_ns", "links", "version"}


def test_no_strange_key_hides_a_picture(run: Run, uploads: Path, local_list: str) -> None:
    files = dict.fromkeys(ODD, uploads / "listed.jpg") | {b"usual": uploads / "other.jpg"}
    with object_server(files=files) as url:
        ran = scan(run, url)
    assert ran.code == 1
    found = {line["path"] for line in ran.lines if line["type"] == "finding"}
    assert found == {f"s3://bucket/{key.decode()}" for key in ODD}
    assert ran.lines[-1]["verdicts"]["match"] == len(ODD)
    assert ran.lines[-1]["files"] == len(files)


def test_versions_of_which_the_current_is_harmless(run: Run, uploads: Path, local_list: str) -> None:
    with TestBucket(versioned=True) as bucket:
        version = bucket.put(b"photo", (uploads / "listed.jpg").read_bytes())["VersionId"]
        bucket.put(b"photo", b"nothing to see")
        assert bucket.access.endpoint is not None
        target = f"s3://{bucket.name}"
        assert scan(run, bucket.access.endpoint, target=target).code == 0
        ran = scan(run, bucket.access.endpoint, "--all-versions", target=target)
    (found,) = (line for line in ran.lines if line["type"] == "finding")
    assert (ran.code, found["version"]) == (1, version)


@pytest.mark.slow
def test_every_fault_is_counted_and_no_verdict_lost(run: Run, uploads: Path, local_list: str) -> None:
    groups = [f"{fault}/:2:30000" for fault in EXPECTED]
    with object_server(*groups, "fine/:300:1000", files={b"x": uploads / "other.jpg"}) as url:
        ran = scan(run, url)
    summary = ran.lines[-1]
    assert ran.code == 3
    assert summary["files"] == 2 * len(EXPECTED) + 301 == sum(summary["verdicts"].values())
    expected: dict[str, int] = {}
    for reason in filter(None, EXPECTED.values()):
        expected[reason.value] = expected.get(reason.value, 0) + 2
    skipped = summary["reasons"]["skipped"]
    assert {**summary["reasons"]["unreadable"], **skipped} == expected
    archived = Reason.ARCHIVED
    assert skipped == {archived.value: 2 * list(EXPECTED.values()).count(archived)}
    reported = [line for line in ran.lines if line["type"] in {"unreadable", "skipped"}]
    assert len(reported) == sum(expected.values())


def test_what_can_not_be_listed_to_its_end_is_reported(run: Run, uploads: Path, local_list: str) -> None:
    groups = ("unlistable/:5:10", "expiring/:1500:10", "fine/:1500:10")
    with object_server(*groups, files={b"x": uploads / "listed.jpg"}) as url:
        ran = scan(run, url)
    summary = ran.lines[-1]
    assert ran.code == 4
    # Of the second, the first page.
    assert summary["files"] == 1501 + 1000 == sum(summary["verdicts"].values())
    assert summary["folders_not_entered"] == {"permission denied": 2}
    reported = {line["path"]: line.get("detail") for line in ran.lines if line["type"] == "folder"}
    assert reported == {
        "s3://bucket/unlistable/": "the server answers AccessDenied",
        "s3://bucket/expiring/": "the server answers ExpiredToken",
    }


@pytest.mark.slow
def test_a_listing_that_jams(run: Run, local_list: str) -> None:
    """Slow, since a server that says so is given time."""
    with object_server("jamming/:1500:10", "fine/:10:10") as url:
        ran = scan(run, url)
    assert (ran.code, ran.lines[-1]["files"]) == (3, 1010)
    (reported,) = (line for line in ran.lines if line["type"] == "folder")
    assert (reported["path"], reported["detail"]) == ("s3://bucket/jamming/", "the server answers SlowDown")


def test_found_in_spite_of_faults(run: Run, uploads: Path, local_list: str) -> None:
    with object_server("deleted/:1:10", files={b"x": uploads / "listed.jpg"}) as url:
        assert scan(run, url).code == 4


def test_no_such_bucket(run: Run, local_list: str) -> None:
    with object_server("a/:1:10") as url:
        ran = scan(run, url, target="s3://other")
    assert ran.code == 2
    assert "s3://other" in ran.err


def test_an_empty_bucket_is_suspicious(run: Run, local_list: str) -> None:
    with object_server() as url:
        ran = scan(run, url)
    assert (ran.code, ran.lines[-1]["files"]) == (3, 0)
    assert "1 empty targets" in ran.err


def test_nobody_answers(run: Run, local_list: str) -> None:
    ran = scan(run, "http://127.0.0.1:1")
    assert ran.code == 13
    assert "s3://bucket" in ran.err


def test_no_room_for_a_large_object(run: Run, local_list: str) -> None:
    def cramped() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8 << 20, 8 << 20))

    with object_server("large/:1:30000000") as url:
        ran = scan(run, url, preexec_fn=cramped)
    assert ran.code == 0
    assert ran.lines[-1]["verdicts"]["undecoded"] == ran.lines[-1]["files"] == 1
    assert ran.lines[1]["reason"] == Reason.NO_ROOM.value


@pytest.mark.parametrize("url", ["ftp://x", "http://", "x", f"http://{KEY_ID}:{SECRET}@127.0.0.1:1"])
def test_endpoints_that_are_none(run: Run, local_list: str, url: str) -> None:
    ran = scan(run, url)
    assert ran.code == 2
    assert "--endpoint" in ran.err
    assert SECRET not in ran.err


def test_the_endpoint_by_variables(run: Run, uploads: Path, local_list: str) -> None:
    with object_server(files={b"x": uploads / "listed.jpg"}) as url:
        for name in ("HASHSCAN_ENDPOINT", "AWS_ENDPOINT_URL"):
            with credentials(**{name: url}) as env:
                assert run("scan", "s3://bucket", "--report", "-", env=env).code == 1


@pytest.mark.slow
def test_the_secret_is_nowhere(state: Path, uploads: Path, local_list: str, tmp_path: Path) -> None:
    """Neither in reports, words, the state folder nor command lines; no decoder has it in its environment."""
    groups = [f"{fault}/:2:30000" for fault in EXPECTED]
    pictures = {b"./%d" % number: tmp_path / str(number) for number in range(60)}
    for number, path in enumerate(pictures.values()):
        path.write_bytes(encoded(scene(number)))
    report = state / "report.jsonl"
    with object_server(*groups, files=pictures, latency=0.05) as url, credentials() as env:
        command = [*COMMAND, "scan", "s3://bucket", "--endpoint", url, "--report", str(report)]
        running = subprocess.Popen(
            command, env=environment(state, env), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        seen: dict[str, bytes] = {}
        while running.poll() is None:
            for process in Path("/proc").glob("[0-9]*"):
                try:
                    line = (process / "cmdline").read_bytes()
                    kept = (process / "environ").read_bytes()
                except OSError:
                    continue
                assert SECRET.encode() not in line
                if line.startswith(os.fsencode(sys.executable)) and b"hashscan.sandbox.zygote" in line:
                    seen[process.name] = kept
            time.sleep(0.02)
        assert running.stdout is not None
        message = running.stdout.read()
        running.stdout.close()
    assert running.returncode == 4, message
    assert json.loads(report.read_bytes().splitlines()[-1])["files"] == 2 * len(EXPECTED) + 60
    assert seen
    assert not any(seen.values())
    written = [path for path in state.rglob("*") if path.is_file()]
    assert report in written
    for text in (message, *(path.read_bytes() for path in written)):
        assert SECRET.encode() not in text
        assert KEY_ID.encode() not in text
