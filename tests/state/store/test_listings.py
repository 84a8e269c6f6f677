from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashscan.model import FileStat, Item
from hashscan.state.store.listings import (
    NONE,
    ON_TRUST,
    PROVEN,
    TRUSTED,
    UNPROVEN,
    Listing,
    StoredListing,
    from_bytes,
    joined,
    listing_of,
)

KNOWN = PROVEN, UNPROVEN
NOW = 1_800_000_000_000_000_000
OLD = NOW - 10**10
YEAR_2400 = 13_569_465_600 * 10**9

numbers = st.integers(-(2**63), 2**64 - 1)
names = st.binary(min_size=1, max_size=20).filter(lambda name: b"/" not in name and b"\0" not in name)
items = st.builds(
    Item,
    names,
    st.builds(FileStat, st.just(1), numbers, st.integers(0, 2**63), numbers, numbers, numbers, numbers),
)


def item(name: bytes, inode: int = 7, size: int = 3, mtime: int = OLD, ctime: int = OLD) -> Item:
    return Item(name, FileStat(1, inode, size, mtime, ctime, 1, 0))


def kept(*files: Item, weak: bool = False, trust: int = PROVEN) -> StoredListing:
    listing, _ = listing_of(files, NOW)
    listing.contents[:] = range(len(files))
    listing.flags |= trust
    return StoredListing(from_bytes(listing.to_bytes()), weak=weak)


def recalled(known: StoredListing, listed: Listing) -> tuple[bool, list[int]]:
    """Return whether it is taken in order, and the contents that are known."""
    in_order = known.recall(listed)
    return in_order, listed.contents.tolist()


@given(st.lists(items, min_size=1, max_size=30))
def test_any_folder_comes_back(files: list[Item]) -> None:
    listing, device = listing_of(files, NOW)
    assert device == 1
    listing.contents[:] = range(len(files))
    again = from_bytes(listing.to_bytes())
    assert np.array_equal(again.identities, listing.identities)
    assert again.names.split(b"/") == [file.name for file in files]
    assert again.contents.tolist() == list(range(len(files)))


@given(st.binary(max_size=200))
def test_nonsense_is_an_error_and_no_more(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        from_bytes(data)


@given(st.lists(items, min_size=1, max_size=5), st.data())
def test_a_bit_that_differs_is_noticed(files: list[Item], data: st.DataObject) -> None:
    listing, _ = listing_of(files, NOW)
    listing.contents[:] = range(len(files))
    stored = bytearray(listing.to_bytes())
    place = data.draw(st.integers(0, 8 * len(stored) - 1))
    stored[place // 8] ^= 1 << place % 8
    with pytest.raises(ValueError, match="checksum"):
        from_bytes(bytes(stored))


def test_files_of_which_nothing_is_kept_are_left_out() -> None:
    listing, _ = listing_of([item(b"a"), item(b"b"), item(b"c")], NOW)
    listing.contents[1] = 5
    again = from_bytes(listing.to_bytes())
    assert (again.names, again.contents.tolist()) == (b"b", [5])
    nothing, _ = listing_of([item(b"a")], NOW)
    assert len(from_bytes(nothing.to_bytes())) == 0


def test_several_devices_are_reported() -> None:
    other = Item(b"b", FileStat(2, 7, 3, OLD, OLD, 1, 0))
    assert listing_of([item(b"a"), other], NOW)[1] is None


@pytest.mark.parametrize("change", [{"inode": 8}, {"size": 4}, {"mtime": OLD + 1}, {"ctime": OLD + 1}])
def test_any_change_is_noticed(change: dict[str, int]) -> None:
    known = kept(item(b"a"), item(b"b", inode=9))
    changed, _ = listing_of([item(b"a", **change)], NOW)
    assert recalled(known, changed) == (False, [NONE])


def test_ctime_alone_may_change_where_that_was_allowed() -> None:
    changed, _ = listing_of([item(b"a", ctime=OLD + 1)], NOW)
    assert recalled(kept(item(b"a"), weak=True), changed) == (True, [0])


@pytest.mark.parametrize("weak", [False, True])
def test_what_had_just_been_changed_when_it_was_read_is_read_again(weak: bool) -> None:
    young = item(b"a", mtime=NOW - 10**9, ctime=NOW - 10**9)
    listing, _ = listing_of([young], NOW + 10**12)
    assert recalled(kept(young, weak=weak), listing) == (False, [NONE])


def test_a_time_in_the_far_future_that_anyone_may_set_is_none() -> None:
    far = item(b"a", mtime=YEAR_2400)
    listing, _ = listing_of([far], NOW)
    assert recalled(kept(far), listing) == (True, [0])


def test_batches_are_taken_one_after_another_and_others_are_found_in_any_order() -> None:
    files = [item(b"%d" % number, inode=100 - number) for number in range(10)]
    known = kept(*files)
    first, second = (listing_of(part, NOW)[0] for part in (files[:4], files[4:]))
    assert recalled(known, second) == (False, list(range(4, 10)))
    assert recalled(known, first) == (True, list(range(4)))
    assert not known.all_matched
    assert recalled(known, second) == (True, list(range(4, 10)))
    assert known.all_matched
    shuffled, _ = listing_of(files[::-1], NOW)
    assert recalled(known, shuffled) == (False, list(range(9, -1, -1)))


def test_a_name_that_only_begins_alike_is_not_taken() -> None:
    listed, _ = listing_of([item(b"ab")], NOW)
    assert not kept(item(b"abc")).recall(listed)


def test_of_equal_identities_the_latest_counts() -> None:
    old, _ = listing_of([item(b"a")], NOW)
    new, _ = listing_of([item(b"a")], NOW)
    old.contents[0], new.contents[0] = 1, 2
    old.flags |= PROVEN
    new.flags |= PROVEN
    listed, _ = listing_of([item(b"a"), item(b"b", inode=8)], NOW)
    assert recalled(StoredListing(joined([old, new]), weak=False), listed) == (False, [2, NONE])


def test_nothing_is_known_of_an_empty_folder() -> None:
    listed, _ = listing_of([item(b"a")], NOW)
    assert recalled(StoredListing(joined([]), weak=False), listed) == (False, [NONE])


@pytest.mark.parametrize("weak", [False, True])
@pytest.mark.parametrize("in_order", [False, True])
@pytest.mark.parametrize(
    ("trust", "on_trust", "usable"),
    [(0, True, False), (ON_TRUST, False, False), (ON_TRUST, True, True), *((t, False, True) for t in KNOWN)],
)
def test_without_trust_in_its_ctime_a_file_is_read_again(
    weak: bool, in_order: bool, trust: int, on_trust: bool, usable: bool
) -> None:
    known = StoredListing(kept(item(b"a"), trust=trust).listing, weak=weak, on_trust=on_trust)
    listed, _ = listing_of([item(b"a" if in_order else b"b")], NOW)
    assert recalled(known, listed) == (in_order and usable, [0 if usable else NONE])
    # The trust of then goes on with the content.
    assert listed.flags[0] & TRUSTED == (trust if usable else 0)


def test_one_file_without_trust_takes_none_of_the_others() -> None:
    listing, _ = listing_of([item(b"%d" % number, inode=number) for number in range(3)], NOW)
    listing.contents[:] = range(3)
    listing.flags[:] = PROVEN, 0, UNPROVEN
    listed = listing_of([item(b"%d" % number, inode=number) for number in range(3)], NOW)[0]
    assert recalled(StoredListing(listing, weak=False), listed) == (False, [0, NONE, 2])
    assert (listed.flags & TRUSTED).tolist() == [PROVEN, 0, UNPROVEN]
