"""Azure's blobs, from Azurite: what is listed, read, and said of what goes wrong."""

from __future__ import annotations

import gzip
import os
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from unittest import mock

import pytest
from azure.storage.blob import ContentSettings

from hashscan.errors import TargetError, UnreachableError
from hashscan.model import DIRECT, Access, Reason
from hashscan.sources.base import ListingOptions, SkippedFile, UnlistedFolder
from hashscan.sources.objects import receiver
from hashscan.sources.objects.az.source import AzureSource
from tests.sources.objects.azurite import ACCOUNT, KEY, PROGRAM, Azurite, Container, azurite
from tests.sources.objects.buckets import wake_obstore
from tests.sources.objects.reading import batches_of, read_all
from tests.sources.objects.scanning import UPLOADS, scan, uploads

pytestmark = pytest.mark.skipif(PROGRAM not in os.environ, reason=f"{PROGRAM} names no azurite-blob")


@pytest.fixture(scope="module")
def service() -> Azurite:
    wake_obstore()
    return azurite()


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AZURE_")}
    with mock.patch.dict(os.environ, kept | variables, clear=True):
        yield


@pytest.fixture
def container(service: Azurite, monkeypatch: pytest.MonkeyPatch) -> Iterator[Container]:
    monkeypatch.setattr(receiver, "_FIRST_PAUSE", 0.005)
    with environment(**service.environment), service.container() as made:
        yield made


def url(container: Container, prefix: str = "") -> bytes:
    return f"az://{container.name}{prefix}".encode()


def source(container: Container, *, access: Access = Access(), **options: object) -> AzureSource:  # noqa: B008
    return AzureSource([url(container)], ListingOptions(**options), access)  # type: ignore[arg-type]


def held(container: Container, **contents: bytes) -> dict[bytes, bytes]:
    for key, content in contents.items():
        container.put(key, content)
    return {url(container, f"/{key}"): content for key, content in contents.items()}


def fetch(found: AzureSource, access: Access = Access()) -> dict[bytes, bytes | Reason]:  # noqa: B008
    return read_all(AzureSource, batches_of(found), access)


ODD = [
    "a//b",
    "/lead.jpg",
    "new\nline",
    "tab\t",
    "bad%zz",
    "%2F",
    "a%20b",
    "ü/é",
    "q?x=1&y",
    "h#x",
    "trail/",
    " lead",
    "\r",
    "\x7f",
    "<&>\"'",
    "<Code>SlowDown</Code>",
    "k" * 1024,
]
AS_THEY_ARE = ["x/../y", "./z", "y"]
"""Libraries would ask for something else."""


def test_odd_keys(container: Container) -> None:
    for key in ODD:
        container.put(key, key.encode())
    for key in AS_THEY_ARE:
        container.put_as_is(key, b"as is: " + key.encode())
    expected = {url(container, f"/{key}"): key.encode() for key in ODD}
    expected |= {url(container, f"/{key}"): b"as is: " + key.encode() for key in AS_THEY_ARE}
    assert fetch(source(container)) == expected


def test_odd_keys_by_a_signature_for_the_container(service: Azurite) -> None:
    """An odd key could otherwise have another blob read than the requested one."""
    with service.container() as container:
        for key in AS_THEY_ARE:
            container.put_as_is(key, b"as is: " + key.encode())
        variables = {
            "AZURE_STORAGE_ACCOUNT": ACCOUNT,
            "AZURE_STORAGE_SAS_TOKEN": "?" + container.sas(read=True, list=True),
        }
        with environment(**variables):
            access = Access(endpoint=service.url)
            found = fetch(source(container, access=access), access)
    assert found == {url(container, f"/{key}"): b"as is: " + key.encode() for key in AS_THEY_ARE}


def test_prefixes_are_no_folders(container: Container) -> None:
    held(container, **{"ab": b"1", "abc/d": b"2", "b": b"3"})
    found = fetch(AzureSource([url(container, "/ab")], ListingOptions()))
    assert found == {url(container, "/ab"): b"1", url(container, "/abc/d"): b"2"}


def test_more_than_a_page_by_several_prefixes(container: Container, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [f"{folder}/{number}" for folder in "abc" for number in range(5)] + ["f", "g"]
    expected = held(container, **dict.fromkeys(keys, b"x"))
    made = AzureSource.make_store.__func__  # type: ignore[attr-defined]
    levels: list[bytes] = []

    def small_pages(cls: type[AzureSource], name: str, access: Access) -> object:
        store = made(cls, name, access)
        pages, level = store._clients.lister.list_blobs, store.level
        store._clients.lister.list_blobs = lambda **options: pages(results_per_page=4, **options)
        store.level = lambda prefix, **options: levels.append(prefix) or level(prefix, **options)
        return store

    monkeypatch.setattr(AzureSource, "make_store", classmethod(small_pages))
    batches = batches_of(source(container))
    assert sorted(item.name for batch in batches for item in batch.items) == sorted(
        key.partition(b"/")[2].partition(b"/")[2].partition(b"/")[2] for key in expected
    )
    assert b"" in levels


def test_large_ones_and_empty_ones(container: Container) -> None:
    large = os.urandom(9_000_000)
    expected = held(container, **{"large": large, "a//large": large, "empty": b"", "a//empty": b""})
    assert fetch(source(container)) == expected


def test_versions_and_snapshots(container: Container) -> None:
    for key in ("f", "a//f"):
        container.put(key, b"old")
        container.client.get_blob_client(key).create_snapshot()
        container.put(key, b"new")
    now, ever = fetch(source(container)), fetch(source(container, all_versions=True))
    assert list(now.values()) == [b"new"] * 2
    assert sorted(ever.values(), key=str) == [b"new"] * 2 + [b"old"] * 2
    assert sum(b"@snapshot:" in path for path in ever) == 2


def test_archived(container: Container) -> None:
    held(container, **{"f": b"1", "cold": b"2", "later": b"3", "a//later": b"3"})
    container.client.get_blob_client("cold").set_standard_blob_tier("Archive")
    found = source(container)
    listings = list(found.listings())
    assert [(x.item.name, x.reason) for x in listings if isinstance(x, SkippedFile)] == [
        (b"cold", Reason.ARCHIVED)
    ]
    batches = batches_of(found)
    for key in ("later", "a//later"):
        container.client.get_blob_client(key).set_standard_blob_tier("Archive")
    assert read_all(AzureSource, batches) == {
        url(container, "/f"): b"1",
        url(container, "/later"): Reason.ARCHIVED,
        url(container, "/a//later"): Reason.ARCHIVED,
    }


@pytest.mark.parametrize("key", ["f", "a//f"])
def test_what_is_stored_compressed_is_known(container: Container, key: str) -> None:
    from azure.storage.blob import ContentSettings

    settings = ContentSettings(content_encoding="gzip")
    container.client.upload_blob(key, gzip.compress(b"page"), content_settings=settings)
    (batch,) = batches_of(source(container))
    with (
        closing(AzureSource.opener(DIRECT)) as opener,
        opener.reopen(batch) as folder,
        closing(folder.open(batch.items[0])) as file,
    ):
        assert file.compressed == "gzip"
        assert gzip.decompress(os.pread(file.descriptor, 1000, 0)) == b"page"


@pytest.mark.parametrize("key", ["f", "a//f"])
def test_replaced_and_deleted_since(container: Container, key: str) -> None:
    held(container, **{key: b"content", f"{key}2": b"content"})
    batches = batches_of(source(container))
    container.put(key, b"CONTENT")
    container.remove(f"{key}2")
    assert list(read_all(AzureSource, batches).values()) == [Reason.REPLACED, Reason.VANISHED]


@pytest.mark.parametrize("key", ["f", "a//f"])
def test_right_to_list_but_not_to_read(service: Azurite, key: str) -> None:
    with service.container() as container:
        container.put(key, b"content")
        variables = {"AZURE_STORAGE_ACCOUNT": ACCOUNT, "AZURE_STORAGE_SAS_TOKEN": container.sas(list=True)}
        with environment(**variables):
            access = Access(endpoint=service.url)
            found = fetch(source(container, access=access), access)
    assert list(found.values()) == [Reason.PERMISSION]


def test_anonymous(service: Azurite) -> None:
    access = Access(endpoint=service.url, anonymous=True)
    with service.container(public=True) as public, service.container() as private, environment():
        expected = held(public, **{"f": b"1", "a//f": b"2"})
        assert fetch(source(public, access=access), access) == expected
        with pytest.raises(TargetError, match=re.escape(f"az://{private.name}")):
            source(private, access=access)


def refusal(access: Access = Access(), target: bytes = b"az://missing", **variables: str) -> str:  # noqa: B008
    with environment(**variables), pytest.raises((TargetError, UnreachableError)) as caught:
        AzureSource([target], ListingOptions(), access)
    return f"{type(caught.value).__name__}: {caught.value} {caught.value.remedy}"


def test_what_is_wrong_is_found_before_listing(service: Azurite) -> None:
    named = Access(endpoint=service.url)
    wrong = "d3Jvbmctc2VjcmV0LXdyb25n"
    assert "no container az://missing" in refusal(**service.environment)
    for key in (wrong, "no base64!"):
        said = refusal(named, AZURE_STORAGE_ACCOUNT=ACCOUNT, AZURE_STORAGE_KEY=key)
        assert said.startswith("CredentialsError: the credentials for az://missing are refused")
        assert key not in said
    said = refusal(named, AZURE_STORAGE_ACCOUNT=ACCOUNT, AZURE_STORAGE_SAS_TOKEN=f"sv=2021-10-04&sig={wrong}")
    assert said.startswith("CredentialsError: the credentials for az://missing are refused")
    assert wrong not in said
    assert "no storage account is named" in refusal()
    assert "no credentials for az://missing" in refusal(AZURE_STORAGE_ACCOUNT=ACCOUNT)
    assert "no connection string" in refusal(AZURE_STORAGE_CONNECTION_STRING=wrong)
    dead = Access(endpoint=f"http://127.0.0.1:1/{ACCOUNT}")
    said = refusal(dead, AZURE_STORAGE_KEY=KEY)
    assert said.startswith("UnreachableError: the service of az://missing can't be reached")
    assert KEY not in said
    for target in (b"az://acc:SECRET@c/x", b"az:///x", b"az://", b"az://UPPER"):
        assert "SECRET" not in refusal(target=target, **service.environment)


def test_a_container_that_goes_while_listing_is_reported(container: Container) -> None:
    held(container, f=b"1")
    found = source(container)
    container.client.delete_container()
    try:
        (closed,) = found.listings()
        assert isinstance(closed, UnlistedFolder)
    finally:
        container.client.create_container()


def test_the_same_tree(container: Container, service: Azurite) -> None:
    held(container, **uploads())
    here = scan(str(UPLOADS))
    there = scan(f"az://{container.name}", environment=service.environment)
    expected = here.by_path(f"{UPLOADS}/")
    assert expected
    assert there.by_path(f"az://{container.name}/") == expected
    assert there.code == here.code == 1
    for name in ("files", "verdicts", "bytes"):
        assert there.summary[name] == here.summary[name]
    assert there.summary["checksums"] == {"compared": len(uploads()), "not_compared": 0}


def test_a_customer_states_a_wrong_checksum(container: Container, service: Azurite) -> None:
    """The service keeps what it is told; a listed picture is found all the same."""
    for name in ("bob/shop/mug.png", "bob/shop/plant.png"):
        container.put(name, uploads()[name])
        wrong = ContentSettings(content_md5=bytearray(16))
        container.client.get_blob_client(name).set_http_headers(wrong)
    found = scan(f"az://{container.name}", environment=service.environment)
    verdicts = {
        name: (record["verdict"], record["reason"])
        for name, record in found.by_path(f"az://{container.name}/").items()
    }
    assert verdicts == {
        "bob/shop/mug.png": ("match", None),
        "bob/shop/plant.png": ("unreadable", Reason.CHECKSUM.value),
    }


def test_secrets_are_nowhere_to_be_seen(service: Azurite) -> None:
    """Neither a key's nor a signature's, in a scan that meets faults of all kinds."""
    with service.container() as container:
        held(container, **uploads() | {"a//b": b"x"})
        container.client.get_blob_client("a//b").set_standard_blob_tier("Archive")
        sas = container.sas(list=True, read=True)
        by_key = scan(f"az://{container.name}", environment=service.environment, watched=True)
        by_sas = scan(
            f"az://{container.name}",
            options=("--endpoint", service.url),
            environment={"AZURE_STORAGE_ACCOUNT": ACCOUNT, "AZURE_STORAGE_SAS_TOKEN": sas},
            watched=True,
        )
        lists_only = scan(
            f"az://{container.name}",
            options=("--endpoint", service.url),
            environment={
                "AZURE_STORAGE_ACCOUNT": ACCOUNT,
                "AZURE_STORAGE_SAS_TOKEN": container.sas(list=True),
            },
        )
        wrong = scan(
            f"az://{container.name}",
            options=("--endpoint", service.url),
            environment={"AZURE_STORAGE_ACCOUNT": ACCOUNT, "AZURE_STORAGE_KEY": KEY[::-1].lstrip("=")},
        )
    assert (by_key.code, by_sas.code, lists_only.code, wrong.code) == (1, 1, 3, 2)
    assert by_key.seen
    assert "hashscan" in by_key.seen
    assert lists_only.summary["files"] == len(uploads()) + 1
    signature = re.search("sig=([^&]+)", sas)
    assert signature is not None
    for scanned in (by_key, by_sas, lists_only, wrong):
        for secret in (KEY, KEY[::-1].lstrip("="), sas, signature[1], "sig="):
            assert secret not in scanned.everything()
