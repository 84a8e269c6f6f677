"""Alerts that are made from the ledger."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hashscan.alerts.alert import message_of, without_paths
from hashscan.alerts.builder import AlertBuilder, failure_alert, list_failure_alert
from hashscan.alerts.metrics import ListMetrics
from hashscan.cases.ledger import Ledger
from hashscan.cases.outbox import Outbox
from hashscan.settings.cases_and_alerts import NotifyOn
from hashscan.shortcomings import Shortcoming, ShortcomingCode
from hashscan.state_dir import StateDir
from tests.alerts.ledgers import DAY, DEADLINES, add_case, add_event, add_scan, change_case
from tests.shortcomings import shortcoming

NOW = 1_800_000_000
SECRET_PATH = "/srv/customers/alice/secret.jpg"


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(StateDir(tmp_path)) as ledger:
        yield ledger


def new_alerts(
    ledger: Ledger, now: float = NOW, *, on: NotifyOn = "trouble", details: bool = False, **more: Any
) -> list[dict[str, Any]]:
    """The documents of the alerts that are new."""
    outbox = Outbox(ledger)
    before = {alert.id for alert in outbox.listed(0)}
    AlertBuilder(ledger, DEADLINES, on=on, details=details, host="web1").build_all(now, {"notify"}, **more)
    return [dict(alert.document) for alert in outbox.listed(0) if alert.id not in before]


def test_new_cases_are_reported_once_in_one_alert(ledger: Ledger) -> None:
    assert new_alerts(ledger) == []
    one, two = (
        add_case(ledger, SECRET_PATH, NOW),
        add_case(ledger, "/b", NOW, verdict="review", categories="B2"),
    )
    gone = add_case(ledger, "/c", NOW, removed=NOW + 1, how="quarantined")
    (alert,) = new_alerts(ledger)
    assert alert["subject"] == "hashscan on web1: 3 new cases: 2 match, 1 review"
    assert alert["kind"] == "found"
    assert alert["cases"] == [one, two, gone]
    assert alert["counts"] == {"cases": 3, "match": 2, "review": 1}
    assert "Categories: A1 2, B2 1" in alert["text"]
    assert "1 of them refused at upload, gone or in quarantine already" in alert["text"]
    assert "First deadline: 2027-01-16 08:00 UTC" in alert["text"]
    assert "alice" not in json.dumps(alert)
    assert new_alerts(ledger) == []
    add_case(ledger, "/d", NOW)
    (alert,) = new_alerts(ledger, NOW + 1)
    assert alert["subject"] == "hashscan on web1: 1 new case: 1 match"


def test_whoever_begins_late_is_alerted_to_what_is_open_and_to_the_last_scan(ledger: Ledger) -> None:
    add_case(ledger, "/old", NOW - 300 * DAY, removed=NOW - 299 * DAY, how="gone")
    still = add_case(ledger, "/new", NOW)
    for night in range(5):
        add_scan(
            ledger,
            f"s{night}",
            NOW + night * DAY,
            incomplete=[shortcoming(f"{night} kinds of trouble", subject="x" * night)],
        )
    found, scan = new_alerts(ledger)
    assert found["cases"] == [still]
    assert "4 kinds of trouble" in scan["text"]


def test_mails_without_a_notice_are_reported_once(ledger: Ledger) -> None:
    def arrive(number: int, *, waits: bool) -> None:
        with ledger.transaction() as database:
            database.execute(
                "INSERT INTO mails VALUES (?, 'abuse', 1, ?, ?, ?, '<1@x>', ?, 'no_address', '', ?, 0)",
                (number, number, bytes([number]), SECRET_PATH, NOW, waits),
            )

    for number in (1, 2, 3):
        arrive(number, waits=number != 2)
    (alert,) = new_alerts(ledger)
    assert (alert["kind"], alert["counts"]) == ("mails", {"mails": 2})
    assert SECRET_PATH not in json.dumps(alert)
    arrive(4, waits=False)
    assert new_alerts(ledger) == []
    arrive(5, waits=True)
    assert [each["counts"] for each in new_alerts(ledger)] == [{"mails": 1}]
    arrive(6, waits=True)
    assert new_alerts(ledger, on="found") == []
    assert [each["counts"] for each in new_alerts(ledger)] == []


def test_details_only_when_asked_for(ledger: Ledger) -> None:
    add_case(ledger, SECRET_PATH, NOW, customer="alice")
    (alert,) = new_alerts(ledger, details=True)
    assert alert["details"] == [
        {
            "case": 1, "verdict": "match", "categories": "A1", "customer": "alice", "path": SECRET_PATH,
            "url": "", "entries": "ours/n-1",
        }
    ]  # fmt: skip
    assert f"path {SECRET_PATH}" in alert["text"]


def test_a_name_that_is_no_text_is_reported(ledger: Ledger) -> None:
    number = add_case(ledger, "/a", NOW)
    change_case(ledger, number, path=b"/\xff\x1b[2J\n.jpg")
    (alert,) = new_alerts(ledger, details=True)
    assert alert["details"][0]["path_b64"] == "L/8bWzJKCi5qcGc="
    assert alert["text"].splitlines()[-1].isprintable()


def test_an_overdue_case_is_reported_once_and_again_when_it_was_opened_again(ledger: Ledger) -> None:
    number = add_case(ledger, SECRET_PATH, NOW, customer="alice")
    assert [alert["kind"] for alert in new_alerts(ledger, NOW + DAY)] == ["found"]
    (alert,) = new_alerts(ledger, NOW + DAY + 1)
    assert alert["subject"] == "hashscan on web1: 1 case of 1 customer overdue"
    assert (alert["kind"], alert["severity"], alert["cases"]) == ("overdue", "alert", [number])
    assert "alice" not in json.dumps(alert)
    assert new_alerts(ledger, NOW + 2 * DAY) == []
    change_case(ledger, number, removed=NOW + 2 * DAY)
    assert new_alerts(ledger, NOW + 3 * DAY) == []
    change_case(ledger, number, removed=None)
    add_event(ledger, number, NOW + 3 * DAY, "restored")
    assert [alert["kind"] for alert in new_alerts(ledger, NOW + 3 * DAY)] == ["overdue"]


def test_what_is_held_has_no_deadline(ledger: Ledger) -> None:
    add_case(ledger, "/a", NOW, verdict="held")
    assert [alert["kind"] for alert in new_alerts(ledger, NOW + 99 * DAY)] == ["found"]


def test_scans(ledger: Ledger) -> None:
    add_scan(ledger, "good", NOW)
    assert new_alerts(ledger) == []
    add_scan(ledger, "bad", NOW + DAY, exit_code=3, incomplete=[shortcoming("3 unreadable files")])
    (alert,) = new_alerts(ledger)
    assert alert["subject"] == "hashscan on web1: scan incomplete"
    assert "3 unreadable files" in alert["text"]
    # The same trouble the night after is none that needs another alert; a week later it is.
    add_scan(ledger, "bad2", NOW + 2 * DAY, exit_code=3, incomplete=[shortcoming("4 unreadable files")])
    assert new_alerts(ledger, NOW + 2 * DAY) == []
    add_scan(ledger, "bad3", NOW + 9 * DAY, exit_code=3, incomplete=[shortcoming("4 unreadable files")])
    assert len(new_alerts(ledger, NOW + 9 * DAY)) == 1
    add_scan(ledger, "killed", NOW + 10 * DAY, ended=None, exit_code=None, whole=0)
    (alert,) = new_alerts(ledger, NOW + 10 * DAY)
    assert alert["subject"] == "hashscan on web1: scan FAILED: it was killed"


def test_a_stale_list_is_reported_once_and_not_by_each_scan(ledger: Ledger) -> None:
    add_scan(
        ledger, "s", NOW, exit_code=3, incomplete=[shortcoming("list national is stale", "list", "national")]
    )
    stale = [ListMetrics("national", "stale", 5, 3, NOW, NOW), ListMetrics("own", "local", 5, 1, None, None)]
    (alert,) = new_alerts(ledger, lists=stale)
    assert alert["subject"] == "hashscan on web1: list national is stale"
    assert new_alerts(ledger, NOW + 1, lists=stale) == []
    assert new_alerts(ledger, NOW + 2, lists=[ListMetrics("national", "damaged", 5, 3, NOW, NOW)])


def test_what_nothing_accuses_any_more_is_reported_once(ledger: Ledger) -> None:
    (alert,) = new_alerts(ledger, withdrawn=["i1", "i2"])
    assert alert["counts"] == {"items": 2}
    assert "restore --withdrawn" in alert["text"]
    assert new_alerts(ledger, withdrawn=["i1", "i2"]) == []
    assert new_alerts(ledger, withdrawn=["i1", "i2", "i3"])[0]["counts"] == {"items": 1}


@pytest.mark.parametrize(
    ("on", "kinds"),
    [("found", {"found"}), ("trouble", {"found", "list"}), ("always", {"found", "list", "done"})],
)
def test_only_what_was_asked_for_is_reported(ledger: Ledger, on: NotifyOn, kinds: set[str]) -> None:
    add_case(ledger, "/a", NOW)
    add_scan(ledger, "s", NOW)
    alerts = new_alerts(ledger, on=on, lists=[ListMetrics("national", "stale", 5, 3, NOW, NOW)])
    assert {alert["kind"] for alert in alerts} == kinds


def test_a_failure_is_reported_once_a_day(ledger: Ledger) -> None:
    alert = failure_alert(12, f"can't write {SECRET_PATH}", NOW, details=False)
    (document,) = new_alerts(ledger, others=[alert])
    assert "our own input or output failed" in document["subject"]
    assert "alice" not in json.dumps(document)
    assert new_alerts(ledger, others=[failure_alert(12, "x", NOW + 60, details=False)]) == []
    assert len(new_alerts(ledger, others=[failure_alert(12, "x", NOW + DAY, details=False)])) == 1
    assert (
        len(new_alerts(ledger, others=[list_failure_alert("national", 10, "forged", NOW, details=False)]))
        == 1
    )


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("3 unreadable files", "3 unreadable files"),
        (
            "can't open /srv/customers/alice",
            "The reason is in the report, or in the messages of the command.",
        ),
    ],
)
def test_reasons_name_no_path(message: str, expected: str) -> None:
    assert without_paths(message) == expected


def test_the_path_of_a_shrunken_target_is_left_out() -> None:
    one = Shortcoming(ShortcomingCode.SHRUNKEN, "x: a/b has 3", "x: a/b", "a target has 3")
    assert message_of(one, details=False) == one.pathless
    assert message_of(one, details=True) == one.message


def test_all_is_reported_together_or_not_at_all(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is stopped in the midst of it leaves all to the next."""
    add_case(ledger, "/a", NOW)
    add_scan(ledger, "bad", NOW, incomplete=[shortcoming("3 unreadable files")])
    calls: list[object] = []

    def add(self: Outbox, *arguments: Any) -> int | None:
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(self, *arguments)

    real = Outbox.add
    with monkeypatch.context() as patched:
        patched.setattr(Outbox, "add", add)
        with pytest.raises(KeyboardInterrupt):
            new_alerts(ledger)
    assert [alert["kind"] for alert in new_alerts(ledger)] == ["found", "incomplete"]
