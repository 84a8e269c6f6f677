from __future__ import annotations

import os
from pathlib import Path

import pytest

from hashscan.errors import ListTrustError, LockedError, UnreachableError, UsageError
from hashscan.lists.difference import Difference, activate, discard, staged_info
from hashscan.lists.pulling import client
from hashscan.lists.store import ListStore
from hashscan.locking import ReadLock
from hashscan.model import TrustState
from tests.lists.builders import CANARIES, Owner, some_entries
from tests.lists.pulling.test_client import info
from tests.test_locking import holder
from tests.web import WebServer, refuse


@pytest.fixture
def subscribed(owner: Owner, store: ListStore, web: WebServer) -> ListStore:
    """Version 1, nine entries, pulled from the web server as `mine`; version 2 is published."""
    owner.release(some_entries(9))
    client.add(store, "mine", web.url, owner.root)
    client.pull(store, "mine")
    owner.release(some_entries(3, start=9))
    return store


@pytest.fixture
def staged(subscribed: ListStore) -> ListStore:
    """Version 2 is staged."""
    pulled = client.pull(subscribed, "mine", stage=True)
    assert (pulled.info.version, pulled.previous, pulled.changed, pulled.staged) == (2, 1, True, True)
    return subscribed


def versions(store: ListStore) -> int:
    return len(list(store.folder("mine").versions.iterdir()))


def damage(version: Path | None) -> None:
    assert version is not None
    (path,) = version.glob("columns/base.pdq.value.npy")
    path.write_bytes(path.read_bytes()[:-1] + b"!")


def test_a_staged_version_waits(staged: ListStore) -> None:
    assert info(staged).version == 1
    waiting = staged_info(staged, "mine")
    assert waiting is not None
    assert (waiting.version, waiting.entries, waiting.state) == (2, 12 + CANARIES, TrustState.FRESH)
    assert versions(staged) == 2
    assert not staged.folder("mine").staging.exists()


def test_activation_puts_it_in_use_without_a_server(staged: ListStore, web: WebServer) -> None:
    web.asked.clear()
    done = activate(staged, "mine")
    assert done is not None
    assert (done.info.version, done.previous) == (2, 1)
    assert info(staged).version == 2
    assert info(staged).problem is None
    assert staged_info(staged, "mine") is None
    assert versions(staged) == 1
    assert not web.asked
    with pytest.raises(UsageError, match="no version of the list 'mine' is staged"):
        activate(staged, "mine")
    assert not client.pull(staged, "mine").changed


def test_a_first_version_can_be_staged(owner: Owner, store: ListStore, web: WebServer) -> None:
    owner.release(some_entries(9))
    client.add(store, "mine", web.url, owner.root)
    client.pull(store, "mine", stage=True)
    assert info(store).state is TrustState.MISSING
    done = activate(store, "mine")
    assert done is not None
    assert done.previous is None
    assert info(store).version == 1


def test_what_is_not_admitted_waits(staged: ListStore) -> None:
    asked: list[tuple[int | None, int, int]] = []

    def admits(compared: Difference, answer: bool = False) -> bool:
        came = sum(len(change) for change in compared.changes() if change.came)
        asked.append((compared.old.version if compared.old else None, compared.new.version, came))
        return answer

    assert activate(staged, "mine", admits) is None
    assert asked == [(1, 2, 3)]
    pulled = client.pull(staged, "mine", admits=admits)
    assert (pulled.withheld, pulled.staged, pulled.changed, pulled.previous) == (True, True, False, 1)
    assert asked == [(1, 2, 3)] * 2
    assert info(staged).version == 1
    assert client.pull(staged, "mine", stage=True, admits=admits).withheld is False
    assert len(asked) == 2
    pulled = client.pull(staged, "mine", admits=lambda compared: admits(compared, answer=True))
    assert (pulled.withheld, pulled.staged, pulled.changed) == (False, False, True)
    assert info(staged).version == 2
    assert staged_info(staged, "mine") is None
    # Nothing new, so nobody is asked.
    assert not client.pull(staged, "mine", admits=admits).changed
    assert len(asked) == 3


@pytest.mark.parametrize("pulled", [True, False])
def test_all_is_new_where_what_was_in_use_is_damaged(staged: ListStore, pulled: bool) -> None:
    active = staged.folder("mine").active()
    assert active is not None
    (path,) = active.glob("columns/base.pdq.value.npy")
    # Not by writing into it: the staged version has the same file.
    path.unlink()
    came: list[int] = []

    def admits(compared: Difference) -> bool:
        assert compared.old is None
        came.append(sum(len(change) for change in compared.changes()))
        return True

    if pulled:
        client.pull(staged, "mine", admits=admits)
    else:
        activate(staged, "mine", admits)
    assert came == [12 + CANARIES]
    assert info(staged).version == 2


def test_what_is_staged_is_dropped(staged: ListStore) -> None:
    discard(staged, "mine")
    assert staged_info(staged, "mine") is None
    assert versions(staged) == 1
    with pytest.raises(UsageError):
        discard(staged, "mine")
    # What tuf's client has seen doesn't keep it from being fetched again.
    assert client.pull(staged, "mine").info.version == 2
    assert info(staged).version == 2


def test_a_pull_puts_in_use_what_is_staged(staged: ListStore, web: WebServer) -> None:
    web.asked.clear()
    pulled = client.pull(staged, "mine")
    assert (pulled.info.version, pulled.previous, pulled.changed, pulled.staged) == (2, 1, True, False)
    assert pulled.fetched == 0
    assert not [path for path in web.asked if path.startswith("/targets/")]
    assert staged_info(staged, "mine") is None
    assert versions(staged) == 1


def test_staging_again_changes_nothing(staged: ListStore) -> None:
    before = staged.folder("mine").staged()
    pulled = client.pull(staged, "mine", stage=True)
    assert (pulled.info.version, pulled.changed, pulled.staged, pulled.fetched) == (2, False, True, 0)
    assert staged.folder("mine").staged() == before


@pytest.mark.parametrize("stage", [False, True])
def test_a_later_version_takes_its_place(staged: ListStore, owner: Owner, stage: bool) -> None:
    owner.release(some_entries(3, start=12))
    pulled = client.pull(staged, "mine", stage=stage)
    assert pulled.info.version == 3
    assert info(staged).version == (1 if stage else 3)
    waiting = staged_info(staged, "mine")
    assert (waiting.version if waiting else None) == (3 if stage else None)
    assert versions(staged) == (2 if stage else 1)


def test_a_failed_pull_leaves_it(staged: ListStore, owner: Owner, web: WebServer) -> None:
    owner.release(some_entries(3, start=12))
    web.answers["pdq.0000.value.npy"] = lambda request: refuse(request, 500)
    with pytest.raises(UnreachableError):
        client.pull(staged, "mine")
    assert activate(staged, "mine").info.version == 2
    web.answers.clear()
    # tuf's client has seen version 3, and goes on from there.
    assert client.pull(staged, "mine").info.version == 3


def test_when_the_source_has_what_is_in_use_nothing_is_staged(subscribed: ListStore) -> None:
    assert client.pull(subscribed, "mine").info.version == 2
    pulled = client.pull(subscribed, "mine", stage=True)
    assert (pulled.changed, pulled.staged) == (False, False)
    assert staged_info(subscribed, "mine") is None


def test_a_damaged_one_is_not_put_in_use(staged: ListStore) -> None:
    folder = staged.folder("mine")
    damage(folder.staged())
    with pytest.raises(ListTrustError, match="can't be used: a stored file is damaged") as caught:
        activate(staged, "mine")
    assert "pull --stage" in caught.value.remedy
    assert info(staged).version == 1
    pulled = client.pull(staged, "mine", stage=True)
    assert (pulled.changed, pulled.staged) == (True, True)
    assert activate(staged, "mine").info.version == 2


def test_one_writer_at_a_time(staged: ListStore) -> None:
    with holder(staged.folder("mine").lock) as process:
        for change in (activate, discard):
            with pytest.raises(LockedError):
                change(staged, "mine")
        assert staged_info(staged, "mine") is not None
        process.kill()
    activate(staged, "mine")


def test_readers_keep_what_they_read(staged: ListStore) -> None:
    held = staged.folder("mine").hold_staged()
    assert held is not None
    version, hold = held
    discard(staged, "mine")
    assert version.is_dir()
    assert isinstance(hold, ReadLock)
    hold.close()
    client.pull(staged, "mine")
    assert not version.exists()


def test_a_link_that_a_killed_activation_left_counts_for_nothing(staged: ListStore) -> None:
    folder = staged.folder("mine")
    version = folder.staged()
    assert version is not None
    folder.activate(version)
    os.symlink(f"versions/{version.name}", folder.staged_link)
    assert staged_info(staged, "mine") is None
    assert info(staged).version == 2
    client.pull(staged, "mine")
    assert not folder.staged_link.is_symlink()


def test_lists_that_have_nothing_to_stage(store: ListStore) -> None:
    store.import_entries("own", some_entries(3), "entries")
    for name in ("own", "none"):
        assert staged_info(store, name) is None
        with pytest.raises(UsageError):
            activate(store, name)
    assert not (store.folder("none").path).exists()
