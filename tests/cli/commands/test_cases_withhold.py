"""`hashscan cases withhold`: nothing that leaves hashscan tells the customer before the time."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.alerts.mailbox import mailbox
from tests.cases.notices.examples import FORM
from tests.cli.conftest import Ran, Run

CUSTOMER = "customer@example.net"
TERMS = ("--retain-min", "1d", "--destroy-by", "2d")
UNTIL = "2199-01-31"


@pytest.fixture
def settings(run: Run, tmp_path: Path, uploads: Path, local_list: str) -> Path:
    """A settings file; one case of one customer is open."""
    file = tmp_path / "hashscan.toml"
    (uploads / "alike.jpg").unlink()
    file.write_text(
        '[reporter]\norganisation = "Example Hosting"\nemail = "abuse@example.org"\n'
        f'[[customer]]\npath = "{uploads}"\nname = "alice"\n'
    )
    assert run("--config", file, "scan", uploads, "--list", local_list).code == 1
    return file


def withhold(run: Run, *options: object) -> Ran:
    return run("cases", "withhold", 1, "--reason", "order 26-114", *options)


def kinds(run: Run) -> list[str]:
    (case,) = run("cases", "show", 1, "--format", "json").lines
    return [event["kind"] for event in case["events"]]


def test_no_letter_is_written_sent_or_left_in_the_outbox_to_go_out_later(run: Run, settings: Path) -> None:
    def letter(*options: object) -> Ran:
        return run("--config", settings, "cases", "letter", *options)

    with mailbox() as box:
        box.reply = "451 later"
        assert letter(1, "--to", CUSTOMER, "--notify", box.url).code == 13
        box.reply = "250 OK"
        assert withhold(run, "--until", UNTIL).code == 0
        assert [letter(1, *more).code for more in ((), ("--dry-run", "--to", CUSTOMER))] == [2, 2]
        by_customer = letter("--customer", "alice")
        assert (by_customer.code, by_customer.out) == (0, "")
        # The letter was queued before: it waits.
        assert run("alerts", "send", "--now", "--notify", box.url).code == 0
        assert [CUSTOMER] not in box.recipients
        assert withhold(run, "--until", "2199-02-28").code == 0
        assert withhold(run, "--lift").code == 0
        assert run("alerts", "send", "--now", "--notify", box.url).code == 0
        assert box.recipients.count([CUSTOMER]) == 1
    found = kinds(run)
    assert [kind for kind in found if kind in {"withheld", "lifted"}] == ["withheld", "withheld", "lifted"]


@pytest.mark.parametrize("queued", [False, True])
def test_a_hook_gets_nothing_that_names_the_customer(
    run: Run, settings: Path, tmp_path: Path, uploads: Path, queued: bool
) -> None:
    got, hook = tmp_path / "got", tmp_path / "hook"
    hook.write_text(f"#!/bin/sh\ncat >> {got}\n")
    hook.chmod(0o755)
    late = run("alerts", "send", "--exec", "/bin/false", "--notify-details") if queued else None
    assert late is None or late.code == 13
    assert withhold(run, "--until", UNTIL).code == 0
    assert run("alerts", "send", "--exec", hook, "--notify-details").code == 0
    (detail,) = json.loads(got.read_text().splitlines()[0])["details"]
    assert {"path", "path_b64"}.isdisjoint(detail)
    assert (detail["customer"], detail["url"]) == ("", "")
    assert str(uploads) not in got.read_text()


@pytest.mark.parametrize("withheld", [True, False])
def test_no_note_stands_in_the_place_of_a_file(
    run: Run, settings: Path, tmp_path: Path, uploads: Path, local_list: str, *, withheld: bool
) -> None:
    note = tmp_path / "note"
    note.write_text("Ask us.\n")
    if withheld:
        assert withhold(run, "--until", UNTIL).code == 0
    (uploads / "listed.jpg").rename(uploads / "renamed.jpg")
    run(
        "scan",
        uploads,
        "--list",
        local_list,
        "--quarantine",
        *TERMS,
        "--leave-note",
        note,
        "--act-on",
        "local",
    )
    assert [item["state"] for item in run("quarantine", "list", "--format", "json").lines] == ["moved"]
    assert (uploads / "renamed.jpg").exists() is not withheld
    assert not (uploads / "listed.jpg").exists()


def test_staff_see_it_and_misuse_is_refused(run: Run, settings: Path) -> None:
    assert withhold(run, "--until", "2020-01-01").code == 2
    assert withhold(run).code == 2
    assert withhold(run, "--lift", "--until", UNTIL).code == 2
    assert withhold(run, "--until", UNTIL).code == 0
    (case,) = run("cases", "show", 1, "--format", "json").lines
    assert case["withheld"] == "2199-02-01T00:00:00+00:00"
    assert "2199-02-01" in run("cases", "show", 1).out


def test_who_was_told_of_a_threat_to_life_is_recorded(run: Run, settings: Path) -> None:
    assert run("cases", "report-authority", 1).code == 0
    assert run("cases", "report-authority", 1, "--to", "the police", "--at", "2026-11-26T09:30:00Z").code == 0
    (case,) = run("cases", "show", 1, "--format", "json").lines
    (told,) = [event for event in case["events"] if event["kind"] == "authority_told"]
    assert (told["at"], told["words"]) == ("2026-11-26T09:30:00+00:00", "the police")
    assert kinds(run).count("suspected") == 1
    assert run("cases", "report-authority", 1, "--to", "x", "--at", "2199-01-01").code == 2
    assert run("cases", "report-authority", 99).code == 2


def test_what_a_removal_order_for_terrorist_content_names_is_preserved(
    run: Run, settings: Path, uploads: Path
) -> None:
    path = uploads / "listed.jpg"
    assert run("cases", "add", path, "--kind", "terrorist", "--sender", "x", "--reference", "R").code == 0
    assert run("quarantine", "add", path, "--reason", "order", *TERMS).code == 0
    (item,) = run("quarantine", "list", "--format", "json").lines
    assert run("quarantine", "destroy", item["item"], "--override", "--reason", "x", "--yes").code == 3
    assert [one["state"] for one in run("quarantine", "list", "--format", "json").lines] == ["moved"]


@pytest.mark.parametrize("box", ["[ ]", "[x]"])
def test_a_removal_order_that_forbids_to_tell(
    run: Run, settings: Path, tmp_path: Path, uploads: Path, box: str
) -> None:
    """From the text of the order to its case: an hour, and no letter where the box is ticked."""
    table, order = settings.read_text(), tmp_path / "order.txt"
    settings.write_text(f'{table}[[site]]\nurl = "https://customer.example/"\npath = "{uploads}"\n')
    order.write_text(
        FORM.replace("/u/a%20b.jpg?x=1", "/other.jpg").replace("[ ] for reasons", f"{box} for reasons")
    )
    assert run("--config", settings, "cases", "import", order).code == 0
    (case,) = [
        one for one in run("cases", "list", "--format", "json").lines if one["path"].endswith("other.jpg")
    ]
    (shown,) = run("cases", "show", case["case"], "--format", "json").lines
    (notice,) = shown["notices"]
    assert (notice["kind"], notice["member_state"], notice["reference"]) == ("terrorist", "DE", "DE/2026-17")
    assert notice["name"] == "Federal police"
    hour = datetime.fromisoformat(case["due"]) - datetime.fromisoformat(notice["received"])
    assert hour == timedelta(hours=1)
    letter = run("--config", settings, "cases", "letter", case["case"])
    assert letter.code == (2 if box == "[x]" else 0), letter.err
