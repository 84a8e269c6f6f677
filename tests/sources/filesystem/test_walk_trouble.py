"""Walks of trees that change, refuse or break off under way."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hashscan.model import Batch, FolderReason, Reason
from hashscan.sources.base import Listing, ListingOptions, NonFileCounts, UnlistedFolder, UnreadableName
from hashscan.sources.filesystem import walk
from hashscan.sources.filesystem.folder_listing import looks_in_python
from hashscan.sources.filesystem.source import FilesystemSource
from tests.sources.children import GETDENTS64, fail_call, in_child, needs_numbers, needs_root, own_mounts
from tests.sources.listed import files, passed, walked
from tests.sources.trees import fill, make_chain, write


def swap(path: bytes) -> None:
    """Put another folder, with the same in it, in a folder's place."""
    os.rename(path, path + b".away")
    shutil.copytree(os.fsdecode(path + b".away"), os.fsdecode(path))


def turn_into_fifo(path: bytes) -> None:
    os.unlink(path)
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("change", "beside", "reason", "detail"),
    [
        (os.unlink, b"/t/f", Reason.VANISHED, ""),
        (turn_into_fifo, b"/t/f", Reason.REPLACED, "it is a FIFO now"),
        (swap, b"/t", Reason.REPLACED, ""),
    ],
)
def test_single_file_changes_before_it_is_listed(
    tree: bytes, change: Callable[[bytes], None], beside: bytes, reason: Reason, detail: str
) -> None:
    write(tree + b"/t/f")
    source = FilesystemSource([tree + b"/t/f"], ListingOptions())
    change(tree + beside)
    assert list(source.listings()) == [UnreadableName(tree + b"/t", b"", b"f", reason, detail)]


def turn_into_link(path: bytes) -> None:
    os.rename(path, path + b".away")
    os.symlink(path + b".away", path)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (os.rmdir, FolderReason.VANISHED),
        (swap, FolderReason.REPLACED),
        (turn_into_link, FolderReason.REPLACED),
    ],
)
def test_target_changes_before_it_is_listed(
    tree: bytes, change: Callable[[bytes], None], reason: FolderReason
) -> None:
    os.mkdir(tree + b"/t")
    source = FilesystemSource([tree + b"/t"], ListingOptions())
    change(tree + b"/t")
    assert list(source.listings()) == [UnlistedFolder(tree + b"/t", b"", reason, "")]


def test_no_permission(tree: bytes) -> None:
    for path in (b"/closed/f", b"/names/f", b"/names/sub/f", b"/deep/closed/f", b"/open/f"):
        write(tree + path)
    os.symlink(b"f", tree + b"/names/link")
    for path, mode in ((b"/closed", 0o311), (b"/names", 0o644), (b"/deep/closed", 0)):
        os.chmod(tree + path, mode if os.geteuid() == 0 else mode & 0o444)
    listings = in_child(lambda: walked(tree), as_nobody=True)
    for path in (b"/closed", b"/names", b"/deep/closed"):
        os.chmod(tree + path, 0o755)
    assert files(listings) == [tree + b"/open/f"]
    closed = {listing.folder: listing for listing in listings if isinstance(listing, UnlistedFolder)}
    # Names can be listed without the right to look at them.
    assert set(closed) == {b"closed", b"deep/closed", b"names/sub"}
    assert {listing.reason for listing in closed.values()} == {FolderReason.PERMISSION}
    (lost,) = (listing for listing in listings if isinstance(listing, UnreadableName))
    assert lost == UnreadableName(tree, b"names", b"f", Reason.PERMISSION, "")
    assert passed(listings) == NonFileCounts(folders=4, links=1)


def test_folders_change_before_they_are_entered(tree: bytes) -> None:
    outside = tree + b"/outside"
    write(outside + b"/secret")
    for name in (b"gone", b"link", b"file", b"other", b"same"):
        write(tree + b"/t/" + name + b"/f")
    write(tree + b"/t/first")
    listings = FilesystemSource([tree + b"/t"], ListingOptions()).listings()
    seen = [next(listings)]
    for name in (b"gone", b"link", b"file", b"other"):
        os.rename(tree + b"/t/" + name, tree + b"/was-" + name)
    os.symlink(outside, tree + b"/t/link")
    write(tree + b"/t/file")
    write(tree + b"/t/other/g")
    seen += listings
    # Another folder of that name is as good as the first.
    assert files(seen) == [tree + b"/t/first", tree + b"/t/other/g", tree + b"/t/same/f"]
    assert {(listing.folder, listing.reason) for listing in seen if isinstance(listing, UnlistedFolder)} == {
        (b"gone", FolderReason.VANISHED),
        (b"link", FolderReason.REPLACED),
        (b"file", FolderReason.REPLACED),
    }


def test_files_change_before_they_are_looked_at(tree: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    # The system hands over a bufferful of names at once; looking at each comes later, in Python one by one.
    monkeypatch.setattr(walk, "looks", looks_in_python)
    fill(tree, 300)
    listings = FilesystemSource([tree], ListingOptions(batch_files=1)).listings()
    first = next(listings)
    assert isinstance(first, Batch)
    kept = first.items[0].name
    for name in os.listdir(tree):
        if name != kept:
            os.unlink(tree + b"/" + name)
            if name.endswith(b"1"):
                os.mkfifo(tree + b"/" + name)
            elif name.endswith(b"2"):
                os.symlink(b"x", tree + b"/" + name)
            elif name.endswith(b"3"):
                os.mkdir(tree + b"/" + name)
    rest = list(listings)
    lost = [listing for listing in rest if isinstance(listing, UnreadableName)]
    # One item had been looked at already.
    assert len(files([first, *rest])) + len(lost) == 300
    assert {(int(listing.name[-1:]) in {1, 2, 3}, listing.reason) for listing in lost} == {
        (False, Reason.VANISHED),
        (True, Reason.REPLACED),
    }
    assert {listing.detail for listing in lost} == {
        "",
        "it is a FIFO now",
        "it is a symbolic link now",
        "it is a folder now",
    }
    assert passed(rest) == NonFileCounts(folders=1)


@needs_numbers
def test_list_breaks_off(tree: bytes) -> None:
    fill(tree + b"", 5000)
    for name in (b"a", b"b"):
        write(tree + b"/" + name + b"/f")

    def with_failure() -> list[Listing]:
        listings = FilesystemSource([tree], ListingOptions()).listings()
        seen = [next(listings)]
        fail_call(GETDENTS64, errno.EIO)
        return seen + list(listings)

    seen = in_child(with_failure)
    assert 64 < len(files(seen)) < 5000
    closed = {listing.folder: listing for listing in seen if isinstance(listing, UnlistedFolder)}
    assert closed[b""] == UnlistedFolder(tree, b"", FolderReason.IO_ERROR, "Input/output error")
    # What the system had handed over of the folder's own folders is still tried.
    assert {listing.reason for listing in closed.values()} == {FolderReason.IO_ERROR}
    assert passed(seen).folders == len(closed)


def test_moved_while_walked(tree: bytes) -> None:
    make_chain(tree, [b"t"] + [b"d"] * 99, file=b"f")
    for level in range(1, 100):
        os.mkdir(tree + b"/t" + b"/d" * level + b"/after")
    os.mkdir(tree + b"/elsewhere")
    write(tree + b"/elsewhere/after/secret")
    listings = FilesystemSource([tree + b"/t"], ListingOptions()).listings()
    seen = []
    for listing in listings:
        seen.append(listing)
        if isinstance(listing, Batch) and listing.folder.count(b"d") == 99:
            os.rename(tree + b"/t" + b"/d" * 50, tree + b"/elsewhere/moved")
    assert not any(b"secret" in path for path in files(seen))
    done = passed(seen).folders
    assert done + sum(isinstance(listing, UnlistedFolder) for listing in seen) == 100 + 99
    assert len(files(seen)) == 100


def test_abandoned_walk_leaves_nothing_open(tree: bytes) -> None:
    make_chain(tree, [b"d"] * 50, file=b"f")
    for number in range(30):
        os.mkdir(tree + b"/d/%d" % number)
    listings = FilesystemSource([tree], ListingOptions(pending_in_memory=2)).listings()
    for _ in range(40):
        next(listings)
    # The fixture of this folder looks for descriptors left open.
    del listings


@needs_root
@pytest.mark.skipif(not shutil.which("mkfs.ext2"), reason="no mkfs.ext2 here")
def test_file_system_that_does_not_say_what_a_name_is(tree: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk, "looks", looks_in_python)
    image = os.fsdecode(tree) + "/image"
    os.mkdir(tree + b"/t")
    with open(image, "wb") as stream:
        stream.truncate(2_000_000)
    subprocess.run(["mkfs.ext2", "-q", "-O", "^filetype", image], check=True)

    def with_image() -> list[Listing] | str:
        own_mounts()
        done = subprocess.run(
            ["mount", "-o", "loop", image, tree + b"/t"], check=False, capture_output=True, text=True
        )
        if done.returncode:
            return done.stderr
        os.rmdir(tree + b"/t/lost+found")
        write(tree + b"/t/a/f")
        os.symlink(b"f", tree + b"/t/a/link")
        os.mkfifo(tree + b"/t/a/fifo")
        write(tree + b"/t/a/z")
        fill(tree + b"/t", 20)
        listings = FilesystemSource([tree + b"/t"], ListingOptions(batch_files=1)).listings()
        seen = [next(listings)]
        assert isinstance(seen[0], Batch)
        for number in range(20):
            if seen[0].items[0].name != b"%06d" % number:
                os.unlink(tree + b"/t/%06d" % number)
        return seen + list(listings)

    seen = in_child(with_image)
    if isinstance(seen, str):
        pytest.skip(f"no loop mount here: {seen.strip()}")
    assert [path for path in files(seen) if b"/a/" in path] == [tree + b"/t/a/f", tree + b"/t/a/z"]
    lost = [listing for listing in seen if isinstance(listing, UnreadableName)]
    assert lost
    assert {listing.reason for listing in lost} == {Reason.VANISHED}
    assert len(lost) + len(files(seen)) == 22
    assert passed(seen) == NonFileCounts(folders=2, links=1, specials=1)


@pytest.mark.slow
def test_memory_is_bounded(large_tree: bytes) -> None:
    os.mkdir(large_tree + b"/files")
    fill(large_tree + b"/files", 100_000)
    os.mkdir(large_tree + b"/folders")
    top = os.open(large_tree + b"/folders", os.O_RDONLY)
    for number in range(100_000):
        os.mkdir(b"%0100d" % number, dir_fd=top)
    os.close(top)
    script = (
        "import os, resource, sys\n"
        "from hashscan.sources.filesystem.source import FilesystemSource\n"
        "from hashscan.sources.base import ListingOptions\n"
        "from hashscan.model import Batch\n"
        "def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "target = os.fsencode(sys.argv[1])\n"
        "for _ in FilesystemSource([target + b'/files/000000'], ListingOptions()).listings(): pass\n"
        "before = peak()\n"
        "files = folders = 0\n"
        "for listing in FilesystemSource([target], ListingOptions()).listings():\n"
        "    files += len(getattr(listing, 'items', ()))\n"
        "    folders += getattr(listing, 'folders', 0)\n"
        "print(files, folders, peak() - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, os.fsdecode(large_tree)],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    found, folders, kibibytes = map(int, done.stdout.split())
    assert (found, folders) == (100_000, 100_003)
    assert kibibytes < 10_000
