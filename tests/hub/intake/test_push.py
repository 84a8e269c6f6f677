"""`report push` and `scan --push`: exactly once, without names, and nothing is lost if the hub is away."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from hashscan.errors import UsageError
from hashscan.hub.storage.database import Database
from hashscan.hub.storage.tables import CASES, EVENTS, SCANS, SERVERS
from hashscan.hub_api import MATCHES_MAX, RECORD_BYTES_MAX, place_of
from hashscan.model import Entry
from hashscan.scan.reporting.push_spool import keep_to_push, reports_to_push
from hashscan.scan.reporting.report_push import ReportPusher, sent_line
from hashscan.service_client import ServiceBusyError, ServiceClient, ServiceRefusedError
from hashscan.settings.hub_client import HubClientSettings
from hashscan.state_dir import StateDir
from tests.cli.conftest import Run, environment, runner
from tests.hub.intake.reports import finding, lines, report, scan_record
from tests.hub.serving import Node, new_key, node
from tests.prefork import PREFORK
from tests.service.engine.serving import store_list
from tests.shortcomings import shortcoming


@pytest.fixture
def site(database: Database, hub_state: StateDir) -> Iterator[Node]:
    store_list(hub_state.path, Entry("e0", "md5", bytes(16), "A1"))
    with node(database, hub_state) as running:
        yield running


@pytest.fixture
def key_file(site: Node, tmp_path: Path) -> Path:
    path = tmp_path / "hub.key"
    path.write_text(new_key(site.database, "alpha", "report") + "\n")
    path.chmod(0o600)
    return path


def client_of(site: Node, key_file: Path) -> ServiceClient:
    settings = HubClientSettings(site.url + "/", key_file)
    return ServiceClient(settings.connection, settings.key_headers())


def count(database: Database, table: Any) -> int:
    with database.reading() as connection:
        return len(connection.execute(select(table)).all())


class Flaky:
    """A client whose requests fail in turn: before the hub has them, or after it has answered."""

    def __init__(self, client: ServiceClient) -> None:
        self._client = client
        self._number = 0

    def __call__(self, *arguments: Any) -> bytes:
        self._number += 1
        if self._number % 3 == 0:
            raise ServiceBusyError("can't be reached")
        answer = self._client(*arguments)
        if self._number % 3 == 1:
            raise ServiceBusyError("answers nothing")
        return answer


def test_lost_requests_and_lost_answers_change_nothing(
    site: Node, key_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hashscan.scan.reporting.report_push.RECORDS_MAX", 7)
    path = tmp_path / "report.jsonl"
    name, records = report(*(finding(f"/srv/{n}") for n in range(50)))
    path.write_bytes(lines(records))
    waits: list[float] = []
    with_faults: Any = Flaky(client_of(site, key_file))
    result = ReportPusher(with_faults, names=True, sleep=waits.append).push(path)
    assert (result.complete, count(site.database, CASES), count(site.database, EVENTS)) == (True, 50, 50)
    assert len(waits) > 5
    again = ReportPusher(client_of(site, key_file), names=True).push(path)
    assert (again.sent, again.complete, count(site.database, EVENTS)) == (0, True, 50)
    with site.database.reading() as connection:
        assert [row.uuid for row in connection.execute(select(SCANS))] == [name]


def test_the_report_of_a_killed_scan_stays_incomplete(site: Node, key_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "report.jsonl"
    _, records = report(finding("/srv/a"), finding("/srv/b"))
    path.write_bytes(lines(records)[:-200])
    pusher = ReportPusher(client_of(site, key_file), names=False)
    assert not pusher.push(path).complete
    path.write_bytes(lines(records))
    assert pusher.push(path).complete
    assert count(site.database, CASES) == 2


def test_what_can_not_be_sent(site: Node, key_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "report.jsonl"
    _, records = report()
    path.write_bytes(lines([{**records[0], "uuid": "../x"}, *records[1:]]))
    with pytest.raises(UsageError):
        ReportPusher(client_of(site, key_file), names=False).push(path)
    path.write_bytes(lines(records))
    key_file.write_text("wrong\n")
    with pytest.raises(ServiceRefusedError):
        ReportPusher(client_of(site, key_file), names=False).push(path)


SECRET = "s3cret"


def test_no_name_leaves_the_server_unless_asked(tmp_path: Path) -> None:
    names = {
        "path_b64": "L3NlY3JldA==", "customer": SECRET, "detail": SECRET, "endpoint": SECRET,
        "version": SECRET, "etag": SECRET, "uid": 1000,
        "picture": {"format": SECRET, "width": 1, "height": 1},
    }  # fmt: skip
    match = {**finding("")["matches"][0], "member": SECRET, "doubt": SECRET, "withheld": SECRET}
    scan = {
        **scan_record("0" * 8 + "-0000" * 3 + "-" + "0" * 12), "targets": [{"path": f"/{SECRET}"}],
        "selection": {"exclude": [SECRET]}, "policy": {"file": SECRET}, "files_from": {"path": SECRET},
        "cluster": {"scheduler": SECRET},
    }  # fmt: skip
    records = [
        scan,
        finding(f"/{SECRET}", **names, because=SECRET, matches=[match], quarantine={"detail": SECRET}),
        {"type": "folder", "schema": 1, "path": f"/{SECRET}", "reason": "unreadable", "detail": SECRET},
        report(
            incomplete=[shortcoming(f"/{SECRET} has 3 files and had 9", "shrunken", f"/{SECRET}")],
            withdrawn=[SECRET],
            cluster={"a": SECRET},
        )[1][-1],
    ]
    for record in records:
        assert SECRET not in sent_line(record, "web1", names=False).decode()
    sent = json.loads(sent_line(records[1], "", names=False))
    assert sent["place"] == place_of(b"/secret", SECRET)
    named = json.loads(sent_line(records[1], "", names=True))
    assert (named["path"], named["customer"], named["version"]) == (f"/{SECRET}", SECRET, SECRET)


def test_a_long_record_is_sent_in_part() -> None:
    match = {**finding("")["matches"][0], "entry": "e" * 4000}
    line = sent_line(finding("/" + "a" * 4000, matches=[match] * 200), "", names=True)
    assert len(line) < RECORD_BYTES_MAX
    assert len(json.loads(line)["matches"]) == 10
    short = {**match, "entry": "e"}
    assert (
        len(json.loads(sent_line(finding("/", matches=[short] * 200), "", names=True))["matches"])
        == MATCHES_MAX
    )


def test_a_report_waits_until_the_hub_has_it(site: Node, key_file: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    run: Run = runner(state)
    files = tmp_path / "files"
    files.mkdir()
    (files / "text").write_bytes(b"text")
    wrong = tmp_path / "wrong.key"
    wrong.write_text("wrong\n")
    wrong.chmod(0o600)
    hub = ("--hub", site.url, "--key-file", key_file)
    scan = ("scan", "--list", "demo", files)
    assert run(*scan, "--push", "--hub", site.url, "--key-file", wrong).code == 2
    assert len(reports_to_push(StateDir(state))) == 1
    for report_file in (state / "reports").iterdir():
        report_file.unlink()
    assert run(*scan, "--push", *hub, "--server-name", "web7").code == 0
    assert reports_to_push(StateDir(state)) == []
    assert run("report", "push", *hub).code == 0
    with site.database.reading() as connection:
        scans = connection.execute(select(SCANS)).all()
        servers = connection.execute(select(SERVERS)).all()
    assert [(scan.complete, scan.exit_code, scan.files) for scan in scans] == [(True, 0, 1)] * 2
    assert [server.name for server in servers] == ["web7"]
    assert run("scan", "--push", "--list", "demo", files).code == 2


def test_a_report_is_kept_by_a_name_of_its_own(tmp_path: Path) -> None:
    state = StateDir(tmp_path / "state")
    state.make()
    path = tmp_path / "report.jsonl"
    name, records = report()
    path.write_bytes(lines(records))
    for _ in range(2):
        keep_to_push(state, path)
    path.unlink()
    (kept,) = reports_to_push(state)
    assert (kept.name, kept.read_bytes()) == (f"{name}.jsonl", lines(records))


DYING = """
import os, signal, sys
def watch(event, arguments):
    if event == "os.rename" and os.fspath(arguments[1]).endswith(%r):
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(watch)
"""
"""Code of a process that is killed when it is about to give a file its final name."""


def test_a_scan_that_is_killed_before_its_report_has_its_name(
    site: Node, key_file: Path, tmp_path: Path
) -> None:
    """The next command sends it, wherever it was to lie, and a report that can't be read does not matter."""
    state = StateDir(tmp_path / "state")
    (tmp_path / "text").write_bytes(b"text")
    hub = ("--hub", site.url, "--key-file", key_file)
    elsewhere = Path(os.environ.get("XDG_RUNTIME_DIR", "/dev/shm")) / f"{os.getpid()}-report.jsonl"
    try:
        for path in (tmp_path / "named.jsonl", elsewhere):
            scan = ("scan", "--list", "demo", tmp_path / "text", "--push", *hub, "--report", path)
            done = PREFORK.run([*map(str, scan)], env=environment(state.path), code=DYING % path.name)
            assert done.returncode == -signal.SIGKILL, done.stderr
            assert not path.exists()
    finally:
        for path in elsewhere.parent.glob(f"{elsewhere.name}*"):
            path.unlink()
    waiting = reports_to_push(state)
    assert len(waiting) == 2
    (state.to_push / "a.jsonl").write_bytes(b"torn")
    os.utime(state.to_push / "a.jsonl", (0, 0))
    assert runner(state.path)("report", "push", *hub).code == 2
    assert [path.name for path in reports_to_push(state)] == ["a.jsonl"]
    with site.database.reading() as connection:
        scans = {row.uuid: row.complete for row in connection.execute(select(SCANS))}
    assert scans == dict.fromkeys((path.stem for path in waiting), True)


def test_a_full_disk_keeps_the_report(site: Node, key_file: Path, tmp_path: Path) -> None:
    """The scan says that nothing was sent, and its report can be sent by hand."""
    state = StateDir(tmp_path / "state")
    (tmp_path / "text").write_bytes(b"text")
    hub = ("--hub", site.url, "--key-file", key_file)
    report_file = tmp_path / "report.jsonl"
    full = """
import errno, os, sys
def watch(event, arguments):
    if event in {"os.link", "open"} and "/to-push/" in str(arguments[1 if event == "os.link" else 0]):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if event == "open" and str(arguments[0]).endswith("/to-push"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
sys.addaudithook(watch)
"""
    scan = ("scan", "--list", "demo", tmp_path / "text", "--push", *hub, "--report", report_file)
    done = PREFORK.run([*map(str, scan)], env=environment(state.path), code=full)
    assert done.returncode == 12, done.stderr
    assert reports_to_push(state) == []
    assert runner(state.path)("report", "push", *hub, report_file).code == 0
    assert count(site.database, SCANS) == 1
