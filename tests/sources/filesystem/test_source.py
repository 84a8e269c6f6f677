from __future__ import annotations

import os
import pickle
import resource
import time
from collections.abc import Callable

import pytest

from hashscan.model import DIRECT, Batch, Item, Reason
from hashscan.sources.base import FileError, ListingOptions
from hashscan.sources.filesystem.source import FilesystemSource
from tests.sources.children import in_child
from tests.sources.trees import write


def batch_of(target: bytes, folder: bytes = b"") -> Batch:
    """The one batch a walk makes of a folder."""
    (batch,) = (
        listing
        for listing in FilesystemSource([target], ListingOptions()).listings()
        if isinstance(listing, Batch) and listing.folder == folder
    )
    return batch


def item_of(batch: Batch, name: bytes) -> Item:
    (item,) = (item for item in batch.items if item.name == name)
    return item


def contents(batch: Batch) -> dict[bytes, bytes]:
    read = {}
    with FilesystemSource.opener(DIRECT).reopen(batch) as folder:
        for item in batch.items:
            file = folder.open(item)
            read[item.name] = os.pread(file.descriptor, 1000, 0)
            file.check_unchanged()
            file.close()
    return read


def refused_folder(batch: Batch) -> FileError:
    with pytest.raises(FileError) as caught, FilesystemSource.opener(DIRECT).reopen(batch):
        pytest.fail("opened")
    return caught.value


def refused_file(batch: Batch, name: bytes) -> tuple[Reason, str]:
    with FilesystemSource.opener(DIRECT).reopen(batch) as folder, pytest.raises(FileError) as caught:
        folder.open(item_of(batch, name))
    return caught.value.reason, caught.value.detail


def test_reads_what_was_listed(tree: bytes) -> None:
    write(tree + b"/a/b/f", b"content")
    write(tree + b"/a/b/\xff\n", b"odd")
    assert contents(batch_of(tree, b"a/b")) == {b"f": b"content", b"\xff\n": b"odd"}
    assert contents(batch_of(tree + b"/a/b")) == {b"f": b"content", b"\xff\n": b"odd"}


def test_single_file_as_target(tree: bytes) -> None:
    write(tree + b"/f", b"content")
    write(tree + b"/g")
    assert contents(batch_of(tree + b"/f")) == {b"f": b"content"}


def test_in_another_process(tree: bytes) -> None:
    write(tree + b"/a/f", b"content")
    batch = pickle.loads(pickle.dumps(batch_of(tree, b"a")))
    assert in_child(lambda: contents(batch)) == {b"f": b"content"}


def test_very_deep(deep_tree: bytes) -> None:
    deepest = [
        listing
        for listing in FilesystemSource([deep_tree], ListingOptions()).listings()
        if isinstance(listing, Batch)
    ][-1]
    assert deepest.folder.count(b"d") == 10_000
    assert contents(deepest) == {b"f": b""}


def test_folder_gone(tree: bytes) -> None:
    write(tree + b"/a/b/f")
    batch = batch_of(tree, b"a/b")
    os.rename(tree + b"/a", tree + b"/c")
    assert refused_folder(batch).reason is Reason.VANISHED


@pytest.mark.parametrize("name", [b"/t", b"/t/a", b"/t/a/b"])
@pytest.mark.parametrize("kind", ["link", "same folder by link", "folder", "file", "fifo"])
def test_something_else_in_a_folders_place(tree: bytes, name: bytes, kind: str) -> None:
    write(tree + b"/t/a/b/f")
    write(tree + b"/outside/a/b/f", b"secret")
    write(tree + b"/outside/b/f", b"secret")
    write(tree + b"/outside/f", b"secret")
    batch = batch_of(tree + b"/t", b"a/b")
    os.rename(tree + name, tree + b"/away")
    if kind == "link":
        os.symlink(tree + b"/outside", tree + name)
    elif kind == "same folder by link":
        os.symlink(tree + b"/away", tree + name)
    elif kind == "folder":
        os.rename(tree + b"/outside", tree + name)
    elif kind == "file":
        write(tree + name)
    else:
        os.mkfifo(tree + name)
    assert refused_folder(batch).reason is Reason.REPLACED


def test_target_named_by_a_link_that_is_turned(tree: bytes) -> None:
    write(tree + b"/one/f", b"content")
    write(tree + b"/two/f", b"other")
    os.symlink(b"one", tree + b"/current")
    batch = batch_of(tree + b"/current")
    os.unlink(tree + b"/current")
    os.symlink(b"two", tree + b"/current")
    assert contents(batch) == {b"f": b"content"}


def test_file_gone(tree: bytes) -> None:
    write(tree + b"/f")
    batch = batch_of(tree)
    os.unlink(tree + b"/f")
    assert refused_file(batch, b"f") == (Reason.VANISHED, "")


def test_no_permission(tree: bytes) -> None:
    write(tree + b"/a/f")
    batch = batch_of(tree, b"a")
    os.chmod(tree + b"/a/f", 0)
    assert in_child(lambda: refused_file(batch, b"f"), as_nobody=True) == (Reason.PERMISSION, "")
    os.chmod(tree + b"/a/f", 0o644)
    os.chmod(tree + b"/a", 0)
    assert in_child(lambda: refused_file(batch, b"f"), as_nobody=True) == (Reason.PERMISSION, "")
    os.chmod(tree, 0)
    assert in_child(lambda: refused_folder(batch).reason, as_nobody=True) is Reason.PERMISSION
    os.chmod(tree, 0o755)
    os.chmod(tree + b"/a", 0o755)


def test_other_errors_keep_the_words_of_the_system(tree: bytes) -> None:
    write(tree + b"/f")
    batch = batch_of(tree)

    def without_descriptors() -> tuple[Reason, str]:
        with FilesystemSource.opener(DIRECT).reopen(batch) as folder:
            lowest = os.dup(0)
            os.close(lowest)
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, lowest))
            with pytest.raises(FileError) as caught:
                folder.open(batch.items[0])
        return caught.value.reason, caught.value.detail

    assert in_child(without_descriptors) == (Reason.IO_ERROR, "Too many open files")


def test_something_else_in_a_files_place(tree: bytes) -> None:
    for name in (b"fifo", b"file", b"same"):
        write(tree + b"/" + name, b"content")
    batch = batch_of(tree)
    for name in (b"fifo", b"file"):
        os.rename(tree + b"/" + name, tree + b"/was-" + name)
    os.mkfifo(tree + b"/fifo")
    write(tree + b"/file", b"secret")
    assert refused_file(batch, b"fifo") == (Reason.REPLACED, "it is a FIFO now")
    assert refused_file(batch, b"file") == (Reason.REPLACED, "it is another file now")
    with FilesystemSource.opener(DIRECT).reopen(batch) as folder:
        file = folder.open(item_of(batch, b"same"))
        assert os.pread(file.descriptor, 100, 0) == b"content"
        file.close()


def test_grown_since_listed_is_read_as_it_is(tree: bytes) -> None:
    write(tree + b"/f", b"1")
    batch = batch_of(tree)
    with open(tree + b"/f", "ab") as stream:
        stream.write(b"23")
    with FilesystemSource.opener(DIRECT).reopen(batch) as folder:
        file = folder.open(batch.items[0])
        assert file.stat.size == 3
        assert batch.items[0].stat.size == 1
        assert os.pread(file.descriptor, 100, 0) == b"123"
        file.check_unchanged()
        file.close()


def rewrite_and_hide(path: bytes) -> None:
    """Change the content but neither size nor mtime, as a customer can; only ctime tells."""
    before = os.stat(path)
    with open(path, "r+b") as stream:
        stream.write(b"y")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize(
    "change",
    [
        lambda path: os.truncate(path, 0),
        lambda path: os.truncate(path, 2**30),
        lambda path: os.utime(path, (0, 0)),
        rewrite_and_hide,
    ],
)
def test_changed_while_read(tree: bytes, change: Callable[[bytes], object]) -> None:
    write(tree + b"/f", b"x")
    batch = batch_of(tree)
    with FilesystemSource.opener(DIRECT).reopen(batch) as folder:
        file = folder.open(batch.items[0])
        file.check_unchanged()
        time.sleep(0.02)  # the kernel's clock for files ticks every few milliseconds
        change(tree + b"/f")
        with pytest.raises(FileError) as caught:
            file.check_unchanged()
        assert caught.value.reason is Reason.CHANGED
        file.close()


def test_renamed_while_read_is_the_same_file(tree: bytes) -> None:
    write(tree + b"/f", b"x")
    batch = batch_of(tree)
    with FilesystemSource.opener(DIRECT).reopen(batch) as folder:
        file = folder.open(batch.items[0])
        write(tree + b"/g")
        os.rename(tree + b"/g", tree + b"/f")
        assert os.pread(file.descriptor, 10, 0) == b"x"
        file.close()


def test_bug_in_the_block_leaves_nothing_open(tree: bytes) -> None:
    write(tree + b"/f")
    batch = batch_of(tree)
    with pytest.raises(ZeroDivisionError), FilesystemSource.opener(DIRECT).reopen(batch):
        raise ZeroDivisionError


def test_names_that_lead_elsewhere_are_bugs(tree: bytes) -> None:
    write(tree + b"/a/f")
    batch = batch_of(tree, b"a")
    with (
        FilesystemSource.opener(DIRECT).reopen(batch) as folder,
        pytest.raises(ValueError, match="not a name"),
    ):
        folder.open(Item(b"../a/f", batch.items[0].stat))
    for target, path in ((tree, b"../" + os.path.basename(tree) + b"/a"), (b"relative", b"a")):
        odd = Batch("file", target, path, batch.device, batch.inode, batch.items)
        with pytest.raises(ValueError, match="not a"), FilesystemSource.opener(DIRECT).reopen(odd):
            pytest.fail("opened")
