"""Listing by prefixes at the same time: everything once, in bounded memory, and troubles where they are."""

from __future__ import annotations

import time
from collections import Counter

import pytest

from hashscan.model import FolderReason
from hashscan.sources.objects.listing import THREADS, list_parallel

from .shelf import Shelf

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
    assert shelf.pages_told < 4 * THREADS < len(KEYS["flat"])
    listing.close()


def test_a_defect_is_raised_and_not_waited_for() -> None:
    shelf = Shelf(dict.fromkeys(KEYS["flat"], b""))
    shelf.pages = lambda prefix, *, all_versions: 1 / 0  # type: ignore[method-assign, assignment]
    with pytest.raises(ZeroDivisionError):
        list(list_parallel(shelf, b"", all_versions=False))
