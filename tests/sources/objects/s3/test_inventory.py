"""Buckets listed by an inventory, and single objects named by URL."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote_plus

import pytest

from hashscan.errors import TargetError
from hashscan.model import DIRECT, Access, Batch, FolderReason, Reason
from hashscan.sources.base import (
    Listing,
    ListingOptions,
    NonFileCounts,
    SkippedFile,
    UnlistedFolder,
    UnreadableName,
)
from hashscan.sources.objects.s3.inventory import S3Inventory
from hashscan.sources.objects.s3.source import S3Source
from hashscan.sources.patterns import Patterns
from tests.object_server import object_server
from tests.sources.objects.buckets import TestBucket, credentials
from tests.sources.objects.inventories import data_file, manifest, rows_of
from tests.sources.objects.s3.test_source import ODD, outcomes


@pytest.fixture(autouse=True)
def _credentials() -> Iterator[None]:
    with credentials():
        yield


def copy(folder: Path, bucket: TestBucket, *, spoil: str = "") -> bytes:
    """A copy of an inventory on this machine, as `aws s3 sync` makes it."""
    rows = rows_of(bucket)
    files = {f"inv/data/{part}.csv.gz": data_file(rows[part::2]) for part in (0, 1)}
    for key, content in files.items():
        (folder / key).parent.mkdir(parents=True, exist_ok=True)
        (folder / key).write_bytes(content)
    if spoil:
        (folder / spoil).write_bytes(b"spoiled")
    place = folder / "inv" / "2026-11-25T00-00Z" / "manifest.json"
    place.parent.mkdir(parents=True)
    place.write_bytes(manifest(bucket.name, files))
    return str(place).encode()


def keys(listings: Sequence[Listing]) -> list[bytes]:
    return sorted(i.name for listing in listings if isinstance(listing, Batch) for i in listing.items)


def others(listings: Sequence[Listing]) -> list[Listing]:
    return [listing for listing in listings if not isinstance(listing, Batch | NonFileCounts)]


def test_odd_keys_by_inventory_and_by_name(tmp_path: Path) -> None:
    files = {}
    for number, key in enumerate(ODD):
        files[key] = tmp_path / str(number)
        files[key].write_bytes(b"content of " + key)
    expected = {key: b"content of " + key for key in ODD}
    content = data_file(["bucket", quote_plus(key, safe="/")] for key in ODD)
    (tmp_path / "data.csv.gz").write_bytes(content)
    location = tmp_path / "manifest.json"
    location.write_bytes(manifest("bucket", {"x/data.csv.gz": content}, columns="Bucket, Key"))
    with object_server(files=files) as url:
        access = Access(endpoint=url)
        source = S3Inventory([], ListingOptions(), access, manifest=bytes(location))
        assert source.targets == source.paths == (b"s3://bucket",)
        found = list(source.listings())
        assert others(found) == []
        assert outcomes(found, access) == expected
        names = [b"s3://bucket/" + key for key in ODD]
        for targets in ([], [b"s3://bucket"]):
            found = list(S3Source(targets, ListingOptions(), access).listings_by_name(iter(names)))
            assert others(found) == []
            assert outcomes(found, access) == expected


def test_an_inventory_in_a_bucket(bucket: TestBucket) -> None:
    for number in range(7):
        bucket.put(b"k%d" % number, b"%d" % number)
    with TestBucket() as reports:
        content = data_file(rows_of(bucket))
        reports.put(b"inv/data/1.csv.gz", content)
        whole = manifest(
            bucket.name, {"inv/data/1.csv.gz": content}, destinationBucket=f"arn:aws:s3:::{reports.name}"
        )
        reports.put(b"inv/m/manifest.json", whole)
        location = reports.url + b"/inv/m/manifest.json"
        source = S3Inventory([], ListingOptions(), bucket.access, manifest=location)
        found = list(source.listings())
        assert outcomes(found, bucket.access) == {b"k%d" % number: b"%d" % number for number in range(7)}
        # A file of it that is gone, and one that is another.
        reports.put(b"inv/data/1.csv.gz", content + b"x")
        (closed,) = others(list(source.listings()))
        assert isinstance(closed, UnlistedFolder)
        assert (closed.reason, "checksum" in closed.detail) == (FolderReason.IO_ERROR, True)
        reports.remove(b"inv/data/1.csv.gz")
        (closed,) = others(list(source.listings()))
        assert isinstance(closed, UnlistedFolder)
        assert closed.target == reports.url + b"/inv/data/1.csv.gz"
        assert closed.reason is FolderReason.VANISHED
        with pytest.raises(TargetError, match=r"can't read the inventory .*no/manifest.json: vanished"):
            S3Inventory([], ListingOptions(), bucket.access, manifest=reports.url + b"/no/manifest.json")


def test_what_has_changed_since_is_read_as_it_is(bucket: TestBucket, tmp_path: Path) -> None:
    for key in (b"same", b"replaced", b"removed"):
        bucket.put(key, key)
    source = S3Inventory([], ListingOptions(), bucket.access, manifest=copy(tmp_path, bucket))
    bucket.put(b"replaced", b"something longer than before")
    bucket.remove(b"removed")
    assert outcomes(list(source.listings()), bucket.access) == {
        b"same": b"same",
        b"replaced": b"something longer than before",
        b"removed": Reason.VANISHED,
    }


def test_versions(versioned: TestBucket, tmp_path: Path) -> None:
    first = versioned.put(b"k", b"one")["VersionId"]
    second = versioned.put(b"k", b"two")["VersionId"]
    gone = versioned.put(b"gone", b"was here")["VersionId"]
    versioned.remove(b"gone")
    location = copy(tmp_path, versioned)
    source = S3Inventory([], ListingOptions(), versioned.access, manifest=location)
    assert outcomes(list(source.listings()), versioned.access) == {b"k": b"two"}
    source = S3Inventory([], ListingOptions(all_versions=True), versioned.access, manifest=location)
    assert outcomes(list(source.listings()), versioned.access) == {
        b"k" + first.encode(): b"one",
        b"k" + second.encode(): b"two",
        b"gone" + gone.encode(): b"was here",
    }


def test_prefixes_and_what_is_left_out(bucket: TestBucket, tmp_path: Path) -> None:
    for key in (b"a/1.jpg", b"a/2.log", b"ab/3", b"c/4"):
        bucket.put(key, b"x" * len(key))
    bucket.put(b"a/large", b"x" * 100)
    bucket.put(b"a/cold", b"", StorageClass="GLACIER")
    location = copy(tmp_path, bucket)
    options = ListingOptions(exclude=Patterns.compile(["*.log"]), max_file_size=50)
    source = S3Inventory(
        [bucket.url + b"/a", bucket.url + b"/zzz"], options, bucket.access, manifest=location
    )
    found = list(source.listings())
    assert keys(found) == [b"a/1.jpg", b"ab/3"]
    assert {s.item.name: s.reason for s in found if isinstance(s, SkippedFile)} == {
        b"a/2.log": Reason.EXCLUDED,
        b"a/large": Reason.OVER_SIZE,
        b"a/cold": Reason.ARCHIVED,
    }
    (closed,) = [c for c in found if isinstance(c, UnlistedFolder)]
    assert (closed.folder, closed.reason) == (b"zzz", FolderReason.VANISHED)
    with pytest.raises(TargetError, match="not of s3://elsewhere"):
        S3Inventory([b"s3://elsewhere"], options, bucket.access, manifest=location)


def test_a_spoiled_copy_costs_one_file(bucket: TestBucket, tmp_path: Path) -> None:
    for number in range(10):
        bucket.put(b"k%d" % number, b"")
    location = copy(tmp_path, bucket, spoil="inv/data/0.csv.gz")
    found = list(S3Inventory([], ListingOptions(), bucket.access, manifest=location).listings())
    assert len(keys(found)) == 5
    (closed,) = others(found)
    assert isinstance(closed, UnlistedFolder)
    assert closed.detail == "a file of the inventory: its checksum is not the manifest's"
    (tmp_path / "inv" / "data" / "0.csv.gz").unlink()
    (closed,) = others(list(S3Inventory([], ListingOptions(), DIRECT, manifest=location).listings()))
    assert isinstance(closed, UnlistedFolder)
    assert closed.reason is FolderReason.VANISHED or "not beside" in closed.detail


def test_a_manifest_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="can't open the inventory"):
        S3Inventory([], ListingOptions(), DIRECT, manifest=bytes(tmp_path / "manifest.json"))
    with pytest.raises(TargetError, match="Is a directory"):
        S3Inventory([], ListingOptions(), DIRECT, manifest=bytes(tmp_path))


def test_names_of_objects(bucket: TestBucket) -> None:
    bucket.put(b"a/1", b"one")
    bucket.put(b"b", b"two")
    url = bucket.url
    names = [
        url + b"/a/1",
        b"",
        url + b"/b",
        url + b"/b",
        url + b"/gone",
        url,
        b"s3://",
        b"s3:///k",
        url + b"/x.log",
    ]
    options = ListingOptions(exclude=Patterns.compile(["*.log"]))
    found = list(S3Source([], options, bucket.access).listings_by_name(iter(names)))
    assert [len(batch.items) for batch in found if isinstance(batch, Batch)] == [1, 1, 2]
    assert outcomes(found, bucket.access) == {
        b"a/1": b"one",
        b"b": b"two",
        b"gone": Reason.VANISHED,
        b"x.log": Reason.EXCLUDED,
    }
    assert [(lost.target, lost.reason) for lost in found if isinstance(lost, UnreadableName)] == [
        (url, Reason.NO_NAME),
        (b"s3://", Reason.NO_NAME),
        (b"s3:///k", Reason.NO_NAME),
    ]
    found = list(
        S3Source([url + b"/a"], options, bucket.access).listings_by_name(iter([*names, b"s3://other/a/1"]))
    )
    assert keys(found) == [b"a/1"]
    assert sum(isinstance(lost, UnreadableName) and lost.reason is Reason.OUTSIDE for lost in found) == 6


def test_a_bucket_that_is_not_there(bucket: TestBucket) -> None:
    found = list(
        S3Source([], ListingOptions(), bucket.access).listings_by_name(iter([b"s3://no-such-bucket/k"]))
    )
    assert outcomes(found, bucket.access) == {b"k": Reason.VANISHED}
