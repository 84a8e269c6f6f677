"""Files looked up by name: each name ends once, and none leads where it should not."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from contextlib import closing

import pytest

from hashscan.model import DIRECT, Batch, Reason
from hashscan.sources.base import (
    FileError,
    Listing,
    ListingOptions,
    NonFileCounts,
    SkippedFile,
    UnreadableName,
    full_path,
)
from hashscan.sources.filesystem.source import FilesystemSource
from hashscan.sources.patterns import Patterns
from tests.sources.children import in_child, needs_root
from tests.sources.conftest import DEPTH
from tests.sources.listed import identity
from tests.sources.trees import write


def named(
    names: Iterable[bytes], *targets: bytes, options: ListingOptions | None = None
) -> dict[bytes, list[str]]:
    """Return descriptions of the outcome of every path."""
    found: dict[bytes, list[str]] = {}
    for listing in FilesystemSource(targets, options or ListingOptions()).listings_by_name(iter(list(names))):
        for path, message in said(listing):
            found.setdefault(path, []).append(message)
    return found


def said(listing: Listing) -> list[tuple[bytes, str]]:
    match listing:
        case Batch(items=items):
            assert len({item.name for item in items}) == len(items)
            return [(full_path(listing.target, listing.folder, item.name), "read") for item in items]
        case SkippedFile(target, folder, item, reason):
            return [(full_path(target, folder, item.name), f"skipped: {reason}")]
        case UnreadableName(target, folder, name, reason, detail):
            return [(full_path(target, folder, name), f"{reason}: {detail}" if detail else str(reason))]
        case NonFileCounts():
            assert listing == NonFileCounts()
            return []
    raise AssertionError(listing)


@pytest.fixture
def here(tree: bytes, monkeypatch: pytest.MonkeyPatch) -> bytes:
    for path in (b"a/one", b"a/two", b"a/b/three", b"c/four", b"top"):
        write(tree + b"/" + path, path)
    monkeypatch.chdir(os.fsdecode(tree))
    return tree


def test_relative_and_absolute_with_and_without_a_target(here: bytes) -> None:
    names = [b"a/one", b"./a//two", here + b"/a/b/three", b"../" + os.path.basename(here) + b"/top"]
    expected = {here + b"/" + path: ["read"] for path in (b"a/one", b"a/two", b"a/b/three", b"top")}
    assert named(names) == expected
    assert named(names, here) == expected
    assert named(names, b".") == expected


def test_what_is_listed_can_be_opened(here: bytes) -> None:
    for targets in ((), (here,)):
        source = FilesystemSource(targets, ListingOptions())
        content = {}
        for batch in source.listings_by_name(iter([b"a/one", b"a/two", b"top", b"a/b/three"])):
            assert isinstance(batch, Batch)
            with source.opener(DIRECT).reopen(batch) as folder:
                for item in batch.items:
                    with closing(folder.open(item)) as file:
                        content[item.name] = os.pread(file.descriptor, 100, 0)
        assert content == {b"one": b"a/one", b"two": b"a/two", b"top": b"top", b"three": b"a/b/three"}


def test_outside_the_targets(here: bytes) -> None:
    names = [b"a/one", b"c/four", b"/etc/passwd", b"ab/x", b"a", b"a/../c/four", b"../a/one"]
    above = os.path.dirname(here)
    assert named(names, b"a") == {
        here + b"/a/one": ["read"],
        here + b"/c/four": ["outside the targets"],
        b"/etc/passwd": ["outside the targets"],
        here + b"/ab/x": ["outside the targets"],
        here + b"/a": ["not a regular file: it is a folder"],
        b"a/../c/four": ["not a path or URL that can be opened: `..` after another name"],
        above + b"/a/one": ["outside the targets"],
    }


def test_a_target_named_through_a_link(here: bytes) -> None:
    os.symlink(b"a", here + b"/link")
    names = [here + b"/link/one", here + b"/a/two", b"link/b/three"]
    expected = {here + b"/a/" + path: ["read"] for path in (b"one", b"two", b"b/three")}
    assert named(names, here + b"/link") == expected
    # Where the link is no target, it is a stranger's.
    assert named([b"link/one"], here) == {
        here + b"/link/one": ["not a regular file: what should be a folder on its way is none, or a link"]
    }


def test_a_target_that_is_turned_into_a_link(here: bytes) -> None:
    """By whoever owns the folder above it, while the list is still to come."""
    source = FilesystemSource([b"a"], ListingOptions())
    os.rename(b"a", b"moved")
    os.symlink(b"c", b"a")
    (lost,) = source.listings_by_name(iter([b"a/four"]))
    assert isinstance(lost, UnreadableName)
    assert (lost.target, lost.reason) == (here + b"/a", Reason.NO_FILE)


def test_a_single_file_as_target(here: bytes) -> None:
    options = ListingOptions(exclude=Patterns.compile(["one"]))
    assert named([b"a/one", b"a/two", b"a/one"], b"a/one", options=options) == {
        here + b"/a/one": ["read", "read"],
        here + b"/a/two": ["outside the targets"],
    }
    assert named([b"a/two", b"a/one"], b"a", b"a/one", options=options) == {
        here + b"/a/one": ["read"],
        here + b"/a/two": ["read"],
    }


def test_what_is_no_file(here: bytes) -> None:
    os.mkfifo(b"fifo")
    os.symlink(b"top", b"link")
    os.symlink(b"a", b"folder")
    with closing(socket.socket(socket.AF_UNIX)) as listening:
        listening.bind(b"socket")
    names = [b"fifo", b"link", b"socket", b"a/", b".", b"/", b"gone", b"gone/x", b"top/x", b"folder/one"]
    way = "not a regular file: what should be a folder on its way is none, or a link"
    assert named(names) == {
        here + b"/fifo": ["not a regular file: it is a FIFO"],
        here + b"/link": ["not a regular file: it is a symbolic link"],
        here + b"/socket": ["not a regular file: it is a socket"],
        here + b"/a": ["not a regular file: it is a folder"],
        here: ["not a regular file: it is a folder"],
        b"/": ["not a regular file: it is a folder"],
        here + b"/gone": ["vanished"],
        here + b"/gone/x": ["vanished"],
        here + b"/top/x": [way],
        here + b"/folder/one": [way],
    }


def test_hostile_names(here: bytes) -> None:
    write(here + b"/\xff\n/..x", b"")
    write(here + b"/-rf", b"")
    long, nul = b"a/" + b"x" * 300, b"a\0b"
    deep = b"d/" * 3000 + b"x"
    found = named([b"\xff\n/..x", b"-rf", long, nul, deep, b"a\\one"])
    assert found.pop(here + b"/" + long) == ["input/output error: File name too long"]
    assert found == {
        here + b"/\xff\n/..x": ["read"],
        here + b"/-rf": ["read"],
        nul: ["not a path or URL that can be opened: it holds a NUL"],
        here + b"/" + deep: ["vanished"],
        here + b"/a\\one": ["vanished"],
    }


def test_a_deep_path(deep_tree: bytes) -> None:
    path = deep_tree + b"/d" * DEPTH + b"/f"
    assert named([path]) == {path: ["read"]}


def test_named_twice_and_batches(here: bytes) -> None:
    listings = list(
        FilesystemSource([], ListingOptions()).listings_by_name(
            iter([b"a/one", b"a/two", b"a/one", b"", b"a/two", b"top"])
        )
    )
    assert [
        [item.name for item in listing.items] if isinstance(listing, Batch) else listing
        for listing in listings
    ] == [[b"one", b"two"], [b"one"], NonFileCounts(), [b"two"], [b"top"]]


def test_limits_of_a_batch(here: bytes) -> None:
    for number in range(10):
        write(here + b"/many/%d" % number, b"x" * 10)
    options = ListingOptions(batch_files=4, batch_bytes=35)
    batches = list(
        FilesystemSource([], options).listings_by_name(iter([b"many/%d" % number for number in range(10)]))
    )
    assert [len(batch.items) for batch in batches if isinstance(batch, Batch)] == [3, 3, 3, 1]


def test_left_out(here: bytes) -> None:
    options = ListingOptions(
        exclude=Patterns.compile(["b/", "/a/two", "c/**"]),
        max_file_size=3,
        protected=frozenset({identity(here + b"/c")}),
    )
    write(here + b"/c/d/five", b"")
    names = [b"a/one", b"a/two", b"a/b/three", b"c/four", b"c/d/five", b"top"]
    assert named(names, here, options=options) == {
        here + b"/a/one": ["skipped: over the size limit"],
        here + b"/a/two": ["skipped: excluded"],
        here + b"/a/b/three": ["skipped: excluded"],
        here + b"/c/four": ["skipped: being written by this scan"],
        here + b"/c/d/five": ["skipped: being written by this scan"],
        here + b"/top": ["read"],
    }


def test_file_systems_without_files() -> None:
    assert named([b"/proc/self/status", b"/sys/kernel/mm/nothing"]) == {
        b"/proc/self/status": ["not a regular file: what should be a folder on its way is none, or a link"],
        b"/sys/kernel/mm/nothing": ["vanished"],
    }
    assert named([b"/proc/1/status", b"/proc/uptime"]) == {
        b"/proc/1/status": ["skipped: excluded"],
        b"/proc/uptime": ["skipped: excluded"],
    }


@needs_root
def test_no_permission(here: bytes) -> None:
    os.chmod(here + b"/c", 0o700)
    os.chmod(here, 0o755)
    assert in_child(lambda: named([b"c/four", b"top"]), as_nobody=True) == {
        here + b"/c/four": ["permission denied"],
        here + b"/top": ["read"],
    }


def test_a_folder_turned_into_a_link_meanwhile(here: bytes) -> None:
    """The names that were listed in the folder are not those behind the link."""
    source = FilesystemSource([], ListingOptions())
    found = source.listings_by_name(iter([b"a/one", b"top"]))
    batch = next(found)
    os.rename(b"a", b"moved")
    os.symlink(b"moved", b"a")
    assert isinstance(batch, Batch)
    with pytest.raises(FileError) as caught, source.opener(DIRECT).reopen(batch):
        pass
    assert caught.value.reason is Reason.REPLACED


def test_nothing_stays_open(here: bytes) -> None:
    before = len(os.listdir("/proc/self/fd"))
    named([b"a/one", b"gone/x", b"top/x", b"a/b/three", b"top"] * 50)
    found = FilesystemSource([], ListingOptions()).listings_by_name(iter([b"a/one", b"", b"top"]))
    next(found)
    next(found)
    assert len(os.listdir("/proc/self/fd")) == before


def test_without_a_current_folder(tree: bytes) -> None:
    def lost() -> dict[bytes, list[str]]:
        os.mkdir(tree + b"/x")
        os.chdir(tree + b"/x")
        os.rmdir(tree + b"/x")
        return named([b"a", tree + b"/b"])

    assert in_child(lost) == {
        b"a": ["not a path or URL that can be opened: no current folder"],
        tree + b"/b": ["vanished"],
    }
