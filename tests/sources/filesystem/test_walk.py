from __future__ import annotations

import os
import socket
import stat

from hypothesis import given, settings
from hypothesis import strategies as st

from hashscan.model import Batch, FolderReason, Reason
from hashscan.sources.base import Listing, ListingOptions, NonFileCounts, SkippedFile, UnlistedFolder
from hashscan.sources.filesystem.source import FilesystemSource
from hashscan.sources.patterns import Patterns
from tests.examples import examples
from tests.sources.children import in_child, mount, needs_root, own_mounts
from tests.sources.listed import files, identity, others, passed, walked
from tests.sources.trees import fill, make_chain, temporary_tree, write


def test_empty_target(tree: bytes) -> None:
    assert walked(tree) == [NonFileCounts(folders=1)]


def test_files_as_they_are(tree: bytes) -> None:
    write(tree + b"/a/b/f", b"12345")
    os.utime(tree + b"/a/b/f", ns=(0, -1_500_000_000))
    listings = walked(tree)
    (batch,) = (listing for listing in listings if isinstance(listing, Batch))
    (item,) = batch.items
    status = os.stat(tree + b"/a/b/f")
    assert (batch.source, batch.target, batch.folder) == ("file", tree, b"a/b")
    assert (batch.device, batch.inode) == identity(tree + b"/a/b")
    assert item.name == b"f"
    assert (item.stat.device, item.stat.inode) == (status.st_dev, status.st_ino)
    assert (item.stat.size, item.stat.mtime_ns) == (5, -1_500_000_000)
    assert (item.stat.ctime_ns, item.stat.links, item.stat.uid) == (status.st_ctime_ns, 1, os.geteuid())
    assert passed(listings) == NonFileCounts(folders=3)


# The first names decide which branches exist; the tree is as deep as names are repeated.
names = st.binary(min_size=1, max_size=12).filter(
    lambda name: b"/" not in name and b"\0" not in name and name not in {b".", b".."}
)
paths = st.lists(st.one_of(names, st.sampled_from([b"a", b"b", b"c"])), min_size=1, max_size=6)
kinds = st.sampled_from(["file", "folder", "link", "link to a folder", "fifo"])


def build(root: bytes, things: list[tuple[list[bytes], str]]) -> None:
    for parts, kind in things:
        path = root + b"/" + b"/".join(parts)
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            if kind == "file":
                descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
                os.write(descriptor, b"x" * len(parts))
                os.close(descriptor)
            elif kind == "folder":
                os.mkdir(path)
            elif kind == "link":
                os.symlink(b"nowhere", path)
            elif kind == "link to a folder":
                os.symlink(root, path)
            else:
                os.mkfifo(path)
        except OSError:
            continue  # something else has the name


@settings(max_examples=examples(60), deadline=None)
@given(
    st.lists(st.tuples(paths, kinds), max_size=25), st.integers(1, 3), st.integers(1, 12), st.integers(2, 4)
)
def test_sees_what_os_walk_sees(
    things: list[tuple[list[bytes], str]], batch_files: int, batch_bytes: int, pending: int
) -> None:
    with temporary_tree() as root:
        build(root, things)
        expected: list[bytes] = []
        folders = links = specials = 0
        for where, below, inside in os.walk(root):
            folders += 1
            for name in (*below, *inside):
                mode = os.lstat(os.path.join(where, name)).st_mode
                if stat.S_ISREG(mode):
                    expected.append(os.path.join(where, name))
                links += stat.S_ISLNK(mode)
                specials += stat.S_ISFIFO(mode)
        listings = walked(root, batch_files=batch_files, batch_bytes=batch_bytes, pending_in_memory=pending)
    assert files(listings) == sorted(expected)
    assert passed(listings) == NonFileCounts(folders=folders, links=links, specials=specials)
    assert others(listings) == []
    for listing in listings:
        if isinstance(listing, Batch):
            assert 1 <= len(listing.items) <= batch_files
            size = sum(item.stat.size for item in listing.items)
            assert size <= batch_bytes or len(listing.items) == 1


def test_links_and_specials_are_counted(tree: bytes) -> None:
    write(tree + b"/real/f")
    os.symlink(b"real", tree + b"/link")
    os.symlink(b"real/f", tree + b"/file")
    os.symlink(b"nowhere", tree + b"/broken")
    os.symlink(b"self", tree + b"/self")
    os.mkfifo(tree + b"/fifo")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(tree + b"/socket")
    listings = walked(tree)
    listening.close()
    assert files(listings) == [tree + b"/real/f"]
    assert passed(listings) == NonFileCounts(folders=2, links=4, specials=2)
    assert others(listings) == []


@needs_root
def test_devices_are_counted(tree: bytes) -> None:
    os.mknod(tree + b"/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(tree + b"/disk", stat.S_IFBLK | 0o600, os.makedev(7, 0))
    assert walked(tree) == [NonFileCounts(folders=1, specials=2)]


def test_one_inode_under_two_names(tree: bytes) -> None:
    write(tree + b"/a")
    os.link(tree + b"/a", tree + b"/b")
    listings = walked(tree)
    assert files(listings) == [tree + b"/a", tree + b"/b"]
    (batch,) = (listing for listing in listings if isinstance(listing, Batch))
    assert [item.stat.links for item in batch.items] == [2, 2]


def test_batches(tree: bytes) -> None:
    fill(tree, 600)
    write(tree + b"/big", b"x" * 101)
    for name in (b"h1", b"h2", b"h3"):
        write(tree + b"/" + name, b"x" * 50)
    batches = [listing for listing in walked(tree, batch_bytes=100) if isinstance(listing, Batch)]
    assert sum(len(batch.items) for batch in batches) == 604
    (alone,) = (batch for batch in batches if any(item.name == b"big" for item in batch.items))
    assert len(alone.items) == 1
    for batch in batches:
        assert len(batch.items) <= 256
        assert batch is alone or sum(item.stat.size for item in batch.items) <= 100


def test_many_names_in_a_folder(large_tree: bytes) -> None:
    os.mkdir(large_tree + b"/many")
    fill(large_tree + b"/many", 50_000)
    seen: set[bytes] = set()
    for listing in FilesystemSource([large_tree], ListingOptions()).listings():
        if isinstance(listing, Batch):
            assert len(listing.items) <= 256
            seen.update(item.name for item in listing.items)
    assert seen == {b"%06d" % number for number in range(50_000)}


def test_ten_thousand_folders_deep(deep_tree: bytes) -> None:
    before = most = len(os.listdir("/proc/self/fd"))
    depths = []
    folders = 0
    for listing in FilesystemSource([deep_tree], ListingOptions()).listings():
        if isinstance(listing, Batch):
            depths.append(listing.folder.count(b"d"))
            if len(depths) % 100 == 0:
                most = max(most, len(os.listdir("/proc/self/fd")))
        else:
            assert isinstance(listing, NonFileCounts)
            folders += listing.folders
    assert depths == list(range(1, 10_001))
    assert folders == 10_001
    assert most - before < 50


def test_deep_and_broad(tree: bytes) -> None:
    # Every level has folders beside the one that leads on, so the walk climbs up again all the way.
    make_chain(tree, [b"m"] * 300)
    current = tree
    expected = []
    for _ in range(300):
        for name in (b"a", b"z"):
            write(current + b"/" + name + b"/deeper/f")
            expected.append(current + b"/" + name + b"/deeper/f")
        current += b"/m"
    listings = walked(tree, pending_in_memory=2)
    assert files(listings) == sorted(expected)
    assert others(listings) == []


def test_odd_names(tree: bytes) -> None:
    odd = [b"\xff\xfe", b"new\nline", b"\x01\x1b[0m", "ü".encode(), b"\xed\xa0\x80", b" ", b"n" * 255, b"-rf"]
    for name in odd:
        write(tree + b"/" + name + b"/" + name)
    assert files(walked(tree)) == sorted(tree + b"/" + name + b"/" + name for name in odd)


def test_excluded(tree: bytes) -> None:
    for path in (b"/a.log", b"/keep", b"/cache/f", b"/d/cache/f", b"/d/x/f", b"/d/\xff.log", b"/x/f"):
        write(tree + path)
    write(tree + b"/huge", b"x" * 11)
    os.symlink(b"keep", tree + b"/link.log")
    listings = walked(tree, exclude=Patterns.compile(["*.log", "cache/", "/d/x", "huge"]), max_file_size=10)
    assert files(listings) == [tree + b"/keep", tree + b"/x/f"]
    assert passed(listings) == NonFileCounts(folders=3, links=1, excluded_folders=3)
    skipped = [listing for listing in others(listings) if isinstance(listing, SkippedFile)]
    assert len(skipped) == len(others(listings))
    assert {(listing.folder, listing.item.name) for listing in skipped} == {
        (b"", b"a.log"),
        (b"d", b"\xff.log"),
        (b"", b"huge"),
    }
    assert {listing.reason for listing in skipped} == {Reason.EXCLUDED}
    assert all(listing.item.stat.inode for listing in skipped)


def test_over_size(tree: bytes) -> None:
    write(tree + b"/ten", b"x" * 10)
    write(tree + b"/eleven", b"x" * 11)
    os.truncate(tree + b"/eleven", 2**40)
    listings = walked(tree, max_file_size=10)
    assert files(listings) == [tree + b"/ten"]
    (skipped,) = others(listings)
    assert isinstance(skipped, SkippedFile)
    assert (skipped.item.name, skipped.item.stat.size) == (b"eleven", 2**40)
    assert skipped.reason is Reason.OVER_SIZE


def test_protected_folders_are_not_entered(tree: bytes) -> None:
    write(tree + b"/a/state/f")
    write(tree + b"/a/f")
    listings = walked(tree, protected=frozenset({identity(tree + b"/a/state")}))
    assert files(listings) == [tree + b"/a/f"]
    assert passed(listings) == NonFileCounts(folders=2, excluded_folders=1)


def test_single_file(tree: bytes) -> None:
    write(tree + b"/a/f.log", b"12345")
    write(tree + b"/a/g")
    source = FilesystemSource([tree + b"/a/f.log"], ListingOptions(exclude=Patterns.compile(["*.log", "a"])))
    (batch,) = source.listings()
    assert isinstance(batch, Batch)
    assert (batch.target, batch.folder, batch.inode) == (tree + b"/a", b"", os.stat(tree + b"/a").st_ino)
    assert files([batch]) == [tree + b"/a/f.log"]
    assert batch.items[0].stat.size == 5
    assert source.paths == (tree + b"/a/f.log",)
    assert source.targets == (tree + b"/a",)
    (skipped,) = walked(tree + b"/a/f.log", max_file_size=4)
    assert isinstance(skipped, SkippedFile)
    assert skipped.reason is Reason.OVER_SIZE


def test_several_targets(tree: bytes) -> None:
    for path in (b"/b/f", b"/a/f", b"/c/f"):
        write(tree + path)
    source = FilesystemSource([tree + b"/b", tree + b"/a", tree + b"/b", tree + b"/c/f"], ListingOptions())
    assert source.targets == (tree + b"/b", tree + b"/a", tree + b"/c")
    assert source.paths == (tree + b"/b", tree + b"/a", tree + b"/c/f")
    targets = [listing.target for listing in source.listings() if isinstance(listing, Batch)]
    assert targets == [tree + b"/b", tree + b"/a", tree + b"/c"]
    assert list(source.listings()) == list(source.listings()), "can be listed again"


@needs_root
def test_mounts(tree: bytes) -> None:
    for name in (b"t/disk", b"t/proc", b"t/bound", b"t/self", b"t/sub/up"):
        os.makedirs(tree + b"/" + name)
    write(tree + b"/t/f")
    write(tree + b"/elsewhere/g")

    def with_mounts() -> list[list[Listing]]:
        own_mounts()
        mount(b"tmpfs", b"none", tree + b"/t/disk")
        mount(b"proc", b"none", tree + b"/t/proc")
        mount(b"", tree + b"/elsewhere", tree + b"/t/bound", bind=True)
        mount(b"", tree + b"/t", tree + b"/t/self", bind=True)
        mount(b"", tree, tree + b"/t/sub/up", bind=True)
        write(tree + b"/t/disk/h")
        return [walked(tree + b"/t"), walked(tree + b"/t", one_file_system=True)]

    everything, one = in_child(with_mounts)
    found = [b"/bound/g", b"/disk/h", b"/f", b"/sub/up/elsewhere/g"]
    assert files(everything) == [tree + b"/t" + path for path in found]
    assert {
        (listing.folder, listing.reason) for listing in everything if isinstance(listing, UnlistedFolder)
    } == {
        (b"self", FolderReason.LOOP),
        (b"sub/up/t", FolderReason.LOOP),
    }
    assert passed(everything).excluded_folders == 1
    # A bind mount of the same file system doesn't leave it.
    assert files(one) == [tree + b"/t" + path for path in found if path != b"/disk/h"]
    assert passed(one).excluded_folders == 2
