"""Measure how many records a second a hub's node takes in, and how long other requests take meanwhile.

    python -m benchmarks.hub.reports [--servers 100] [--findings 10000] [--senders 8]
        [--database postgresql://...] [--again]

Simulated servers send reports of so many findings each, by HTTP to a node in a process of its own, from
threads here; their parts are made before. Meanwhile, an operator's browser asks for the pages `/`, `/cases`,
`/servers` and `/organisations`, twice a second. With --again, the same servers then report the same
findings by another scan, as on the next night: each updates its case. Each line is JSON.
"""

from __future__ import annotations

import argparse
import gzip
import http.client
import json
import os
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy import update

from benchmarks.hub.checks import free_port, processor_time, running
from benchmarks.lib.build import announce_build
from hashscan.hub.accounts.keys import add_key
from hashscan.hub.accounts.organisations import add_organisation
from hashscan.hub.accounts.sessions import begin_session
from hashscan.hub.accounts.users import add_user, user_named
from hashscan.hub.storage.database import open_database
from hashscan.hub.storage.tables import USERS
from hashscan.hub_api import RECORDS_MAX
from hashscan.state_dir import StateDir

_SCOPE = "5" * 64
PAGES = ("/", "/cases", "/servers", "/organisations")


def records(name: str, server: int, findings: int) -> Iterator[dict[str, Any]]:
    """Yield the records of one report, as `report push` sends them with names."""
    lists = [{"name": "national", "state": "fresh", "version": 3, "entries": 9, "fingerprint": "aa"}]
    yield {
        "type": "scan", "schema": 1, "uuid": name, "version": "0.1.0", "host": f"web{server}",
        "started": "2026-11-28T22:00:00+00:00", "targets": [], "lists": lists, "excepted": [],
        "breaker": {"owners": 3, "files": 100}, "sandbox": {"mode": "auto"}, "fail_on": "match",
        "strict": False,
    }  # fmt: skip
    for number in range(findings):
        match = {
            "list": "national", "entry": f"entry-{number % 997}", "algorithm": "pdq", "category": "A1",
            "distance": number % 31, "threshold": 31,
        }  # fmt: skip
        yield {
            "type": "finding", "schema": 1, "path": f"/var/www/customer{number % 500}/upload/{number}.jpg",
            "customer": f"customer{number % 500}", "verdict": "match", "because": "", "size": 1000 + number,
            "matches": [match],
        }  # fmt: skip
    passed = {"folders": 1, "links": 0, "specials": 0, "excluded_folders": 0}
    yield {
        "type": "summary", "schema": 1, "verdicts": {"match": findings}, "reasons": {},
        "folders_not_entered": {}, "passed": passed, "empty_targets": 0, "test_findings": 0,
        "low_quality_pictures": 0, "bytes": 10, "unchanged": 0, "incomplete": [],
        "only_test_entries": False, "exit_code": 1, "ended": "2026-11-28T23:00:00+00:00",
    }  # fmt: skip


def parts_of(server: int, findings: int) -> tuple[str, int, list[bytes]]:
    """Return a report's uuid, its server, and its parts, compressed."""
    name = str(uuid.uuid4())
    lines = [json.dumps(record).encode() + b"\n" for record in records(name, server, findings)]
    starts = range(0, len(lines), RECORDS_MAX)
    return name, server, [gzip.compress(b"".join(lines[at : at + RECORDS_MAX]), 1) for at in starts]


class Connection:
    """A connection to the node that is kept."""

    def __init__(self, port: int, **headers: str) -> None:
        self._headers = headers
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
        """Send one request, and return status and body of its answer."""
        sent = {name.replace("_", "-"): value for name, value in {**self._headers, **headers}.items()}
        self._connection.request(method, path, body, sent)
        response = self._connection.getresponse()
        return response.status, response.read()


def send(report: tuple[str, int, list[bytes]], port: int, key: str) -> None:
    """Send one report, as a server does."""
    name, server, parts = report
    node = Connection(port, Authorization=f"Bearer {key}")
    path = f"/v1/reports/{name}"
    node.ask("POST", path, json.dumps({"host": f"web{server}", "scope": _SCOPE}).encode())
    for number, part in enumerate(parts):
        while True:
            address = f"{path}/records?from={number * RECORDS_MAX}"
            status, answer = node.ask("POST", address, part, Content_Encoding="gzip")
            if status == 200:
                break
            node = Connection(port, Authorization=f"Bearer {key}")
            time.sleep(1)
    assert json.loads(answer)["complete"], answer


def browse(port: int, session: str, seconds: dict[str, list[float]], over: threading.Event) -> None:
    """Ask for pages again and again, and note how long each answer takes."""
    node = Connection(port, Cookie=f"hashscan-session={session}")
    while not over.is_set():
        for path in PAGES:
            began = time.perf_counter()
            status, _ = node.ask("GET", path)
            seconds[path].append(time.perf_counter() - began)
            assert status == 200, status
            over.wait(0.5)


def operator_session(connection: sqlalchemy.Connection) -> str:
    """Return the cookie of a signed-in operator."""
    name = f"op{os.getpid()}"
    add_user(connection, "cli benchmark", name, "operator")
    values = {"password": "", "totp": "JBSWY3DPEHPK3PXP"}
    connection.execute(update(USERS).where(USERS.c.name == name).values(**values))
    return begin_session(connection, user_named(connection, name).id, int(time.time()))


def night(
    reports: Sequence[tuple[str, int, list[bytes]]], port: int, key: str, session: str, senders: int, pid: int
) -> dict[str, Any]:
    """Send all reports, and return what was measured."""
    answers: dict[str, list[float]] = {path: [] for path in PAGES}
    over = threading.Event()
    browser = threading.Thread(target=browse, args=(port, session, answers, over))
    browser.start()
    used, began = processor_time([pid]), time.perf_counter()
    with ThreadPoolExecutor(senders) as threads:
        list(threads.map(lambda report: send(report, port, key), reports))
    took, used = time.perf_counter() - began, processor_time([pid]) - used
    over.set()
    browser.join()
    every = sorted(chain.from_iterable(answers.values()))
    return {
        "seconds": round(took, 2),
        "processor_seconds_of_node": round(used, 2),
        "pages": len(every),
        "p50_ms": round(1000 * every[len(every) // 2], 1),
        "p95_ms": round(1000 * every[int(len(every) * 0.95)], 1),
        "max_ms": {path: round(1000 * max(some), 1) for path, some in answers.items()},
    }


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--servers", type=int, default=100)
    parser.add_argument("--findings", type=int, default=10_000)
    parser.add_argument("--senders", type=int, default=8)
    parser.add_argument("--database", default="")
    parser.add_argument("--again", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        state = StateDir(Path(folder, "state"))
        with open_database(state, options.database) as database:
            database.migrate()
            with database.transaction() as connection:
                add_organisation(connection, "cli benchmark", f"alpha{os.getpid()}")
                name = f"alpha{os.getpid()}"
                key = add_key(connection, "cli benchmark", name, "k", ["report"], requests_per_minute=0)
                session = operator_session(connection)
        port = free_port()
        command = [
            sys.executable, "-m", "hashscan", "hub", "serve", "--list", "demo", "--state", str(state),
            "--listen", f"tcp:127.0.0.1:{port}", "--database", options.database, "-q",
        ]  # fmt: skip
        with running(command, port, {}) as pid:
            for run in range(1 + options.again):
                reports = [parts_of(server, options.findings) for server in range(options.servers)]
                found = night(reports, port, key, session, options.senders, pid)
                number = options.servers * (options.findings + 2)
                found["records_per_second"] = round(number / found["seconds"])
                found["records_per_processor_second"] = round(number / found["processor_seconds_of_node"])
                about = {"database": options.database or "sqlite", "night": run + 1, "records": number}
                print(json.dumps({**about, **found}), flush=True)


if __name__ == "__main__":
    announce_build()
    main()
