"""S3 as moto's server has it; keys and faults that it hasn't, as a small server of our own has them."""

from __future__ import annotations

import gzip
import os
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from hashscan.errors import TargetError, UnreachableError
from hashscan.model import Access, Batch, FolderReason, Reason
from hashscan.sources.base import FileError, Listing, ListingOptions, SkippedFile, UnlistedFolder, full_path
from hashscan.sources.objects import obstore_reader, receiver
from hashscan.sources.objects.s3 import client as s3_client
from hashscan.sources.objects.s3.source import S3Source
from hashscan.sources.patterns import Patterns
from tests.examples import quick_first
from tests.object_server import FAULTS, object_server, statistics
from tests.pictures import encoded, scene
from tests.sources.objects.buckets import KEY_ID, SECRET, TestBucket, credentials, moto_url
from tests.sources.objects.scanning import scan, uploads

ODD = [
    b"a//b",
    b"x/../y",
    b"./z",
    b"/lead.jpg",
    b"//",
    b"/",
    b"..",
    b"trail/",
    b"new\nline\r\n",
    b"control\x01\x1b[31m\x7f",
    b"percent%zz%2",
    b"percent%2Fb",
    b"plus+space and & < > \" ' ;=?#",
    "ümläut/€/😀/\u202e".encode(),
    b"status code: 404 <Code>InvalidObjectState</Code>",
    b"k" * 1024,
    b"/".join([b"d"] * 512),
]


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(receiver, "_FIRST_PAUSE", 0.001)
    with credentials():
        yield


def listed(targets: Sequence[bytes], access: Access, options: ListingOptions | None = None) -> list[Listing]:
    return list(S3Source(targets, options or ListingOptions(), access).listings())


def names(listings: Sequence[Listing]) -> list[bytes]:
    """The URLs of what is to be read."""
    return sorted(
        full_path(listing.target, listing.folder, item.name)
        for listing in listings
        if isinstance(listing, Batch)
        for item in listing.items
    )


def outcomes(listings: Sequence[Listing], access: Access) -> dict[bytes, bytes | Reason]:
    """Return the bytes of each object, or the reason for none."""
    found: dict[bytes, bytes | Reason] = {}
    with closing(S3Source.opener(access)) as opener:
        for batch in listings:
            if isinstance(batch, SkippedFile):
                found[batch.item.name] = batch.reason
            if not isinstance(batch, Batch):
                continue
            with opener.reopen(batch) as folder:
                folder.prefetch(batch.items)
                for item in batch.items:
                    key = item.name + item.version.encode()
                    try:
                        with closing(folder.open(item)) as file:
                            found[key] = os.pread(file.descriptor, 1 << 26, 0)
                            file.check_unchanged()
                    except FileError as trouble:
                        found[key] = trouble.reason
    return found


def test_a_prefix_is_plain_text(bucket: TestBucket) -> None:
    for key in (b"a/1", b"a/2", b"ab/3", b"b"):
        bucket.put(key, b"")
    for prefix, expected in (
        (b"a", [b"a/1", b"a/2", b"ab/3"]),
        (b"a/", [b"a/1", b"a/2"]),
        (b"a/1", [b"a/1"]),
    ):
        found = names(listed([bucket.url + b"/" + prefix], bucket.access))
        assert found == [bucket.url + b"/" + key for key in expected]


def test_prefixes_within_others_are_listed_once(bucket: TestBucket) -> None:
    for key in (b"a/1", b"a/b/2", b"c"):
        bucket.put(key, b"")
    source = S3Source(
        [bucket.url + b"/a/b", bucket.url + b"/a", bucket.url + b"/c", bucket.url + b"/a"],
        ListingOptions(),
        bucket.access,
    )
    assert source.paths == (bucket.url + b"/a", bucket.url + b"/c")
    assert source.targets == (bucket.url,)
    assert len(names(list(source.listings()))) == 3


def test_an_empty_prefix_beside_others_is_reported(bucket: TestBucket) -> None:
    bucket.put(b"a/1", b"")
    found = listed([bucket.url + b"/a/", bucket.url + b"/gone/"], bucket.access)
    (closed,) = (listing for listing in found if isinstance(listing, UnlistedFolder))
    assert (closed.folder, closed.reason) == (b"gone/", FolderReason.VANISHED)
    assert not listed([bucket.url + b"/gone/"], bucket.access)


@pytest.mark.parametrize(
    "key", quick_first([key for key in ODD if b"\n" not in key and key not in {b"..", b"/", b"//"}], 3)
)
def test_odd_keys_on_a_server_made_for_it(bucket: TestBucket, key: bytes) -> None:
    bucket.put(key, b"content of " + key)
    bucket.put(b"usual", b"usual")
    found = outcomes(listed([bucket.url], bucket.access), bucket.access)
    assert found == {key: b"content of " + key, b"usual": b"usual"}


def test_every_odd_key_at_once(tmp_path: Path) -> None:
    files = {}
    for number, key in enumerate(ODD):
        files[key] = tmp_path / str(number)
        files[key].write_bytes(b"content of " + key)
    with object_server(files=files) as url:
        access = Access(endpoint=url)
        found = listed([b"s3://bucket"], access)
        assert names(found) == sorted(b"s3://bucket/" + key for key in ODD)
        assert outcomes(found, access) == {key: b"content of " + key for key in ODD}


def test_a_key_that_is_no_utf8_costs_no_other(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"content")
    with object_server(files={b"\xff/\xfe": tmp_path / "f", b"usual": tmp_path / "f"}) as url:
        access = Access(endpoint=url)
        assert outcomes(listed([b"s3://bucket"], access), access) == {
            b"\xff/\xfe": Reason.IO_ERROR, b"usual": b"content",
        }  # fmt: skip


@pytest.mark.parametrize(
    ("key", "usual"),
    [(b"a/b c.jpg", True), ("ü/€".encode(), True), (b"a/...", True), (b"a+b%2F?#&=", True), (b".a/b", True)]
    + [(key, False) for key in ODD if key[:4] not in {b"perc", b"plus", b"kkkk", b"d/d/", b"\xc3\xbcml"}],
)
def test_which_keys_obstore_can_say(key: bytes, usual: bool) -> None:
    assert (obstore_reader.path_of(key) is not None) == usual


EXPECTED: dict[str, Reason | None] = {
    "busy2": None,
    "busy": Reason.IO_ERROR,
    "broken": Reason.IO_ERROR,
    "cut1": None,
    "cut": Reason.IO_ERROR,
    "shut": Reason.IO_ERROR,
    "replaced": Reason.REPLACED,
    "deleted": Reason.VANISHED,
    "forbidden": Reason.PERMISSION,
    "expired": Reason.PERMISSION,
    "archived": Reason.ARCHIVED,
    "glacier": Reason.ARCHIVED,
    "restoring": Reason.ARCHIVED,
    "restored": None,
    "shorter": Reason.IO_ERROR,
}


def test_all_faults_have_an_outcome_or_a_test() -> None:
    assert set(EXPECTED) | {"swapped", "stalled"} == set(FAULTS)


@pytest.mark.parametrize("odd", [b"", b"./"], ids=["obstore", "botocore"])
def test_faults(odd: bytes) -> None:
    """Whichever library reads, each object has the outcome that its own fault makes, and no other's."""
    groups = [f"{odd.decode()}{fault}/:3:3000000" for fault in EXPECTED]
    with object_server(*groups, "fine/:20:1000") as url:
        access = Access(endpoint=url)
        found = outcomes(listed([b"s3://bucket"], access), access)
        asked = statistics(url)
    assert len(found) == 3 * len(EXPECTED) + 20
    for key, outcome in found.items():
        reason = EXPECTED.get(key.removeprefix(odd).split(b"/")[0].decode())
        if reason is None:
            assert isinstance(outcome, bytes)
            assert outcome.startswith(key)
            assert len(outcome) == (1000 if key.startswith(b"fine") else 3_000_000)
        else:
            assert outcome == reason, key
    # The faults that pass cost some more requests, those that stay are given up.
    assert asked["reads"] < len(found) * receiver.TRIES


@pytest.mark.parametrize("odd", [b"", b"./"], ids=["obstore", "botocore"])
def test_exchanged_between_two_tries(odd: bytes) -> None:
    with object_server(f"{odd.decode()}swapped/:1:3000000") as url:
        access = Access(endpoint=url)
        (outcome,) = outcomes(listed([b"s3://bucket"], access), access).values()
    assert outcome is Reason.CHANGED


def test_all_versions(versioned: TestBucket) -> None:
    versions = {}
    for content in (b"first", b"second"):
        versions[b"a//b" + versioned.put(b"a//b", content)["VersionId"].encode()] = content
    versioned.remove(b"a//b")
    versions[b"c" + versioned.put(b"c", b"third")["VersionId"].encode()] = b"third"
    access = versioned.access
    assert outcomes(listed([versioned.url], access), access) == {b"c": b"third"}
    found = outcomes(listed([versioned.url], access, ListingOptions(all_versions=True)), access)
    assert found == versions


def test_versions_by_the_thousand(versioned: TestBucket) -> None:
    for number in range(30):
        versioned.put(b"k/%d" % (number % 3), b"%d" % number)
    with closing(S3Source.make_store(versioned.name, versioned.access)) as store:
        client = store._lister  # type: ignore[attr-defined]
        ask = client.list_object_versions
        client.list_object_versions = lambda **options: ask(**options, MaxKeys=7)
        found = [stored for page in store.pages(b"", all_versions=True) for stored in page]
    assert len({(stored.key, stored.version) for stored in found}) == len(found) == 30


def test_patterns_and_sizes(bucket: TestBucket) -> None:
    for key in (b"t/cache/1.jpg", b"t/a/1.tmp", b"t/a/1.jpg", b"t/a/big", b"t//x/cache/y"):
        bucket.put(key, b"x" * (100 if key.endswith(b"big") else 1))
    options = ListingOptions(exclude=Patterns.compile(["cache/", "/a/*.tmp"]), max_file_size=10)
    found = listed([bucket.url + b"/t/"], bucket.access, options)
    assert {s.item.name: s.reason for s in found if isinstance(s, SkippedFile)} == {
        b"t/cache/1.jpg": Reason.EXCLUDED,
        b"t/a/1.tmp": Reason.EXCLUDED,
        b"t//x/cache/y": Reason.EXCLUDED,
        b"t/a/big": Reason.OVER_SIZE,
    }
    assert names(found) == [bucket.url + b"/t/a/1.jpg"]


def test_batches_are_small(bucket: TestBucket) -> None:
    for number in range(7):
        bucket.put(b"%d" % number, b"x" * 10)
    batches = listed([bucket.url], bucket.access, ListingOptions(batch_files=3, batch_bytes=25))
    assert [len(batch.items) for batch in batches if isinstance(batch, Batch)] == [2, 2, 2, 1]


def test_an_archived_class_is_skipped(bucket: TestBucket) -> None:
    bucket.put(b"a", b"x", StorageClass="DEEP_ARCHIVE")
    bucket.put(b"b", b"x", StorageClass="STANDARD_IA")
    bucket.put(b"c", b"x", StorageClass="GLACIER_IR")
    found = listed([bucket.url], bucket.access)
    (skipped,) = (listing for listing in found if isinstance(listing, SkippedFile))
    assert (skipped.item.name, skipped.reason) == (b"a", Reason.ARCHIVED)
    assert len(names(found)) == 2


def test_what_an_item_says(bucket: TestBucket) -> None:
    bucket.put(b"a", b"xyz")
    (batch,) = listed([bucket.url], bucket.access)
    assert isinstance(batch, Batch)
    (item,) = batch.items
    assert item.etag == '"d16fb36f0911f878998c136191af705e"'
    assert (item.stat.size, item.stat.links, item.stat.device, item.stat.inode) == (3, 1, 0, 0)
    assert 1.7e18 < item.stat.mtime_ns < 1e19
    assert 0 <= item.stat.uid < 1 << 63
    with TestBucket() as other:
        other.put(b"a", b"xyz")
        (elsewhere,) = listed([other.url], other.access)
        assert isinstance(elsewhere, Batch)
        assert elsewhere.items[0].stat.uid != item.stat.uid


def test_anonymous_requests_are_not_signed() -> None:
    with object_server("a/:3:10", "./:1:10") as url:
        for anonymous in (True, False):
            access = Access(endpoint=url, anonymous=anonymous)
            before = statistics(url)
            assert len(outcomes(listed([b"s3://bucket"], access), access)) == 4
            after = statistics(url)
            signed = after["signed"] - before["signed"]
            # All but the question for statistics itself.
            assert signed == (0 if anonymous else after["requests"] - before["requests"] - 1)


def test_no_such_bucket() -> None:
    with pytest.raises(TargetError, match="s3://no-such-bucket"):
        listed([b"s3://no-such-bucket"], Access(endpoint=moto_url()))


def test_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(TargetError, match="s3://b") as caught:
        listed([b"s3://b"], Access(endpoint=moto_url()))
    assert "--anonymous" in caught.value.remedy


def test_a_profile_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "none-such")
    with pytest.raises(TargetError, match="s3://b"):
        listed([b"s3://b"], Access(endpoint=moto_url()))


@pytest.mark.parametrize("target", [b"s3://", b"s3:///key", "s3://ü/".encode(), b"s3://b/\xff", b"s3://a b/"])
def test_what_is_no_target(target: bytes) -> None:
    with pytest.raises(TargetError):
        listed([target], Access(endpoint=moto_url()))


def test_a_url_with_a_password_is_refused_and_not_repeated() -> None:
    with pytest.raises(TargetError) as caught:
        listed([f"s3://{KEY_ID}:{SECRET}@bucket/x".encode()], Access(endpoint=moto_url()))
    assert SECRET not in f"{caught.value} {caught.value.remedy}"
    assert KEY_ID not in f"{caught.value} {caught.value.remedy}"


def test_nobody_answers() -> None:
    with pytest.raises(UnreachableError, match="s3://b") as caught:
        listed([b"s3://b"], Access(endpoint="http://127.0.0.1:1"))
    assert SECRET not in str(caught.value)
    assert "--endpoint" in caught.value.remedy


@pytest.mark.parametrize("odd", [b"", b"./"], ids=["obstore", "botocore"])
def test_a_server_that_falls_silent_is_given_up(odd: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of an object, at each try; it costs no other object."""
    monkeypatch.setitem(obstore_reader.CLIENT, "read_timeout", timedelta(seconds=0.3))
    monkeypatch.setattr(s3_client, "READ_SECONDS", 0.3)
    monkeypatch.setattr(receiver, "PATIENCE_SECONDS", 0.5)
    stalled = odd.decode() + "stalled"
    with object_server(f"{stalled}/:2:100000", f"{stalled}/large/:1:3000000", "fine/:3:1000") as url:
        access = Access(endpoint=url)
        found = outcomes(listed([b"s3://bucket"], access), access)
        asked = statistics(url)
    assert Counter(outcome for outcome in found.values() if isinstance(outcome, Reason)) == {
        Reason.IO_ERROR: 3
    }
    assert len(found) == 6
    assert asked["reads"] < 3 + 3 * receiver.TRIES


@pytest.mark.parametrize("key", [b"page.html", b"./page.html"], ids=["obstore", "botocore"])
def test_what_is_stored_compressed_is_known(bucket: TestBucket, key: bytes) -> None:
    bucket.put(key, gzip.compress(b"page"), ContentEncoding="gzip")
    bucket.put(b"x" + key, b"page", ContentEncoding="UTF-8")
    found = {}
    with closing(S3Source.opener(bucket.access)) as opener:
        for batch in listed([bucket.url], bucket.access):
            assert isinstance(batch, Batch)
            with opener.reopen(batch) as folder:
                for item in batch.items:
                    with closing(folder.open(item)) as file:
                        found[item.name] = (file.compressed, os.pread(file.descriptor, 1000, 0))
    assert found.pop(b"x" + key) == ("", b"page")
    (compressed,) = found.values()
    assert compressed[0] == "gzip"
    assert gzip.decompress(compressed[1]) == b"page"


def test_nothing_stored_compressed_passes_in_silence(bucket: TestBucket) -> None:
    """Its exact digests are checked as it is stored; that what viewers see isn't looked at is counted."""
    bucket.put(b"hidden.jpg", gzip.compress(encoded(scene(1), "JPEG")), ContentEncoding="gzip")
    bucket.put(b"plain.txt", b"text")
    with credentials() as environment:
        for options, code in (((), 0), (("--strict",), 3)):
            scanned = scan(bucket.url, environment=environment, options=("--endpoint", moto_url(), *options))
            assert scanned.code == code, scanned.messages
            (reported,) = scanned.by_path(f"{bucket.url.decode()}/").items()
            assert reported[0] == "hidden.jpg"
            assert (reported[1]["verdict"], reported[1]["reason"]) == ("undecoded", Reason.COMPRESSED.value)
            assert scanned.summary["verdicts"]["clean"] == 1


@pytest.mark.parametrize("folder", [b"", b"./"], ids=["obstore", "botocore"])
def test_an_object_that_is_not_recognised_is_what_its_type_says(bucket: TestBucket, folder: bytes) -> None:
    pytest.importorskip("av")
    noise = random.Random(4).randbytes(3000)
    for number, kind in enumerate(("image/jpeg", "application/octet-stream", "video/x-other; a=b")):
        bucket.put(folder + b"%d" % number, noise, ContentType=kind)
    bucket.put(folder + b"3", b"words\n", ContentType="text/html")
    with credentials() as environment:
        scanned = scan(bucket.url, environment=environment, options=("--endpoint", moto_url()))
    found = scanned.by_path(f"{bucket.url.decode()}/")
    assert {path.rpartition("/")[2]: record["reason"] for path, record in found.items()} == dict.fromkeys(
        "02", Reason.NAMED.value
    )
    assert scanned.summary["verdicts"]["clean"] == 2


def test_what_is_stored_compressed_is_opened(bucket: TestBucket) -> None:
    pytest.importorskip("libarchive")
    listed_upload = next(content for path, content in uploads().items() if path.endswith("banner.jpg"))
    bucket.put(b"hidden.jpg", gzip.compress(listed_upload), ContentEncoding="gzip")
    with credentials() as environment:
        scanned = scan(bucket.url, environment=environment, options=("--endpoint", moto_url()))
    assert scanned.code == 1, scanned.messages
    (reported,) = scanned.by_path(f"{bucket.url.decode()}/").values()
    assert (reported["verdict"], reported["matches"][0]["member"]) == ("match", "data")
