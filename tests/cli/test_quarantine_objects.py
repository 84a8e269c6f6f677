"""`hashscan quarantine` with buckets: to a folder and to another bucket, with versions and without."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Ran, Run
from tests.sources.objects.buckets import SECRET, TestBucket, credentials

TERMS = ("--retain-min", "90d", "--destroy-by", "365d", "--act-on", "local")
BAD = b"accused"
KEYS = [b"a//b.jpg", b"plain.jpg", "ümläut/€ ?#&=+".encode()]


@dataclass
class Site:
    """A bucket with ten objects, of which three are accused, and another for evidence."""

    run: Run
    bucket: TestBucket
    keep: TestBucket
    environment: Mapping[str, str]
    folder: Path

    def __call__(self, *arguments: object) -> Ran:
        return self.run(*arguments, env=self.environment)

    @property
    def endpoint(self) -> tuple[str, str]:
        assert self.bucket.access.endpoint is not None
        return ("--endpoint", self.bucket.access.endpoint)

    def scan(
        self, *options: object, bucket: TestBucket | None = None
    ) -> tuple[int, Path, list[dict[str, Any]]]:
        report = self.folder / f"report-{len(os.listdir(self.folder))}.jsonl"
        scanned = (bucket or self.bucket).url.decode()
        ran = self("scan", scanned, *self.endpoint, "--report", report, *options)
        assert ran.code in {0, 1, 3, 4}, ran.err
        lines = [json.loads(line) for line in report.read_text().splitlines()]
        found = [line for line in lines if line["type"] == "finding"]
        return ran.code, report, found


@pytest.fixture
def site(request: pytest.FixtureRequest, run: Run, tmp_path: Path) -> Iterator[Site]:
    entries = tmp_path / "entries.csv"
    digest = hashlib.sha256(BAD).hexdigest()
    entries.write_text(f"id,algorithm,value,category\ne-1,sha256,{digest},A1\n")
    assert run("lists", "import", entries, "--name", "ours").code == 0
    (tmp_path / "reports").mkdir()
    with ExitStack() as stack:
        versioned = getattr(request, "param", "plain") == "versioned"
        bucket, keep = (stack.enter_context(TestBucket(versioned=versioned)) for _ in range(2))
        for number in range(27):
            bucket.put(b"good%d" % number, b"innocent %d" % number)
        for key in KEYS:
            bucket.put(key, BAD, ContentType="image/jpeg", Tagging="case=4711")
        yield Site(run, bucket, keep, stack.enter_context(credentials()), tmp_path / "reports")


def bad(site: Site) -> list[bytes]:
    return [key for key in site.bucket.listed() if not key.startswith(b"good")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("site", "to"),
    [
        ("plain", "bucket"),
        pytest.param("versioned", "bucket", marks=pytest.mark.slow),
        pytest.param("plain", "folder", marks=pytest.mark.slow),
        pytest.param("versioned", "folder", marks=pytest.mark.slow),
    ],
    indirect=["site"],
)
def test_from_a_report_and_back(site: Site, to: str, state: Path, tmp_path: Path) -> None:
    place = ("--quarantine-dir", f"s3://{site.keep.name}/kept/here") if to == "bucket" else ()
    code, report, found = site.scan()
    assert (code, len(found)) == (1, 3)
    dry = site("quarantine", "add", report, *site.endpoint, *TERMS, *place, "--dry-run")
    assert (dry.code, len(bad(site)), len(dry.out.splitlines())) == (0, 3, 3)
    ran = site("quarantine", "add", report, *site.endpoint, *TERMS, *place)
    assert ran.code == 0, ran.err
    assert bad(site) == []
    assert len(site.keep.listed()) == (3 if to == "bucket" else 0)

    # Neither what was taken nor what is kept is found again.
    code, _, found = site.scan()
    assert (code, found) == (0, [])
    if to == "bucket":
        code, _, found = site.scan(bucket=site.keep)
        assert found == []
        site.keep.put(b"kept/here/.hashscan-quarantine/not-ours", BAD)
        code, _, found = site.scan(bucket=site.keep)
        assert [line["path"].rpartition("/")[2] for line in found] == ["not-ours"]

    records = site("quarantine", "list", "--format", "json", "--owner", site.bucket.url.decode()).lines
    assert {os.fsencode(record["path"]) for record in records} == {
        site.bucket.url + b"/" + key for key in KEYS
    }
    assert records[0]["object"]["properties"]["Tags"] == [["case", "4711"]]
    assert site("quarantine", "list", "--format", "json", "--owner", "root").lines == []
    assert "plain.jpg" in site("quarantine", "list").out
    assert site("quarantine", "verify").code == 0

    pyrage = pytest.importorskip("pyrage")
    identity = pyrage.x25519.Identity.generate()
    target = tmp_path / "evidence.age"
    ran = site(
        "quarantine", "export", "--all", "--recipient", identity.to_public(), "--output", target
    )  # fmt: skip
    assert ran.code == 0, ran.err
    assert pyrage.decrypt(target.read_bytes(), [identity]).count(BAD) >= 3

    ran = site("quarantine", "restore", "--all")
    assert ran.code == 0, ran.err
    assert sorted(bad(site)) == sorted(KEYS)
    for key in KEYS:
        answer = site.bucket.client.get_object(Bucket=site.bucket.name, Key=key.decode())
        assert (answer["Body"].read(), answer["ContentType"]) == (BAD, "image/jpeg")
    code, _, found = site.scan()
    assert (code, len(found)) == (0, 3)
    log = (state / "quarantine" / "log.jsonl").read_text()
    assert SECRET not in log
    assert site("quarantine", "verify").code == 0


def test_in_the_scan_itself(site: Site) -> None:
    code, report, found = site.scan("--quarantine", *TERMS, "--quarantine-dir", f"s3://{site.keep.name}")
    assert code == 1
    assert [line["quarantine"]["outcome"] for line in found] == ["done"] * 3
    assert bad(site) == []
    assert len(site.keep.listed()) == 3
    code, _, found = site.scan()
    assert (code, found) == (0, [])
    # Moved long ago, and not to be looked for once more.
    assert site("quarantine", "add", report, *site.endpoint, *TERMS).code == 0


def test_replaced_since_the_scan(site: Site) -> None:
    _, report, _ = site.scan()
    for key in KEYS[:2]:
        site.bucket.put(key, b"another")
    site.bucket.remove(KEYS[2])
    ran = site("quarantine", "add", report, *site.endpoint, *TERMS)
    assert (ran.code, ran.err.count(": raced:"), ran.err.count(": gone:")) == (3, 2, 1)
    for key in KEYS[:2]:
        answer = site.bucket.client.get_object(Bucket=site.bucket.name, Key=key.decode())
        assert answer["Body"].read() == b"another"


def test_by_hand_and_what_can_not_be(site: Site) -> None:
    url = site.bucket.url.decode() + "/plain.jpg"
    reason = ("--reason", "an order")
    ran = site("quarantine", "add", url, "https://host/a.jpg", *reason, *site.endpoint, *TERMS)
    assert (ran.code, "remove it on its server" in ran.err) == (3, True), ran.err
    assert KEYS[1] not in bad(site)
    for places in (
        ("https://host/x",),
        ("s3://one", "s3://two"),
    ):
        options = [part for place in places for part in ("--quarantine-dir", place)]
        assert site("quarantine", "add", url, *reason, *TERMS, *options).code == 2
    ran = site("quarantine", "add", url, *reason, *TERMS, "--endpoint", "http://me:secret@host")
    assert (ran.code, "secret" in ran.err) == (2, False)
    own = ("--quarantine-dir", site.bucket.url.decode())
    url = site.bucket.url.decode() + "/" + KEYS[0].decode()
    ran = site("quarantine", "add", url, *reason, *site.endpoint, *TERMS, *own)
    assert (ran.code, "another bucket" in ran.err) == (2, True)
    _, report, _ = site.scan()
    ran = site("quarantine", "add", report, *site.endpoint, *TERMS, *own)
    assert (ran.code, "another bucket" in ran.err) == (2, True)
    scanned = ("scan", site.bucket.url.decode(), *site.endpoint, "--report", site.folder / "none")
    ran = site(*scanned, "--quarantine", *TERMS, *own)
    assert (ran.code, os.path.exists(scanned[-1])) == (2, False)
    assert KEYS[0] in bad(site)


def test_without_credentials_nothing_is_touched(site: Site) -> None:
    _, report, _ = site.scan()
    nobody = {n: v for n, v in site.environment.items() if n != "AWS_ACCESS_KEY_ID"}
    os.environ.pop("AWS_ACCESS_KEY_ID")
    ran = site.run("quarantine", "add", report, *site.endpoint, *TERMS, env=nobody)
    assert (ran.code, "no credentials" in ran.err) == (3, True), ran.err
    assert len(bad(site)) == 3


@pytest.mark.parametrize("site", ["versioned"], indirect=True)
def test_every_version(site: Site) -> None:
    site.bucket.put(b"k", BAD)
    site.bucket.put(b"k", b"another")
    site.bucket.put(b"k", BAD)
    code, report, found = site.scan("--all-versions")
    assert (code, len(found)) == (1, 5)
    ran = site("quarantine", "add", report, *site.endpoint, *TERMS)
    assert ran.code == 0, ran.err
    versions = site.bucket.client.list_object_versions(Bucket=site.bucket.name, Prefix="k")
    assert len(versions["Versions"]) == 1
    assert not versions.get("DeleteMarkers")
    answer = site.bucket.client.get_object(Bucket=site.bucket.name, Key="k")
    assert answer["Body"].read() == b"another"
    code, _, found = site.scan("--all-versions")
    assert (code, found) == (0, [])
