"""Contract of every store in which objects can be made and deleted."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any

import pytest
from botocore.exceptions import ClientError

from hashscan.model import Access, Reason
from hashscan.quarantine.object_stores import make_changeable
from hashscan.registry import SOURCES
from hashscan.sources.base import FileError
from hashscan.sources.objects.changeable_store import (
    ChangeableStore,
    ObjectExistsError,
    Properties,
    unlisted_item,
)
from hashscan.sources.objects.s3 import changeable as s3_changing
from hashscan.sources.objects.source import ObjectSource
from hashscan.sources.objects.store import RetryableError
from tests.examples import quick_first
from tests.sources.objects.az import test_source
from tests.sources.objects.azurite import PROGRAM, azurite
from tests.sources.objects.buckets import TestBucket, credentials
from tests.sources.objects.google_server import google_server
from tests.sources.objects.gs import test_source as test_gs

KEYS = [b"a/b.jpg", b"a//b", b"x/../y", b"/lead", "ümläut €".encode(), b"percent%2Fb ?#&=+"]


@dataclass
class Ground:
    """A container to try it in."""

    store: ChangeableStore
    properties: Properties
    """Properties that an object may have there."""


def s3(stack: ExitStack, *, versioned: bool) -> Ground:
    bucket = stack.enter_context(TestBucket(versioned=versioned))
    store = make_changeable("s3", bucket.name, bucket.access)
    properties = {
        "ContentType": "image/jpeg",
        "CacheControl": "max-age=60",
        "ContentDisposition": "attachment",
        "ContentEncoding": "br",
        "ContentLanguage": "de",
        "Metadata": {"who": "me", "what": "a b"},
        "StorageClass": "STANDARD_IA",
        "Tags": [["case", "4711 + more"]],
        "Grants": {"GrantRead": 'uri="http://acs.amazonaws.com/groups/global/AllUsers"'},
    }
    return Ground(store, properties)


def az(stack: ExitStack) -> Ground:
    if PROGRAM not in os.environ:
        pytest.skip(f"{PROGRAM} names no azurite-blob")
    service = azurite()
    stack.enter_context(test_source.environment(**service.environment))
    container = stack.enter_context(service.container())
    store = make_changeable("az", container.name, Access())
    properties = {
        "content_type": "image/jpeg",
        "content_language": "de",
        "cache_control": "max-age=60",
        "metadata": {"who": "me"},
        "tags": {"case": "4711"},
        "blob_type": "BlockBlob",
        "blob_tier": "Cool",
    }
    return Ground(store, properties)


def gs(stack: ExitStack) -> Ground:
    server = stack.enter_context(google_server())
    stack.enter_context(test_gs.environment())
    access = Access(endpoint=server.url, anonymous=True)
    store = make_changeable("gs", "bucket", access)
    properties = {
        "contentType": "image/jpeg",
        "contentEncoding": "gzip",
        "metadata": {"who": "me"},
        "storageClass": "NEARLINE",
        "acl": [{"entity": "allUsers", "role": "READER"}],
    }
    return Ground(store, properties)


GROUNDS: dict[str, Callable[[ExitStack], Ground]] = {
    "s3": lambda stack: s3(stack, versioned=False),
    "s3 versioned": lambda stack: s3(stack, versioned=True),
    "az": az,
    "gs": gs,
}


def test_every_changeable_store_is_tried() -> None:
    changeable = {name for name, source in SOURCES.items() if issubclass(source, ObjectSource)}
    assert changeable == {name.split()[0] for name in GROUNDS}


@pytest.fixture(scope="module", autouse=True)
def _service() -> None:
    """Azurite's descriptors last, and are no leak of the first test that asks for it."""
    if PROGRAM in os.environ:
        azurite()


@pytest.fixture(params=list(GROUNDS))
def ground(request: pytest.FixtureRequest) -> Iterator[Ground]:
    with ExitStack() as stack:
        made = GROUNDS[request.param](stack)
        stack.enter_context(closing(made.store))
        yield made


def made(store: ChangeableStore, key: bytes, content: bytes, properties: Properties | None = None) -> Any:
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.flush()
        return store.create(key, file.fileno(), len(content), properties or {})


def content_of(store: ChangeableStore, key: bytes) -> bytes:
    described = store.describe(unlisted_item(key))
    with closing(reading := store.read(unlisted_item(key, described.etag, described.version), 0)):  # type: ignore[type-var]
        return b"".join(reading.chunks)


def why(call: Callable[[], object]) -> Reason:
    with pytest.raises(FileError) as caught:
        call()
    return caught.value.reason


@pytest.mark.parametrize("key", quick_first(KEYS))
def test_made_as_it_was_and_deleted(ground: Ground, key: bytes) -> None:
    store = ground.store
    answer = made(store, key, b"accused", ground.properties)
    described = store.describe(unlisted_item(key))
    assert (described.size, described.etag, described.version) == (7, answer.etag, answer.version)
    assert {name: described.properties[name] for name in ground.properties if name != "Grants"} == {
        name: value for name, value in ground.properties.items() if name != "Grants"
    }
    assert content_of(store, key) == b"accused"
    assert store.delete(unlisted_item(key, described.etag, described.version))
    assert why(lambda: store.describe(unlisted_item(key))) is Reason.VANISHED
    assert why(lambda: store.delete(unlisted_item(key, described.etag, described.version))) is Reason.VANISHED
    # And once more with all that was said of it.
    made(store, key, b"accused", described.properties)
    assert store.describe(unlisted_item(key)).properties == described.properties


def test_nothing_is_replaced(ground: Ground) -> None:
    made(ground.store, b"key", b"first")
    with pytest.raises(ObjectExistsError):
        made(ground.store, b"key", b"second")
    assert content_of(ground.store, b"key") == b"first"


def test_what_took_its_place_is_left(ground: Ground) -> None:
    store = ground.store
    first = made(store, b"key", b"first")
    store.delete(unlisted_item(b"key", first.etag, first.version))
    made(store, b"key", b"second")
    assert why(lambda: store.describe(unlisted_item(b"key", first.etag))) is Reason.REPLACED
    assert why(lambda: store.delete(unlisted_item(b"key", first.etag, first.version))) in {
        Reason.REPLACED,
        Reason.VANISHED,
    }
    assert content_of(store, b"key") == b"second"


def test_an_empty_one(ground: Ground) -> None:
    made(ground.store, b"key", b"")
    assert content_of(ground.store, b"key") == b""


def test_a_key_that_is_no_utf8(ground: Ground) -> None:
    assert why(lambda: ground.store.describe(unlisted_item(b"\xff"))) is Reason.IO_ERROR
    assert why(lambda: made(ground.store, b"\xff", b"x")) is Reason.IO_ERROR
    assert why(lambda: ground.store.delete(unlisted_item(b"\xff", "1"))) is Reason.IO_ERROR


def test_a_large_one_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_changing, "_WHOLE", 1 << 20)
    monkeypatch.setattr(s3_changing, "_PART", 5 << 20)
    content = os.urandom(1 << 20) * 11
    with ExitStack() as stack:
        ground = s3(stack, versioned=False)
        stack.enter_context(closing(ground.store))
        answer = made(ground.store, b"key", content, ground.properties)
        described = ground.store.describe(unlisted_item(b"key", answer.etag, answer.version))
        assert described.etag.endswith('-3"')
        assert described.properties["Metadata"] == ground.properties["Metadata"]
        assert content_of(ground.store, b"key") == content
        with pytest.raises(ObjectExistsError):
            made(ground.store, b"key", b"second" * (1 << 20))
        assert content_of(ground.store, b"key") == content
        uploads = ground.store._client.list_multipart_uploads(Bucket=ground.store._bucket)  # type: ignore[attr-defined]
        assert not uploads.get("Uploads")


def test_a_service_that_heeds_no_condition_is_compared_before(monkeypatch: pytest.MonkeyPatch) -> None:
    with ExitStack() as stack:
        bucket = stack.enter_context(TestBucket())
        store = make_changeable("s3", bucket.name, bucket.access)
        stack.enter_context(closing(store))
        client = store._client
        plain = client.delete_object
        monkeypatch.setattr(client, "delete_object", lambda IfMatch=None, **more: plain(**more))  # noqa: N803
        first = made(store, b"key", b"first")
        bucket.put(b"key", b"second")
        assert why(lambda: store.delete(unlisted_item(b"key", first.etag))) is Reason.REPLACED
        assert store.delete(unlisted_item(b"key", store.describe(unlisted_item(b"key")).etag)) is False
        assert bucket.listed() == []


def test_a_service_without_tags_and_acls(bucket: TestBucket, monkeypatch: pytest.MonkeyPatch) -> None:
    store = make_changeable("s3", bucket.name, bucket.access)
    with closing(store):
        made(store, b"key", b"x")
        status = [501]

        def failing(**_: object) -> None:
            response = {"Error": {"Code": "x"}, "ResponseMetadata": {"HTTPStatusCode": status[0]}}
            raise ClientError(response, "x")  # type: ignore[arg-type]

        for name in ("get_object_tagging", "get_object_acl"):
            monkeypatch.setattr(store._client, name, failing)
        assert store.describe(unlisted_item(b"key")).unread == ("tags", "ACL")
        status[0] = 503
        with pytest.raises(RetryableError):
            store.describe(unlisted_item(b"key"))


def test_versions_that_a_bucket_begins_to_keep(bucket: TestBucket) -> None:
    store = make_changeable("s3", bucket.name, bucket.access)
    with closing(store):
        first = made(store, b"key", b"first")
        bucket.client.put_bucket_versioning(
            Bucket=bucket.name, VersioningConfiguration={"Status": "Enabled"}
        )  # fmt: skip
        assert store.delete(unlisted_item(b"key", first.etag)) is False
        left = bucket.client.list_object_versions(Bucket=bucket.name)
        assert not left.get("Versions")
        assert not left.get("DeleteMarkers")


def test_of_versions_exactly_one_goes() -> None:
    with TestBucket(versioned=True) as bucket:
        store = make_changeable("s3", bucket.name, bucket.access)
        with closing(store):
            versions = [bucket.put(b"key", content)["VersionId"] for content in (b"1", b"2", b"3")]
            described = store.describe(unlisted_item(b"key", version=versions[1]))
            assert store.delete(unlisted_item(b"key", described.etag, described.version))
            left = bucket.client.list_object_versions(Bucket=bucket.name)
        assert {found["VersionId"] for found in left["Versions"]} == {versions[0], versions[2]}
        assert not left.get("DeleteMarkers")


def test_google_wants_bytes_sent_elsewhere() -> None:
    with google_server() as server, test_gs.environment():
        access = Access(endpoint=server.url, anonymous=True)
        store = make_changeable("gs", "bucket", access)
        server.upload_url = "http://127.0.0.1:1"
        with closing(store):
            assert why(lambda: made(store, b"key", b"x")) is Reason.IO_ERROR


def test_google_s_acl_need_not_be_readable() -> None:
    with google_server() as server, test_gs.environment():
        access = Access(endpoint=server.url, anonymous=True)
        store = make_changeable("gs", "bucket", access)
        with closing(store):
            made(store, b"key", b"x", {"contentType": "image/png"})
            server.acl_status = 403
            assert store.describe(unlisted_item(b"key")).unread == ("ACL",)
            server.refusals[b"key"] = 403
            with pytest.raises(FileError, match="Storage Object Viewer"):
                store.describe(unlisted_item(b"key"))
            with pytest.raises(FileError, match="Storage Object Admin"):
                store.delete(unlisted_item(b"key", "1"))


def test_what_needs_which_permission(monkeypatch: pytest.MonkeyPatch) -> None:
    with credentials(), TestBucket() as bucket:
        store = make_changeable("s3", bucket.name, bucket.access)
        with closing(store):
            answer = made(store, b"key", b"x", {"Tags": [["a", "b"]]})

            def denied(**_: object) -> None:
                response = {"Error": {"Code": "AccessDenied"}, "ResponseMetadata": {"HTTPStatusCode": 403}}
                raise ClientError(response, "x")  # type: ignore[arg-type]

            for name in ("get_object_tagging", "get_object_acl", "delete_object", "put_object"):
                monkeypatch.setattr(store._client, name, denied)
            described = store.describe(unlisted_item(b"key"))
            assert described.unread == ("tags", "ACL")
            assert "Tags" not in described.properties
            for call, right in (
                (lambda: store.delete(unlisted_item(b"key", answer.etag)), "s3:DeleteObject"),
                (lambda: made(store, b"new", b"x"), "s3:PutObject"),
            ):
                with pytest.raises(FileError, match=right) as caught:
                    call()
                assert caught.value.reason is Reason.PERMISSION


def test_a_service_that_heeds_no_condition_replaces_nothing(
    bucket: TestBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_changeable("s3", bucket.name, bucket.access)
    with closing(store):
        plain = store._client.put_object
        monkeypatch.setattr(store._client, "put_object", lambda IfNoneMatch, **more: plain(**more))  # noqa: N803
        made(store, b"key", b"first")
        with pytest.raises(ObjectExistsError):
            made(store, b"key", b"second")
        assert content_of(store, b"key") == b"first"
