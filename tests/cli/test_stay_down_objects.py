"""Objects that were removed into a folder or a bucket and confirmed are found again; by the real commands."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.conftest import Ran, Run
from tests.pictures import encoded, scene
from tests.sources.objects.buckets import TestBucket, credentials

TERMS = ("--retain-min", "1d", "--destroy-by", "9d", "--act-on", "local")
CONFIRMED = ("--reason", "removed on the order of the police")
PICTURE = encoded(scene(31))


def recompressed(content: bytes) -> bytes:
    out = io.BytesIO()
    Image.open(io.BytesIO(content)).save(out, "JPEG", quality=60)
    return out.getvalue()


@dataclass
class Buckets:
    """One customer's bucket, another's, and one for evidence."""

    run: Run
    same: TestBucket
    other: TestBucket
    keep: TestBucket
    environment: Mapping[str, str]

    def __call__(self, *arguments: object) -> Ran:
        return self.run(*arguments, env=self.environment)

    def scan(self, bucket: TestBucket, *options: object) -> dict[str, dict[str, object]]:
        """The findings by key."""
        ran = self("scan", bucket.url.decode(), *self.endpoint, "--report", "-", *options)
        assert ran.code in (0, 1), ran.err
        return {str(line["path"]).rpartition("/")[2]: line for line in ran.lines if line["type"] == "finding"}

    @property
    def endpoint(self) -> tuple[str, str]:
        assert self.same.access.endpoint is not None
        return ("--endpoint", self.same.access.endpoint)


@pytest.fixture
def buckets(run: Run) -> Iterator[Buckets]:
    with ExitStack() as stack:
        made = [stack.enter_context(TestBucket()) for _ in range(3)]
        yield Buckets(run, *made, stack.enter_context(credentials()))


@pytest.fixture(params=["bucket", "folder"])
def removed(buckets: Buckets, request: pytest.FixtureRequest, tmp_path: Path) -> Buckets:
    """A picture that a list found, moved into quarantine: case 1."""
    buckets.same.put(b"first.jpg", PICTURE)
    path = tmp_path / "picture"
    path.write_bytes(PICTURE)
    (hashed,) = buckets("hash", path).lines
    entries, report = tmp_path / "entries.csv", tmp_path / "report.jsonl"
    entries.write_text(f"id,algorithm,value,category\ne-1,sha256,{hashed['digests']['sha256']},B1\n")
    assert buckets("lists", "import", entries, "--name", "ours").code == 0
    assert buckets("scan", buckets.same.url.decode(), *buckets.endpoint, "--report", report).code == 1
    place = ("--quarantine-dir", f"s3://{buckets.keep.name}/kept") if request.param == "bucket" else ()
    ran = buckets("quarantine", "add", report, *buckets.endpoint, *TERMS, *place)
    assert ran.code == 0, ran.err
    assert len(buckets.keep.listed()) == (request.param == "bucket")
    assert buckets("lists", "remove", "ours").code == 0
    return buckets


@pytest.mark.slow
def test_a_confirmed_object_is_found_again_until_it_is_restored(removed: Buckets) -> None:
    ran = removed("cases", "confirm", 1, *CONFIRMED)
    assert ran.code == 0, ran.err
    removed.same.put(b"again.jpg", recompressed(PICTURE))
    removed.other.put(b"others.jpg", recompressed(PICTURE))
    removed.other.put(b"copy.jpg", PICTURE)
    found = removed.scan(removed.same)
    assert {key: line["verdict"] for key, line in found.items()} == {"again.jpg": "match"}
    (match,) = found["again.jpg"]["matches"]  # type: ignore[misc]
    assert (match["list"], match["algorithm"], match["category"]) == ("stay-down", "pdq", "B1")
    found = removed.scan(removed.other)
    assert {key: line["verdict"] for key, line in found.items()} == {
        "others.jpg": "review",
        "copy.jpg": "match",
    }
    found = removed.scan(removed.other, "--act-on", "stay-down")
    assert {line["verdict"] for line in found.values()} == {"match"}
    ran = removed("quarantine", "restore", "--all")
    assert ran.code == 0, ran.err
    assert removed.scan(removed.same) == removed.scan(removed.other) == {}


@pytest.mark.parametrize("removed", ["bucket"], indirect=True)
def test_the_record_names_the_bucket_as_the_owner(removed: Buckets, state: Path) -> None:
    assert removed("cases", "confirm", 1, *CONFIRMED).code == 0
    (content,) = json.loads((state / "stay-down" / "entries.json").read_bytes())["contents"]
    assert content["owners"] == [removed.same.url.decode()]
    assert sorted(content["digests"]) == ["md5", "pdq", "sha1", "sha256"]


@pytest.mark.slow
@pytest.mark.parametrize("removed", ["bucket"], indirect=True)
@pytest.mark.parametrize("fault", ["altered", "gone", "refused"])
def test_what_can_not_be_read_in_the_bucket_stays_down_by_bytes_alone(
    removed: Buckets, state: Path, fault: str
) -> None:
    (key,) = removed.keep.listed()
    if fault == "altered":
        removed.keep.put(key, encoded(scene(32)))
    elif fault == "gone":
        removed.keep.remove(key)
    environment = dict(removed.environment)
    if fault == "refused":
        environment["AWS_SECRET_ACCESS_KEY"] = "wrong"
        environment["http_proxy"] = "http://127.0.0.1:1"
    ran = removed.run("cases", "confirm", 1, *CONFIRMED, env=environment)
    assert ran.code == 0, ran.err
    assert "only exact digests stay down" in ran.err
    (content,) = json.loads((state / "stay-down" / "entries.json").read_bytes())["contents"]
    assert sorted(content["digests"]) == ["md5", "sha1", "sha256"]


def test_an_object_that_is_moved_by_hand(buckets: Buckets) -> None:
    buckets.same.put(b"first.jpg", PICTURE)
    ran = buckets(
        *("quarantine", "add", f"{buckets.same.url.decode()}/first.jpg", "--reason", "by hand", *TERMS),
        *(*buckets.endpoint, "--quarantine-dir", f"s3://{buckets.keep.name}/kept"),
        *("--stay-down", "--category", "A1"),
    )
    assert ran.code == 0, ran.err
    buckets.same.put(b"again.jpg", recompressed(PICTURE))
    assert {line["verdict"] for line in buckets.scan(buckets.same).values()} == {"match"}
