from __future__ import annotations

import errno
import os
import shutil
import socket
import stat
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashscan.model import Batch, FolderReason, Reason
from hashscan.sources.base import ClosedFolder, Listing, LostFile, Passed, SkippedFile, shown_path
from hashscan.sources.filesystem import FilesystemSource, WalkOptions
from hashscan.sources.patterns import Patterns

from .children import GETDENTS64, fail_call, in_child, mount, needs_numbers, needs_root, own_mounts
from .trees import fill, make_chain, temporary_tree, write


def walked(*targets: bytes, **options: object) -> list[Listing]:
    return list(FilesystemSource(targets, WalkOptions(**options)).listings())  # type: ignore[arg-type]


def files(listings: Iterable[Listing]) -> list[bytes]:
    """Paths of the files to be read, sorted."""
    return sorted(
        shown_path(listing.target, listing.folder, item.name)
        for listing in listings
        if isinstance(listing, Batch)
        for item in listing.items
    )


def passed(listings: Iterable[Listing]) -> Passed:
    """The sum of everything passed by."""
    sums = Counter[str]()
    for listing in listings:
        if isinstance(listing, Passed):
            sums.update({name: getattr(listing, name) for name in Passed.__slots__})
    return Passed(**sums)


def others(listings: Iterable[Listing]) -> list[Listing]:
    """Everything that is not as it should be."""
    return [listing for listing in listings if not isinstance(listing, Batch | Passed)]


def identity(path: bytes) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino


def test_empty_target(tree: bytes) -> None:
    assert walked(tree) == [Passed(folders=1)]


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
    assert passed(listings) == Passed(folders=3)


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
                write(path, b"x" * len(parts))
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


@settings(max_examples=60, deadline=None)
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
    assert passed(listings) == Passed(folders=folders, links=links, specials=specials)
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
    assert passed(listings) == Passed(folders=2, links=4, specials=2)
    assert others(listings) == []


@needs_root
def test_devices_are_counted(tree: bytes) -> None:
    os.mknod(tree + b"/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(tree + b"/disk", stat.S_IFBLK | 0o600, os.makedev(7, 0))
    assert walked(tree) == [Passed(folders=1, specials=2)]


def test_one_inode_under_two_names(tree: bytes) -> None:
    write(tree + b"/a")
    os.link(tree + b"/a", tree + b"/b")
    listings = walked(tree)
    assert files(listings) == [tree + b"/a", tree + b"/b"]
    (batch,) = (listing for listing in listings if isinstance(listing, Batch))
    assert [item.stat.links for item in batch.items] == [2, 2]


def test_batches(tree: bytes) -> None:
    fill(tree, 130)
    write(tree + b"/big", b"x" * 101)
    for name in (b"h1", b"h2", b"h3"):
        write(tree + b"/" + name, b"x" * 50)
    batches = [listing for listing in walked(tree, batch_bytes=100) if isinstance(listing, Batch)]
    assert sum(len(batch.items) for batch in batches) == 134
    (alone,) = (batch for batch in batches if any(item.name == b"big" for item in batch.items))
    assert len(alone.items) == 1
    for batch in batches:
        assert len(batch.items) <= 64
        assert batch is alone or sum(item.stat.size for item in batch.items) <= 100


def test_many_names_in_a_folder(tree: bytes) -> None:
    os.mkdir(tree + b"/many")
    fill(tree + b"/many", 50_000)
    seen = set()
    for listing in FilesystemSource([tree], WalkOptions()).listings():
        if isinstance(listing, Batch):
            assert len(listing.items) <= 64
            seen.update(item.name for item in listing.items)
    assert seen == {b"%06d" % number for number in range(50_000)}


def test_ten_thousand_folders_deep(tree: bytes) -> None:
    make_chain(tree, [b"d"] * 10_000, file=b"f")
    before = most = len(os.listdir("/proc/self/fd"))
    depths = []
    folders = 0
    for listing in FilesystemSource([tree], WalkOptions()).listings():
        if isinstance(listing, Batch):
            depths.append(listing.folder.count(b"d"))
            if len(depths) % 100 == 0:
                most = max(most, len(os.listdir("/proc/self/fd")))
        else:
            assert isinstance(listing, Passed)
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
    assert passed(listings) == Passed(folders=3, links=1, excluded_folders=3)
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
    assert passed(listings) == Passed(folders=2, excluded_folders=1)


def test_single_file(tree: bytes) -> None:
    write(tree + b"/a/f.log", b"12345")
    write(tree + b"/a/g")
    source = FilesystemSource([tree + b"/a/f.log"], WalkOptions(exclude=Patterns.compile(["*.log", "a"])))
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


def test_single_file_changes_before_it_is_listed(tree: bytes) -> None:
    def reason(path: bytes, change: object) -> object:
        write(path)
        source = FilesystemSource([path], WalkOptions())
        assert callable(change)
        change()
        (lost,) = source.listings()
        assert isinstance(lost, LostFile)
        assert (lost.target, lost.folder, lost.name) == (os.path.dirname(path), b"", os.path.basename(path))
        return lost.reason, lost.detail

    gone, fifo, moved = tree + b"/gone", tree + b"/fifo", tree + b"/moved/f"
    assert reason(gone, lambda: os.unlink(gone)) == (Reason.VANISHED, "")
    assert reason(fifo, lambda: (os.unlink(fifo), os.mkfifo(fifo))) == (Reason.REPLACED, "it is a FIFO now")
    moving = lambda: (os.rename(tree + b"/moved", tree + b"/away"), write(moved))
    assert reason(moved, moving) == (Reason.REPLACED, "")


def test_several_targets(tree: bytes) -> None:
    for path in (b"/b/f", b"/a/f", b"/c/f"):
        write(tree + path)
    source = FilesystemSource([tree + b"/b", tree + b"/a", tree + b"/b", tree + b"/c/f"], WalkOptions())
    assert source.targets == (tree + b"/b", tree + b"/a", tree + b"/c")
    assert source.paths == (tree + b"/b", tree + b"/a", tree + b"/c/f")
    targets = [listing.target for listing in source.listings() if isinstance(listing, Batch)]
    assert targets == [tree + b"/b", tree + b"/a", tree + b"/c"]
    assert list(source.listings()) == list(source.listings()), "can be listed again"


def test_target_changes_before_it_is_listed(tree: bytes) -> None:
    for change, reason in (
        (lambda path: os.rename(path, path + b"2"), FolderReason.VANISHED),
        (lambda path: (os.rename(path, path + b"3"), os.mkdir(path)), FolderReason.REPLACED),
        (lambda path: (os.rename(path, path + b"4"), os.symlink(b"/", path)), FolderReason.REPLACED),
    ):
        os.mkdir(tree + b"/t")
        source = FilesystemSource([tree + b"/t"], WalkOptions())
        change(tree + b"/t")
        assert list(source.listings()) == [ClosedFolder(tree + b"/t", b"", reason, "")]
        if os.path.lexists(tree + b"/t"):
            os.rename(tree + b"/t", tree + b"/was-%d" % len(os.listdir(tree)))


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
    closed = {listing.folder: listing for listing in listings if isinstance(listing, ClosedFolder)}
    # Names can be listed without the right to look at them.
    assert set(closed) == {b"closed", b"deep/closed", b"names/sub"}
    assert {listing.reason for listing in closed.values()} == {FolderReason.PERMISSION}
    (lost,) = (listing for listing in listings if isinstance(listing, LostFile))
    assert lost == LostFile(tree, b"names", b"f", Reason.PERMISSION, "")
    assert passed(listings) == Passed(folders=4, links=1)


def test_folders_change_before_they_are_entered(tree: bytes) -> None:
    outside = tree + b"/outside"
    write(outside + b"/secret")
    for name in (b"gone", b"link", b"file", b"other", b"same"):
        write(tree + b"/t/" + name + b"/f")
    write(tree + b"/t/first")
    listings = FilesystemSource([tree + b"/t"], WalkOptions()).listings()
    seen = [next(listings)]
    for name in (b"gone", b"link", b"file", b"other"):
        os.rename(tree + b"/t/" + name, tree + b"/was-" + name)
    os.symlink(outside, tree + b"/t/link")
    write(tree + b"/t/file")
    write(tree + b"/t/other/g")
    seen += listings
    # Another folder of that name is as good as the first.
    assert files(seen) == [tree + b"/t/first", tree + b"/t/other/g", tree + b"/t/same/f"]
    assert {(listing.folder, listing.reason) for listing in seen if isinstance(listing, ClosedFolder)} == {
        (b"gone", FolderReason.VANISHED),
        (b"link", FolderReason.REPLACED),
        (b"file", FolderReason.REPLACED),
    }


def test_files_change_before_they_are_looked_at(tree: bytes) -> None:
    # The system hands over a bufferful of names at once; looking at each comes later.
    fill(tree, 300)
    listings = FilesystemSource([tree], WalkOptions(batch_files=1)).listings()
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
    lost = [listing for listing in rest if isinstance(listing, LostFile)]
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
    assert passed(rest) == Passed(folders=1)


@needs_numbers
def test_list_breaks_off(tree: bytes) -> None:
    fill(tree + b"", 5000)
    for name in (b"a", b"b"):
        write(tree + b"/" + name + b"/f")

    def with_failure() -> list[Listing]:
        listings = FilesystemSource([tree], WalkOptions()).listings()
        seen = [next(listings)]
        fail_call(GETDENTS64, errno.EIO)
        return seen + list(listings)

    seen = in_child(with_failure)
    assert 64 < len(files(seen)) < 5000
    closed = {listing.folder: listing for listing in seen if isinstance(listing, ClosedFolder)}
    assert closed[b""] == ClosedFolder(tree, b"", FolderReason.IO_ERROR, "Input/output error")
    # What the system had handed over of the folder's own folders is still tried.
    assert {listing.reason for listing in closed.values()} == {FolderReason.IO_ERROR}
    assert passed(seen).folders == len(closed)


def test_moved_while_walked(tree: bytes) -> None:
    make_chain(tree, [b"t"] + [b"d"] * 99, file=b"f")
    for level in range(1, 100):
        os.mkdir(tree + b"/t" + b"/d" * level + b"/after")
    os.mkdir(tree + b"/elsewhere")
    write(tree + b"/elsewhere/after/secret")
    listings = FilesystemSource([tree + b"/t"], WalkOptions()).listings()
    seen = []
    for listing in listings:
        seen.append(listing)
        if isinstance(listing, Batch) and listing.folder.count(b"d") == 99:
            os.rename(tree + b"/t" + b"/d" * 50, tree + b"/elsewhere/moved")
    assert not any(b"secret" in path for path in files(seen))
    done = passed(seen).folders
    assert done + sum(isinstance(listing, ClosedFolder) for listing in seen) == 100 + 99
    assert len(files(seen)) == 100


def test_abandoned_walk_leaves_nothing_open(tree: bytes) -> None:
    make_chain(tree, [b"d"] * 50, file=b"f")
    for number in range(30):
        os.mkdir(tree + b"/d/%d" % number)
    listings = FilesystemSource([tree], WalkOptions(pending_in_memory=2)).listings()
    for _ in range(40):
        next(listings)
    # The fixture of this folder looks for descriptors left open.
    del listings


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
        itself = walked(tree + b"/t/proc/sys/kernel/random")
        return [walked(tree + b"/t"), walked(tree + b"/t", one_file_system=True), itself]

    everything, one, itself = in_child(with_mounts)
    found = [b"/bound/g", b"/disk/h", b"/f", b"/sub/up/elsewhere/g"]
    assert files(everything) == [tree + b"/t" + path for path in found]
    assert {
        (listing.folder, listing.reason) for listing in everything if isinstance(listing, ClosedFolder)
    } == {
        (b"self", FolderReason.LOOP),
        (b"sub/up/t", FolderReason.LOOP),
    }
    assert passed(everything).excluded_folders == 1
    # A bind mount of the same file system doesn't leave it.
    assert files(one) == [tree + b"/t" + path for path in found if path != b"/disk/h"]
    assert passed(one).excluded_folders == 2
    assert tree + b"/t/proc/sys/kernel/random/boot_id" in files(itself)


@needs_root
@pytest.mark.skipif(not shutil.which("mkfs.ext2"), reason="no mkfs.ext2 here")
def test_file_system_that_does_not_say_what_a_name_is(tree: bytes) -> None:
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
        listings = FilesystemSource([tree + b"/t"], WalkOptions(batch_files=1)).listings()
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
    lost = [listing for listing in seen if isinstance(listing, LostFile)]
    assert lost
    assert {listing.reason for listing in lost} == {Reason.VANISHED}
    assert len(lost) + len(files(seen)) == 22
    assert passed(seen) == Passed(folders=2, links=1, specials=1)


@pytest.mark.slow
def test_memory_is_bounded(tree: bytes) -> None:
    os.mkdir(tree + b"/files")
    fill(tree + b"/files", 100_000)
    os.mkdir(tree + b"/folders")
    top = os.open(tree + b"/folders", os.O_RDONLY)
    for number in range(100_000):
        os.mkdir(b"%0100d" % number, dir_fd=top)
    os.close(top)
    script = (
        "import os, resource, sys\n"
        "from hashscan.sources.filesystem import FilesystemSource, WalkOptions\n"
        "from hashscan.model import Batch\n"
        "def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "for _ in FilesystemSource([os.fsencode(sys.argv[1]) + b'/files/000000'], WalkOptions()).listings(): pass\n"
        "before = peak()\n"
        "files = folders = 0\n"
        "for listing in FilesystemSource([os.fsencode(sys.argv[1])], WalkOptions()).listings():\n"
        "    files += len(getattr(listing, 'items', ()))\n"
        "    folders += getattr(listing, 'folders', 0)\n"
        "print(files, folders, peak() - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, os.fsdecode(tree)],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    found, folders, kibibytes = map(int, done.stdout.split())
    assert (found, folders) == (100_000, 100_003)
    assert kibibytes < 10_000
