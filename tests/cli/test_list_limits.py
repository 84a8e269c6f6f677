"""Lists, hubs and services that are wrong or hostile, by the real commands: how many files they can move."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from hashscan.matching.list_limits import MOVED_MAX
from hashscan.matching_service_api import CheckAnswer, CheckMatch, CheckRequest
from tests.cli.conftest import Run, environment, runner
from tests.matching_services import SECRET, Handler, ServiceServer, service_running, speak_hashscan
from tests.prefork import PREFORK

FILES = 45
"""More than ten times the files of the lists that are hijacked."""
TRUE = 4
ENTRIES = int(os.environ.get("TEST_ROGUE_ENTRIES", FILES))
"""Entries of a rogue list; with 1000000, these tests take some minutes."""
TERMS = ("--quarantine", "--retain-min", "90d", "--destroy-by", "365d")
ACT = ("--act-on", "service", "--act-on", "local")

Hit = Callable[[int], None]
"""Has the list match the first files of the tree."""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "www"
    folder.mkdir()
    for number in range(FILES):
        path = folder / f"{number:03}"
        path.write_bytes(b"innocent %d" % number)
        if os.geteuid() == 0:
            # More owners than one entry may hit.
            os.chown(path, 20_000 + number, -1)
    return folder


def digests(number: int) -> list[str]:
    """The digests of the first files; where all are to match, and many others."""
    more = ENTRIES if number == FILES else 0
    return [hashlib.sha256(b"innocent %d" % each).hexdigest() for each in range(max(number, more))]


@contextmanager
def service(run: Run, tmp_path: Path, *, entries: bool) -> Iterator[Hit]:
    """A service that names a fresh entry for each digest, or none as a hub whose key sees no entries."""
    hits: set[str] = set()
    fresh = itertools.count()

    def speak(server: ServiceServer, request: Handler, body: bytes) -> Any:
        if urlsplit(request.path).path != "/v1/check":
            return speak_hashscan(server, request, body)
        asked = msgspec.json.decode(body, type=CheckRequest).digests
        return CheckAnswer(
            server.version,
            [
                CheckMatch(place, f"e-{next(fresh)}" if entries else "*", "A1")
                for place, digest in enumerate(asked)
                if digest.value in hits
                for _ in range(min(max(1, ENTRIES // FILES), 200))
            ],
        )

    (key := tmp_path / "key").write_text(SECRET)
    key.chmod(0o600)
    with service_running(speak) as server:
        options = ("--service", server.url, "--key-file", key, "--accept-answers")
        assert run("lists", "add", "rogue", *options).code == 0

        def hit(number: int) -> None:
            hits.update(digests(number))
            server.version += "1"

        yield hit


@contextmanager
def local_list(run: Run, tmp_path: Path) -> Iterator[Hit]:
    """A list whose entries are replaced by as many as there are files, each with an entry of its own."""

    def hit(number: int) -> None:
        rows = [f"e-{row},sha256,{digest},A1" for row, digest in enumerate(digests(number))]
        (tmp_path / "entries.csv").write_text("\n".join(["id,algorithm,value,category", *rows]))
        assert run("lists", "import", tmp_path / "entries.csv", "--name", "rogue").code == 0

    yield hit


@contextmanager
def signed_list(run: Run, tmp_path: Path) -> Iterator[Hit]:
    """A signed list, by a publisher whose keys somebody else has got."""
    work, folder = tmp_path / "work", tmp_path / "published"
    ran = run("publish", "init", "rogue", "--repository", folder, "--no-passphrase", "--work", work)
    assert ran.code == 0, ran.err

    listed = 0

    def hit(number: int) -> None:
        nonlocal listed
        rows = [f"e-{row},sha256,{digest},A1" for row, digest in enumerate(digests(number))][listed:]
        listed = number
        (tmp_path / "entries.csv").write_text("\n".join(["id,algorithm,value,category", *rows]))
        for command in (("add", tmp_path / "entries.csv"), ("release", "--no-passphrase")):
            ran = run("publish", *command, "--work", work)
            assert ran.code == 0, ran.err
        if not (tmp_path / "state" / "lists" / "rogue").exists():
            assert run("lists", "add", "rogue", folder, "--root", work / "root.json").code == 0
        ran = run("lists", "pull", "rogue", "--confirm-share", "100")
        assert ran.code == 0, ran.err

    yield hit


@pytest.fixture(params=["service", "hub", "local list", "signed list"])
def hit(request: pytest.FixtureRequest, run: Run, tmp_path: Path) -> Iterator[Hit]:
    made = {
        "service": lambda: service(run, tmp_path, entries=True),
        "hub": lambda: service(run, tmp_path, entries=False),
        "local list": lambda: local_list(run, tmp_path),
        "signed list": lambda: signed_list(run, tmp_path),
    }[request.param]
    with made() as hit:
        yield hit


class Scanned:
    """The state after a scan that moves files."""

    def __init__(self, run: Run, tree: Path, report: Path, *options: object) -> None:
        before = len(list(tree.iterdir()))
        self.ran = run("scan", tree, *TERMS, *ACT, "--report", report, *options)
        self.moved = before - len(list(tree.iterdir()))
        lines = [json.loads(line) for line in report.read_text().splitlines()]
        self.limited = lines[-1]["quarantine"].get("limited", [])
        self.held = [line["breaker"] for line in lines if "breaker" in line and line["type"] == "finding"]


def alerts(run: Run) -> list[dict[str, Any]]:
    return [line for line in run("alerts", "list", "--format", "json").lines if line["kind"] == "list"]


def test_a_new_list_moves_ten_files_until_it_is_accepted(
    run: Run, tree: Path, hit: Hit, tmp_path: Path
) -> None:
    report = tmp_path / "report"
    hit(FILES)
    first = Scanned(run, tree, report)
    assert (first.ran.code, first.moved) == (1, MOVED_MAX), first.ran.err
    rest = FILES - MOVED_MAX
    assert first.limited == [{"list": "rogue", "code": "unaccepted", "held": rest}]
    assert first.held == ["unaccepted"] * rest
    assert len(alerts(run)) == 1
    second = Scanned(run, tree, report)
    assert (second.ran.code, second.moved, len(second.held)) == (1, 0, rest)
    (status,) = run("lists", "status", "rogue", "--format", "json").lines
    assert (status["accepted"], status["moved"]) == (None, MOVED_MAX)
    # Another way to move what a report names; files that were put back count all the same.
    assert run("quarantine", "restore", "--all").code == 0
    ran = run("scan", tree, "--report", report)
    ran = run("quarantine", "add", report, *TERMS[1:], *ACT)
    assert (ran.code, len(list(tree.iterdir()))) == (3, FILES), ran.err
    assert run("lists", "accept", "rogue").code == 0
    (status,) = run("lists", "status", "rogue", "--format", "json").lines
    assert status["accepted"] is not None
    last = Scanned(run, tree, report)
    # Those that were put back stay.
    assert (last.moved, last.limited) == (rest, []), last.ran.err


def test_an_accepted_list_that_is_hijacked_moves_no_more_than_ten(
    run: Run, tree: Path, hit: Hit, tmp_path: Path
) -> None:
    report = tmp_path / "report"
    hit(TRUE)
    assert run("scan", tree).code == 1
    assert run("lists", "accept", "rogue").code == 0
    assert Scanned(run, tree, report).moved == TRUE
    hit(FILES)
    hijacked = [Scanned(run, tree, report) for _ in range(2)]
    assert sum(each.moved for each in hijacked) <= MOVED_MAX
    rest = len(list(tree.iterdir()))
    assert hijacked[-1].limited == [{"list": "rogue", "code": "growth", "held": rest}]
    assert hijacked[-1].held == ["growth"] * rest
    assert alerts(run)
    assert run("lists", "accept", "rogue").code == 0
    assert Scanned(run, tree, report).moved == rest


def test_where_root_moves_what_another_user_found_the_scan_delivers_the_alert(
    run: Run, tree: Path, tmp_path: Path
) -> None:
    report, kept = tmp_path / "report", tmp_path / "kept"
    by_root = runner(kept)
    kept.mkdir()
    # As the unit of `setup` has it.
    (kept / "lists").symlink_to(tmp_path / "state" / "lists")
    with local_list(run, tmp_path) as hit:
        hit(FILES)

    def night() -> int:
        """Scan and move as the units do; return the number of files moved."""
        before = len(list(tree.iterdir()))
        options = ("--quarantine-state", kept, "--act-on", "local", "--exec", program)
        run("scan", tree, "--with-digests", "--report", report, *options)
        by_root("quarantine", "add", report, *TERMS[1:], *ACT)
        return before - len(list(tree.iterdir()))

    told, program = tmp_path / "told", tmp_path / "channel"
    program.write_text(f"#!/bin/sh\ncat >> {told}\n")
    program.chmod(0o700)
    assert night() == MOVED_MAX
    assert "lists accept rogue" in told.read_text()
    assert night() == 0
    (status,) = run("lists", "status", "rogue", "--format", "json").lines
    assert status["moved"] == MOVED_MAX
    assert run("lists", "accept", "rogue").code == 0
    assert night() == FILES - MOVED_MAX


def test_a_scan_that_is_killed_does_not_reset_the_count(
    run: Run, state: Path, tree: Path, tmp_path: Path
) -> None:
    with local_list(run, tmp_path) as hit:
        hit(FILES)
    command = ["scan", str(tree), *TERMS, *ACT, "--report", str(tmp_path / "report")]
    for step in (3, 8, 13):
        dying = f"from tests.quarantine.dying import die_at; die_at({step})"
        assert PREFORK.run(command, env=environment(state), code=dying).returncode == -signal.SIGKILL
    for _ in range(2):
        last = Scanned(run, tree, tmp_path / "report")
        assert last.limited
    assert FILES - len(list(tree.iterdir())) == MOVED_MAX
