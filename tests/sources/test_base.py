"""The contract of a source. A new one joins by a Storage in STORAGES; everything below then runs over it."""

from __future__ import annotations

import os
import pickle
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from hashscan.model import DIRECT, Access, Batch, Item, Reason
from hashscan.sources.base import (
    FileError,
    Listing,
    ListingOptions,
    NonFileCounts,
    SkippedFile,
    Source,
    full_path,
)
from hashscan.sources.filesystem.source import FilesystemSource
from hashscan.sources.objects.az.source import AzureSource
from hashscan.sources.objects.gs.source import GoogleSource
from hashscan.sources.objects.s3.source import S3Source
from hashscan.sources.objects.web.source import HttpSource
from hashscan.web_address import parse
from tests.sources.objects.azurite import PROGRAM, azurite
from tests.sources.objects.buckets import TestBucket, moto_url, wake_obstore
from tests.sources.objects.google_emulator import EmulatedBucket, emulator_url
from tests.sources.objects.web_objects import web_objects
from tests.sources.trees import remove_tree, temporary_tree, write


class Storage(ABC):
    """A place with a target in it, as the contract's tests use it."""

    access: Access = DIRECT
    """A worker's access options."""

    def name(self, path: bytes) -> bytes:
        """The path that comes nearest to this one, of those that can be stored here."""
        return path

    @abstractmethod
    def put(self, path: bytes, content: bytes) -> None:
        """Store a file beneath the target, or replace one."""

    @abstractmethod
    def remove(self, path: bytes) -> None:
        """Remove a file."""

    @abstractmethod
    def remove_folder(self, path: bytes) -> None:
        """Remove a folder with everything in it."""

    @abstractmethod
    def source(self, *, max_file_size: int | None = None) -> Source:
        """A source with the target."""

    @abstractmethod
    def close(self) -> None:
        """Remove everything."""


class FilesystemStorage(Storage):
    def __init__(self) -> None:
        self._stack = ExitStack()
        self._tree = self._stack.enter_context(temporary_tree())

    def put(self, path: bytes, content: bytes) -> None:
        whole = self._tree + b"/" + path
        write(whole + b".new", content)
        os.rename(whole + b".new", whole)

    def remove(self, path: bytes) -> None:
        os.unlink(self._tree + b"/" + path)

    def remove_folder(self, path: bytes) -> None:
        remove_tree(self._tree + b"/" + path)

    def source(self, *, max_file_size: int | None = None) -> Source:
        return FilesystemSource([self._tree], ListingOptions(max_file_size=max_file_size))

    def close(self) -> None:
        self._stack.close()


class S3Storage(Storage):
    def __init__(self) -> None:
        self._bucket = TestBucket()
        self.access = self._bucket.access

    def name(self, path: bytes) -> bytes:
        # Keys are UTF-8; moto's server can't route a newline.
        return path.decode("latin-1").replace("\n", "\x01").encode()

    def put(self, path: bytes, content: bytes) -> None:
        self._bucket.put(path, content)

    def remove(self, path: bytes) -> None:
        self._bucket.remove(path)

    def remove_folder(self, path: bytes) -> None:
        for key in self._bucket.listed():
            if key.startswith(path + b"/"):
                self._bucket.remove(key)

    def source(self, *, max_file_size: int | None = None) -> Source:
        return S3Source([self._bucket.url], ListingOptions(max_file_size=max_file_size), self.access)

    def close(self) -> None:
        self._bucket.close()


class AzureStorage(Storage):
    def __init__(self) -> None:
        if PROGRAM not in os.environ:
            pytest.skip(f"{PROGRAM} names no azurite-blob")
        self._stack = ExitStack()
        self._stack.enter_context(mock.patch.dict(os.environ, azurite().environment))
        self._container = self._stack.enter_context(azurite().container())

    def name(self, path: bytes) -> bytes:
        # Azurite can't list control characters that XML hasn't.
        return path.decode("latin-1").replace("\x1b", "\t").encode()

    def put(self, path: bytes, content: bytes) -> None:
        self._container.put(path.decode(), content)

    def remove(self, path: bytes) -> None:
        self._container.remove(path.decode())

    def remove_folder(self, path: bytes) -> None:
        for blob in self._container.client.list_blobs(name_starts_with=path.decode() + "/"):
            self._container.remove(blob.name)

    def source(self, *, max_file_size: int | None = None) -> Source:
        url = f"az://{self._container.name}".encode()
        return AzureSource([url], ListingOptions(max_file_size=max_file_size), self.access)

    def close(self) -> None:
        self._stack.close()


class GoogleStorage(Storage):
    def __init__(self) -> None:
        self._stack = ExitStack()
        variables = {"STORAGE_EMULATOR_HOST": emulator_url()}
        self._stack.enter_context(mock.patch.dict(os.environ, variables))
        self._bucket = self._stack.enter_context(closing(EmulatedBucket()))

    def name(self, path: bytes) -> bytes:
        return path.decode("latin-1").encode()

    def put(self, path: bytes, content: bytes) -> None:
        self._bucket.put(path.decode(), content)

    def remove(self, path: bytes) -> None:
        self._bucket.remove(path.decode())

    def remove_folder(self, path: bytes) -> None:
        for key in self._bucket.listed():
            if key.startswith(path.decode() + "/"):
                self._bucket.remove(key)

    def source(self, *, max_file_size: int | None = None) -> Source:
        url = f"gs://{self._bucket.name}".encode()
        return GoogleSource([url], ListingOptions(max_file_size=max_file_size), self.access)

    def close(self) -> None:
        self._stack.close()


class WebStorage(Storage):
    """A web server, which lists nothing: the stored objects are named."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._objects = self._stack.enter_context(web_objects())
        self._named: dict[bytes, str] = {}

    def put(self, path: bytes, content: bytes) -> None:
        url = self._objects.url + b"/" + path
        self._named[url] = parse(url).request_target
        self._objects.held[self._named[url]] = content

    def remove(self, path: bytes) -> None:
        del self._objects.held[self._named[self._objects.url + b"/" + path]]

    def remove_folder(self, path: bytes) -> None:
        for url, target in self._named.items():
            if url.startswith(self._objects.url + b"/" + path + b"/"):
                del self._objects.held[target]

    def source(self, *, max_file_size: int | None = None) -> Source:
        return HttpSource(list(self._named), ListingOptions(max_file_size=max_file_size), self.access)

    def close(self) -> None:
        self._stack.close()


STORAGES: Sequence[type[Storage]] = (FilesystemStorage, S3Storage, AzureStorage, GoogleStorage, WebStorage)


@pytest.fixture(scope="module", autouse=True)
def _ready() -> None:
    """Before descriptors are counted."""
    wake_obstore()
    moto_url()
    emulator_url()
    if PROGRAM in os.environ:
        azurite()


@pytest.fixture(params=STORAGES, ids=lambda kind: kind.__name__)
def storage(request: pytest.FixtureRequest) -> Iterator[Storage]:
    made: Storage = request.param()
    with closing(made):
        yield made


FILES = {
    b"f": b"content",
    b"a/f": b"",
    b"a/b/f": b"x" * 10_000,
    b"a/b/g": b"g",
    b"a/\xff\xfe/new\nline": b"odd",
    "ü/\x1b[31m".encode(): b"odd",
}


def files_for(storage: Storage) -> dict[bytes, bytes]:
    """Some files with names as odd as the storage takes."""
    return {storage.name(path): content for path, content in FILES.items()}


def fill(storage: Storage) -> dict[bytes, bytes]:
    files = files_for(storage)
    for path, content in files.items():
        storage.put(path, content)
    return files


def path_in(batch: Batch | SkippedFile, item: Item) -> bytes:
    """A file's path beneath the target."""
    return full_path(b"", batch.folder, item.name).lstrip(b"/")


def batch_of(source: Source, path: bytes) -> Batch:
    """A batch with one file in it, of those that a source lists."""
    ((batch, item),) = (
        (batch, item)
        for batch in batches(source.listings())
        for item in batch.items
        if path_in(batch, item) == path
    )
    return structs.replace(batch, items=(item,))


def batches(listings: Iterator[Listing]) -> list[Batch]:
    return [listing for listing in listings if isinstance(listing, Batch)]


def open_batch(storage: Storage, source: Source, batch: Batch) -> dict[bytes, bytes]:
    """Read a batch's files as a worker does: after a way through pickle."""
    batch = pickle.loads(pickle.dumps(batch))
    read = {}
    with closing(type(source).opener(storage.access)) as opener, opener.reopen(batch) as folder:
        folder.prefetch(batch.items)
        for item in batch.items:
            with closing(folder.open(item)) as file:
                assert file.stat == item.stat
                content = None if file.content is None else bytes(file.content)
                read[path_in(batch, item)] = os.pread(file.descriptor, 100_000, 0)
                assert content in {None, read[path_in(batch, item)]}
                assert os.lseek(file.descriptor, 0, os.SEEK_CUR) == 0
                file.check_unchanged()
    return read


def trouble(storage: Storage, source: Source, batch: Batch) -> list[Reason]:
    """Return a worker's reason for each item of a batch."""
    reasons = []
    try:
        with closing(type(source).opener(storage.access)) as opener, opener.reopen(batch) as folder:
            for item in batch.items:
                with pytest.raises(FileError) as caught:
                    folder.open(item)
                reasons.append(caught.value.reason)
    except FileError as error:
        reasons = [error.reason] * len(batch.items)
    return reasons


def test_has_a_name(storage: Storage) -> None:
    assert type(storage.source()).name


def test_lists_and_opens_every_file_once(storage: Storage) -> None:
    files = fill(storage)
    source = storage.source()
    found = batches(source.listings())
    assert {batch.source for batch in found} == {type(source).name}
    read: dict[bytes, bytes] = {}
    for batch in found:
        assert batch.items
        assert not batch.folder.startswith(b"/")
        assert not batch.folder.endswith(b"/")
        content = open_batch(storage, source, batch)
        assert not read.keys() & content.keys()
        read |= content
    assert read == files


def test_sizes_are_those_of_the_files(storage: Storage) -> None:
    files = fill(storage)
    for batch in batches(storage.source().listings()):
        for item in batch.items:
            assert item.stat.size == len(files[path_in(batch, item)])


def test_nothing_there(storage: Storage) -> None:
    assert all(isinstance(listing, NonFileCounts) for listing in storage.source().listings())


def test_over_size_is_reported(storage: Storage) -> None:
    fill(storage)
    listings = list(storage.source(max_file_size=9_999).listings())
    (skipped,) = (listing for listing in listings if isinstance(listing, SkippedFile))
    assert (path_in(skipped, skipped.item), skipped.item.stat.size) == (b"a/b/f", 10_000)
    assert skipped.reason is Reason.OVER_SIZE
    assert sum(len(batch.items) for batch in batches(iter(listings))) == len(FILES) - 1


def test_file_gone_since(storage: Storage) -> None:
    storage.put(b"a/f", b"content")
    storage.put(b"b/g", b"content")
    source = storage.source()
    batch = batch_of(source, b"a/f")
    storage.remove(b"a/f")
    assert trouble(storage, source, batch) == [Reason.VANISHED]


def test_file_replaced_since(storage: Storage) -> None:
    storage.put(b"a/f", b"content")
    source = storage.source()
    (batch,) = batches(source.listings())
    storage.put(b"a/f", b"CONTENT")
    assert trouble(storage, source, batch) == [Reason.REPLACED]


def test_folder_gone_since(storage: Storage) -> None:
    storage.put(b"a/f", b"content")
    storage.put(b"a/g", b"content")
    source = storage.source()
    (batch,) = batches(source.listings())
    storage.remove_folder(b"a")
    assert trouble(storage, source, batch) == [Reason.VANISHED] * 2


def test_closing_twice_does_no_harm(storage: Storage) -> None:
    storage.put(b"f", b"content")
    source = storage.source()
    (batch,) = batches(source.listings())
    with closing(type(source).opener(storage.access)) as opener, opener.reopen(batch) as folder:
        file = folder.open(batch.items[0])
        file.close()
        other = os.open("/", os.O_PATH)
        file.close()
        os.fstat(other)
        os.close(other)


def test_the_names_of_what_a_listing_holds(storage: Storage) -> None:
    storage.put(b"a/f", b"")
    (batch,) = batches(storage.source().listings())
    (item,) = batch.items
    assert isinstance(item, Item)
    assert full_path(batch.target, batch.folder, item.name).endswith(b"/a/f")


@pytest.mark.parametrize(
    ("parts", "whole"),
    [
        ((b"/t", b"", b"f"), b"/t/f"),
        ((b"/t", b"a/b", b"f"), b"/t/a/b/f"),
        ((b"/t", b"a", b""), b"/t/a"),
        ((b"/t", b"", b""), b"/t"),
        ((b"/", b"", b"f"), b"/f"),
        ((b"/", b"a", b"f"), b"/a/f"),
        ((b"/", b"", b""), b"/"),
        ((b"s3://bucket/prefix", b"a", b"\xff"), b"s3://bucket/prefix/a/\xff"),
    ],
)
def test_shown_path(parts: tuple[bytes, bytes, bytes], whole: bytes) -> None:
    assert full_path(*parts) == whole


component = st.binary(min_size=1, max_size=5).filter(lambda name: b"/" not in name)


@given(component, st.lists(component, max_size=3), component)
def test_shown_path_loses_nothing(target: bytes, folder: list[bytes], name: bytes) -> None:
    shown = full_path(b"/" + target, b"/".join(folder), name)
    assert shown.split(b"/") == [b"", target, *folder, name]
