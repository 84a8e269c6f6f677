"""Folders are read alike with and without the extension."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashscan.sources.filesystem import folder_listing
from hashscan.sources.filesystem.folder_listing import ItemColumns, ListingChunk, looks, looks_in_python
from hashscan.sources.filesystem.regular_files import file_stat
from tests.examples import examples
from tests.sources.children import GETDENTS64, fail_call, in_child, needs_numbers, needs_root, own_mounts
from tests.sources.trees import fill, temporary_tree, write

needs_c = pytest.mark.skipif(folder_listing._in_c is None, reason="the extension was not built")
BOTH = [pytest.param(looks, marks=needs_c), looks_in_python]

names = st.binary(min_size=1, max_size=255).filter(
    lambda name: not {0, ord("/")} & set(name) and name not in {b".", b".."}
)
kinds = st.sampled_from(["file", "file", "folder", "link", "fifo"])
times = st.one_of(
    st.integers(-(1 << 31), 1 << 34), st.integers(-(1 << 62), (1 << 62)).map(lambda n: n // 10**9)
)


def seen(way: object, path: bytes, most: int) -> tuple[list[tuple[bytes, tuple[int, ...]]], list[object]]:
    """Files with what is said of them, and all else."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        found: list[ListingChunk] = list(way(descriptor, most))  # type: ignore[operator]
    finally:
        os.close(descriptor)
    assert all(not one.ended and not one.error for one in found[:-1])
    files = [(item.name, tuple(item.stat)) for one in found if one.files for item in columns_of(one)]
    assert sum(one.files for one in found) == len(files)
    sizes = sum(one.size for one in found)
    assert sizes == sum(numbers[2] for _, numbers in files)
    folders = sorted(name for one in found for name in one.folders.split(b"/") if name)
    links, specials = sum(one.links for one in found), sum(one.specials for one in found)
    odd = sorted(odd for one in found for odd in one.odd)
    return sorted(files), [folders, links, specials, odd, found[-1].ended, found[-1].error]


def columns_of(found: ListingChunk) -> ItemColumns:
    return ItemColumns.from_look(found)


@needs_c
@settings(max_examples=examples(60), deadline=None)
@given(st.dictionaries(names, st.tuples(kinds, times, times), max_size=12), st.integers(1, 5))
def test_both_see_what_lstat_says(things: dict[bytes, tuple[str, int, int]], most: int) -> None:
    with temporary_tree() as root:
        expected = []
        for name, (kind, accessed, modified) in things.items():
            path = root + b"/" + name
            if kind == "file":
                write(path)
                os.utime(path, (accessed, modified))
                expected.append((name, tuple(file_stat(os.lstat(path)))))
            elif kind == "folder":
                os.mkdir(path)
            elif kind == "link":
                os.symlink(name, path)
            else:
                os.mkfifo(path)
        in_c, in_python = seen(looks, root, most), seen(looks_in_python, root, most)
    assert in_c == in_python
    assert in_c[0] == sorted(expected)
    counts = [sum(kind == wanted for kind, *_ in things.values()) for wanted in ("link", "fifo")]
    assert in_c[1][1:3] == counts


@pytest.mark.parametrize("way", BOTH)
def test_a_folder_of_many_comes_in_several_looks(tree: bytes, way: object) -> None:
    fill(tree, 6000)
    files, others = seen(way, tree, 100)
    assert [name for name, _ in files] == [b"%06d" % number for number in range(6000)]
    assert others == [[], 0, 0, [], 1, 0]
    descriptor = os.open(tree, os.O_RDONLY)
    most = max(one.files for one in way(descriptor, 100))  # type: ignore[operator]
    os.close(descriptor)
    assert most < 3000


@pytest.mark.parametrize("way", BOTH)
def test_an_empty_folder_and_a_socket(tree: bytes, way: object) -> None:
    assert seen(way, tree, 1) == ([], [[], 0, 0, [], 1, 0])
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(tree + b"/s")
        assert seen(way, tree, 1)[1] == [[], 0, 1, [], 1, 0]


@pytest.mark.parametrize("way", BOTH)
def test_what_is_no_folder_and_no_number(tree: bytes, way: object) -> None:
    write(tree + b"/f")
    descriptor = os.open(tree + b"/f", os.O_RDONLY)
    (found,) = list(way(descriptor, 10))  # type: ignore[operator]
    os.close(descriptor)
    assert (found.files, found.ended, found.error) == (0, 0, errno.ENOTDIR)
    with pytest.raises(ValueError, match="at least one"):
        list(way(descriptor, 0))  # type: ignore[operator]


@pytest.mark.parametrize("way", BOTH)
def test_names_that_may_not_be_looked_at(tree: bytes, way: object) -> None:
    write(tree + b"/t/f")
    os.mkdir(tree + b"/t/sub")
    os.chmod(tree + b"/t", 0o644 if os.geteuid() == 0 else 0o444)
    found = in_child(lambda: seen(way, tree + b"/t", 10), as_nobody=True)
    os.chmod(tree + b"/t", 0o755)
    assert found == ([], [[b"sub"], 0, 0, [(b"f", errno.EACCES, 0)], 1, 0])


@needs_numbers
@pytest.mark.parametrize("way", BOTH)
def test_a_folder_that_can_not_be_read(tree: bytes, way: object) -> None:
    write(tree + b"/f")

    def with_failure() -> object:
        fail_call(GETDENTS64, errno.EIO)
        return seen(way, tree, 10)

    assert in_child(with_failure) == ([], [[], 0, 0, [], 0, errno.EIO])


@needs_root
@pytest.mark.skipif(not shutil.which("mkfs.ext2"), reason="no mkfs.ext2 here")
def test_names_of_which_the_system_says_nothing(tmp_path: Path) -> None:
    image, where = str(tmp_path / "image"), os.fsencode(tmp_path / "t")
    os.mkdir(where)
    with open(image, "wb") as stream:
        stream.truncate(2_000_000)
    subprocess.run(["mkfs.ext2", "-q", "-O", "^filetype", image], check=True)

    def with_image() -> list[object] | str:
        own_mounts()
        command = ["mount", "-o", "loop", image, os.fsdecode(where)]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            return done.stderr
        write(where + b"/f")
        os.symlink(b"f", where + b"/link")
        os.mkfifo(where + b"/fifo")
        return [seen(way, where, 100) for way in (looks, looks_in_python)]

    found = in_child(with_image)
    if isinstance(found, str):
        pytest.skip(f"no loop mount here: {found.strip()}")
    assert found[0] == found[1]
    assert found[0][1] == [[b"lost+found"], 1, 1, [], 1, 0]  # type: ignore[index]
