"""The files that a list may move: what counts as new, how long, and for which list."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from hashscan.lists import acceptance
from hashscan.lists.acceptance import NewEntries, accept, read_acceptance, record_added
from hashscan.lists.services.settings import ServiceSettings
from hashscan.lists.store import ListStore
from hashscan.matching.list_limits import MOVED_MAX, HeldMove, ListLimits
from hashscan.model import Entry, HeldBy
from hashscan.quarantine.captured_file import QuarantineRequest
from hashscan.quarantine.items import Item, State
from hashscan.state_dir import StateDir
from tests.service.engine.serving import store_list

DAY = 86_400.0


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    """Two lists, of which one is accepted."""
    state = StateDir(tmp_path / "state")
    for name in ("old", "rogue"):
        store_list(state.path, Entry("e", "md5", bytes(16), "A1"), name=name)
    accept(ListStore(state.lists).folder("old"), "somebody", 0)
    return state


def request(state: StateDir, *matches: tuple[str, str], path: bytes = b"/a") -> QuarantineRequest:
    acting = tuple({"list": name, "entry": entry, "algorithm": "md5"} for name, entry in matches)
    names = {name for name, _ in matches}
    lists = [{"name": name, "source": ListStore(state.lists).source(name)} for name in sorted(names)]
    return QuarantineRequest(path, {"matches": acting, "lists": lists}, acting=acting)


def item(moved: QuarantineRequest, days: float = 0, state: State = State.MOVED) -> Item:
    time = (datetime.now(UTC) - timedelta(days=days)).isoformat()
    record = {"time": time, "accusation": moved.accusation}
    return Item(time, state, moved.path, b"/q", record, record)


def admitted(state: StateDir, requests: list[QuarantineRequest], items: list[Item]) -> list[Any]:
    limits = ListLimits(state, items)
    for one in requests:
        limits.count(one)
    return [limits.admit(one) for one in requests]


def moved(results: list[Any]) -> list[QuarantineRequest]:
    return [one for one in results if isinstance(one, QuarantineRequest)]


def test_what_was_moved_counts_in_whatever_state_it_is(state: StateDir) -> None:
    requests = [request(state, ("rogue", f"e{number}")) for number in range(15)]
    first = admitted(state, requests, [])
    assert len(moved(first)) == MOVED_MAX
    assert {one.code for one in first if isinstance(one, HeldMove)} == {HeldBy.UNACCEPTED}
    kinds = [State.MOVED, State.RESTORED, State.RELEASED, State.MOVING, State.LEFT]
    items = [item(one, days=400, state=kind) for one, kind in zip(moved(first), kinds, strict=False)]
    # What was left was not moved.
    assert len(moved(admitted(state, requests, items))) == MOVED_MAX - 4


def test_a_list_that_is_removed_and_added_again_or_renamed_moves_no_more(state: StateDir) -> None:
    store = ListStore(state.lists)
    first = moved(admitted(state, [request(state, ("rogue", f"e{number}")) for number in range(15)], []))
    items = [item(one) for one in first]
    before = store.source("rogue")
    store.remove("rogue")
    store_list(state.path, Entry("e", "md5", bytes(16), "A1"), name="rogue")
    assert store.source("rogue") != before
    again = [request(state, ("rogue", f"e{number}")) for number in range(15)]
    assert moved(admitted(state, again, items)) == []
    # The same list by another name, and one that a report of another machine names.
    for name, source in (("renamed", before), ("rogue", "0" * 64)):
        matches = ({"list": name, "entry": "e", "algorithm": "md5"},)
        lists = [{"name": name, "source": source}]
        other = QuarantineRequest(b"/a", {"matches": matches, "lists": lists}, acting=matches)
        assert moved(admitted(state, [other], items)) == []


def test_entries_of_a_version_that_only_another_machine_has_are_new(state: StateDir) -> None:
    for version, number in ((1, 30), (2, MOVED_MAX)):
        requests = [request(state, ("old", "e")) for _ in range(30)]
        for one in requests:
            one.accusation["lists"][0]["version"] = version
        assert len(moved(admitted(state, requests, []))) == number


def test_an_acceptance_in_the_future_is_none(state: StateDir) -> None:
    folder = ListStore(state.lists).folder("old")
    text = folder.accepted.read_text()
    source = ListStore(state.lists).source("old")
    found = read_acceptance(folder, source)
    assert found is not None
    folder.accepted.write_text(text.replace(found.time, "2999" + found.time[4:]))
    assert read_acceptance(folder, source) is None


def test_without_the_record_of_new_entries_all_are_new(state: StateDir) -> None:
    requests = [request(state, ("old", "e")) for _ in range(30)]
    assert admitted(state, requests, []) == requests
    (ListStore(state.lists).folder("old")).added.unlink()
    assert len(moved(admitted(state, requests, []))) == MOVED_MAX


def test_a_file_that_an_accepted_list_has_is_not_charged_to_another(state: StateDir) -> None:
    both = [request(state, ("rogue", f"e{number}"), ("old", "e")) for number in range(30)]
    results = admitted(state, both, [])
    assert results == both


def test_new_entries_are_new_for_a_month_and_for_ever_once_they_exceed_the_limit(
    state: StateDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = ListStore(state.lists).folder("old")
    record_added(folder, [("md5", [f"n{number}" for number in range(30)])])
    requests = [request(state, ("old", f"n{number}")) for number in range(30)]
    results = admitted(state, requests, [])
    assert len(moved(results)) == MOVED_MAX
    assert {one.code for one in results if isinstance(one, HeldMove)} == {HeldBy.GROWTH}
    items = [item(one) for one in moved(results)]
    # Within ten times what older entries match, all are moved.
    known = [request(state, ("old", "e")) for _ in range(3)]
    assert len(moved(admitted(state, [*requests, *known], []))) == 33
    now = time.time()
    monkeypatch.setattr(acceptance.time, "time", lambda: now + 31 * DAY)
    assert len(moved(admitted(state, requests, []))) == 30
    assert moved(admitted(state, requests, items)) == []
    # A person's word ends it.
    accept(folder, "somebody", 0)
    assert len(moved(admitted(state, requests, items))) == 30


def test_of_too_many_new_entries_all_are_new(state: StateDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acceptance, "ADDED_MAX", 3)
    folder = ListStore(state.lists).folder("old")
    record_added(folder, [("md5", ["a", "b"])])
    assert [("md5", name) in NewEntries(folder.added, ever=False) for name in "ae"] == [True, False]
    record_added(folder, [("md5", ["c", "d"])])
    assert [("md5", name) in NewEntries(folder.added, ever=False) for name in "ae"] == [True, True]
    folder.added.write_bytes(b"no database" * 100)
    assert ("md5", "a") in NewEntries(folder.added, ever=False)


def test_an_acceptance_is_of_one_address(tmp_path: Path) -> None:
    store = ListStore(StateDir(tmp_path / "state").lists)
    found = []
    for address in ("https://a.example/", "https://a.example/", "https://b.example/"):
        store.add_service("hub", ServiceSettings(address, "hashscan", "/key"))
        folder = store.folder("hub")
        found.append(store.source("hub"))
        assert read_acceptance(folder, found[-1]) is None
        accept(folder, "somebody", 0)
        assert read_acceptance(folder, found[-1]) is not None
        text = folder.service.read_text().replace("example", "elsewhere")
        folder.service.write_text(text)
        assert read_acceptance(folder, store.source("hub")) is None
        store.remove("hub")
    assert len(set(found)) == 3
