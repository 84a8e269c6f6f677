"""Checks that nothing that leaves hashscan leads to a customer who may not be told, and that all else does.

Two customers have the same findings, notices and orders; only the cases of one are withheld. Each output is
tried for both, so that an output which names nobody fails as well."""

from __future__ import annotations

import hashlib
import json
import shutil
import stat
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from hashscan.cases.letters.answer import AnswerKind
from tests.alerts.mailbox import mailbox
from tests.alerts.services import webhook
from tests.cli.conftest import Ran, Run
from tests.cli.later import CLOCK, seconds_later

KEPT, TOLD, LIST = "alice", "bob", "ours"
TO_CUSTOMERS = {AnswerKind.STATEMENT: "notice", AnswerKind.RECIPIENT: "order"}
"""The answers to customers, with the kind of notice that each is about."""
TO_SENDERS = {
    AnswerKind.ACKNOWLEDGEMENT,
    AnswerKind.RECEIPT,
    AnswerKind.OUTCOME,
    AnswerKind.TCO_REMOVED,
    AnswerKind.TCO_IMPOSSIBLE,
}
TERMS = ("--retain-min", "1d", "--destroy-by", "2d", "--act-on", "local")
DAY = 86_400


@dataclass(frozen=True)
class World:
    run: Run
    settings: Path
    folder: Path

    def __call__(self, *arguments: object) -> Ran:
        return self.run("--config", self.settings, *arguments)

    def cases(self, customer: str) -> list[int]:
        listed = self("cases", "list", "--status", "all", "--format", "json").lines
        return [case["case"] for case in listed if case["customer"] == customer]

    def case_of(self, path: Path) -> int:
        listed = self("cases", "list", "--status", "all", "--format", "json").lines
        (found,) = [case["case"] for case in listed if case["path"] == str(path)]
        return int(found)

    def withhold(self, until: str) -> None:
        done = self("cases", "withhold", *self.cases(KEPT), "--until", until, "--reason", "order 26-114")
        assert done.code == 0, done.err


@pytest.fixture
def world(run: Run, tmp_path: Path, uploads: Path) -> World:
    """Files of two customers: a listed one, found by a scan, and for each kind of notice one more."""
    listed = (uploads / "listed.jpg").read_bytes()
    shutil.rmtree(uploads)
    tables = '[reporter]\norganisation = "Hosting"\nemail = "abuse@example.org"\n'
    for name in (KEPT, TOLD):
        folder = uploads / name
        folder.mkdir(parents=True)
        # Of two contents, as one that is withheld leaves no note in the place of another customer's copy.
        (folder / "listed.jpg").write_bytes(listed + name.encode())
        for kind in TO_CUSTOMERS.values():
            (folder / kind).write_text(f"{name} {kind}")
        tables += f'[[customer]]\npath = "{folder}/"\nname = "{name}"\n'
        tables += f'[[site]]\nurl = "https://{name}.example/"\npath = "{folder}"\n'
    settings = tmp_path / "hashscan.toml"
    settings.write_text(tables)
    entries = tmp_path / "copies.csv"
    rows = [
        f"{len(name)},sha256,{hashlib.sha256(listed + name.encode()).hexdigest()},A1" for name in (KEPT, TOLD)
    ]
    entries.write_text("\n".join(["id,algorithm,value,category", *rows]) + "\n")
    assert run("lists", "import", entries, "--name", LIST).code == 0
    world = World(run, settings, uploads)
    assert world("scan", uploads, "--list", LIST).code == 1
    for name in (KEPT, TOLD):
        for kind in TO_CUSTOMERS.values():
            added = world(
                "cases", "add", uploads / name / kind, "--kind", kind, "--sender", "x", "--reference", kind
            )
            assert added.code == 0, added.err
    assert len(world.cases(KEPT)) == len(world.cases(TOLD)) == 3
    return world


def names(text: str) -> set[str]:
    """Return the customers to whom a text leads: by name, path or address."""
    return {name for name in (KEPT, TOLD) if name in text}


def test_each_kind_of_answer_is_to_a_customer_or_to_a_sender() -> None:
    assert set(AnswerKind) == TO_SENDERS | set(TO_CUSTOMERS)


@pytest.mark.parametrize("seconds", [0, 3 * DAY])
def test_no_channel_of_alerts_leads_to_the_customer(world: World, tmp_path: Path, seconds: int) -> None:
    """Alerts of new cases, and those of overdue ones and the digest days later."""
    world.withhold("2199-01-31")
    seconds_later(tmp_path / CLOCK, seconds, due=True)
    got, hook, metrics = tmp_path / "got", tmp_path / "hook", tmp_path / "metrics.prom"
    hook.write_text(f"#!/bin/sh\ncat >> {got}\n")
    hook.chmod(0o755)
    with mailbox() as box, webhook() as web:
        for urls in ("--notify", "--escalate-to"):
            sent = world(
                "alerts", "send", "--notify-on", "always", "--notify-details", "--exec", hook, "--metrics",
                metrics, urls, box.url, urls, web.url,
            )  # fmt: skip
            assert sent.code == 0, sent.err
        digest = world("alerts", "digest", "--notify-details", "--exec", hook, "--notify", box.url)
        assert digest.code == 0, digest.err
        assert box.mails
        assert web.posted
        texts = {
            "hook": got.read_text(),
            "mail": "\n".join(mail.as_string() for mail in box.mails),
            "web": json.dumps(web.posted),
        }
    assert {channel: names(text) for channel, text in texts.items()} == {channel: {TOLD} for channel in texts}
    assert names(metrics.read_text()) == set()


def test_no_letter_or_answer_is_made_before_the_date(world: World, tmp_path: Path) -> None:
    world.withhold(f"{datetime.now(UTC) + timedelta(days=10):%Y-%m-%d}")
    letters = {name: world("cases", "letter", "--customer", name) for name in (KEPT, TOLD)}
    assert {name: (ran.code, names(ran.out)) for name, ran in letters.items()} == {
        KEPT: (0, set()),
        TOLD: (0, {TOLD}),
    }
    for answer, kind in TO_CUSTOMERS.items():
        drafts = {
            name: world("cases", "draft", world.case_of(world.folder / name / kind), "--kind", answer)
            for name in (KEPT, TOLD)
        }
        assert {name: ran.code for name, ran in drafts.items()} == {KEPT: 2, TOLD: 0}, answer
        assert not drafts[KEPT].out
    # By the clock alone, it ends.
    seconds_later(tmp_path / CLOCK, 20 * DAY, due=True)
    assert names(world("cases", "letter", "--customer", KEPT).out) == {KEPT}
    for answer, kind in TO_CUSTOMERS.items():
        case = world.case_of(world.folder / KEPT / kind)
        assert world("cases", "draft", case, "--kind", answer).code == 0


def test_nothing_is_left_where_the_customer_or_the_public_can_read(world: World, tmp_path: Path) -> None:
    """A note in the file's place, what is published, and files of messages."""
    world.withhold("2199-01-31")
    note, log = tmp_path / "note", tmp_path / "messages.log"
    note.write_text("Ask us.\n")
    moved = world(
        "scan", world.folder, "--list", LIST, "--quarantine", *TERMS, "--leave-note", note, "-vv",
        "--log-file", log, "--report", tmp_path / "report.jsonl", "--report", tmp_path / "report.html",
    )  # fmt: skip
    assert moved.code == 1, moved.err
    assert len(world("quarantine", "list", "--format", "json").lines) == 2
    assert {name: sorted(path.name for path in (world.folder / name).iterdir()) for name in (KEPT, TOLD)} == {
        KEPT: ["notice", "order"],
        TOLD: ["listed.jpg", "notice", "order"],
    }
    assert (world.folder / TOLD / "listed.jpg").read_text() == note.read_text()
    published = [tmp_path / "care.json", tmp_path / "care.html", tmp_path / "statistics.html"]
    year = ("--from", "2026", "--to", "2026")
    made = world("care", "make", *year, "--output", published[0], "--page", published[1])
    assert made.code == 0, made.err
    assert world("stats", "--output", published[2]).code == 0
    dsa = tmp_path / "dsa"
    assert world("stats", "--format", "dsa", "--year", "2026", "--service", "x", "--output", dsa).code == 0
    for file in (*published, *dsa.iterdir()):
        assert names(file.read_text()) == set(), file
    # Findings are named in files of ours alone.
    for file in tmp_path.rglob("*"):
        ours = file.is_file() and file != world.settings and world.folder not in file.parents
        if ours and file.suffix != ".npy" and names(file.read_bytes().decode(errors="replace")):
            closed = not stat.S_IMODE(file.stat().st_mode) & 0o077
            assert closed or any(not parent.stat().st_mode & 0o077 for parent in file.parents), file
