"""An organisation is deleted while a request of its own, or one about it, is answered: at each place."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple
from uuid import uuid4

import argon2
import pytest
from sqlalchemy import event, select

from hashscan.hub.accounts import sign_in, users
from hashscan.hub.accounts.organisations import delete_organisation, organisation_named, organisations
from hashscan.hub.accounts.privacy import remains
from hashscan.hub.checks.lookup import Lookup
from hashscan.hub.intake.reports import begin_report
from hashscan.hub.notices.notices import NewNotice, send_notice
from hashscan.hub.storage.database import Database, DatabaseError
from hashscan.hub.storage.tables import CASES
from hashscan.hub.web.requests import Context, HubSettings
from hashscan.hub_api import ReportBegin
from hashscan.model import Entry
from hashscan.settings.service import TcpAddress
from hashscan.state_dir import StateDir
from tests.hub.intake.reports import SCOPE, finding, lines, scan_record, summary
from tests.hub.pages.browsing import PASSWORD, Answer, Browser, signed_in, user
from tests.hub.serving import new_key
from tests.service.engine.serving import store_list
from tests.waiting import until

DONE, REFUSED = {200, 204, 303}, {400, 401, 403, 404, 409}
DIGESTS = {"digests": [{"algorithm": "md5", "value": "00" * 16}]}
AT = "2026-11-28T22:00:00+00:00"


class Deletion:
    """Deletes an organisation right before one of the next statements at which something may be missing."""

    def __init__(self, database: Database) -> None:
        self._database = Database(database.engine)  # as that of another process
        self._name, self._left = "", 0
        # SQLite has one writer at a time: nothing is deleted within a transaction of another.
        self._places = ("BEGIN",) if database.is_sqlite else ("INSERT", "UPDATE")
        event.listen(database.engine, "before_cursor_execute", self._before)

    def plan(self, name: str, place: int) -> None:
        """Delete `name` before the statement of this number, from 1."""
        self._name, self._left = name, place

    @property
    def was_planned_too_late(self) -> bool:
        return self._left > 0

    def _before(self, _connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if self._left and statement.startswith(self._places):
            self._left -= 1
            if not self._left:
                self._delete()

    def _delete(self) -> None:
        try:
            with self._database.transaction() as connection:
                if not self._database.is_sqlite:
                    connection.exec_driver_sql("SET LOCAL lock_timeout = 1")
                delete_organisation(connection, "cli me", self._name)
        except DatabaseError:
            # The request has locked a row, so that a deletion waits until it has ended.
            assert not self._database.is_sqlite


class Owner(NamedTuple):
    """An organisation with one of everything, and those who ask."""

    name: str
    id: int
    key: str
    scan: str
    notice: int
    case: int
    member: Browser
    operator: Browser

    def ask(self, method: str, path: str, body: Any = b"", **headers: str) -> Answer:
        """Send a request with its key."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"authorization": f"Bearer {self.key}", "content-length": str(len(data)), **headers}
        return self.visitor().ask(method, path, data, sent)

    def report(self) -> bytes:
        return lines([scan_record(self.scan, started=AT), finding("/srv/a"), finding("/srv/b"), summary()])

    def visitor(self) -> Browser:
        """The browser of somebody who is not signed in."""
        return Browser(self.operator.context, app=self.operator.app)


REQUESTS: dict[str, Callable[[Owner], Answer]] = {
    "check": lambda o: o.ask("POST", "/v1/check", DIGESTS),
    "repeatable check": lambda o: o.ask("POST", "/v1/check", DIGESTS, **{"idempotency-key": "k"}),
    "feedback": lambda o: o.ask("POST", "/v1/feedback", {"entry": "e0", "opinion": "wrong", "reason": ""}),
    "begin": lambda o: o.ask("POST", f"/v1/reports/{uuid4()}", {"host": "new", "scope": SCOPE}),
    "records": lambda o: o.ask("POST", f"/v1/reports/{o.scan}/records?from=0", o.report()),
    "notices": lambda o: o.ask("GET", "/v1/notices?since=0&host=web1"),
    "notice": lambda o: o.ask("POST", f"/v1/notices/{o.notice}", {"event": "acknowledged", "at": AT}),
    "page": lambda o: o.member.get(f"/organisations/{o.name}"),
    "sign in": lambda o: o.visitor().sign_in(f"mary-{o.name}"),
    "new key": lambda o: o.operator.send(
        "/account", f"/organisations/{o.name}/keys/add", name="new", right="check"
    ),
    "new user": lambda o: o.operator.send(
        "/account", "/users/add", name=f"new-{o.name}", role="member", organisation=o.name
    ),
    "new notice": lambda o: o.operator.send(
        "/account", "/notices", organisation=o.name, url="https://example.net/b", category="A1"
    ),
    "decision": lambda o: o.operator.send(
        "/account", f"/cases/{o.case}", decision="confirmed", reason="seen", moved="0"
    ),
}


@pytest.fixture
def context(database: Database, hub_state: StateDir, monkeypatch: pytest.MonkeyPatch) -> Iterator[Context]:
    hasher = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    for module in (users, sign_in):
        monkeypatch.setattr(module, "HASHER", hasher)
    monkeypatch.setattr("hashscan.hub.web.pages.account.REFUSED_SECONDS", 0.0)
    store_list(hub_state.path, Entry("e0", "md5", bytes(16), "A1"))
    with Lookup(hub_state) as lookup:
        yield Context(HubSettings(hub_state, "", TcpAddress("127.0.0.1", 8480)), database, lookup)


def new_owner(context: Context, name: str, operator: Browser) -> Owner:
    database, scan, now = context.database, str(uuid4()), int(time.time())
    key = new_key(database, name, requests_per_minute=9)
    with database.transaction() as connection:
        number = organisation_named(connection, name).id
        wanted = NewNotice(url="https://example.net/a", category="A1", reference=name)
        notice = send_notice(connection, "cli me", name, wanted, now).number
        case = connection.execute(select(CASES.c.id).where(CASES.c.notice == notice)).scalar_one()
    begin_report(database, number, scan, ReportBegin("web1", SCOPE), now)
    user(database, f"mary-{name}", "member", name)
    member = Browser(context, app=operator.app)
    member.sign_in(f"mary-{name}", PASSWORD)
    return Owner(name, number, key, scan, notice, case, member, operator)


@pytest.mark.parametrize("request_name", REQUESTS)
def test_a_request_while_its_organisation_is_deleted(context: Context, request_name: str) -> None:
    deletion = Deletion(context.database)
    operator = signed_in(context, "olga", "operator")
    found = []
    for place in itertools.count(1):
        owner = new_owner(context, f"o{place}", operator)
        deletion.plan(owner.name, place)
        found.append(int(REQUESTS[request_name](owner).status))
        if deletion.was_planned_too_late:
            break
        with context.database.reading() as connection:
            if all(each.name != owner.name for each in organisations(connection)):
                assert remains(connection, owner.id) == {}
    assert set(found) <= DONE | REFUSED
    assert found[-1] in DONE


def test_a_deletion_waits_for_a_report_that_comes_in(context: Context) -> None:
    database = context.database
    if database.is_sqlite:
        pytest.skip("SQLite has one writer at a time")
    owner = new_owner(context, "alpha", signed_in(context, "olga", "operator"))
    with ThreadPoolExecutor(1) as threads:
        deleting: list[Future[None]] = []

        def delete() -> None:
            with database.transaction() as connection:
                delete_organisation(connection, "cli me", "alpha")

        def is_waiting() -> bool:
            with database.reading() as connection:
                return bool(connection.exec_driver_sql("SELECT 1 FROM pg_locks WHERE NOT granted").first())

        def before(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
            if "nextval" in statement and not deleting:
                deleting.append(threads.submit(delete))
                until(is_waiting)

        event.listen(database.engine, "before_cursor_execute", before)
        assert REQUESTS["records"](owner).status in DONE | REFUSED
        deleting[0].result(60)
    with database.reading() as connection:
        assert remains(connection, owner.id) == {}
