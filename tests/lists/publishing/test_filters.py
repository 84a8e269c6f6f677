"""Filters are published by whole versions, and only what is new in a list makes additions."""

from __future__ import annotations

from pathlib import Path

import pytest

from hashscan.errors import NoUsableListError, UsageError
from hashscan.lists.publishing.filters import KEPT, publish_filter, publish_filter_of
from hashscan.lists.services.settings import ServiceSettings
from hashscan.lists.store import fingerprinted, lists_version
from tests.lists.builders import NOW, Filters, Owner, read_filter, some_entries, tree

ALGORITHMS = ("md5", "sha1", "sha256", "sha512", "xxh3_128")


@pytest.fixture
def filters(tmp_path: Path) -> Filters:
    return Filters(tmp_path)


def test_a_first_filter_is_complete(filters: Filters) -> None:
    made = filters.publish(some_entries(100, algorithms=(*ALGORITHMS, "pdq")))
    assert made.changed
    assert made.additions is None
    assert made.header.digests == 84
    assert sorted(made.header.algorithms) == sorted(ALGORITHMS)
    index, found = read_filter(filters.folder)
    assert index.release == 1
    others = some_entries(1000, start=100, algorithms=ALGORITHMS)
    assert sum(found.lets_through(entry.algorithm, entry.value) for entry in others) <= 2


def test_what_is_new_is_added(filters: Filters) -> None:
    first = filters.publish(some_entries(100, algorithms=ALGORITHMS))
    second = filters.publish(some_entries(104, algorithms=ALGORITHMS))
    assert second.header == first.header
    assert second.additions is not None
    assert second.additions.digests == 4
    third = filters.publish(some_entries(105, algorithms=ALGORITHMS))
    assert third.additions is not None
    assert third.additions.digests == 5
    index, _ = read_filter(filters.folder)
    assert [each.version for each in index.filters] == [third.version, second.version, first.version]
    assert len(index.targets) == 4
    filters.publish(some_entries(103, algorithms=ALGORITHMS))
    assert len(read_filter(filters.folder)[0].filters) == KEPT


def test_what_was_withdrawn_is_let_through_until_the_next_complete_one(filters: Filters) -> None:
    every = some_entries(100, algorithms=ALGORITHMS)
    filters.publish(every)
    made = filters.publish(every[1:])
    assert made.additions is not None
    assert made.additions.digests == 0
    assert read_filter(filters.folder)[1].lets_through(every[0].algorithm, every[0].value)
    made = filters.publish(every[1:], new_base=True)
    assert made.additions is None
    assert not read_filter(filters.folder)[1].lets_through(every[0].algorithm, every[0].value)


@pytest.mark.parametrize(("count", "days"), [(106, 0), (101, 1), (101, -2)])
def test_a_new_complete_filter(filters: Filters, count: int, days: float) -> None:
    filters.publish(some_entries(100, algorithms=ALGORITHMS))
    assert filters.publish(some_entries(count, algorithms=ALGORITHMS), days).additions is None


def test_nothing_is_signed_for_the_same_version(filters: Filters) -> None:
    first = filters.publish(some_entries(9, algorithms=ALGORITHMS))
    before = tree(filters.folder)
    again = filters.publish(some_entries(9, algorithms=ALGORITHMS))
    assert again == first._replace(changed=False)
    assert tree(filters.folder) == before


def test_its_signatures_are_renewed_and_its_keys_replaced_like_those_of_a_list(filters: Filters) -> None:
    filters.publish(some_entries(9))
    filters.publisher.refresh(everything=True)
    filters.publisher.rotate(("root", "timestamp", "snapshot", "targets"))
    status = filters.publisher.status()
    assert status.published is None
    assert status.filters is not None
    assert status.filters.release == 1
    filters.publish(some_entries(12))
    assert read_filter(filters.folder)[0].release == 2


def test_entries_and_filters_have_folders_of_their_own(filters: Filters, owner: Owner) -> None:
    filters.publish(some_entries(9))
    for attempt in (
        lambda: filters.publisher.add(some_entries(3), "entries"),
        lambda: filters.publisher.withdraw(["e1"]),
        filters.publisher.compact,
    ):
        with pytest.raises(UsageError):
            attempt()
    with filters.store.open(["own"], NOW) as opened:
        owner.publisher.add(some_entries(3), "entries")
        with pytest.raises(UsageError):
            publish_filter(owner.folder / "work", opened.handles, "1")
        owner.publisher.release()
        with pytest.raises(UsageError):
            publish_filter(owner.folder / "work", opened.handles, "1")
    read_filter(filters.folder)
    assert len(owner.entries()) == 3


def test_only_lists_that_are_here_and_good(filters: Filters) -> None:
    publish = filters.work, filters.state
    with pytest.raises(NoUsableListError):
        publish_filter_of(*publish, None)
    filters.store.import_entries("own", some_entries(9), "entries")
    with pytest.raises(UsageError):
        publish_filter_of(*publish, ["own", "missing"])
    filters.store.add_service("asked", ServiceSettings("https://service.example/", "hashscan"))
    with pytest.raises(UsageError):
        publish_filter_of(*publish, None)
    made = publish_filter_of(*publish, ["own", "demo"])
    assert made.header.digests > 6


def test_the_version_tells_lists_and_their_entries_apart(filters: Filters) -> None:
    versions = set()
    for name, count in (("one", 3), ("one", 4), ("two", 4), ("two", 4)):
        filters.store.import_entries(name, some_entries(count), "entries")
        with filters.store.open([name], NOW) as opened:
            versions.add(lists_version(fingerprinted(opened)))
    with filters.store.open(["one", "two"], NOW) as opened, filters.store.open(["two", "one"], NOW) as other:
        assert lists_version(fingerprinted(opened)) == lists_version(fingerprinted(other))
        versions.add(lists_version(fingerprinted(opened)))
    assert len(versions) == 4
