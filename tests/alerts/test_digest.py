"""The daily digest of a ledger; each event is in one digest."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hashscan.alerts.builder import AlertBuilder
from hashscan.alerts.channels.mail import mail_of, new_message_id
from hashscan.alerts.metrics import ListMetrics
from hashscan.cases.ledger import Ledger
from hashscan.cases.outbox import Outbox
from hashscan.state_dir import StateDir
from tests.alerts.ledgers import DAY, DEADLINES, add_case, add_event, add_scan, change_case
from tests.shortcomings import shortcoming

NOW = 1_800_000_000
LIST = ListMetrics("national", "fresh", 10, 3, NOW + 5 * DAY, NOW - 7200)
HOSTILE = "/srv/a\r\nBcc: all@example.com\n\u202egpj.exe\x1b[31m" + "x" * 5000


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(StateDir(tmp_path)) as ledger:
        yield ledger


def digest(
    ledger: Ledger, now: float = NOW, lists: tuple[ListMetrics, ...] = (LIST,), *, details: bool = False
) -> dict[str, Any] | None:
    """The document of the digest that is new, if one is."""
    outbox = Outbox(ledger)
    before = {alert.id for alert in outbox.listed(0)}
    builder = AlertBuilder(ledger, DEADLINES, on="found", details=details, host="web1")
    builder.build_all(now, {"notify"}, lists, digest=True)
    new = [dict(a.document) for a in outbox.listed(0) if a.id not in before]
    found = [document for document in new if document["kind"] == "digest"]
    return found[0] if found else None


def counts(document: dict[str, Any] | None) -> dict[str, int]:
    assert document is not None
    return dict(document["counts"])


def test_every_event_is_in_one_digest_and_each_day_has_one(ledger: Ledger) -> None:
    late = add_case(ledger, "/late", NOW - 3 * DAY)
    fresh = add_case(ledger, "/fresh", NOW - 60, verdict="review", categories="B2")
    add_case(ledger, "/gone", NOW - 60, removed=NOW - 30, how="gone")
    verdicts, reasons = '{"clean": 4, "undecoded": 3}', '{"undecoded": {"truncated picture": 3}}'
    add_scan(ledger, "one", NOW - 600, files=7, verdicts=verdicts, reasons=reasons)
    add_event(ledger, late, NOW - 10, "told")
    document = digest(ledger)
    assert counts(document) == {
        "cases": 2, "overdue": 1, "reviews": 1, "open": 2, "scans": 1, "trouble": 0,
    }  # fmt: skip
    assert document is not None
    assert document["cases"] == [late, fresh]
    assert document["subject"] == "hashscan on web1: digest: 2 new cases, 1 overdue, 1 review waiting"
    lines = [line.strip() for line in document["text"].splitlines()]
    for line in (
        "undecoded: 3 truncated picture",
        "7 files, 5.0 kB read: 4 clean, 3 undecoded",
        f"New: 2: case {late}, {fresh} (1 match, 1 review)",
        f"Overdue: 1: case {late}",
        f"Reviews waiting: 1: case {fresh}",
        "Told since the last digest: 1",
        "national: fresh, version 3, 10 entries, pulled 2 hours ago, expires in 5 days",
    ):
        assert line in lines
    assert digest(ledger) is None
    assert digest(ledger, NOW + 60) is None
    # A notice that is imported on the next day, and was received earlier.
    later = add_case(ledger, "/imported", NOW - 2 * DAY)
    change_case(ledger, fresh, removed=NOW + 100, how="gone")
    add_event(ledger, fresh, NOW + 100, "removed")
    document = digest(ledger, NOW + DAY)
    assert document is not None
    assert document["cases"] == [later]
    assert counts(document) == {
        "cases": 1, "overdue": 2, "reviews": 0, "open": 2, "scans": 0, "trouble": 1,
    }  # fmt: skip
    assert "Removed since the last digest: 1" in document["text"]
    assert "Told" not in document["text"]


def test_what_is_built_in_a_transaction_that_fails_is_built_again(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = add_case(ledger, "/one", NOW)
    with monkeypatch.context() as patch:
        patch.setattr(Outbox, "set_mark", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            digest(ledger)
    document = digest(ledger)
    assert document is not None
    assert document["cases"] == [number]


def test_trouble(ledger: Ledger) -> None:
    add_scan(ledger, "killed", NOW - 500, ended=None, exit_code=None)
    add_scan(
        ledger,
        "short",
        NOW - 400,
        incomplete=[shortcoming("3 unreadable files"), shortcoming("/srv/secret: not there", "failed")],
    )
    Outbox(ledger).failed("notify:1", "mailto (12345678)", "no answer", NOW)
    stale = replace(LIST, state="stale", expires=NOW - 3 * DAY)
    document = digest(ledger, lists=(stale,))
    assert counts(document)["trouble"] == 5
    assert document is not None
    assert document["subject"].endswith(", TROUBLE")
    for part in (
        "A scan was incomplete: 3 unreadable files",
        "1 scan was killed.",
        "List national is stale.",
        "Alerts by mailto (12345678) have failed 1 time.",
        "expired 3 days ago",
    ):
        assert part in document["text"]
    assert "secret" not in json.dumps(document)
    assert counts(digest(ledger, NOW + DAY, ()))["trouble"] == 3


def test_paths_and_customers_are_named_only_where_asked_and_never_as_commands(ledger: Ledger) -> None:
    customer = "mallory\r\nBcc: all@example.com\u202e"
    add_case(ledger, HOSTILE, NOW, customer=customer)
    silent = AlertBuilder(ledger, DEADLINES, on="found", details=False, host="web1").preview_digest(NOW)
    assert "srv" not in json.dumps(silent)
    assert "mallory" not in json.dumps(silent)
    document = digest(ledger, details=True)
    assert document is not None
    lines = document["text"].splitlines()
    (named,) = [line for line in lines if "/srv/a" in line]
    assert len(named) <= 300
    assert "\\x0d\\x0aBcc" in named
    assert "\\u202egpj" in named
    assert all(line.isprintable() for line in lines)
    mail = mail_of(document).as_bytes()
    assert b"\r\nBcc" not in mail
    assert max(map(len, mail.splitlines())) <= 78


def test_a_preview_stores_nothing(ledger: Ledger) -> None:
    add_case(ledger, "/one", NOW)
    builder = AlertBuilder(ledger, DEADLINES, on="found", details=False, host="web1")
    assert builder.preview_digest(NOW)["cases"] == builder.preview_digest(NOW)["cases"] == [1]
    assert Outbox(ledger).listed(10) == []


@pytest.mark.parametrize("host", ["web1.example.org", "a b", "x\r\nBcc: y", "ü", "." * 300])
def test_no_host_name_and_no_subject_makes_a_header(host: str) -> None:
    document = {
        "kind": "found", "host": host, "at": "2027-01-01T00:00:00+00:00", "text": "",
        "subject": "=?utf-8?q?=0d=0aBcc=3a_all=40example.com?= " + "é" * 400,
        "message_id": new_message_id("found", host),
    }  # fmt: skip
    mail = mail_of(document).as_bytes()
    assert b"\r\nBcc" not in mail
    assert mail.count(b"\r\nMessage-ID: <found.") == 1
