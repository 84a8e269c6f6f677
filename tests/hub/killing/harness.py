"""A hub under load whose processes are killed at random; then what clients know is compared with its counts.

Everything is real: PostgreSQL (or SQLite), nodes, HAProxy before two of them, client processes that keep on
disk what is not acknowledged, and the commands of an organisation's servers.
"""

from __future__ import annotations

import contextlib
import json
import random
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, select

from hashscan.errors import UsageError
from hashscan.hub.accounts.audit import read_audit
from hashscan.hub.notices.notices import NewNotice, send_notice
from hashscan.hub.storage.database import Database, DatabaseAwayError, open_database
from hashscan.hub.storage.tables import (
    CASES,
    CHECKS,
    DETECTIONS,
    EVENTS,
    NOTICES,
    ORGANISATIONS,
    REQUESTS,
    SCANS,
    SERVERS,
)
from hashscan.model import Entry
from hashscan.state_dir import StateDir
from tests.cli.conftest import environment
from tests.hub.databases import TEMPLATE, PostgresServer, postgres
from tests.hub.killing.fleet import (
    Commands,
    KeptRunning,
    balanced,
    client_command,
    free_port,
    is_open,
    kill_postgres,
    node_command,
    wait_for,
)
from tests.hub.killing.sites import Site
from tests.hub.serving import new_key
from tests.service.engine.serving import store_list

_ORGANISATIONS = ("alpha", "beta")
_CLIENTS = 1
"""Processes that check digests, of each organisation."""
_LISTED = [Entry(f"sha1-{n}", "sha1", bytes([n] * 20), "A1") for n in range(3)] + [
    Entry("pdq-0", "pdq", bytes(range(32)), "B2")
]
_COUNTS = ("requests", "exact", "perceptual", "detected")


@dataclass
class Outcome:
    """The result of a run."""

    seconds: float
    kills: Counter[str] = field(default_factory=Counter)
    ended: Counter[str] = field(default_factory=Counter)
    """Commands that have ended, after they were killed any number of times."""
    partly: int = 0
    """Kills of `report push` when the hub had a part of the report."""
    repeated: int = 0
    """Requests that had to be sent again."""
    known: dict[str, int] = field(default_factory=dict)
    """Numbers that clients and servers know, by name."""
    counted: dict[str, int] = field(default_factory=dict)
    """These numbers in the hub's database."""
    trouble: list[str] = field(default_factory=list)
    """Answers and exit codes that must not be."""

    def differences(self) -> list[str]:
        """Return what is not equal."""
        names = sorted(self.known.keys() | self.counted.keys())
        return [name for name in names if self.known.get(name) != self.counted.get(name)]


def run(folder: Path, kind: str, seconds: float, seed: int, outage: float = 0.0) -> Outcome:
    """Put a hub under load for some time, kill its parts, and compare.

    Args:
        kind: sqlite, with one node; or postgresql, with two behind HAProxy.
        outage: seconds for which PostgreSQL is gone, once.
    """
    with contextlib.ExitStack() as stack:
        state = StateDir(folder / "hub")
        state.make()
        server: PostgresServer | None = None
        address = ""
        if kind == "postgresql":
            server = stack.enter_context(postgres())
            address = server.address(server.create(TEMPLATE))
        store_list(state.path, *_LISTED)
        database = stack.enter_context(open_database(state, address))
        database.migrate()
        return _Run(folder, state, database, address, server, seed).run(seconds, outage)


class _Run:
    def __init__(
        self,
        folder: Path,
        state: StateDir,
        database: Database,
        address: str,
        server: PostgresServer | None,
        seed: int,
    ) -> None:
        self._folder, self._state, self._database, self._address = folder, state, database, address
        self._server = server
        self._chosen = random.Random(seed)
        self._commands = Commands(seed)
        self._sites = [
            Site(self._commands, folder / f"site-{name}", f"web-{name}", name, seed + number)
            for number, name in enumerate(_ORGANISATIONS)
        ]
        self._sent: dict[str, list[str]] = {site.name: [] for site in self._sites}
        """References of notices that were sent, by the server."""
        self._outcome = Outcome(0)
        self._commands.on_kill = self._note_kill
        for site in self._sites:
            site.received = self._received

    def run(self, seconds: float, outage: float) -> Outcome:
        began = time.time()
        keys = {name: new_key(self._database, name) for name in _ORGANISATIONS}
        ports = [free_port() for _ in range(1 if self._server is None else 2)]
        with contextlib.ExitStack() as stack:
            nodes = {port: self._kept(stack, node_command(self._address, port)) for port in ports}
            for port in ports:
                wait_for(port)
            port = ports[0] if self._server is None else stack.enter_context(balanced(self._folder, ports))
            for site in self._sites:
                site.set_up(f"http://127.0.0.1:{port}/", keys[site.organisation])
            folders = [
                (name, self._client_folder(f"{name}{number}"))
                for name in _ORGANISATIONS
                for number in range(_CLIENTS)
            ]
            clients = [
                self._kept(stack, client_command(folder, port, keys[name])) for name, folder in folders
            ]
            self._load(seconds, outage, nodes, clients)
            for port in ports:
                wait_for(port)
            self._finish_all([folder for _, folder in folders])
        self._outcome.kills += self._commands.kills
        self._outcome.ended += self._commands.ended
        month = "/".join(sorted({time.strftime("%Y-%m", time.gmtime(at)) for at in (began, time.time())}))
        self._compare_checks(month, folders)
        audit = Counter((line["action"], line.get("notice")) for line, _ in read_audit(self._database))
        for site in self._sites:
            with self._database.reading() as connection:
                self._compare_reports(connection, site)
                self._compare_notices(connection, site, audit)
            self._outcome.trouble += site.trouble
        self._outcome.trouble = list(dict.fromkeys(self._outcome.trouble))
        self._outcome.seconds = time.time() - began
        return self._outcome

    def _kept(self, stack: contextlib.ExitStack, command: list[object]) -> KeptRunning:
        kept = KeptRunning(command, environment(self._state.path))
        stack.callback(kept.stop)
        return kept

    def _client_folder(self, name: str) -> Path:
        folder = self._folder / name
        folder.mkdir()
        listed = {
            algorithm: [entry.value.hex() for entry in _LISTED if entry.algorithm == algorithm]
            for algorithm in ("sha1", "pdq")
        }
        (folder / "listed").write_text(json.dumps(listed))
        (folder / "acknowledged").touch()
        return folder

    def _load(
        self, seconds: float, outage: float, nodes: dict[int, KeptRunning], clients: list[KeptRunning]
    ) -> None:
        """Let all work, and kill."""
        stopping = threading.Event()
        works = [work for site in self._sites for work in (site.work, site.work_by_hand)]
        threads = [threading.Thread(target=work, args=(stopping,)) for work in (*works, self._operate)]
        for thread in threads:
            thread.start()
        try:
            begin = time.monotonic()
            while time.monotonic() < begin + seconds and not any(site.trouble for site in self._sites):
                time.sleep(self._chosen.uniform(0.2, 2))
                kind = self._chosen.choices(("node", "client", "postgresql"), (4, 4, 1))[0]
                if kind == "postgresql":
                    if self._server is None:
                        continue
                    kill_postgres(self._server)
                    time.sleep(self._chosen.uniform(0, 1))
                    self._server.start()
                elif kind == "node":
                    # A node takes seconds to start: with none at all, nothing would be under load.
                    if not all(map(is_open, nodes)):
                        continue
                    nodes[self._chosen.choice(list(nodes))].kill()
                else:
                    self._chosen.choice(clients).kill()
                self._outcome.kills[kind] += 1
                if outage and self._server is not None and time.monotonic() > begin + seconds / 2:
                    self._take_away(self._server, outage, list(nodes))
                    outage = 0.0
        finally:
            self._commands.is_killing = False
            stopping.set()
            for thread in threads:
                thread.join()

    def _note_kill(self, kind: str, words: Sequence[object]) -> None:
        """Look how much the hub has of a report whose sender was killed."""
        reports = [word for word in words if isinstance(word, Path) and word.suffix == ".jsonl"]
        if kind == "report push":
            self._outcome.partly += any(map(self._received, reports))

    def _received(self, report: Path) -> int:
        """Return how many records the hub has of a report; 0 if it has all, or nobody knows."""
        with report.open() as stream:
            name = json.loads(stream.readline())["uuid"]
        begun = select(SCANS.c.records).where(SCANS.c.uuid == name, ~SCANS.c.complete)
        with contextlib.suppress(DatabaseAwayError), self._database.reading() as connection:
            return int(connection.execute(begun).scalar() or 0)
        return 0

    def _take_away(self, server: PostgresServer, outage: float, ports: list[int]) -> None:
        """Stop PostgreSQL for some time; meanwhile each node answers that it can't be reached."""
        for port in ports:
            # A node that starts needs the database.
            wait_for(port)
        server.stop(kill=True)
        try:
            until = time.monotonic() + outage
            while time.monotonic() < until:
                for port in ports:
                    for path in ("readyz", "v1/info", "statistics"):
                        self._require_away(f"http://127.0.0.1:{port}/{path}")
                time.sleep(0.5)
        finally:
            server.start()
        self._outcome.ended[f"outage of {outage:.0f} s"] += 1

    def _require_away(self, url: str) -> None:
        try:
            with urllib.request.urlopen(
                urllib.request.Request(url, headers={"Authorization": "Bearer k"}), timeout=30
            ) as answer:
                self._outcome.trouble.append(f"{url}: status {answer.status} without PostgreSQL")
        except urllib.error.HTTPError as error:
            if error.code != 503 or not error.headers.get("Retry-After"):
                self._outcome.trouble.append(f"{url}: status {error.code} without PostgreSQL")

    def _operate(self, stopping: threading.Event) -> None:
        """Send notices, as an operator does: a command that fails is repeated with the same reference."""
        number = 0
        while not stopping.wait(1.0):
            number += 1
            site = self._sites[number % len(self._sites)]
            path = site.www / f"noticed{number}"
            path.write_bytes(b"noticed %d" % number)
            reference = f"P-{number}"
            notice = NewNotice(path=str(path), host=site.name, category="A1", reference=reference)
            while True:
                try:
                    with self._database.transaction() as connection:
                        send_notice(connection, "cli me", site.organisation, notice, int(time.time()))
                except DatabaseAwayError:
                    time.sleep(0.1)
                    continue
                except UsageError:
                    # The answer to the commit was lost.
                    pass
                break
            self._sent[site.name].append(reference)

    def _finish_all(self, clients: list[Path]) -> None:
        """Let all finish what they have begun, with nothing killed any more; remove some noticed files."""
        for folder in clients:
            (folder / "stop").touch()
        with ThreadPoolExecutor() as threads:
            list(threads.map(Site.finish, self._sites))
        until = time.monotonic() + 120
        while any((folder / "pending").exists() for folder in clients) and time.monotonic() < until:
            time.sleep(0.1)

    def _compare_checks(self, month: str, clients: list[tuple[str, Path]]) -> None:
        keys: set[str] = set()
        sums = {name: Counter[str]() for name in _ORGANISATIONS}
        for name, folder in clients:
            if (folder / "trouble").exists():
                self._outcome.trouble.append(f"{folder.name}: {(folder / 'trouble').read_text()}")
            # By key: a client that is killed after it has noted an answer asks again.
            lines = [json.loads(line) for line in (folder / "acknowledged").read_text().splitlines()]
            for one in {line["key"]: line for line in lines}.values():
                keys.add(one["key"])
                sums[name].update({"requests": 1, **{key: one[key] for key in _COUNTS[1:]}})
                self._outcome.repeated += one["tries"] > 1
        columns = [func.sum(CHECKS.c[name]) for name in _COUNTS]
        with self._database.reading() as connection:
            for name, owner in connection.execute(select(ORGANISATIONS.c.name, ORGANISATIONS.c.id)).all():
                counted = connection.execute(select(*columns).where(CHECKS.c.organisation == owner)).one()
                found = select(func.sum(DETECTIONS.c.digests)).where(DETECTIONS.c.organisation == owner)
                for key, number in zip(_COUNTS, counted, strict=True):
                    self._pair(f"{name}, {month}: {key}", sums[name][key], int(number))
                detections = int(connection.execute(found).scalar_one())
                self._pair(f"{name}, {month}: detections", sums[name]["detected"], detections)
            stored = set(connection.execute(select(REQUESTS.c.idempotency_key)).scalars())
        self._pair("requests that only one side has", 0, len(stored ^ keys))

    def _pair(self, name: str, known: int, counted: int) -> None:
        self._outcome.known[name] = known
        self._outcome.counted[name] = counted

    def _compare_reports(self, connection: Connection, site: Site) -> None:
        title = f"{site.name}: "
        server = connection.execute(select(SERVERS.c.id).where(SERVERS.c.name == site.name)).scalar_one()
        rows = connection.execute(select(SCANS).where(SCANS.c.server == server)).all()
        scans = {row.uuid: (row.records, row.complete) for row in rows}
        wanted: dict[str, tuple[int, bool]] = {}
        found: set[str] = set()
        for records, is_named in site.reports():
            uuid = records[0]["uuid"]
            # A scan that was killed before its report had its name may have kept it for the hub already.
            if is_named or uuid in scans:
                wanted[uuid] = (len(records), True)
                found |= {record["path"] for record in records if record["type"] == "finding"}
        self._pair(title + "reports", len(wanted), len(scans))
        self._pair(title + "records", *(sum(n for n, _ in some.values()) for some in (wanted, scans)))
        self._pair(title + "reports that differ", 0, len(wanted.items() ^ scans.items()))
        cases = connection.execute(select(CASES).where(CASES.c.server == server)).all()
        gone = {path for path in found if path.startswith(f"{site.www}/") and not Path(path).exists()}
        self._pair(title + "cases", len(found), len(cases))
        self._pair(title + "open cases", len(found - gone), sum(row.removed is None for row in cases))
        self._pair(title + "files that only one side has", 0, len(found ^ {row.path for row in cases}))
        there = set(map(str, site.www.glob("listed*")))
        self._pair(title + "files there without a case", 0, len(there - found))
        kinds = self._events(connection, CASES.c.server == server)
        self._pair(title + "events found", len(found), kinds["found"])
        self._pair(title + "events removed", len(gone), kinds["removed"])

    def _events(self, connection: Connection, cases: ColumnElement[bool]) -> Counter[str]:
        kinds = select(EVENTS.c.kind).join(CASES, CASES.c.id == EVENTS.c.case).where(cases)
        return Counter(connection.execute(kinds).scalars())

    def _compare_notices(self, connection: Connection, site: Site, audit: Counter[tuple[str, Any]]) -> None:
        title, sent = f"{site.name}: ", self._sent[site.name]
        removed = len(sent) - len(list(site.www.glob("noticed*")))
        rows = connection.execute(select(NOTICES).where(NOTICES.c.host == site.name)).all()
        own = [case for case in site.cases() if case["verdict"] == "notice"]
        self._pair(title + "notices", len(sent), len(rows))
        self._pair(title + "notices, and cases of them in its ledger", len(sent), len(own))
        events = self._events(connection, CASES.c.notice.in_([row.id for row in rows]))
        for kind, number in {"noticed": len(sent), "acknowledged": len(sent), "removed": removed}.items():
            self._pair(f"{title}events of notices: {kind}", number, events[kind])
            action = "send" if kind == "noticed" else kind
            lines = sum(audit[f"notice.{action}", row.id] for row in rows)
            self._pair(f"{title}lines of the audit log: notice.{action}", number, lines)
