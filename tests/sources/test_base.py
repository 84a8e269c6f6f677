"""The contract of a source. A new one joins by a Storage in STORAGES; everything below then runs over it."""

from __future__ import annotations

import os
import pickle
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashscan.model import DIRECT, Batch, Item, Reason
from hashscan.sources.base import FileTrouble, Listing, Passed, SkippedFile, Source, shown_path
from hashscan.sources.filesystem import FilesystemSource
from hashscan.sources.options import ListingOptions

from .trees import remove_tree, temporary_tree, write


class Storage(ABC):
    """A place with a target in it, as the contract's tests use it."""

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


STORAGES: Sequence[type[Storage]] = (FilesystemStorage,)


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


def fill(storage: Storage) -> None:
    for path, content in FILES.items():
        storage.put(path, content)


def batches(listings: Iterator[Listing]) -> list[Batch]:
    return [listing for listing in listings if isinstance(listing, Batch)]


def open_batch(source: Source, batch: Batch) -> dict[bytes, bytes]:
    """Read a batch's files as a worker does: after a way through pickle."""
    batch = pickle.loads(pickle.dumps(batch))
    read = {}
    with type(source).opener(DIRECT).reopen(batch) as folder:
        for item in batch.items:
            with closing(folder.open(item)) as file:
                assert file.stat == item.stat
                read[shown_path(b"", batch.folder, item.name).lstrip(b"/")] = os.pread(
                    file.descriptor, 100_000, 0
                )
                assert os.lseek(file.descriptor, 0, os.SEEK_CUR) == 0
                file.check_unchanged()
    return read


def trouble(source: Source, batch: Batch) -> list[Reason]:
    """What a worker says of each item of a batch."""
    reasons = []
    try:
        with type(source).opener(DIRECT).reopen(batch) as folder:
            for item in batch.items:
                with pytest.raises(FileTrouble) as caught:
                    folder.open(item)
                reasons.append(caught.value.reason)
    except FileTrouble as error:
        reasons = [error.reason] * len(batch.items)
    return reasons


def test_has_a_name(storage: Storage) -> None:
    assert type(storage.source()).name


def test_lists_and_opens_every_file_once(storage: Storage) -> None:
    fill(storage)
    source = storage.source()
    found = batches(source.listings())
    assert {batch.source for batch in found} == {type(source).name}
    read: dict[bytes, bytes] = {}
    for batch in found:
        assert batch.items
        assert not batch.folder.startswith(b"/")
        assert not batch.folder.endswith(b"/")
        content = open_batch(source, batch)
        assert not read.keys() & content.keys()
        read |= content
    assert read == FILES


def test_sizes_are_those_of_the_files(storage: Storage) -> None:
    fill(storage)
    for batch in batches(storage.source().listings()):
        for item in batch.items:
            path = shown_path(b"", batch.folder, item.name).lstrip(b"/")
            assert item.stat.size == len(FILES[path])


def test_nothing_there(storage: Storage) -> None:
    assert all(isinstance(listing, Passed) for listing in storage.source().listings())


def test_over_size_is_told_of(storage: Storage) -> None:
    fill(storage)
    listings = list(storage.source(max_file_size=9_999).listings())
    (skipped,) = (listing for listing in listings if isinstance(listing, SkippedFile))
    assert (skipped.folder, skipped.item.name, skipped.item.stat.size) == (b"a/b", b"f", 10_000)
    assert skipped.reason is Reason.OVER_SIZE
    assert sum(len(batch.items) for batch in batches(iter(listings))) == len(FILES) - 1


def test_file_gone_since(storage: Storage) -> None:
    storage.put(b"a/f", b"content")
    storage.put(b"b/g", b"content")
    source = storage.source()
    (batch,) = (batch for batch in batches(source.listings()) if batch.folder == b"a")
    storage.remove(b"a/f")
    assert trouble(source, batch) == [Reason.VANISHED]


def test_file_replaced_since(storage: Storage) -> None:
    storage.put(b"a/f", b"content")
    source = storage.source()
    (batch,) = batches(source.listings())
    storage.put(b"a/f", b"CONTENT")
    assert trouble(source, batch) == [Reason.REPLACED]


def test_folder_gone_since(storage: Storage) -> None:
    storage.put(b"a/f", b"content")
    storage.put(b"a/g", b"content")
    source = storage.source()
    (batch,) = batches(source.listings())
    storage.remove_folder(b"a")
    assert trouble(source, batch) == [Reason.VANISHED] * 2


def test_closing_twice_does_no_harm(storage: Storage) -> None:
    storage.put(b"f", b"content")
    source = storage.source()
    (batch,) = batches(source.listings())
    with type(source).opener(DIRECT).reopen(batch) as folder:
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
    assert shown_path(batch.target, batch.folder, item.name).endswith(b"/a/f")


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
    assert shown_path(*parts) == whole


component = st.binary(min_size=1, max_size=5).filter(lambda name: b"/" not in name)


@given(component, st.lists(component, max_size=3), component)
def test_shown_path_loses_nothing(target: bytes, folder: list[bytes], name: bytes) -> None:
    shown = shown_path(b"/" + target, b"/".join(folder), name)
    assert shown.split(b"/") == [b"", target, *folder, name]
