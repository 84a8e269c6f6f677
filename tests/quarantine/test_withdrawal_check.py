from __future__ import annotations

import hashlib
import json
import os
import random
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hashscan.lists import entries as latest
from hashscan.lists.pulling import client
from hashscan.lists.store import ListStore
from hashscan.model import MATCHES_MAX, Entry
from hashscan.quarantine.captured_file import QuarantineRequest
from hashscan.quarantine.items import MATCHED_AGAIN, WITHDRAWN, Item
from hashscan.quarantine.moving import move
from hashscan.quarantine.repair import verify
from hashscan.quarantine.restoring import restore
from hashscan.quarantine.store import Quarantine, read_items
from hashscan.quarantine.withdrawn_items import withdrawn_items
from hashscan.state_dir import StateDir
from tests.examples import examples
from tests.lists.builders import Owner
from tests.quarantine.dying import die_at
from tests.quarantine.rooms import TERMS, Room

NAME = "national"


CONTENT = b"accused"


def entry(number: int, *, category: str = "A1", content: bytes = CONTENT) -> Entry:
    """One of any number that all accuse the same content."""
    return Entry(f"e{number}", "sha256", hashlib.sha256(content).digest(), category)


@dataclass
class Server:
    """A room whose state has a signed list."""

    room: Room
    owner: Owner
    name: str = NAME
    files: dict[int, str] = field(default_factory=dict)
    """Items, by the number of their files."""

    @property
    def store(self) -> ListStore:
        return ListStore(self.room.state / "lists")

    def release(self, *entries: Entry) -> None:
        """Publish, and pull as a command does that is killed before it looks at what is in quarantine."""
        if entries:
            self.owner.publisher.add(entries, "entries")
        self.owner.publisher.release()
        client.pull(self.store, self.name)

    def withdraw(self, *ids: str) -> None:
        self.owner.publisher.withdraw(ids)
        self.release()

    def accusation(self, ids: Iterable[str], **more: Any) -> dict[str, Any]:
        """As a report made with the list of today has it."""
        with self.store.open(
            [self.name], __import__("datetime").datetime.now(__import__("datetime").UTC)
        ) as opened:
            (info,) = opened.infos
        match = {"list": self.name, "algorithm": "sha256", "distance": 0, "threshold": 0, "category": "A1"}
        return {
            "matches": [{**match, "entry": name, **more} for name in ids],
            "lists": [
                {"name": info.name, "version": info.version, "state": info.state, "key_ids": info.key_ids}
            ],
        }

    def take(self, number: int, *ids: str, accusation: dict[str, Any] | None = None) -> str:
        """Move a file on the word of entries; the item."""
        path = self.room.file(f"{number}", CONTENT)
        speaks = accusation or self.accusation(ids or (f"e{number}",))
        with Quarantine(StateDir(self.room.state)) as quarantine:
            (answer,) = move(quarantine, [QuarantineRequest(os.fsencode(path), speaks)], TERMS)
        self.files[number] = answer.item
        return answer.item

    def flagged(self) -> tuple[str, ...]:
        found = withdrawn_items(StateDir(self.room.state))
        assert found.trouble == ""
        return found.items

    def item(self, number: int) -> Item:
        return read_items(StateDir(self.room.state))[self.files[number]]

    def lines(self) -> list[dict[str, Any]]:
        """Return the lines about flags in the log."""
        log = StateDir(self.room.state).quarantine / "log.jsonl"
        every = [json.loads(line) for line in log.read_text().splitlines()]
        return [line for line in every if line["type"] in {WITHDRAWN, MATCHED_AGAIN}]


@pytest.fixture
def server(room: Room, tmp_path: Path) -> Server:
    made = Server(room, Owner.begin(tmp_path / "owner"))
    client.add(made.store, NAME, str(made.owner.repository), made.owner.root)
    made.release(*(entry(number) for number in range(6)))
    return made


def test_an_item_is_flagged_when_the_last_entry_goes_and_no_longer_when_it_comes_back(server: Server) -> None:
    both = server.take(0, "e0", "e1")
    other = server.take(2)
    assert server.flagged() == ()
    server.withdraw("e0")
    assert server.flagged() == ()
    item = server.item(0)
    assert [dict(each) for each in item.withdrawals] == [{"list": NAME, "version": 2, "entries": ["e0"]}]
    server.withdraw("e1")
    assert server.flagged() == (both,)
    messages = " ".join(withdrawn_items(StateDir(server.room.state)).messages)
    assert both in messages
    assert other not in messages
    assert "restore --withdrawn" in messages
    server.release(entry(0))
    assert server.flagged() == ()
    assert not server.item(0).withdrawn
    types = [line["type"] for line in server.lines()]
    assert types == [MATCHED_AGAIN, WITHDRAWN, MATCHED_AGAIN]
    assert server.lines()[1]["standing"] == []
    assert verify(StateDir(server.room.state), None)[2] == []


def test_nothing_is_written_or_read_twice(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    item = server.take(0)
    server.withdraw("e0")
    assert server.flagged() == (item,)
    before = len(server.lines())
    server.release(entry(9))
    assert server.flagged() == (item,)
    assert len(server.lines()) == before
    monkeypatch.setattr("hashscan.quarantine.withdrawal_check.find_withdrawn", None)
    assert server.flagged() == (item,)


def test_who_was_named_by_hand_is_never_flagged(server: Server) -> None:
    server.take(0, accusation={"reason": "an order"})
    server.withdraw("e0")
    assert server.flagged() == ()


def test_only_what_accuses_is_asked(server: Server) -> None:
    """Entries that are excepted, held, only near, for review or known-good keep nothing in quarantine."""
    speaks = server.accusation(["e0"])
    (match,) = speaks["matches"]
    for number, more in enumerate(
        (
            {"excepted": {"reason": "r", "until": "2099-01-01"}},
            {"distance": 40, "threshold": 31},
            {"category": "other"},
            {"category": "known-good"},
            {"list": "another"},
            {"withheld": "rule 1: held"},
            {"doubt": "a chart"},
        )
    ):
        speaks["matches"].append({**match, "entry": f"e{number + 1}", **more})
    item = server.take(0, accusation=speaks)
    server.withdraw("e0")
    assert server.flagged() == (item,)


def test_of_too_many_matches_some_are_not_known(server: Server) -> None:
    server.take(0, *["e0"] * MATCHES_MAX)
    server.withdraw("e0")
    assert server.flagged() == ()
    assert server.item(0).withdrawals


@pytest.mark.parametrize(
    "changed", [entry(0, category="other"), entry(0, content=b"")], ids=["review", "value"]
)
def test_an_entry_that_says_something_else_now_is_withdrawn(server: Server, changed: Entry) -> None:
    item = server.take(0)
    server.withdraw("e0")
    server.release(changed)
    assert server.flagged() == (item,)


def test_another_category_that_acts_still_accuses(server: Server) -> None:
    server.take(0)
    server.withdraw("e0")
    server.release(entry(0, category="B1"))
    assert server.flagged() == ()


def test_a_compacted_list_has_what_it_had(server: Server) -> None:
    item = server.take(0)
    server.take(1)
    server.withdraw("e0")
    server.owner.publisher.compact()
    client.pull(server.store, NAME)
    assert server.flagged() == (item,)


def test_a_list_that_is_gone_or_damaged_withdraws_nothing_and_ends_no_flag(
    server: Server, tmp_path: Path
) -> None:
    item = server.take(0)
    server.take(1)
    server.withdraw("e0")
    assert server.flagged() == (item,)
    active = server.store.folder(NAME).active()
    assert active is not None
    for column in (active / "columns").glob("*ids*"):
        data = bytearray(column.read_bytes())
        data[-1] ^= 1
        column.write_bytes(data)
    assert server.flagged() == (item,)
    server.store.remove(NAME)
    assert server.flagged() == (item,)
    # Somebody else's list of that name, and of a later version, takes nothing back.
    other = Server(server.room, Owner.begin(tmp_path / "other"))
    client.add(other.store, NAME, str(other.owner.repository), other.owner.root)
    for number in range(20, 24):
        other.release(entry(number))
    assert server.flagged() == (item,)


def test_a_stale_list_withdraws_nothing(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.take(0)
    server.withdraw("e0")

    class Later(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.now(UTC) + timedelta(days=10_000)

    with monkeypatch.context() as patch:
        patch.setattr(latest, "datetime", Later)
        assert server.flagged() == ()
    assert server.flagged() == (server.files[0],)


def test_new_keys_are_the_same_owner(server: Server) -> None:
    item = server.take(0)
    server.owner.publisher.rotate("targets")
    server.withdraw("e0")
    assert server.flagged() == (item,)


def test_a_local_list_is_its_own_owners(room: Room) -> None:
    server = Server(room, owner=None, name="ours")  # type: ignore[arg-type]
    server.store.import_entries("ours", [entry(0), entry(1)], "entries")
    item = server.take(0)
    assert server.flagged() == ()
    server.store.import_entries("ours", [entry(1)], "entries")
    assert server.flagged() == (item,)
    server.store.remove("ours")
    server.store.import_entries("ours", [entry(1)], "entries")
    assert server.flagged() == (item,)


def test_trouble_is_reported_and_made_good_later(server: Server) -> None:
    item = server.take(0)
    server.withdraw("e0")
    log = StateDir(server.room.state).quarantine / "log.jsonl"
    whole = log.read_bytes()
    log.write_bytes(whole.replace(b"A1", b"A2"))
    found = withdrawn_items(StateDir(server.room.state))
    assert "line 1" in found.trouble
    assert "WARNING" in found.messages[0]
    log.write_bytes(whole)
    assert server.flagged() == (item,)
    compared = StateDir(server.room.state).quarantine / "compared.json"
    for nonsense in (b"", b"[]", b'{"lists": {}, "withdrawn": [1], "log": 1}'):
        compared.write_bytes(nonsense)
        assert server.flagged() == (item,)
    log.unlink()
    assert withdrawn_items(StateDir(server.room.state)).trouble


def test_lists_may_lie_in_the_state_of_the_user_who_scans(server: Server, tmp_path: Path) -> None:
    item = server.take(0)
    lists = tmp_path / "lists"
    (server.room.state / "lists").rename(lists)
    assert server.flagged() == ()
    server.owner.publisher.withdraw(["e0"])
    server.owner.publisher.release()
    client.pull(ListStore(lists), NAME)
    assert server.flagged() == ()
    (server.room.state / "lists").symlink_to(lists)
    before = sorted(lists.rglob("*"))
    assert server.flagged() == (item,)
    assert sorted(lists.rglob("*")) == before


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.sampled_from(["e0", NAME, "A1", "sha256", "../x", "é"]),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            key: JSON | st.lists(JSON | st.dictionaries(st.sampled_from(fields), JSON), max_size=3)
            for key, fields in (
                ("matches", ["list", "entry", "algorithm", "category", "distance", "threshold"]),
                ("lists", ["name", "version", "key_ids"]),
            )
        },
    )
)
@settings(
    max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_whatever_a_report_said_is_survived(server: Server, accusation: dict[str, Any]) -> None:
    if not server.files:
        server.take(0)
    name = f"item-{secrets.token_hex(8)}"
    with Quarantine(StateDir(server.room.state)) as quarantine:
        quarantine.append({**server.item(0).record, "item": name, "accusation": accusation})
        quarantine.append({"type": "moved", "item": name})
    assert set(server.flagged()) <= {name}


def test_killed_anywhere_each_flag_is_logged_once(server: Server) -> None:
    items = {server.take(0), server.take(1)}
    server.withdraw("e0", "e1")
    for number in range(100):
        child = os.fork()
        if not child:
            code = 1
            try:
                die_at(number)
                code = int(set(withdrawn_items(StateDir(server.room.state)).items) != items)
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        flagged = [line["item"] for line in server.lines()]
        assert len(flagged) == len(set(flagged))
        if os.WIFEXITED(status):
            break
        assert verify(StateDir(server.room.state), None)[2] == []
    assert os.waitstatus_to_exitcode(status) == 0
    assert number > 5
    assert set(flagged) == items
    assert set(server.flagged()) == items


def test_an_object_is_flagged_as_a_file_is(server: Server) -> None:
    """A stored object may have another digest than the one that a scan received."""
    server.take(0)
    line = {**server.item(0).record, "digests": {"sha256": "00" * 32}, "object": {}}
    line.update(item="object-1", path="s3://bucket/key")
    with Quarantine(StateDir(server.room.state)) as quarantine:
        quarantine.append(line)
        quarantine.append({"type": "moved", "item": "object-1"})
    server.release(entry(9))
    assert server.flagged() == ()
    server.withdraw("e0")
    assert set(server.flagged()) == {server.files[0], "object-1"}


def test_without_a_quarantine_none_is_made(tmp_path: Path) -> None:
    assert withdrawn_items(StateDir(tmp_path)).messages == ()
    assert os.listdir(tmp_path) == []


def test_what_comes_back_says_why(server: Server) -> None:
    server.take(0)
    server.withdraw("e0")
    server.flagged()
    with Quarantine(StateDir(server.room.state)) as quarantine:
        restore(quarantine, server.item(0))
    assert (server.room.files / "0").read_bytes() == CONTENT
    assert server.flagged() == ()
    log = (StateDir(server.room.state).quarantine / "log.jsonl").read_text().splitlines()
    (line,) = [json.loads(text) for text in log if '"restoring"' in text]
    assert line["withdrawals"] == [{"list": NAME, "version": 2, "entries": ["e0"]}]


@pytest.mark.parametrize("seed", range(3))
def test_random_histories(server: Server, seed: int) -> None:
    """Whatever is added, withdrawn, given again, compacted, moved and put back, flags follow the list."""
    chance = random.Random(seed)
    there = set(range(6))
    accused: dict[int, tuple[int, ...]] = {}
    for _ in range(14):
        what = chance.choice(("withdraw", "add", "compact", "take", "take", "restore"))
        if what == "withdraw" and len(there) > 1:
            some = chance.sample(sorted(there), chance.randint(1, len(there) - 1))
            server.withdraw(*(f"e{number}" for number in some))
            there -= set(some)
        elif what == "add" and (gone := sorted(set(range(6)) - there)):
            some = chance.sample(gone, chance.randint(1, len(gone)))
            server.release(*(entry(number) for number in some))
            there |= set(some)
        elif what == "compact" and server.owner.publisher.status().increments:
            server.owner.publisher.compact()
            client.pull(server.store, NAME)
        elif what == "take" and (free := sorted(set(range(6)) - set(accused))):
            number = chance.choice(free)
            some = chance.sample(sorted(there), chance.randint(1, min(2, len(there))))
            # What was restored is moved again only on the word of another entry.
            if server.take(number, *(f"e{each}" for each in some)):
                accused[number] = tuple(some)
        elif what == "restore" and accused:
            number = chance.choice(sorted(accused))
            with Quarantine(StateDir(server.room.state)) as quarantine:
                restore(quarantine, quarantine.items()[server.files[number]])
            (server.room.files / f"{number}").unlink()
            del accused[number]
        if chance.random() < 0.7:
            _agree(server, accused, there)
    _agree(server, accused, there)


def _agree(server: Server, accused: dict[int, tuple[int, ...]], there: set[int]) -> None:
    expected = {server.files[number] for number, entries in accused.items() if not there & set(entries)}
    assert set(server.flagged()) == expected
    for number, entries in accused.items():
        item = server.item(number)
        gone = {name for each in item.withdrawals for name in each["entries"]}
        assert gone == {f"e{each}" for each in entries if each not in there}
        assert item.withdrawn == (server.files[number] in expected)
    assert not server.files or verify(StateDir(server.room.state), None)[2] == []
