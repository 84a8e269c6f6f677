"""The routes by which clients ask about digests, at a real node on each database."""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import shutil
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import h11
import pytest
from click.testing import CliRunner
from sqlalchemy import event, func, select

from hashscan.cli.main import cli
from hashscan.hub.accounts.audit import read_audit
from hashscan.hub.accounts.keys import key_named, revoke_key
from hashscan.hub.checks import counting
from hashscan.hub.storage.database import Database, DatabaseAwayError, open_database
from hashscan.hub.storage.tables import CHECK_MONTHS, CHECKS, DETECTIONS, FEEDBACK, REQUESTS
from hashscan.hub.web import limits
from hashscan.hub.web.check_routes import CHECK_BYTES
from hashscan.lists.publishing.filters import publish_filter_of
from hashscan.lists.store import ListStore
from hashscan.matching_service_api import DIGESTS_MAX
from hashscan.model import Entry
from hashscan.state_dir import StateDir
from tests.cli.conftest import runner
from tests.hub.serving import Node, new_key, node
from tests.lists.builders import Filters
from tests.service.engine.serving import store_list

NDJSON = "application/x-ndjson"
PDQ = bytes(range(32))
NEAR = bytes([PDQ[0] ^ 0b111, *PDQ[1:]])
LISTED, GOOD = hashlib.md5(b"1").digest(), hashlib.md5(b"2").digest()
Digest = tuple[str, bytes]


@pytest.fixture
def site(database: Database, hub_state: StateDir) -> Iterator[Node]:
    store_list(
        hub_state.path,
        Entry("e0", "md5", LISTED, "A1"),
        Entry("e1", "md5", LISTED, "B1"),
        Entry("p0", "pdq", PDQ, "A2"),
        Entry("g0", "md5", GOOD, "A1"),
    )
    store_list(
        hub_state.path, Entry("e9", "md5", LISTED, "A1"), Entry("g0", "md5", GOOD, "known-good"), name="more"
    )
    with node(database, hub_state) as running:
        yield running


def asked(*digests: Digest) -> bytes:
    return json.dumps({"digests": [{"algorithm": a, "value": v.hex()} for a, v in digests]}).encode()


def misses(number: int) -> list[Digest]:
    return [("sha1", hashlib.sha1(b"%d" % n).digest()) for n in range(number)]


def counted(database: Database) -> list[tuple[int, int, int, int]]:
    """Requests, exact and perceptual digests and detected ones, by key."""
    query = select(CHECKS.c.requests, CHECKS.c.exact, CHECKS.c.perceptual, CHECKS.c.detected)
    months = select(func.sum(CHECK_MONTHS.c.asked), func.sum(CHECK_MONTHS.c.detected))
    with database.reading() as connection:
        rows = [tuple(row) for row in connection.execute(query.order_by(CHECKS.c.key))]
        sums = connection.execute(months.where(CHECK_MONTHS.c.category == "")).one()
        by_category = connection.execute(months.where(CHECK_MONTHS.c.category != "")).one()
        detections = connection.execute(select(func.sum(DETECTIONS.c.digests))).scalar()
    assert [each or 0 for each in sums] == [sum(row[1] + row[2] for row in rows), sum(row[3] for row in rows)]
    assert [each or 0 for each in by_category] == [0, detections or 0]
    return rows


def found(answer: Any) -> list[tuple[int, str, str, int]]:
    assert answer.status == 200, answer.body
    return sorted((m["digest"], m["entry"], m["category"], m["distance"]) for m in answer.document["matches"])


DIGESTS: Sequence[Digest] = [*misses(2), ("pdq", NEAR), ("md5", GOOD), ("md5", LISTED), ("pdq", bytes(32))]
MATCHES = [(2, "p0", "A2", 3), (4, "e0", "A1", 0), (4, "e1", "B1", 0), (4, "e9", "A1", 0)]


def test_digests_are_compared_and_counted(site: Node) -> None:
    key = new_key(site.database)
    info = site.ask("GET", "/v1/info", key=key).document
    assert (info["digests_max"], set(info["algorithms"])) == (DIGESTS_MAX, {"md5", "pdq"})
    answer = site.ask("POST", "/v1/check", asked(*DIGESTS), key)
    assert found(answer) == MATCHES
    assert answer.document["version"] == info["version"]
    assert counted(site.database) == [(1, 4, 2, 2)]
    with site.database.reading() as connection:
        rows = connection.execute(
            select(DETECTIONS.c.list, DETECTIONS.c.category, DETECTIONS.c.digests)
        ).all()
    assert sorted(map(tuple, rows)) == [
        ("more", "A1", 1),
        ("ours", "A1", 1),
        ("ours", "A2", 1),
        ("ours", "B1", 1),
    ]
    assert found(site.ask("POST", "/v1/check", asked(), key)) == []
    assert counted(site.database) == [(2, 4, 2, 2)]


def test_a_filter_of_the_lists_in_use_is_named(site: Node, tmp_path: Path) -> None:
    state, filters = site.context.settings.state, Filters(tmp_path / "filters")
    key = new_key(site.database)
    assert site.ask("GET", "/v1/info", key=key).document["filter"] is None
    made = publish_filter_of(filters.work, state, None)
    address = "https://files.example/filters/", filters.fingerprint
    with node(site.database, state, filter=address) as other:
        named = other.ask("GET", "/v1/info", key=key).document["filter"]
    assert named == {"url": address[0], "root": address[1], "version": made.version}


@pytest.mark.parametrize(
    ("detail", "matches"),
    [
        ("answer", [(2, "*", "listed", 0), (4, "*", "listed", 0)]),
        ("category", [(2, "*", "A2", 0), (4, "*", "A1", 0), (4, "*", "B1", 0)]),
    ],
)
def test_a_key_is_shown_no_more_than_it_may_see(site: Node, detail: Any, matches: list[Any]) -> None:
    key = new_key(site.database, detail=detail)
    assert found(site.ask("POST", "/v1/check", asked(*DIGESTS), key)) == matches


def test_an_answer_alone_makes_a_match_only_where_it_is_acting(
    sqlite_file: Path, hub_state: StateDir, tmp_path: Path
) -> None:
    """A scan with a key that is shown no category finds what is of an acting one, and accuses of no other."""
    categories = ("A1", "baseline", "ncii", "terrorism", "other", "test")
    contents = {name: f"content of {name}".encode() for name in categories}
    entries = [Entry(f"e-{n}", "sha256", hashlib.sha256(c).digest(), n) for n, c in contents.items()]
    store_list(hub_state.path, *entries)
    (files := tmp_path / "files").mkdir()
    for name, content in contents.items():
        (files / name).write_bytes(content)
    shutil.copyfile(sqlite_file, hub_state.hub)
    run, report = runner(tmp_path / "state"), tmp_path / "report"
    with open_database(hub_state) as database, node(database, hub_state) as site:
        secret = tmp_path / "secret"
        secret.write_text(new_key(database, detail="answer"))
        secret.chmod(0o600)
        # The operator's meaning of the class must not make matches of what is for review.
        options = ("--key-file", secret, "--accept-answers", "--category", "listed=A2")
        for name, some in (("hub", options[:3]), ("mapped", options)):
            assert run("lists", "add", name, "--service", site.url, *some).code == 0
        for name, category in (("hub", "listed"), ("mapped", "A2")):
            ran = run("scan", files, "--list", name, "--report", report)
            assert ran.code == 1, ran.err
            lines = [json.loads(line) for line in report.read_text().splitlines()]
            found = {Path(e["path"]).name: e for e in lines if e["type"] == "finding"}
            assert {n: e["verdict"] for n, e in found.items()} == {
                n: "match" if n in {"A1", "baseline", "test"} else "review" for n in categories
            }
            assert found["A1"]["matches"][0]["category"] == category
            assert found["test"]["matches"][0]["category"] == "test"


def test_lines_and_compressed_bodies(site: Node) -> None:
    key = new_key(site.database)
    lines = b"\n".join(
        json.dumps({"algorithm": name, "value": value.hex()}).encode() for name, value in DIGESTS
    )
    kind = {"Content_Type": NDJSON}
    assert found(site.ask("POST", "/v1/check", lines, key, **kind)) == MATCHES
    packed = gzip.compress(lines + b"\n")
    answer = site.ask("POST", "/v1/check", packed, key, **kind, Content_Encoding="gzip", Accept=NDJSON)
    first, *rest = [json.loads(line) for line in answer.body.splitlines()]
    assert answer.headers["content-type"] == NDJSON
    assert list(first) == ["version"]
    assert sorted((m["digest"], m["entry"]) for m in rest) == [match[:2] for match in MATCHES]
    for body in (packed[:-9], packed + b"x", b"nothing"):
        refused = site.ask("POST", "/v1/check", body, key, **kind, Content_Encoding="gzip")
        assert (refused.status, refused.code) == (400, "invalid_request")
    assert site.ask("POST", "/v1/check", packed, key, Content_Encoding="br").status == 415
    bomb = gzip.compress(bytes(CHECK_BYTES + 1))
    assert site.ask("POST", "/v1/check", bomb, key, Content_Encoding="gzip").code == "too_large"


@pytest.mark.parametrize(
    "wrong",
    [
        {"algorithm": "md5", "value": "00"},
        {"algorithm": "md5", "value": LISTED.hex().upper()},
        {"algorithm": "md5", "value": " " * 2 + LISTED.hex()[2:]},
        {"algorithm": "md5", "value": "\ud800" * 32},
        {"algorithm": "vpdq", "value": "00" * 32},
        {"algorithm": "nonsense", "value": "00"},
    ],
)
def test_one_wrong_digest_is_named_and_nothing_counted(site: Node, wrong: dict[str, str]) -> None:
    key = new_key(site.database)
    digests = [{"algorithm": name, "value": value.hex()} for name, value in DIGESTS]
    refused = site.ask("POST", "/v1/check", json.dumps({"digests": [*digests, wrong]}).encode(), key)
    assert (refused.status, refused.code) == (422, "invalid_document")
    if "\ud800" not in wrong["value"]:
        assert f"digest {len(digests)}" in refused.document["message"]
    assert counted(site.database) == []


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b'{"digests": 1}', b"\xff", b"[" * 100_000, b'{"digests":[1]}']
)
def test_documents_that_are_none(site: Node, body: bytes) -> None:
    refused = site.ask("POST", "/v1/check", body, new_key(site.database))
    assert (refused.status, refused.code) == (422, "invalid_document")
    assert counted(site.database) == []


def test_too_many_digests_are_refused(site: Node) -> None:
    key = new_key(site.database)
    most = misses(DIGESTS_MAX)
    assert site.ask("POST", "/v1/check", asked(*most), key).status == 200
    refused = site.ask("POST", "/v1/check", asked(*most, most[0]), key)
    assert (refused.status, refused.code) == (413, "too_many_digests")
    # A million: refused by its length, or when more has come than allowed.
    piece = b'{"algorithm":"md5","value":"00000000000000000000000000000000"},' * 1000
    refused = site.ask("POST", "/v1/check", iter([piece] * 100), key)
    assert (refused.status, refused.code) == (413, "too_large")
    assert counted(site.database) == [(1, DIGESTS_MAX, 0, 0)]


def test_a_repeated_request_is_answered_again_and_counted_once(site: Node) -> None:
    key, other = new_key(site.database), new_key(site.database, name="other")
    for _ in range(3):
        answer = site.ask("POST", "/v1/check", asked(*DIGESTS), key, Idempotency_Key="abc")
        assert found(answer) == MATCHES
    assert counted(site.database) == [(1, 4, 2, 2)]
    refused = site.ask("POST", "/v1/check", asked(*misses(1)), key, Idempotency_Key="abc")
    assert (refused.status, refused.code) == (409, "conflict")
    assert counted(site.database) == [(1, 4, 2, 2)]
    # Another key's requests are others.
    assert site.ask("POST", "/v1/check", asked(*misses(1)), other, Idempotency_Key="abc").status == 200
    assert counted(site.database) == [(1, 4, 2, 2), (1, 1, 0, 0)]
    for wrong in ("", "a b", "x" * 65, "\xe9"):
        refused = site.ask("POST", "/v1/check", asked(), key, Idempotency_Key=wrong)
        assert (refused.status, refused.code) == (400, "invalid_request")


def test_a_quota_of_a_day_holds_over_all_nodes(
    site: Node, database: Database, hub_state: StateDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "REFUSED_SECONDS", 0.0)
    key = new_key(database, digests_per_day=10)
    with node(database, hub_state) as second:
        assert site.ask("POST", "/v1/check", asked(*misses(6)), key).status == 200
        refused = second.ask("POST", "/v1/check", asked(*misses(5)), key)
        assert (refused.status, refused.code) == (429, "quota_exceeded")
        assert 0 < int(refused.headers["retry-after"]) <= 86_400
        # A refused request can be repeated later with its idempotency key.
        for _ in range(2):
            again = second.ask("POST", "/v1/check", asked(*misses(5)), key, Idempotency_Key="k")
            assert again.code == "quota_exceeded"
        assert second.ask("POST", "/v1/check", asked(*misses(4)), key).status == 200
        assert counted(database) == [(2, 10, 0, 0)]
        with database.reading() as connection:
            assert connection.execute(select(REQUESTS)).all() == []


def test_what_exceeds_a_quota_is_not_compared(site: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REFUSED_SECONDS", 0.0)
    compared: list[int] = []
    match = site.context.lookup.match

    def spied(values: Any) -> Any:
        compared.append(len(values))
        return match(values)

    monkeypatch.setattr(site.context.lookup, "match", spied)
    key = new_key(site.database, digests_per_day=6)
    assert site.ask("POST", "/v1/check", asked(*DIGESTS), key, Idempotency_Key="a").status == 200
    for _ in range(3):
        assert site.ask("POST", "/v1/check", asked(*DIGESTS), key).code == "quota_exceeded"
    assert site.ask("POST", "/v1/check", asked(*misses(1)), key, Idempotency_Key="a").code == "conflict"
    assert len(compared) == 1
    assert found(site.ask("POST", "/v1/check", asked(*DIGESTS), key, Idempotency_Key="a")) == MATCHES
    # Requests that are compared now count, too.
    other = new_key(site.database, name="other", digests_per_day=6)
    with site.database.reading() as connection:
        number = key_named(connection, "alpha", "other").id
    with site.context.reserved.reserving(number, 1):
        assert site.ask("POST", "/v1/check", asked(*DIGESTS), other).code == "quota_exceeded"
    assert site.ask("POST", "/v1/check", asked(*DIGESTS), other).status == 200


@pytest.mark.parametrize("limit", [{"digests_per_day": 1}, {"requests_per_minute": 2}])
def test_a_refused_key_is_refused_again_without_any_work(
    site: Node, limit: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    key, other = new_key(site.database, **limit), new_key(site.database, "beta")
    for _ in range(2):
        site.ask("POST", "/v1/check", asked(*misses(1)), key)
    first = site.ask("POST", "/v1/check", asked(*misses(2)), key)
    statements: list[str] = []
    event.listen(site.database.engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
    parsed: list[int] = []
    receive = h11.Connection.receive_data

    def counted(connection: h11.Connection, data: bytes) -> None:
        parsed.append(len(data))
        receive(connection, data)

    monkeypatch.setattr(h11.Connection, "receive_data", counted)
    for body in (asked(*misses(2)), b"not JSON", b"x" * (CHECK_BYTES + 1)):
        again = site.ask("POST", "/v1/check", body, key, Idempotency_Key="k")
        assert (again.status, again.code) == (429, first.code)
        assert 0 < int(again.headers["retry-after"]) <= int(first.headers["retry-after"])
    assert statements == []
    assert sum(parsed) < CHECK_BYTES // 2
    assert site.ask("GET", "/v1/info", key=other).status == 200
    # A quota of digests is about digests alone.
    status = site.ask("GET", "/v1/info", key=key).status
    assert status == (200 if "digests_per_day" in limit else 429)


def test_a_rate_holds_over_all_nodes(
    site: Node, database: Database, hub_state: StateDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "REFUSED_SECONDS", 0.0)
    now = [float(int(time.time()))]
    monkeypatch.setattr("hashscan.hub.web.requests.time.time", lambda: now[0])
    key, free = new_key(database, requests_per_minute=3), new_key(database, name="free")
    with node(database, hub_state) as second:
        assert [each.ask("GET", "/v1/info", key=key).status for each in (site, second, site)] == [200] * 3
        refused = second.ask("GET", "/v1/info", key=key)
        assert (refused.status, refused.code) == (429, "rate_limited")
        assert 0 < int(refused.headers["retry-after"]) <= 60
        assert second.ask("GET", "/v1/info", key=free).status == 200
        now[0] += 60
        assert second.ask("GET", "/v1/info", key=key).status == 200
        # A node takes several requests from the database at once, and no more than there are.
        often = new_key(database, name="often", requests_per_minute=125)
        answers = [node.ask("GET", "/v1/info", key=often).status for node in (site, second) * 63]
        assert answers.count(200) == 125


def test_changes_since_a_version(site: Node, hub_state: StateDir) -> None:
    key = new_key(site.database)
    version = site.ask("GET", "/v1/info", key=key).document["version"]
    same = site.ask("GET", f"/v1/changes?since={version}", key=key).document
    assert (same["version"], same["everything"]) == (version, False)
    store_list(hub_state.path, Entry("e5", "md5", LISTED, "A1"))
    assert site.context.lookup.reload()
    changed = site.ask("GET", f"/v1/changes?since={version}", key=key).document
    assert changed["everything"]
    assert changed["version"] != version
    for wrong in ("", "?since=", "?since=a%20b", "?since=a&since=b"):
        assert site.ask("GET", f"/v1/changes{wrong}", key=key).code == "invalid_document"


def test_the_last_opinion_of_an_organisation_is_kept(site: Node) -> None:
    key, other = new_key(site.database), new_key(site.database, "beta")
    for sender, opinion, reason in (
        (key, "wrong", "no such \x00 \ud800 picture"),
        (other, "wrong", ""),
        (key, "right", "seen\x1b[31m"),
    ):
        body = json.dumps({"entry": "e0", "opinion": opinion, "reason": reason}).encode()
        assert site.ask("POST", "/v1/feedback", body, sender).status == 200
    with site.database.reading() as connection:
        rows = connection.execute(
            select(FEEDBACK.c.opinion, FEEDBACK.c.reason).order_by("organisation")
        ).all()
    assert [tuple(row) for row in rows] == [("right", "seen\\x1b[31m"), ("wrong", "")]
    assert not [line for line, _ in read_audit(site.database) if line["action"] == "feedback"]
    for body in (b"", b"{}", b'{"entry": "e 0", "opinion": "wrong", "reason": ""}', b"x" * 20_000):
        assert site.ask("POST", "/v1/feedback", body, key).status in {413, 422}


def test_opinions_are_on_entries_that_exist_and_limited(site: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "OPINIONS_PER_DAY", 2)
    key, other = new_key(site.database), new_key(site.database, "beta")

    def answer(entry: str, opinion: str = "wrong", sender: str = key) -> str:
        body = json.dumps({"entry": entry, "opinion": opinion, "reason": ""}).encode()
        answered = site.ask("POST", "/v1/feedback", body, sender)
        return "" if answered.status == 200 else answered.code

    assert [answer(entry) for entry in ("e0", "none", "*", "p0", "e1")] == [
        "", "not_found", "not_found", "", "quota_exceeded",
    ]  # fmt: skip
    # Opinions may be changed, and others have their own number.
    assert (answer("p0", "right"), answer("e1", sender=other)) == ("", "")
    with site.database.reading() as connection:
        assert connection.execute(select(func.count()).select_from(FEEDBACK)).scalar() == 3


def test_a_revoked_key_is_refused_from_the_next_request_on(site: Node) -> None:
    key = new_key(site.database)
    assert site.ask("GET", "/v1/info", key=key).status == 200
    with site.database.transaction() as connection:
        revoke_key(connection, "cli me", "alpha", "k")
    assert site.ask("GET", "/v1/info", key=key).code == "key_invalid"


def test_nothing_is_answered_that_is_not_counted(site: Node) -> None:
    """As when the database's disk is full."""
    key = new_key(site.database)
    assert site.ask("GET", "/v1/info", key=key).status == 200
    failing = True

    def fail_to_commit(_: Any) -> None:
        if failing:
            raise DatabaseAwayError("the disk is full")

    event.listen(site.database.engine, "commit", fail_to_commit)
    refused = site.ask("POST", "/v1/check", asked(*DIGESTS), key, Idempotency_Key="k")
    assert (refused.status, refused.code) == (503, "database_away")
    assert int(refused.headers["retry-after"]) > 0
    failing = False
    assert counted(site.database) == []
    assert found(site.ask("POST", "/v1/check", asked(*DIGESTS), key, Idempotency_Key="k")) == MATCHES
    assert counted(site.database) == [(1, 4, 2, 2)]


class _Closing:
    """Notes that it was closed."""

    def __init__(self, released: list[bool]) -> None:
        self._released = released

    def close(self) -> None:
        self._released.append(True)


def test_former_lists_are_released(site: Node, hub_state: StateDir, monkeypatch: pytest.MonkeyPatch) -> None:
    lookup = site.context.lookup
    former = lookup._opened
    released: list[bool] = []
    monkeypatch.setattr(former, "_lists", _Closing(released))
    with lookup._using():
        store_list(hub_state.path, Entry("e5", "md5", LISTED, "A1"))
        assert lookup.reload()
        assert released == []
    assert released == [True]
    assert not former.enter()


def test_no_list_in_use_is_dropped_when_it_is_damaged(site: Node, hub_state: StateDir) -> None:
    lookup = site.context.lookup
    ListStore(hub_state.lists).import_entries("other", [Entry("o1", "md5", LISTED, "A1")], "test")
    assert lookup.reload()
    version = lookup.version
    (checksums,) = (hub_state.lists / "other").rglob("checksums.json")
    checksums.chmod(0o600)
    checksums.write_text("?")
    lookup._reloaded = -math.inf  # as after a while
    assert not lookup.reload()
    assert (lookup.version, [info.name for info in lookup.infos]) == (version, ["more", "other", "ours"])
    assert "o1" in {match.entry_id for match in lookup.match({"md5": LISTED})[1]["md5"][0]}


def test_an_exception_ends_by_time(site: Node, hub_state: StateDir, monkeypatch: pytest.MonkeyPatch) -> None:
    lookup = site.context.lookup
    asked = {"md5": bytes(range(16))}
    store_list(hub_state.path, Entry("e5", "md5", asked["md5"], "A1"))
    words = ["lists", "except", "e5", "--reason", "wrong", "--until", "2099-01-31", "--state", str(hub_state)]
    assert CliRunner().invoke(cli, words).exit_code == 0
    assert lookup.reload()
    assert lookup.match(asked)[1]["md5"] == {}

    class Later(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime(2099, 2, 1, tzinfo=tz)

    monkeypatch.setattr("hashscan.hub.checks.lookup.datetime", Later)
    assert not lookup.reload()
    lookup._reloaded = -math.inf  # as after a while
    assert lookup.reload()
    assert lookup.match(asked)[1]["md5"][0]
    lookup._reloaded = -math.inf
    assert not lookup.reload()
