"""The mails themselves, by a real mail server: headers, text, and a XARF report that its readers accept."""

from __future__ import annotations

import io
import json
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import insert
from xarf import parse

from hashscan.alerts.channels.apprise import LetterChannel
from hashscan.alerts.channels.mail import mail_of
from hashscan.cases.notices.mail import MailNotices
from hashscan.hub.accounts.organisations import add_organisation
from hashscan.hub.notices.notices import NewNotice, mark_notice, notice_of
from hashscan.hub.statistics.publications import prepare, withdraw
from hashscan.hub.storage.database import Database, open_database
from hashscan.hub.storage.tables import CHECKS
from hashscan.state_dir import StateDir
from tests.alerts.mailbox import mailbox
from tests.hub.mails.test_outbox import NOW, Server, prepared, run, sent, states
from tests.hub.statistics.test_statistics import begin

EVIL = "x\u00e9 =?utf-8?q?=0ABcc:_evil=40c.example?= Subject: y <b>&"
EVIL_PATH = "/srv/a\r\nBcc: evil@c.example\r\n\r\n\x1b[31m\u202e" + "long " * 500


HEADERS = {"Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type"}
"""Those of a mail besides its addresses."""


def report_of(mail: EmailMessage) -> Any:
    (part,) = mail.iter_attachments()
    assert (part.get_filename(), part.get_content_type()) == ("xarf.json", "application/json")
    return json.loads(part.get_content())


def made(database: Database, wanted: NewNotice) -> EmailMessage:
    """The mail of a notice, as the program that sends it makes it."""
    prepared(database)
    sent(database, wanted)
    server = Server()
    assert run(database, server) == [""]
    (document,) = server.sent
    # As a channel hands it over to the process that sends it.
    return mail_of(json.loads(json.dumps(document)))


@pytest.fixture
def hub(sqlite_file: Path, hub_state: StateDir) -> Any:
    """A database of one kind: what is tested here does not depend on it."""
    hub_state.hub.write_bytes(sqlite_file.read_bytes())
    hub_state.hub.chmod(0o600)
    with open_database(hub_state) as database:
        yield database


def test_a_notice_reaches_a_mail_server_and_its_report_is_read_back(hub: Database) -> None:
    prepared(hub)
    sent(hub)
    with mailbox() as box:
        assert run(hub, LetterChannel(box.url)) == [""]
    assert box.recipients == [["abuse@alpha.example"]]
    (mail,) = box.mails
    assert (mail["To"], mail["From"], mail["Reply-To"]) == (
        "abuse@alpha.example",
        "scan@example.com",
        "desk@hotline.example",
    )
    assert "P-1" in mail["Subject"]
    assert mail["Auto-Submitted"] == "auto-generated"
    document = report_of(mail)
    result = parse(document, strict=False)
    assert not result.errors
    assert not result.warnings
    assert UUID(document["report_id"]).version == 4
    deadline = "2027-01-15T09:00:00Z"
    assert document == {
        "xarf_version": "4.2.0", "report_id": document["report_id"], "timestamp": "2027-01-15T08:00:00Z",
        "source_identifier": "alice.example", "category": "content", "type": "csam",
        "url": "https://alice.example/a.jpg", "domain": "alice.example", "classification": "A1",
        "detection_method": "manual_review", "description": f"Reference: P-1; Deadline: {deadline}",
        "reporter": document["sender"],
        "sender": {"org": "The hotline", "contact": "desk@hotline.example", "domain": "hotline.example"},
    }  # fmt: skip
    body = mail.get_body(("plain",))
    assert body is not None
    text = body.get_content()
    assert all(word in text for word in ("P-1", "hxxps://alice[.]example/a.jpg", "A1", deadline, "+31 20"))
    assert "https://alice" not in text, "no program makes a link of it, and no filter fetches it"
    assert not any(part.get_content_maintype() in {"image", "video"} for part in mail.walk())
    (read,) = MailNotices().notices(io.BytesIO(box.raw[0]), "mail")
    assert (read.url, read.category, read.sender, read.reference) == (
        document["url"],
        "A1",
        "desk@hotline.example",
        document["report_id"],
    )
    with hub.transaction() as connection:
        mark_notice(connection, "cli me", "P-1", "removed", "answered by mail", NOW + 60)
        assert notice_of(connection, "P-1").state == "removed"


@pytest.mark.parametrize(
    ("wanted", "url"),
    [
        (NewNotice(url="https://a.example/x", category="B1", reference=EVIL), "https://a.example/x"),
        (
            NewNotice(path=EVIL_PATH, host="Web1.example", category="A1"),
            "file://web1.example/srv/a%0D%0ABcc%3A%20evil%40c.example",
        ),
        (NewNotice(path="/srv/\u00fc", host="web1", category="A1"), "file://web1/srv/%C3%BC"),
        (
            NewNotice(url='hxxps://B\u00fccher[.]example:8443/\u00fc?q=<b>%zz#a#"', category="A2"),
            "https://xn--bcher-kva.example:8443/%C3%BC?q=%3Cb%3E%25zz#a%23%22",
        ),
        (NewNotice(url="http://u:p@[2001:db8::1]/a", category="A1"), "http://u:p@[2001:db8::1]/a"),
        (
            NewNotice(url="https://a.example/x", path=EVIL_PATH, host=EVIL, category="baseline"),
            "https://a.example/x",
        ),
        (NewNotice(path="s3://bucket/a b", category="A1"), "s3://bucket/a%20b"),
    ],
)
def test_hostile_values_stay_in_their_places(hub: Database, wanted: NewNotice, url: str) -> None:
    mail = made(hub, wanted)
    raw = mail.as_bytes()
    head, _, _ = raw.partition(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.startswith((b" ", b"\t"))]
    assert {line.partition(b":")[0].decode() for line in lines} == HEADERS
    assert "\n" not in mail["Subject"]
    document = report_of(mail)
    result = parse(document, strict=False)
    assert not result.errors
    assert document["url"].startswith(url)
    assert document["url"].isascii()
    assert document["description"].isprintable()
    body = mail.get_body(("plain",))
    assert body is not None
    assert all(line.isprintable() for line in body.get_content().splitlines())
    (read,) = MailNotices().notices(io.BytesIO(raw), "mail")
    assert read.url == document["url"]


def test_those_whom_figures_name_are_mailed_their_own_and_until_when_to_answer(hub: Database) -> None:
    with hub.transaction() as connection:
        for name, contacts in (("alpha", ("a@alpha.example",)), ("beta", ()), ("gamma", ("g@g.example",))):
            owner = add_organisation(connection, "cli me", name, title=EVIL[:9], contacts=contacts).id
            row = {"organisation": owner, "key": 1, "hour": begin(1), "exact": owner * 1000, "detected": 2}
            connection.execute(insert(CHECKS).values(row))
        add_organisation(connection, "cli me", "idle", contacts=("i@idle.example",))
        number = prepare(connection, "cli me", "2026-01", "2026-01", 14 * 86_400, begin(2)).number
    with mailbox() as box:
        assert run(hub, LetterChannel(box.url)) == ["", ""]
    assert box.recipients == [["a@alpha.example"], ["g@g.example"]]
    for mail, own, other in zip(box.mails, ("1000", "3000"), ("3000", "1000"), strict=True):
        assert mail["Subject"].endswith("answer until 2026-02-15T00:00:00Z")
        (table,) = mail.iter_attachments()
        assert table.get_filename() == "figures.csv"
        # Two detections are fewer than are published.
        assert table.get_content().splitlines()[1] == f"2026-01,{own},,0,0,0,0"
        assert other not in mail.as_string()
    with hub.transaction() as connection:
        number = prepare(connection, "cli me", "2026-01", "2026-01", 14 * 86_400, begin(2)).number
        withdraw(connection, "cli me", number, begin(2))
    assert states(hub) == [("publication", "sent", 1)] * 2
