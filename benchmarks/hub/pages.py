"""Measure how long a hub's pages take, with 0, 3 and 5,000 organisations and 50,000 cases.

    python -m benchmarks.hub.pages [--cases 50000] [--requests 30] [--database postgresql://...]

The pages are made in this process, without a network. Printed are, for each page, the median and the 99th
percentile of its processor time, without that of a PostgreSQL server, and of its wall time; in milliseconds.
The database must have no tables of a hub: with PostgreSQL, name an empty one for each number of
organisations by `--organisations`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from sqlalchemy import Connection, literal, select
from starlette.applications import Starlette

from benchmarks.lib.build import announce_build
from hashscan.hub.accounts.audit import record
from hashscan.hub.accounts.keys import add_key
from hashscan.hub.accounts.organisations import add_organisation
from hashscan.hub.accounts.sessions import begin_session, set_switch
from hashscan.hub.accounts.users import Role, add_user
from hashscan.hub.checks.counting import month_of
from hashscan.hub.storage.database import Database, open_database
from hashscan.hub.storage.tables import (
    CASES,
    CHECK_MONTHS,
    EVENTS,
    NOTICES,
    ORGANISATIONS,
    SCANS,
    SERVERS,
    USERS,
)
from hashscan.hub.web.application import make_application
from hashscan.hub.web.requests import Context, HubSettings
from hashscan.settings.service import TcpAddress
from hashscan.state_dir import StateDir

HOUR, DAY = 3600, 86_400
LONG = "a-very-long-name-without-any-place-to-break-it-" * 4
HOSTILE = "<script>alert(1)</script>\u202egnp.exe\x1b[0m"
_PATHS = ("/", "/cases", "/cases?state=overdue", "/cases?state=all", "/review", "/servers",
          "/servers?silent=yes", "/organisations", "/notices", "/audit", "/users", "/settings",
          "/lists")  # fmt: skip
_PATHS_OF_ONE = ("/cases?organisation=hoster-00001", "/cases?host=web1.example.net",
                 "/cases?category=A1&state=all", "/cases?category=none&state=all", "/cases/1", "/servers/1",
                 "/organisations/hoster-00001", "/audit?actor=cli+me",
                 "/audit?organisation=hoster-00001")  # fmt: skip


def fill(connection: Connection, organisations: int, cases: int) -> None:
    """Add organisations with a server and a year of checks each, and cases that are spread over them."""
    now = int(time.time())
    for number in range(1, min(organisations, 3) + 1):
        name = f"hoster-{number:05}"
        add_organisation(
            connection, "cli me", name, title=f"Hoster {number} with quite a long name B.V.", country="NL",
            contacts=[f"abuse@{name}.example.net"], networks=["2001:db8:1234::/48"], as_numbers=[64496],
        )  # fmt: skip
        add_key(
            connection, "cli me", name, "web-servers-amsterdam", ["check", "report"], digests_per_day=10**7
        )
        add_key(connection, "cli me", name, LONG[:64], ["cases"], expires=now + DAY)
    further = range(4, organisations + 1)
    if further:
        rows = [{"name": f"hoster-{n:05}", "title": f"Hoster {n}", "created": now} for n in further]
        connection.execute(ORGANISATIONS.insert(), rows)
    if organisations:
        _add_servers(connection, organisations, now)
        _add_checks(connection, now)
        _add_cases(connection, organisations, cases, now)
        _add_notices(connection, organisations, now)
    record(connection, "cli me", "server.report", 1, {"host": LONG + HOSTILE})


def _add_servers(connection: Connection, organisations: int, now: int) -> None:
    numbers = range(1, organisations + 1)
    document = json.dumps([{"name": "national", "version": 12, "entries": 1_000_000, "state": "fresh"}])
    connection.execute(
        SERVERS.insert(),
        [
            {"organisation": n, "name": LONG + HOSTILE if n == 2 else f"web{n}.example.net", "first": 1,
             "seen": now - n * HOUR, "scan": f"scan-{n}", "silent": now - DAY if n % 50 == 2 else None}
            for n in numbers
        ],
    )  # fmt: skip
    verdicts = '{"match":3,"review":12,"undecoded":1234,"clean":9876543}'
    connection.execute(
        SCANS.insert(),
        [
            {"uuid": f"scan-{n}", "organisation": n, "server": n, "started": now - n * HOUR, "ended": now,
             "received": now, "records": 10, "complete": True, "version": "0.5.0", "exit_code": n % 5,
             "files": 9_877_792, "findings": 15, "verdicts": verdicts, "lists": document}
            for n in numbers
        ],
    )  # fmt: skip


def _add_checks(connection: Connection, now: int) -> None:
    months = [month_of(now)]
    while len(months) < 12:
        months.append(month_of(months[-1] - 1))
    n, columns = ORGANISATIONS.c.id, [column.name for column in CHECK_MONTHS.c]
    for place, begin in enumerate(months):
        for category in ("", "A1", LONG[:40]):
            counts = n + 1000 * (12 - place), (n + place) % 9
            rows = select(n, literal(begin), literal(category), *counts)
            connection.execute(CHECK_MONTHS.insert().from_select(columns, rows))


def _add_cases(connection: Connection, organisations: int, cases: int, now: int) -> None:
    entries = json.dumps([{"list": "national", "entry": "e-1234567", "algorithm": "pdq", "distance": 12}])
    names = [LONG + HOSTILE, "var/www/customer/uploads/2026/photo.jpg", "home/käthe/Bilder/тест/写真.png"]
    connection.execute(
        CASES.insert(),
        [
            {"organisation": n % organisations + 1, "server": n % organisations + 1, "place": n.to_bytes(32),
             "path": f"/{names[n % 3]}.{n}", "verdict": ("match", "review", "held")[n % 3], "size": n,
             "categories": ("A1 b", "A2")[n % 2], "entries": entries, "sha256": "ab" * 32,
             "customer": "c-17", "found": now - n * 60, "seen": now, "deadline": now + DAY - n * 600,
             "removed": now if n % 4 == 3 else None}
            for n in range(cases)
        ],
    )  # fmt: skip
    connection.execute(
        EVENTS.insert(),
        [
            {"case": 1, "at": now, "kind": kind, "words": LONG + HOSTILE, "who": "hub"}
            for kind in ("found", "back")
        ],
    )


def _add_notices(connection: Connection, organisations: int, now: int) -> None:
    connection.execute(
        NOTICES.insert(),
        [
            {"organisation": n % organisations + 1, "reference": f"R-{n:06}", "category": "A1", "sent": now,
             "position": n + 1, "url": f"https://example.net/{LONG}/{n}", "sent_by": "olga",
             "deadline": now + (n - 9) * HOUR}
            for n in range(20)
        ],
    )  # fmt: skip


def signed_in(connection: Connection, name: str, role: Role, organisation: str = "") -> str:
    """Add a user, and return the value of the cookie of a session."""
    add_user(connection, "cli me", name, role, organisation, by_proxy=True)
    number = connection.execute(USERS.select().where(USERS.c.name == name)).one().id
    return begin_session(connection, number, int(time.time()))


def get(app: Starlette, path: str, token: str) -> bytes:
    """Ask the application for a page, and return its body."""
    path, _, query = path.partition("?")
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET",
        "scheme": "http", "path": path, "raw_path": path.encode(), "query_string": query.encode(),
        "root_path": "", "client": ("127.0.0.1", 50_000), "server": ("127.0.0.1", 8480), "state": {},
        "headers": [(b"host", b"127.0.0.1:8480"), (b"cookie", f"hashscan-session={token}".encode())],
    }  # fmt: skip
    status, body = 0, b""

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        nonlocal status, body
        status = message.get("status", status)
        body += message.get("body", b"")

    asyncio.run(app(scope, receive, send))
    if status != 200:
        raise SystemExit(f"{path}: status {status}")
    return body


def figures(
    context: Context, pages: list[tuple[str, str]], requests: int
) -> Iterator[tuple[str, list[float]]]:
    """Yield the name of each page with its four figures in milliseconds."""
    app = make_application(context)
    for path, token in pages:
        get(app, path, token)
        taken = []
        for _ in range(requests):
            before = time.process_time(), time.perf_counter()
            get(app, path, token)
            taken.append((time.process_time() - before[0], time.perf_counter() - before[1]))
        of_kinds = 1000 * np.array(taken).T
        yield path, [float(np.percentile(kind, share)) for kind in of_kinds for share in (50, 99)]


def measure(database: Database, state: StateDir, organisations: int, options: argparse.Namespace) -> None:
    """Fill a database, and print a line for each page."""
    database.migrate()
    with database.transaction() as connection:
        fill(connection, organisations, options.cases if organisations else 0)
        set_switch(database, connection, "cli me", "operators_need_second_factor", False)
        operator = signed_in(connection, "olga", "operator")
        member = signed_in(connection, "mary", "member", "hoster-00001") if organisations else ""
    if not database.is_sqlite:
        # As its own background process does.
        with database.engine.connect() as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql("VACUUM ANALYZE")
    lookup: Any = SimpleNamespace(infos=(), version="")
    context = Context(HubSettings(state, "", TcpAddress("127.0.0.1", 8480)), database, lookup)
    pages = [(path, operator) for path in _PATHS + (_PATHS_OF_ONE if organisations else ())]
    pages += [("/?of=member", member), ("/cases?of=member", member)] if organisations else []
    kind = "SQLite" if database.is_sqlite else "PostgreSQL"
    print(f"{kind}, {organisations:,} organisations, {options.cases if organisations else 0:,} cases")
    print(f"{'page':42} {'CPU median':>10} {'p99':>7} {'wall median':>12} {'p99':>7}")
    for path, values in figures(context, pages, options.requests):
        print(f"{path:42} {values[0]:10.1f} {values[1]:7.1f} {values[2]:12.1f} {values[3]:7.1f}", flush=True)


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--organisations", type=int, nargs="+", default=[0, 3, 5000])
    parser.add_argument("--cases", type=int, default=50_000)
    parser.add_argument("--requests", type=int, default=30, help="requests for each page")
    parser.add_argument("--database", default="", help="an empty PostgreSQL database; default: SQLite")
    options = parser.parse_args()
    for organisations in options.organisations:
        with tempfile.TemporaryDirectory() as folder:
            state = StateDir(Path(folder, "state"))
            with open_database(state, options.database) as database:
                measure(database, state, organisations, options)


if __name__ == "__main__":
    announce_build()
    main()
