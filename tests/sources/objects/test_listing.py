"""Listing by prefixes at the same time: everything once, in bounded memory, and troubles where they are."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain, cycle, islice

import pytest

from hashscan.model import FolderReason
from hashscan.sources.objects import listing
from hashscan.sources.objects.listing import THREADS, list_parallel
from hashscan.sources.objects.store import ListingError, StoredObject
from tests.sources.objects.shelf import Shelf

KEYS = {
    "flat": [b"%05d" % number for number in range(500)],
    "folders": [b"%d/%d" % (number % 17, number) for number in range(500)],
    "deep": [b"a/b/c/d/%d" % number for number in range(500)],
    "wide": [b"%d/x" % number for number in range(500)],
    "mixed": [b"a", b"a/", b"a/b", b"a//b", b"/a", b"//", b"/", b"a/b/c"],
    "none": [],
}


def keys_and_failures(shelf: Shelf, prefix: bytes = b"") -> tuple[Counter[bytes], list[bytes]]:
    keys: Counter[bytes] = Counter()
    failures = []
    for found in list_parallel(shelf, prefix, all_versions=False):
        if isinstance(found, tuple):
            failures.append(found[0])
            assert found[1].reason is FolderReason.PERMISSION
        else:
            keys.update(stored.key for stored in found)
    return keys, failures


@pytest.mark.parametrize("kind", KEYS)
def test_every_key_once(kind: str) -> None:
    keys, failures = keys_and_failures(Shelf(dict.fromkeys(KEYS[kind], b"")))
    assert keys == Counter(KEYS[kind])
    assert not failures


@pytest.mark.parametrize("prefix", [b"1", b"1/", b"1/1", b"nothing"])
def test_only_those_with_the_prefix(prefix: bytes) -> None:
    shelf = Shelf(dict.fromkeys(KEYS["folders"], b""))
    assert keys_and_failures(shelf, prefix)[0] == Counter(k for k in KEYS["folders"] if k.startswith(prefix))


def test_a_prefix_that_can_not_be_listed_costs_no_other() -> None:
    shelf = Shelf(dict.fromkeys(KEYS["folders"], b""), no_entry={b"3/"})
    keys, failures = keys_and_failures(shelf)
    assert failures == [b"3/"]
    assert not [key for key in KEYS["folders"] if not key.startswith(b"3/") and key not in keys]


def test_trouble_in_the_middle_keeps_what_came_before() -> None:
    shelf = Shelf(dict.fromkeys(KEYS["flat"], b""), level_limit=0)
    shelf.level = lambda prefix, *, all_versions: None  # type: ignore[method-assign, assignment]
    shelf.no_entry.add(b"")
    keys, failures = keys_and_failures(shelf)
    assert (len(keys), failures) == (shelf.page, [b""])


def test_nothing_is_listed_far_ahead_of_who_takes_it() -> None:
    shelf = Shelf(dict.fromkeys(KEYS["flat"] * 1, b""), page=1)
    listing = list_parallel(shelf, b"", all_versions=False)
    next(listing)
    time.sleep(0.2)
    assert shelf.pages_reported < 4 * THREADS < len(KEYS["flat"])
    listing.close()


def test_a_defect_is_raised_and_not_waited_for() -> None:
    shelf = Shelf(dict.fromkeys(KEYS["flat"], b""))
    shelf.pages = lambda prefix, *, all_versions: 1 / 0  # type: ignore[method-assign, assignment]
    with pytest.raises(ZeroDivisionError):
        list(list_parallel(shelf, b"", all_versions=False))


def noted(pages: Iterator[list[StoredObject]]) -> tuple[int, str]:
    """Return the number of pages of a listing until it is given up, and the reason."""
    circle = listing.CycleDetector()
    reported = 0
    try:
        for page in pages:
            circle.note(page)
            reported += 1
    except ListingError as trouble:
        return reported, trouble.detail
    return reported, ""


@pytest.mark.parametrize("before", [0, 1, 5])
@pytest.mark.parametrize("around", [1, 2, 3, 7, 100])
def test_a_circle_is_noticed(before: int, around: int) -> None:
    """Whatever goes before it, and however long it is."""
    numbers = chain(range(before), islice(cycle(range(before, before + around)), 10_000))
    reported, why = noted(
        [StoredObject(b"%d" % number, 1, 1), StoredObject(b"last", 1, 1)] for number in numbers
    )
    assert reported <= 3 * (before + around) + 1
    assert "again and again" in why


def test_a_circle_ends_a_listing() -> None:
    class Circling(Shelf):
        def pages(self, prefix: bytes, *, all_versions: bool) -> Iterator[Sequence[StoredObject]]:
            while True:
                yield from super().pages(prefix, all_versions=all_versions)

    keys: Counter[bytes] = Counter()
    failures = []
    for found in list_parallel(Circling(dict.fromkeys(KEYS["flat"], b"")), b"", all_versions=False):
        if isinstance(found, tuple):
            failures.append((found[0], found[1].detail))
        else:
            keys.update(stored.key for stored in found)
    assert set(keys) == set(KEYS["flat"])
    assert failures == [(b"", "the server lists the same objects again and again")]


def test_versions_of_one_key_are_no_circle() -> None:
    pages = ([StoredObject(b"key", 1, 1, version=str(number))] for number in range(1000))
    assert noted(pages) == (1000, "")


def test_empty_pages_come_to_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "EMPTY_PAGES", 10)
    few = [*([[]] * 10), [StoredObject(b"1", 1, 1)], *([[]] * 10), [StoredObject(b"2", 1, 1)]]
    assert noted(iter(few)) == (22, "")
    assert noted(iter([*few, *([[]] * 11)]))[1] == "the server sends empty pages without an end"
