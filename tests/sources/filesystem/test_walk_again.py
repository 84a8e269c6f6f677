"""Walks that are given up begin next time with what they had not come to."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashscan.model import Batch, FolderReason
from hashscan.sources.base import Listing, ListingOptions, UnlistedFolder
from hashscan.sources.filesystem.source import FilesystemSource
from hashscan.sources.patterns import Patterns
from tests.examples import examples
from tests.sources.children import in_child
from tests.sources.listed import files, others, passed, walked
from tests.sources.trees import temporary_tree, write

Left = Mapping[bytes, Sequence[bytes]]
paths = st.lists(st.sampled_from([b"a", b"b", b"c", b"d"]), min_size=1, max_size=4).map(b"/".join)


def walk_some(targets: Sequence[bytes], left: Left, number: int | None) -> tuple[list[Listing], Left]:
    """So many listings, and what is left then."""
    source = FilesystemSource(targets, ListingOptions())
    source.resume_with(left)
    listings = source.listings()
    seen = list(islice(listings, number))
    return seen, source.unlisted_folders()


def make(root: bytes, folders: list[bytes]) -> None:
    for folder in folders:
        write(root + b"/" + folder + b"/f")


@settings(max_examples=examples(40), deadline=None)
@given(st.lists(paths, max_size=8), st.integers(1, 6), st.booleans())
def test_every_folder_gets_its_turn(folders: list[bytes], number: int, two_targets: bool) -> None:
    with temporary_tree() as root:
        os.mkdir(root + b"/a")
        os.mkdir(root + b"/b")
        make(root, folders)
        targets = [root + b"/a", root + b"/b"] if two_targets else [root]
        whole = walked(*targets)
        wanted, total = set(files(whole)), passed(whole).folders
        left: Left = {}
        met: set[bytes] = set()
        for _ in range(4 * (total + len(targets))):
            seen, left = walk_some(targets, left, number)
            again = files(seen)
            assert len(again) == len(set(again))
            met.update(again)
        assert met == wanted


@settings(max_examples=examples(40), deadline=None)
@given(st.lists(paths, max_size=8), st.lists(st.one_of(paths, st.just(b"")), max_size=6))
def test_wherever_a_walk_begins_it_comes_by_everything_once(folders: list[bytes], first: list[bytes]) -> None:
    with temporary_tree() as root:
        make(root, folders)
        seen, left = walk_some([root], {root: first}, None)
        assert left == {}
        assert files(seen) == files(walked(root))
        assert passed(seen) == passed(walked(root))
        assert others(seen) == []


def test_what_was_left_comes_first(tree: bytes) -> None:
    make(tree, [b"a", b"b", b"c/d"])
    seen, _ = walk_some([tree], {tree: [b"c/d", b"b"]}, None)
    met = [listing.folder for listing in seen if isinstance(listing, Batch)]
    assert met == [b"c/d", b"b", b"a"]


def test_what_was_left_and_is_gone_a_link_or_left_out(tree: bytes) -> None:
    make(tree, [b"kept", b"out/in", b"elsewhere"])
    os.symlink(b"elsewhere", tree + b"/link")
    write(tree + b"/file")
    source = FilesystemSource([tree], ListingOptions(exclude=Patterns.compile(["out"], None)))
    source.resume_with({tree: [b"gone", b"gone/in", b"link", b"file", b"out", b"out/in", b"kept"]})
    seen = list(source.listings())
    assert files(seen) == [tree + b"/elsewhere/f", tree + b"/file", tree + b"/kept/f"]
    assert passed(seen).excluded_folders == 1
    assert others(seen) == []


def test_what_was_left_and_may_not_be_entered_is_reported_once(tree: bytes) -> None:
    make(tree, [b"a", b"shut"])
    os.chmod(tree + b"/shut", 0)
    seen = in_child(lambda: walk_some([tree], {tree: [b"shut"]}, None)[0], as_nobody=True)
    os.chmod(tree + b"/shut", 0o755)
    assert others(seen) == [UnlistedFolder(tree, b"shut", FolderReason.PERMISSION, "")]
    assert files(seen) == [tree + b"/a/f"]


def test_a_folder_under_way_comes_last(tree: bytes) -> None:
    make(tree, [b"a", b"b"])
    write(tree + b"/f")
    seen, left = walk_some([tree], {}, 1)
    assert isinstance(seen[0], Batch)
    assert seen[0].folder == b""
    assert sorted(left[tree][:-1]) == [b"a", b"b"]
    assert left[tree][-1] == b""


@pytest.mark.parametrize("number", [0, 1])
def test_targets_that_were_not_begun_are_left(tree: bytes, number: int) -> None:
    make(tree, [b"x", b"y"])
    targets = [tree + b"/x", tree + b"/y"]
    _, left = walk_some(targets, {}, number)
    assert left == ({} if number == 0 else {target: [b""] for target in targets})
