"""A quarter that is planned by hand, with a gap, a stale list and a silent server, and its proof of care."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from sqlalchemy import insert

from hashscan.cases.care import timestamps
from hashscan.cases.care.document import VERSION, CareBasis, CareDocument, CareProblem, Durations, Overdue
from hashscan.cases.care.figures import (
    CareFacts,
    TargetLabels,
    durations,
    ledger_facts,
    overdue,
    server_of,
)
from hashscan.cases.care.page import html_parts
from hashscan.cases.care.signing import signed_care, verify_care
from hashscan.cases.deadlines import DeadlineCalculator
from hashscan.cases.ledger import Ledger
from hashscan.hub.statistics.care import hub_facts
from hashscan.hub.storage.database import open_database
from hashscan.hub.storage.tables import CASES, ORGANISATIONS, SCANS, SERVERS
from hashscan.lists.publishing.envelope import fingerprint_of
from hashscan.lists.publishing.keys import own_key
from hashscan.schema import encode_json
from hashscan.settings.cases_and_alerts import DEFAULT_DEADLINES
from hashscan.state_dir import StateDir
from hashscan.timefmt import format_utc_seconds

pytestmark = pytest.mark.integration

BEGIN = 1_790_812_800
"""2026-10-01."""
DAY, HOUR = 86_400, 3600
END = BEGIN + 92 * DAY
INTERVAL = 25 * HOUR
SECRETS = (
    b"/srv/alice", b"/home/bob", b"alice.jpg", b"alice@example.org", b"https://bob.example/x", b"bob",
    b"alice", b"REF-4711", b"ab" * 32,
)  # fmt: skip


def day(number: float) -> int:
    return BEGIN + int(number * DAY)


def listed(name: str, state: str, made: int) -> dict[str, object]:
    return {
        "name": name, "state": state, "version": 7, "entries": 9, "expires": None,
        "made": format_utc_seconds(made),
    }  # fmt: skip


def fill(ledger: Ledger) -> None:
    """Scan each day at 2:00 but on days 10 to 12; the list is stale from day 80 on."""
    with ledger.transaction() as database:
        for number in range(92):
            if number in (10, 11, 12):
                continue
            started = day(number) + 2 * HOUR
            state = "fresh" if number < 80 else "stale"
            # Day 20 was stopped, and its file count is what it got to.
            stopped = [{"code": "stopped", "message": "/srv/alice stopped"}] if number == 20 else []
            reasons = {
                "undecoded": {"encrypted": 3, "broken picture": 1},
                "unreadable": {"permission denied": 1},
            }
            database.execute(
                "INSERT INTO scans (uuid, known, shard, started, ended, exit_code, whole, files, bytes, "
                "verdicts, lists, targets, incomplete, reasons) "
                "VALUES (?, 0, '', ?, ?, ?, ?, 100, 1, ?, ?, ?, ?, ?)",
                (
                    f"scan-{number}", started, started + HOUR, 130 if stopped else 0, not stopped,
                    json.dumps({"clean": 95, "undecoded": 4, "unreadable": 1}),
                    json.dumps([listed("national", state, day(min(number, 79)))]),
                    json.dumps([{"path": "/var/www"}, {"path": "/srv/alice"}]),
                    json.dumps(stopped), json.dumps(reasons),
                ),
            )  # fmt: skip
        case = "INSERT INTO cases (path, url, verdict, categories, customer, sha256, found, seen, removed, closed, ordered, stated, noticed) VALUES (?, ?, ?, 'A1', 'alice', ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: E501
        digest = bytes.fromhex("ab" * 32)
        rows = [
            # kind, begin, removed, closed, ordered, stated
            ("match", 1, day(1) + 2 * HOUR, None, None, None),
            ("match", 2, day(2) + 10 * HOUR, None, None, None),
            ("match", 3, day(3) + 30 * HOUR, None, None, None),
            ("match", 90, None, None, None, None),  # overdue by 24 hours at the end
            ("review", 50, None, day(51), None, None),
            ("notice", 60, day(60) + 4 * HOUR, None, None, None),
            ("match", 70, day(70) + HOUR, None, day(70), day(70) + 12 * HOUR),
            ("notice", 91.5, END + DAY, None, day(91.5), day(91.5) + 6 * HOUR),  # overdue by 6 hours
        ]
        for number, (kind, at, removed, closed, ordered, stated) in enumerate(rows):
            database.execute(
                case,
                (
                    f"/srv/alice/alice{number}.jpg".encode(), "https://bob.example/x", kind, digest, day(at),
                    day(at), removed, closed, ordered, stated, day(at) if kind == "notice" else None,
                ),
            )  # fmt: skip
        for number, (at, acknowledged, cases) in enumerate(
            [(70, day(70) + HOUR // 2, [7]), (91.5, None, [8])], start=1
        ):
            database.execute(
                "INSERT INTO notices (digest, kind, role, sender, reference, member_state, basis, received, "
                "imported, acknowledge, acknowledged) VALUES (?, 'order', 'authority', 'alice@example.org', "
                "'REF-4711', 'NL', '', ?, ?, ?, ?)",
                (bytes([number]), day(at), day(at), day(at) + HOUR, acknowledged),
            )
            for one in cases:
                database.execute(
                    "INSERT INTO notice_items (digest, item, notice, id, url) VALUES (?, ?, ?, ?, 'https://bob.example/x')",
                    (bytes([one]), bytes([one]), number, one),
                )


def fill_hub(state: StateDir) -> CareFacts:
    with open_database(state) as opened:
        opened.migrate()
        with opened.transaction() as connection:
            connection.execute(insert(ORGANISATIONS).values(id=1, name="alpha", created=0))
            for key, name, seen in ((1, "web1", END - HOUR), (2, "web2", day(40))):
                connection.execute(
                    insert(SERVERS).values(
                        id=key, organisation=1, name=name, first=day(0), seen=seen, silent_after=2 * DAY
                    )
                )
                for number in range(92 if key == 1 else 41):
                    connection.execute(
                        insert(SCANS).values(
                            organisation=1,
                            uuid=f"{key}-{number}",
                            server=key,
                            started=day(number),
                            ended=day(number) + HOUR,
                            received=day(number),
                            finished=day(number) + HOUR,
                            complete=True,
                            scope="s",
                            exit_code=0,
                            files=10,
                            verdicts='{"clean": 10}',
                            reasons="{}",
                            lists="[]",
                            incomplete="[]",
                        )
                    )
            connection.execute(
                insert(CASES).values(
                    organisation=1,
                    server=2,
                    place=b"p",
                    path="/home/bob/x",
                    customer="bob",
                    verdict="match",
                    sha256="ab" * 32,
                    found=day(30),
                    seen=day(30),
                    deadline=day(31),
                )
            )
        with opened.reading() as connection:
            return hub_facts(connection, "alpha", END)


@pytest.fixture
def document(tmp_path: Path) -> CareDocument:
    state = StateDir(tmp_path / "state")
    with Ledger(state) as ledger:
        fill(ledger)
        labels = TargetLabels({b"/var/www": "shared hosting"})
        facts = ledger_facts(ledger, DeadlineCalculator(DEFAULT_DEADLINES), "this", labels, BEGIN, END)
    assert labels.numbered == {b"/srv/alice": "target 1"}
    of_hub = fill_hub(state)
    cases = facts.cases + of_hub.cases
    return CareDocument(
        VERSION, "Example Hosting", fingerprint_of(own_key(tmp_path / "care" / "key.pem")),
        format_utc_seconds(END), "1", format_utc_seconds(BEGIN), format_utc_seconds(END), 25.0,
        [server_of(one, BEGIN, END, INTERVAL) for one in facts.servers + of_hub.servers],
        durations(cases, BEGIN, END), overdue(cases, END), facts.orders,
        [CareBasis("door icap", "Some law", "2026-11-03", True, "continue")],
    )  # fmt: skip


def test_the_numbers_are_those_of_the_plan(document: CareDocument) -> None:
    own, web1, web2 = document.servers
    assert [target.label for target in own.targets] == ["shared hosting", "target 1"]
    for target in own.targets:
        # 92 days without 10, 11 and 12, and without day 20, which was stopped.
        assert target.scans == 88
        assert [(gap.begin, gap.end, gap.hours, gap.open) for gap in target.gaps] == [
            ("2026-10-10T02:00:00Z", "2026-10-14T02:00:00Z", 96.0, False),
            ("2026-10-20T02:00:00Z", "2026-10-22T02:00:00Z", 48.0, False),
        ]
    assert len(own.scans) == 89
    assert sum(scan.outcome == "failed" for scan in own.scans) == 1
    assert {scan.lists[0].age_hours for scan in own.scans[:70]} == {2.0}
    assert [(one.state, one.age_hours) for one in own.scans[-1].lists] == [("stale", 12 * 24 + 2.0)]
    assert sum(scan.lists[0].state == "stale" for scan in own.scans) == 12
    coverage = own.coverage
    assert (coverage.files, coverage.not_decoded, coverage.not_read) == (8900, 356, 89)
    assert (coverage.not_decoded_share, coverage.not_read_share) == (0.04, 0.01)
    assert coverage.reasons == {
        "undecoded": {"broken": 89, "encrypted": 267}, "unreadable": {"permission": 89}
    }  # fmt: skip
    assert (web1.silent_since, web1.targets[0].gaps) == (None, [])
    assert web2.silent_since == format_utc_seconds(day(40))
    assert [(gap.hours, gap.open) for gap in web2.targets[0].gaps] == [(52 * 24.0, True)]
    assert document.durations == [
        Durations("match", 5, 3, 0, 0, 2, 10.0, 30.0, 30.0, "3"),
        Durations("held", 0, 0, 0, 0, 0, None, None, None, ""),
        Durations("review", 1, 0, 0, 1, 0, None, None, None, ""),
        Durations("notice", 1, 1, 0, 0, 0, 4.0, 4.0, 4.0, "6"),
        Durations("order", 2, 1, 0, 0, 1, 1.0, 1.0, 1.0, "7"),
    ]
    assert document.overdue == [
        Overdue("8", "order", 6.0), Overdue("hub 1", "match", 61 * 24.0), Overdue("4", "match", 24.0)
    ]  # fmt: skip
    assert [(o.number, o.acknowledged_hours, o.acted_hours, o.cases) for o in document.orders] == [
        (1, 0.5, 1.0, ["7"]), (2, None, None, ["8"])
    ]  # fmt: skip


def test_nothing_names_a_customer(document: CareDocument) -> None:
    for data in (encode_json(document), b"".join(html_parts(document, ""))):
        assert b"shared hosting" in data
        assert b"Some law" in data
        for secret in SECRETS:
            assert secret not in data


def test_each_changed_byte_is_noticed(document: CareDocument, tmp_path: Path) -> None:
    signer = own_key(tmp_path / "care" / "key.pem")
    data = signed_care(document, signer)
    assert signed_care(document, signer) == data
    found = verify_care(data, (fingerprint_of(signer),))
    assert (found.problem, found.document) == (None, document)
    # All of the end, with signature and key, and a part of the payload.
    for place in (*range(0, len(data) - 500, 4001), *range(len(data) - 500, len(data))):
        for bit in (1, 32):
            changed = bytearray(data)
            changed[place] ^= bit
            assert verify_care(bytes(changed)).problem is CareProblem.INVALID
    assert verify_care(data, ("00" * 32,)).problem is CareProblem.WRONG_KEY
    assert verify_care(data, (), tmp_path / "tsa.pem").problem is CareProblem.NO_TIMESTAMP


def make_tsa(folder: Path) -> Path:
    """Make an authority and its root certificate; return the configuration of `openssl ts`."""
    folder.mkdir()
    config = folder / "tsa.cnf"
    config.write_text(
        f"""[req]
distinguished_name=dn
[dn]
[root]
basicConstraints=critical,CA:true
keyUsage=critical,keyCertSign
subjectKeyIdentifier=hash
[leaf]
basicConstraints=CA:false
keyUsage=critical,digitalSignature
extendedKeyUsage=critical,timeStamping
subjectKeyIdentifier=hash
authorityKeyIdentifier=keyid
[tsa]
default_tsa=one
[one]
serial={folder}/serial
signer_cert={folder}/leaf.pem
signer_key={folder}/leaf.key
signer_digest=sha256
default_policy=1.2.3.4
digests=sha256,sha512
ess_cert_id_alg=sha256
"""
    )

    def run(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    new = ("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-config", str(config))
    run(*new, "-x509", "-extensions", "root", "-subj", "/CN=root", "-keyout", "root.key", "-out", "root.pem")
    run(*new, "-subj", "/CN=tsa", "-keyout", "leaf.key", "-out", "leaf.csr")
    run(
        "x509", "-req", "-in", "leaf.csr", "-CA", "root.pem", "-CAkey", "root.key", "-CAcreateserial",
        "-extfile", str(config), "-extensions", "leaf", "-out", "leaf.pem",
    )  # fmt: skip
    (folder / "serial").write_text("01\n")
    return config


@contextmanager
def served_tsa(config: Path) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = config.parent / "query"
            query.write_bytes(self.rfile.read(int(self.headers["Content-Length"])))
            words = ["openssl", "ts", "-reply", "-config", str(config), "-queryfile", str(query)]
            answer = subprocess.run(words, check=True, capture_output=True).stdout
            self.send_response(200)
            self.send_header("Content-Type", "application/timestamp-reply")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_time_stamp_is_of_these_bytes_and_of_this_authority(document: CareDocument, tmp_path: Path) -> None:
    config, other = make_tsa(tmp_path / "tsa"), make_tsa(tmp_path / "other")
    signer, root = own_key(tmp_path / "care" / "key.pem"), config.parent / "root.pem"
    with served_tsa(config) as url:
        answer = timestamps.request_timestamp(encode_json(document), url, root)
        data = signed_care(document, signer, lambda _: answer)
        of_others = timestamps.request_timestamp(b"other bytes", url, root)
    found = verify_care(data, (), root)
    assert (found.problem, found.why) == (None, "")
    assert found.stamped is not None
    assert verify_care(data).problem is CareProblem.UNVERIFIED_TIMESTAMP
    assert verify_care(data, (), other.parent / "root.pem").problem is CareProblem.BAD_TIMESTAMP
    for wrong in (of_others, answer[:-1], b"nothing"):
        data = signed_care(document, signer, lambda _, wrong=wrong: wrong)
        assert verify_care(data, (), root).problem is CareProblem.BAD_TIMESTAMP
