"""Notices of a hub in the ledger, and the answers to it; the hub may be hostile."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from hashscan.attribution.sites import Sites
from hashscan.cases.actions import CLOSED, DISPUTED, REOPENED, record_action
from hashscan.cases.hub_notices import HubNotices, SyncCounts
from hashscan.cases.ledger import Ledger
from hashscan.cases.notice_import import DEFAULT_TERMS, NoticeTerms
from hashscan.cases.sightings import Sightings
from hashscan.cases.tracker import CaseTracker
from hashscan.errors import UnreachableError
from hashscan.model import SenderRule, SiteRule
from hashscan.service_client import ServiceRefusedError
from hashscan.settings.cases_and_alerts import CaseSettings
from hashscan.state_dir import StateDir

NOW = 1_800_000_000
HUB = "https://hub.example/"
EVIL = "\x1b]0;x\x07<b>\u202e\n"


def notice(number: int, **changed: Any) -> dict[str, Any]:
    return {
        "number": number, "reference": f"P-{number}", "url": f"https://a.example/{number}.jpg", "path": "",
        "category": "A1", "deadline": "2027-01-15T09:00:00Z", "sent": "2027-01-15T08:00:00Z", **changed,
    }  # fmt: skip


class KilledError(Exception):
    pass


@dataclass
class Hub:
    """A hub in memory."""

    sent: list[dict[str, Any]] = field(default_factory=list)
    page: int = 2
    posted: list[tuple[int, str, str]] = field(default_factory=list)
    asked: int = 0
    killed_after: int | None = None
    """The process is killed after so many requests, when the hub has done what they say."""
    missing: set[int] = field(default_factory=set)

    def __call__(self, method: str, path: str, body: bytes | None) -> bytes:
        self.asked += 1
        answer = b""
        if method == "GET":
            since = int(path.partition("since=")[2].partition("&")[0])
            some = self.sent[since : since + self.page]
            document = {
                "notices": some,
                "next": since + len(some),
                "more": since + len(some) < len(self.sent),
            }
            answer = json.dumps(document).encode()
        else:
            number = int(path.rpartition("/")[2])
            if number in self.missing:
                raise ServiceRefusedError("answers 404", 404)
            told = json.loads(body or b"")
            if (number, told["event"]) != tuple(self.posted[-1][:2] if self.posted else ()):
                self.posted.append((number, told["event"], told["how"]))
        if self.asked == self.killed_after:
            raise KilledError
        return answer


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(StateDir(tmp_path / "state")) as opened:
        yield opened


Sync = Callable[[], SyncCounts]


def sync(
    ledger: Ledger, hub: Callable[..., bytes], now: int = NOW, terms: NoticeTerms = DEFAULT_TERMS
) -> SyncCounts:
    srv = ledger.path.parent.parent / "srv"
    srv.mkdir(exist_ok=True)
    for number in (1, 2, 3):
        (srv / f"{number}.jpg").touch()
    made = HubNotices(ledger, HUB, "hub hub.example", hub)
    sites = Sites([SiteRule("one", "https://a.example/", str(srv))])
    with Sightings(StateDir(ledger.path.parent)) as sightings:
        made.fetch("web1", sites, now, sightings=sightings, terms=terms)
    made.answer("web1", now)
    return made.counts


def cases(ledger: Ledger) -> list[tuple[Any, ...]]:
    return list(ledger.rows("SELECT path, verdict, claimed, stated, closed IS NULL FROM cases ORDER BY id"))


def test_orders_have_the_deadlines_and_senders_of_the_settings(ledger: Ledger) -> None:
    hub = Hub([notice(1, kind="order", deadline=""), notice(2, kind="court", deadline="")])
    rule = SenderRule(address="hub hub.example", member_state="NL")
    terms = NoticeTerms((rule,), CaseSettings(kind_deadlines={"order": 3600.0}))
    sync(ledger, hub, terms=terms)
    assert [stated for _, _, _, stated, _ in cases(ledger)] == [1_800_003_600, None]
    assert set(ledger.rows("SELECT kind, member_state FROM notices")) == {("order", "NL"), ("court", "NL")}


def test_notices_become_cases_with_their_deadline_and_are_acknowledged_once(ledger: Ledger) -> None:
    hub = Hub([notice(n) for n in (1, 2, 3)])
    assert sync(ledger, hub).imported.new == 3
    path = bytes(ledger.path.parent.parent / "srv/1.jpg")
    assert cases(ledger)[0] == (path, "notice", "A1", 1_800_003_600, 1)
    assert hub.posted == [(n, "acknowledged", "") for n in (1, 2, 3)]
    counts = sync(ledger, hub)
    assert (counts.imported.notices, counts.answered.total(), len(cases(ledger))) == (0, 0, 3)


def test_an_order_of_a_hub_is_one_here(ledger: Ledger) -> None:
    order = {
        "kind": "terrorist",
        "member_state": "DE",
        "legal_basis": "Regulation (EU) 2021/784",
        "deadline": "",
    }
    sync(ledger, Hub([notice(1, **order)]))
    columns = "kind, role, member_state, basis, acknowledge-received, stated-received"
    row = ledger.one(f"SELECT {columns} FROM notices JOIN notice_items ON notice=number")
    assert row == ("terrorist", "authority", "DE", order["legal_basis"], 2 * 3600, 3600)
    assert ledger.one("SELECT ordered IS NOT NULL FROM cases") == (1,)


def test_the_hub_learns_how_cases_end_and_that_they_are_reopened(ledger: Ledger) -> None:
    hub = Hub([notice(n) for n in (1, 2)])
    sync(ledger, hub)
    hub.posted.clear()
    record_action(ledger, [2], DISPUTED, "secret reason", "me", NOW)
    sync(ledger, hub)
    record_action(ledger, [2], CLOSED, "secret reason", "me", NOW)
    with ledger.transaction() as database:
        CaseTracker(database).remove(1, NOW + 60, "gone")
    sync(ledger, hub)
    record_action(ledger, [2], REOPENED, "secret reason", "me", NOW)
    sync(ledger, hub)
    assert hub.posted == [
        (2, "disputed", ""), (1, "removed", "gone"), (2, "closed", "closed"), (2, "reopened", ""),
    ]  # fmt: skip


def test_killed_after_any_request_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    for killed_after in range(1, 12):
        with Ledger(StateDir(tmp_path / str(killed_after))) as ledger:
            hub = Hub([notice(n) for n in (1, 2, 3)], killed_after=killed_after)
            for _ in range(2):
                try:
                    sync(ledger, hub)
                except KilledError:
                    sync(ledger, hub)
                with ledger.transaction() as database:
                    if CaseTracker(database).case(1).removed is None:
                        CaseTracker(database).remove(1, NOW, "gone")
            assert len(cases(ledger)) == 3
            assert sorted(hub.posted) == sorted(
                [*((n, "acknowledged", "") for n in (1, 2, 3)), (1, "removed", "gone")]
            )


def test_a_withdrawn_notice_closes_the_case_that_it_alone_has_made(ledger: Ledger) -> None:
    hub = Hub([notice(1), notice(2), notice(3, url="https://a.example/2.jpg")])
    sync(ledger, hub)
    hub.sent += [notice(1, withdrawn=True), notice(2, withdrawn=True), notice(4, withdrawn=True)]
    assert sync(ledger, hub).withdrawn == 3
    assert [row[-1] for row in cases(ledger)] == [0, 1]
    assert hub.posted == [(n, "acknowledged", "") for n in (1, 2, 3)]


def test_a_notice_that_the_hub_no_longer_has_is_no_trouble(ledger: Ledger) -> None:
    hub = Hub([notice(1)], missing={1})
    sync(ledger, hub)
    asked = hub.asked
    sync(ledger, hub)
    assert hub.asked == asked + 1


@pytest.mark.parametrize(
    "changed",
    [
        {"url": "", "path": ""},
        {"url": "javascript:alert(1)"},
        {"url": f"https://a.example/{EVIL}"},
        {"url": "", "path": "../../etc/passwd"},
        {"url": "", "path": "/srv/\0"},
        {"reference": EVIL},
        {"reference": "\ud800"},
        {"category": "known-good"},
        {"kind": "inform"},
        {"member_state": "NLD"},
        {"legal_basis": EVIL},
        {"category": EVIL},
        {"sent": "yesterday"},
        {"deadline": "99999-01-01"},
    ],
)
def test_a_notice_that_cannot_be_used_is_refused_and_the_others_are_taken(
    ledger: Ledger, changed: dict[str, str]
) -> None:
    hub = Hub([notice(1, **changed), notice(2)])
    counts = sync(ledger, hub)
    assert (counts.refused.total(), counts.imported.new) == (1, 1)
    assert all(reason.isprintable() for reason in counts.refused)
    assert [each[:2] for each in hub.posted] == [(1, "refused"), (2, "acknowledged")]
    assert sync(ledger, hub).answered.total() == 0


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b'{"notices": [], "next": -1, "more": false}',
        b'{"notices": [], "next": 0, "more": true}',
        json.dumps({"notices": [notice(n) for n in range(501)], "next": 1, "more": False}).encode(),
        json.dumps({"notices": [notice(1, url="x" * 5000)], "next": 1, "more": False}).encode(),
        json.dumps({"notices": [{**notice(1), "number": 1 << 70}], "next": 1, "more": False}).encode(),
        b"[" * 100_000,
    ],
)
def test_an_answer_that_is_not_valid_changes_nothing(ledger: Ledger, body: bytes) -> None:
    with pytest.raises(UnreachableError):
        sync(ledger, lambda *_: body)
    assert cases(ledger) == []


def test_a_hub_that_never_ends_is_left_after_a_while(ledger: Ledger) -> None:
    asked: list[str] = []

    def endless(_: str, path: str, __: bytes | None) -> bytes:
        asked.append(path)
        return json.dumps({"notices": [], "next": len(asked), "more": True}).encode()

    sync(ledger, endless)
    assert len(asked) == 200
