"""Scans that ask matching services on loopback: the requests, and the verdicts with and without answers."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from hashscan.matching_service_api import Changes
from hashscan.model import Entry
from hashscan.scan import pipeline
from hashscan.scan.reporting.observer import Observer
from hashscan.scan.runner import run_scan
from hashscan.settings.matching import DecodingLimits
from hashscan.settings.scan import ReportTarget, ScanSettings
from hashscan.state_dir import StateDir
from tests.cli.conftest import COMMAND, Ran, Run, environment, runner
from tests.cli.opened import opened
from tests.examples import quick_first
from tests.lists.builders import Filters, read_filter
from tests.matching_services import (
    LOGIN,
    SECRET,
    SPEAKERS,
    Listed,
    ServiceServer,
    service_running,
)
from tests.pictures import encoded, scene
from tests.prefork import PREFORK
from tests.shortcomings import codes, messages
from tests.waiting import until

FILES = 120
root = pytest.mark.skipif(os.geteuid() != 0, reason="files of two owners: run as root")
PLACE = "geheimer-ordner"
NAME = "kunde-mueller-passwort"

Records = list[dict[str, Any]]
Scan = Callable[..., tuple[Ran, Records]]


def sha256(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def pdq(content: bytes, folder: Path) -> bytes:
    """The PDQ of a picture, by hashscan itself."""
    path = folder / "one-picture"
    path.write_bytes(content)
    (hashed,) = runner(folder / "no-state")("hash", path).lines
    return bytes.fromhex(hashed["digests"]["pdq"])


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Files with small contents, and pictures, under names that nobody else may learn."""
    top = tmp_path / PLACE
    top.mkdir()
    for number in range(FILES):
        content = encoded(scene(number, 96, 72)) if number % 10 == 0 else b"%d" % number
        (top / f"{NAME}-{number:03}").write_bytes(content)
    return top


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "service.key"
    path.write_text(SECRET)
    path.chmod(0o600)
    return path


@pytest.fixture
def server() -> Iterator[ServiceServer]:
    with service_running(entries=[Listed("n-7", "sha256", sha256(b"7"))], digests_max=20) as running:
        yield running


@pytest.fixture
def added(run: Run, server: ServiceServer, key: Path) -> Callable[..., None]:
    def add(*options: object) -> None:
        done = run(
            "lists",
            "add",
            "national",
            "--service",
            server.url,
            "--key-file",
            key,
            "--patience",
            "1s",
            *options,
        )
        assert done.code == 0, done.err

    return add


@pytest.fixture
def scan(run: Run, tmp_path: Path, age: Callable[[], None]) -> Scan:
    age()

    def scan(*arguments: object) -> tuple[Ran, Records]:
        report = tmp_path / "report.jsonl"
        done = run("scan", *arguments, "--report", report)
        return done, [json.loads(line) for line in report.read_text().splitlines()]

    return scan


def verdicts(records: Records) -> dict[str, int]:
    return {name: n for name, n in records[-1]["verdicts"].items() if n}


def test_an_answer_is_for_review(added: Callable[..., None], scan: Scan, tree: Path) -> None:
    added()
    done, records = scan(tree)
    assert done.code == 0
    assert verdicts(records) == {"clean": FILES - 1, "review": 1}
    (finding,) = [record for record in records if record["type"] == "finding"]
    assert finding["path"].endswith("-007")
    assert finding["matches"][0]["list"] == "national"
    assert finding["matches"][0]["entry"] == "n-7"
    assert finding["action"] == "review"


def test_an_answer_acts_if_the_list_says_so(added: Callable[..., None], scan: Scan, tree: Path) -> None:
    added("--accept-answers")
    done, records = scan(tree)
    assert done.code == 1
    assert verdicts(records) == {"clean": FILES - 1, "match": 1}
    # As long as no second decoder confirms it, likeness alone is for review.
    (finding,) = [record for record in records if record["type"] == "finding"]
    assert finding["action"] == "report"


def test_a_similar_picture_is_found_but_never_acted_on_unconfirmed(
    added: Callable[..., None], scan: Scan, server: ServiceServer, tree: Path, tmp_path: Path
) -> None:
    near = bytearray(pdq((tree / f"{NAME}-010").read_bytes(), tmp_path))
    near[0] ^= 0b111
    server.entries = [Listed("p-1", "pdq", bytes(near))]
    added("--accept-answers")
    done, records = scan(tree)
    findings = [record for record in records if record["type"] == "finding"]
    assert [finding["verdict"] for finding in findings] == ["review"] * len(findings)
    assert any(f["path"].endswith("-010") and f["matches"][0]["distance"] == 3 for f in findings)
    assert done.code == 0


def test_each_content_is_asked_once_and_a_second_scan_asks_nothing(
    added: Callable[..., None], scan: Scan, server: ServiceServer, tree: Path
) -> None:
    (tree / "copy").write_bytes(b"7")
    added()
    _, first = scan(tree)
    assert verdicts(first)["review"] == 2
    asked = server.asked.copy()
    assert len(asked) == len(set(asked))
    assert {algorithm for algorithm, _ in asked} == {"sha256", "sha1", "md5", "pdq"}
    requests = server.requests
    _, second = scan(tree)
    assert verdicts(second) == verdicts(first)
    assert second[-1]["unchanged"] == FILES + 1
    assert server.asked == asked
    # Only the version of the list is asked for.
    assert server.requests == requests + 1


@pytest.mark.parametrize(("algorithm", "files"), [("sha1", FILES), ("sha512", FILES), ("phash", FILES // 10)])
def test_only_the_digests_that_the_settings_name_are_asked(
    added: Callable[..., None], scan: Scan, server: ServiceServer, tree: Path, algorithm: str, files: int
) -> None:
    """Even if no list has entries of that kind."""
    server.algorithms.append(algorithm)
    added("--digests", algorithm)
    scan(tree)
    assert {asked for asked, _ in server.asked} == {algorithm}
    assert len(server.asked) == files


def test_no_scan_begins_if_a_digest_that_is_to_be_asked_can_not_be_computed(
    added: Callable[..., None], run: Run, server: ServiceServer, tree: Path
) -> None:
    added("--digests", "photodna")
    done = run("scan", tree)
    assert done.code == 2
    assert "[photodna]" in done.err
    assert not server.asked


def test_variants_are_asked_if_the_settings_say_so(
    added: Callable[..., None], scan: Scan, server: ServiceServer, tree: Path
) -> None:
    added("--digests", "pdq", "--variants")
    scan(tree)
    pictures = FILES // 10
    assert len(server.asked) > 5 * pictures


def test_answers_are_asked_for_again_after_their_time(
    added: Callable[..., None], scan: Scan, server: ServiceServer, tree: Path, tmp_path: Path
) -> None:
    added("--ask-again", "1d")
    scan(tree)
    before = len(server.asked)
    with sqlite3.connect(tmp_path / "state" / "scans" / "state.sqlite") as database:
        database.execute("UPDATE asked SET hour=hour-25 WHERE first<10")
    scan(tree)
    assert 0 < len(server.asked) - before < before


def changed(version: str, **fields: Any) -> Changes:
    return Changes(version, **fields)


def test_after_a_change_of_the_list_only_what_may_be_affected_is_asked(
    added: Callable[..., None], scan: Scan, server: ServiceServer, tree: Path
) -> None:
    added()
    scan(tree)
    before = len(server.asked)
    new = sha256(b"21")
    affected = sum(
        sha256(path.read_bytes())[:2] == new[:2] or sha256(path.read_bytes()) == sha256(b"7")
        for path in tree.iterdir()
    )
    server.entries = [Listed("n-21", "sha256", new)]
    server.version = "2"
    server.changes = changed("2", prefixes={"sha256": [new.hex()[:4]]}, entries=["n-7"])
    _, records = scan(tree)
    asked = server.asked[before:]
    assert {value for algorithm, value in asked if algorithm == "sha256"} == {
        sha256(path.read_bytes()) for path in tree.iterdir() if path.name[-3:] in {"007", "021"}
    }
    assert affected == 2
    assert [r["path"][-3:] for r in records if r["type"] == "finding"] == ["021"]
    # The withdrawn entry accuses nobody any more.
    assert verdicts(records) == {"clean": FILES - 1, "review": 1}
    after = len(server.asked)
    scan(tree)
    assert len(server.asked) == after


def test_new_perceptual_entries_affect_pictures_only(
    added: Callable[..., None], scan: Scan, server: ServiceServer, tree: Path
) -> None:
    added()
    scan(tree)
    before = len(server.asked)
    server.version = "2"
    server.changes = changed("2", algorithms=["pdq"])
    scan(tree)
    assert len({value for algorithm, value in server.asked[before:] if algorithm == "md5"}) == FILES // 10


def test_a_file_that_changes_between_listing_and_reading_is_asked_about(
    added: Callable[..., None], server: ServiceServer, tree: Path, state: Path, tmp_path: Path
) -> None:
    """Its owner could change it before every reading; what is read is not what was listed."""
    added()
    for path in tree.iterdir():
        path.unlink()
    for number in (7, 8, 9):
        (tree / f"{number}").write_bytes(b"7")
    report = tmp_path / "report.jsonl"
    with opened(tree) as count:
        scanning = PREFORK.popen(
            [*COMMAND, "scan", tree, "--report", report, "--limit-files", "1"],
            env=environment(state, {"HASHSCAN_WORKERS": "1"}),
            stderr=subprocess.DEVNULL,
        )
        until(lambda: any(count.look().get(str(path)) for path in tree.iterdir()))
        for path in tree.iterdir():
            if not count.look().get(str(path)):
                os.utime(path, (1, 1))
        assert scanning.wait() == 0
    records = [json.loads(line) for line in report.read_text().splitlines()]
    assert verdicts(records) == {"review": 3}


def test_a_service_that_is_down_costs_no_verdict_and_is_asked_later_without_reading(
    added: Callable[..., None], scan: Scan, server: ServiceServer, tree: Path
) -> None:
    added()
    server.kill()
    done, records = scan(tree)
    assert done.code == 3
    assert verdicts(records) == {"undecoded": FILES}
    assert records[-1]["reasons"] == {"undecoded": {"no answer from a matching service": FILES}}
    assert "service" in codes(records[-1])
    server.start()
    with opened(tree) as count:
        done, records = scan(tree)
        assert count.take() == {}
    assert done.code == 0
    assert verdicts(records) == {"clean": FILES - 1, "review": 1}


def test_known_files_can_be_asked_about_without_a_scan(
    added: Callable[..., None], scan: Scan, server: ServiceServer, tree: Path
) -> None:
    added()
    server.kill()
    scan(tree)
    done, records = scan("--known")
    assert done.code == 3
    assert verdicts(records) == {"undecoded": FILES}
    server.start()
    done, records = scan("--known")
    assert done.code == 0
    assert verdicts(records) == {"clean": FILES - 1, "review": 1}


def test_an_earlier_answer_is_kept_while_the_service_is_down(
    added: Callable[..., None], scan: Scan, server: ServiceServer, tree: Path, tmp_path: Path
) -> None:
    added()
    scan(tree)
    with sqlite3.connect(tmp_path / "state" / "scans" / "state.sqlite") as database:
        database.execute("UPDATE asked SET hour=1")
    server.kill()
    done, records = scan(tree)
    assert done.code == 3
    assert verdicts(records) == {"undecoded": FILES - 1, "review": 1}


@pytest.mark.parametrize("fault", ["html", "forbidden"])
def test_a_service_that_refuses_or_talks_nonsense_is_named(
    added: Callable[..., None], scan: Scan, server: ServiceServer, tree: Path, fault: str
) -> None:
    added()
    server.fault = {
        "html": lambda request: request.send(b"<html>log in</html>"),
        "forbidden": lambda request: request.send(b"{}", 403),
    }[fault]
    done, records = scan(tree)
    assert done.code == 3
    assert verdicts(records) == {"undecoded": FILES}
    assert "service" in codes(records[-1])
    assert server.requests <= 5


def test_a_service_that_takes_none_of_the_digests_clears_nobody(
    added: Callable[..., None], scan: Scan, server: ServiceServer, tree: Path
) -> None:
    added()
    server.algorithms = ["SHA256", "photodna"]
    done, records = scan(tree)
    assert done.code == 3
    assert verdicts(records) == {"undecoded": FILES}


PENDING = "no answer from a matching service"
PICTURES = FILES // 10


def pending(records: Records) -> set[str]:
    """Return the ends of the names of files that a service has not answered about."""
    return {record["path"][-3:] for record in records if record.get("reason") == PENDING}


def test_a_service_that_drops_an_algorithm_clears_no_new_file_with_such_a_digest(
    added: Callable[..., None], run: Run, scan: Scan, server: ServiceServer, tree: Path
) -> None:
    added()
    assert scan(tree)[0].code == 0
    server.algorithms = ["sha256", "sha1", "md5"]
    (tree / "new-901").write_bytes(encoded(scene(901)))
    (tree / "new-902").write_bytes(b"new")
    done, records = scan(tree)
    # Earlier answers still hold, and what has no PDQ needs none.
    assert pending(records) == {"901"}
    assert verdicts(records) == {"clean": FILES, "review": 1, "undecoded": 1}
    assert done.code == 3
    assert "national does not take pdq" in done.err
    assert any("does not take pdq" in text for text in messages(records[-1]))
    status = run("lists", "status")
    assert (status.code, "the service does not take pdq" in status.out) == (3, True)
    done, records = scan("--known")
    assert (done.code, pending(records)) == (3, {"901"})
    server.algorithms.append("pdq")
    done, records = scan(tree)
    assert done.code == 0
    assert verdicts(records) == {"clean": FILES + 1, "review": 1}
    assert run("lists", "status").code == 0


def test_a_service_that_drops_an_algorithm_of_the_bytes_clears_no_new_file(
    added: Callable[..., None], scan: Scan, server: ServiceServer, tree: Path
) -> None:
    added()
    scan(tree)
    server.algorithms = ["sha256", "sha1", "pdq"]
    server.entries.append(Listed("n-new", "sha256", sha256(b"new")))
    (tree / "new-901").write_bytes(b"new")
    (tree / "new-902").write_bytes(b"newer")
    _, records = scan(tree)
    # The other digests are asked about all the same.
    assert verdicts(records) == {"clean": FILES - 1, "review": 2, "undecoded": 1}
    assert pending(records) == {"901", "902"}


def test_pictures_wait_if_entries_changed_of_an_algorithm_that_the_service_has_dropped(
    added: Callable[..., None], scan: Scan, server: ServiceServer, tree: Path
) -> None:
    added()
    scan(tree)
    server.algorithms = ["sha256", "sha1", "md5"]
    server.version, server.changes = "2", changed("2", algorithms=["pdq"])
    _, records = scan(tree)
    assert verdicts(records)["undecoded"] == PICTURES


def test_a_dropped_algorithm_withdraws_no_finding(
    added: Callable[..., None], scan: Scan, server: ServiceServer, tree: Path, tmp_path: Path
) -> None:
    server.entries = [Listed("p-1", "pdq", pdq((tree / f"{NAME}-010").read_bytes(), tmp_path), reach=0)]
    added()
    assert verdicts(scan(tree)[1])["review"]
    server.algorithms = ["sha256", "sha1", "md5"]
    server.version = "2"
    _, records = scan(tree)
    assert verdicts(records)["undecoded"] == PICTURES - verdicts(records)["review"]
    assert [r["matches"][0]["entry"] for r in records if r["type"] == "finding"] == ["p-1"] * verdicts(
        records
    )["review"]


def test_digests_that_were_chosen_must_be_taken_from_the_start(
    added: Callable[..., None], run: Run, scan: Scan, server: ServiceServer, tree: Path
) -> None:
    server.algorithms = ["sha256"]
    added("--digests", "sha256", "--digests", "pdq")
    done, records = scan(tree)
    assert done.code == 3
    assert verdicts(records) == {"clean": FILES - PICTURES - 1, "review": 1, "undecoded": PICTURES}
    picture, text = tree / f"{NAME}-010", tree / f"{NAME}-008"
    done = run("check", "--format", "json", picture, text)
    assert [line["verdict"] for line in done.lines] == ["undecoded", "clean"]
    assert (done.code, "national does not take pdq" in done.err) == (3, True)


def test_a_service_may_take_few_of_the_default_digests(
    added: Callable[..., None], run: Run, scan: Scan, server: ServiceServer, tree: Path
) -> None:
    server.algorithms = ["sha256", "pdq"]
    added()
    done, records = scan(tree)
    assert (done.code, verdicts(records)) == (0, {"clean": FILES - 1, "review": 1})
    assert run("check", "--format", "json", tree / f"{NAME}-010").code == 0
    server.algorithms = ["sha256"]
    done = run("check", "--format", "json", tree / f"{NAME}-010")
    assert (done.code, done.lines[0]["verdict"]) == (3, "undecoded")


def test_files_beyond_those_in_memory_wait_on_disk(
    added: Callable[..., None],
    server: ServiceServer,
    tree: Path,
    state: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Reading does not wait for the service: all files are read before it answers for the first time."""
    monkeypatch.setattr(pipeline, "UNANSWERED_MAX", 5)
    added("--patience", "1h")
    for path in list(tree.iterdir()):
        (tree / f"folder-{path.name}").mkdir()
        path.rename(tree / f"folder-{path.name}" / path.name)
    with opened(tree) as count:

        def hold(service: ServiceServer) -> None:
            if service.requests > 1:
                until(lambda: len([name for name in count.look() if Path(name).is_file()]) == FILES)

        server.on_request = hold
        report = tmp_path / "report.jsonl"
        settings = ScanSettings(
            targets=(os.fsencode(tree),),
            lists=None,
            reports=(ReportTarget("jsonl", report),),
            state=StateDir(state),
            workers=1,
            decoding=DecodingLimits("auto", 1 << 30, 20.0, 64_000_000),
        )
        run_scan(settings, Observer())
    records = [json.loads(line) for line in report.read_text().splitlines()]
    assert verdicts(records) == {"clean": FILES - 1, "review": 1}


def listed_here(run: Run, tmp_path: Path, content: bytes) -> None:
    source = tmp_path / "here.csv"
    source.write_text(f"id,algorithm,value,category\nh-1,sha256,{sha256(content).hex()},A1\n")
    assert run("lists", "import", source, "--name", "here").code == 0


def findings_in(state: Path) -> int:
    """Return how many findings of a scan that is under way have been committed."""
    with (
        suppress(sqlite3.OperationalError),
        closing(sqlite3.connect(f"file:{state}/scans/state.sqlite?mode=ro", uri=True)) as database,
    ):
        (found,) = database.execute("SELECT count(*) FROM findings").fetchone()
        return int(found)
    return 0


@pytest.mark.parametrize("asking", [False, True])
def test_a_match_outlasts_a_kill_while_a_service_is_asked(
    added: Callable[..., None],
    run: Run,
    server: ServiceServer,
    tree: Path,
    state: Path,
    tmp_path: Path,
    asking: bool,
) -> None:
    """Its owner deletes the file after the kill: the ledger has a case all the same, as without a service."""
    listed_here(run, tmp_path, b"listed")
    if asking:
        added("--patience", "1h")
    first = tmp_path / "first"
    first.mkdir()
    (first / "listed").write_bytes(b"listed")
    answering = threading.Event()
    server.on_request = lambda _: None if server.requests < 2 else answering.wait() and None
    scanning = PREFORK.popen(
        [*COMMAND, "scan", first, tree, "--report", tmp_path / "killed.jsonl", "--limit-files", "2"],
        env=environment(state, {"HASHSCAN_WORKERS": "1"}),
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: findings_in(state), 20)
    finally:
        scanning.kill()
        assert scanning.wait() < 0
        answering.set()
    server.on_request = None
    (first / "listed").unlink()
    assert run("scan", first, tree, "--accept-shrink").code in {0, 3}
    cases = run("cases", "list", "--status", "removed", "--format", "json").lines
    assert [case["path"] for case in cases] == [str(first / "listed")]


@pytest.mark.slow
def test_a_slow_service_does_not_keep_files_from_being_read(
    added: Callable[..., None], run: Run, scan: Scan, server: ServiceServer, tree: Path, tmp_path: Path
) -> None:
    """One owner's contents from earlier scans may keep the service busy for days."""
    listed_here(run, tmp_path, b"new")
    added("--in-flight", "1", "--patience", "1h")
    server.fault = lambda request: request.send(b"{}", 403)
    scan(tree, "--list", "national")
    server.fault = None
    server.digests_max = 1
    server.seconds = 0.5
    (tree / "new").write_bytes(b"new")
    done, records = scan(tree, "--time-budget", "10s")
    assert done.code == 4
    assert verdicts(records)["match"] == 1


@pytest.mark.slow
@root
def test_one_owners_files_do_not_keep_the_service_from_others(
    added: Callable[..., None], run: Run, server: ServiceServer, tmp_path: Path, state: Path
) -> None:
    added("--in-flight", "1", "--digests", "sha256")
    server.digests_max = 1
    many, few = tmp_path / "a", tmp_path / "b"
    few.mkdir()
    many.mkdir()
    for number in range(100):
        (many / f"{number}").write_bytes(b"%d" % number)
    (few / "other").write_bytes(b"other")
    os.chown(few / "other", 12345, 12345)
    server.seconds = 0.05
    with opened(few) as count:
        # It answers nothing until all files are being read.
        server.on_request = lambda _: until(lambda: count.look() or server.requests < 2)
        assert run("scan", many, few, "--report", tmp_path / "report.jsonl").code == 0
    asked = [value for _, value in server.asked]
    assert asked.index(sha256(b"other")) < 70


def test_kills_in_mid_scan_lose_no_verdict(
    added: Callable[..., None], scan: Scan, server: ServiceServer, tree: Path
) -> None:
    """The service is killed twice and comes back, and is killed a third time for good."""
    added("--patience", "2s", "--in-flight", "2")
    kills: list[int] = []

    def kill(service: ServiceServer) -> None:
        if service.requests in {3, 6} and service.server is not None:
            kills.append(service.requests)
            service.kill()
            service.start()
        elif service.requests == 12:
            kills.append(service.requests)
            service.kill()

    server.on_request = kill
    done, records = scan(tree)
    assert kills == [3, 6, 12]
    assert done.code == 3
    found = verdicts(records)
    assert sum(found.values()) == FILES
    assert found["undecoded"]
    assert found.get("clean", 0) + found.get("review", 0)
    server.on_request = None
    server.start()
    already = set(server.asked)
    with opened(tree) as count:
        done, records = scan(tree)
        assert count.take() == {}
    assert done.code == 0
    assert verdicts(records) == {"clean": FILES - 1, "review": 1}
    assert {value for algorithm, value in server.asked if algorithm == "sha256"} == {
        sha256(path.read_bytes()) for path in tree.iterdir()
    }
    assert already < set(server.asked)


def test_a_scan_that_is_killed_goes_on(
    added: Callable[..., None], scan: Scan, server: ServiceServer, tree: Path, state: Path, tmp_path: Path
) -> None:
    added("--in-flight", "1")
    server.seconds = 0.1
    scanning = PREFORK.popen(
        [*COMMAND, "scan", tree, "--report", tmp_path / "killed.jsonl"],
        env=environment(state, {"HASHSCAN_WORKERS": "1"}),
        stderr=subprocess.DEVNULL,
    )
    until(lambda: server.requests > 6)
    scanning.kill()
    scanning.wait()
    server.seconds = 0.0
    done, records = scan(tree)
    assert done.code == 0
    assert verdicts(records) == {"clean": FILES - 1, "review": 1}


DIGEST = re.compile(rb"[0-9a-f]{32}|[0-9a-f]{40}|[0-9a-f]{64}|[A-Za-z0-9+/]{43}=")


@pytest.mark.parametrize("adapter", SPEAKERS)
def test_nothing_but_digests_leaves(run: Run, scan: Scan, tree: Path, tmp_path: Path, adapter: str) -> None:
    key = tmp_path / "service.key"
    key.write_text(LOGIN if adapter == "arachnid" else SECRET)
    key.chmod(0o600)
    with service_running(SPEAKERS[adapter]) as server:
        options = ("--adapter", adapter, "--key-file", key, "--patience", "1s")
        added = run("lists", "add", "national", "--service", server.url, *options)
        assert added.code == 0, added.err
        done, records = scan(tree, "--show-requests")
        sent = bytes(server.received)
        assert server.asked
    lines = [line for line in sent.split(b"\r\n") if line]
    texts = b"\n".join(lines)
    for secret in (PLACE, NAME, str(tree), str(tmp_path), "mueller", *(p.name for p in tree.iterdir())):
        assert secret.encode() not in texts
    shown = done.err + done.out + json.dumps(records) + (tmp_path / "report.jsonl").read_text() + added.err
    for secret in (SECRET, base64.b64encode(LOGIN.encode()).decode()):
        assert secret not in shown
    assert "/check" in done.err or "lookup" in done.err or "v1/pdq" in done.err
    allowed = {
        *(b"host", b"user-agent", b"accept-encoding", b"accept", b"authorization"),
        *(b"content-type", b"content-length", b"idempotency-key"),
    }
    for line in lines:
        if line.startswith((b"GET ", b"POST ")):
            assert re.fullmatch(
                rb"GET /(v1/info|m/index/status|m/lookup\?signal=[0-9a-f]{32,64}&signal_type=(pdq|video_md5))"
                rb" HTTP/1.1|POST /v1/(check|pdq/) HTTP/1.1",
                line,
            ), line
        elif line.startswith(b"{"):
            for body in re.split(rb"(?<=\})(?=GET |POST )", line):
                if body.startswith(b"{"):
                    values = [
                        value if isinstance(value, str) else value["value"]
                        for values in json.loads(body).values()
                        for value in values
                    ]
                    assert all(DIGEST.fullmatch(value.encode()) for value in values)
                    assert json.loads(body).keys() <= {"digests", "hashes"}
        else:
            assert line.partition(b":")[0].lower() in allowed, line


def test_the_status_names_the_service_and_what_is_still_to_be_asked(
    added: Callable[..., None], run: Run, scan: Scan, server: ServiceServer, tree: Path
) -> None:
    added()
    first = run("lists", "status")
    assert first.code == 0
    server.kill()
    scan(tree)
    waiting = run("lists", "status")
    assert f"0 of {FILES} contents answered, {FILES} to be asked" in waiting.out
    server.start()
    scan(tree)
    assert f"{FILES} of {FILES} contents answered, 0 to be asked" in run("lists", "status").out
    assert run("lists", "verify").code in {0, 10}
    assert run("lists", "export", "national", "--format", "csv").code == 10
    assert run("lists", "remove", "national").code == 0
    assert run("scan", tree).code == 10


def test_single_checks_ask(
    added: Callable[..., None], run: Run, server: ServiceServer, tree: Path, tmp_path: Path
) -> None:
    picture = tree / f"{NAME}-010"
    server.entries.append(Listed("p-1", "pdq", pdq(picture.read_bytes(), tmp_path), category="B1"))
    added("--accept-answers")
    digest = f"sha256:{sha256(b'7').hex()}"
    done = run(
        "check",
        "--format",
        "json",
        tree / f"{NAME}-007",
        tree / f"{NAME}-008",
        picture,
        digest,
        "md5:" + "0" * 32,
    )
    assert done.code == 1, done.err
    assert [line["verdict"] for line in done.lines] == ["match", "clean", "match", "match", "clean"]
    assert [line["matches"][0]["entry"] for line in done.lines if "matches" in line] == ["n-7", "p-1", "n-7"]
    assert PLACE.encode() not in bytes(server.received)
    assert NAME.encode() not in bytes(server.received)


def test_single_checks_without_an_answer_are_incomplete(
    added: Callable[..., None], run: Run, server: ServiceServer, tree: Path, local_list: str
) -> None:
    added()
    listed = tree.parent / "uploads" / "listed.jpg"
    server.kill()
    done = run("check", "--format", "json", tree / f"{NAME}-007", f"sha256:{'0' * 64}", listed)
    assert done.code == 4
    assert [line["verdict"] for line in done.lines] == ["undecoded", "undecoded", "match"]
    assert done.lines[0]["reason"] == "no answer from a matching service"
    assert "national" in done.err
    done = run("check", "--format", "json", tree / f"{NAME}-008")
    assert done.code == 3
    server.start()
    server.fault = lambda request: request.send(b"<html>log in</html>")
    done = run("check", "--format", "json", tree / f"{NAME}-007")
    assert (done.code, [line["verdict"] for line in done.lines]) == (3, ["undecoded"])
    assert run("check", "--format", "json", tree / f"{NAME}-007", "--list", local_list).code == 0


def test_single_checks_with_a_damaged_state_promise_nothing(
    added: Callable[..., None], run: Run, server: ServiceServer, tree: Path, state: Path
) -> None:
    """The lists are compared; a service that takes less than it is to be asked about may have taken it."""
    added("--accept-answers")
    (state / "scans").mkdir(parents=True, exist_ok=True)
    (state / "scans" / "state.sqlite").write_bytes(b"damaged")
    done = run("check", "--format", "json", tree / f"{NAME}-007", tree / f"{NAME}-008")
    assert done.code == 4, done.err
    assert [line["verdict"] for line in done.lines] == ["match", "clean"]
    server.algorithms = ["sha256", "pdq"]
    done = run("check", "--format", "json", tree / f"{NAME}-008")
    assert (done.code, [line["verdict"] for line in done.lines]) == (3, ["undecoded"])


def test_the_answers_of_a_removed_service_leave_the_state(
    added: Callable[..., None], run: Run, scan: Scan, server: ServiceServer, tree: Path, tmp_path: Path
) -> None:
    def stored() -> int:
        with closing(sqlite3.connect(tmp_path / "state" / "scans" / "state.sqlite")) as database:
            tables = ("asked", "answers", "meta WHERE key LIKE 'service %' OR key LIKE 'taken %'")
            return sum(database.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables)

    added()
    scan(tree)
    assert stored()
    scan(tree, "--list", "demo")
    assert stored(), "a scan that does not ask the service forgets nothing"
    assert run("lists", "remove", "national").code == 0
    scan(tree, "--list", "demo")
    assert stored() == 0


def test_answers_survive_a_vacuum(
    added: Callable[..., None], run: Run, scan: Scan, server: ServiceServer, tree: Path
) -> None:
    added()
    scan(tree)
    for number in range(7):
        (tree / f"{NAME}-{number:03}").unlink()
    scan(tree, "--accept-shrink")
    before = len(server.asked)
    assert run("state", "vacuum").code == 0
    assert run("state", "check").code == 0
    _, records = scan(tree)
    assert len(server.asked) == before
    assert [r["path"][-3:] for r in records if r["type"] == "finding"] == ["007"]


def test_a_service_is_not_asked_by_a_cluster(
    added: Callable[..., None], run: Run, tree: Path, server: ServiceServer
) -> None:
    added()
    for lists in ((), ("--list", "national"), ("--list", "national", "--list", "demo")):
        done = run("scan", tree, "--cluster", "tcp://127.0.0.1:1", *lists)
        assert done.code == 2
        for word in ("--cluster", "national", "--list"):
            assert word in done.err
    assert server.requests == 0


def test_two_services_are_both_asked(
    added: Callable[..., None], run: Run, scan: Scan, server: ServiceServer, key: Path, tree: Path
) -> None:
    added()
    with service_running(entries=[Listed("m-8", "md5", hashlib.md5(b"8").digest())]) as other:
        where = ("--service", other.url, "--key-file", key, "--patience", "1s")
        assert run("lists", "add", "second", *where).code == 0
        _, records = scan(tree)
        # In the order of the answers.
        assert sorted(r["path"][-3:] for r in records if r["type"] == "finding") == ["007", "008"]
        other.kill()
        (tree / "new").write_bytes(b"new")
        assert run("lists", "remove", "second").code == 0
        assert run("lists", "add", "second", *where).code == 0
        done, records = scan(tree)
    assert done.code == 3
    assert len(server.asked) == len(set(server.asked))
    pending = [r for r in records if r.get("reason") == "no answer from a matching service"]
    assert {r["detail"] for r in pending} == {"second"}


def scan_shards(run: Run, tree: Path, folder: Path) -> list[Path]:
    reports = [folder / f"{index}.jsonl" for index in (1, 2)]
    for index, report in enumerate(reports, 1):
        assert run("scan", tree, "--shard", f"{index}/2", "--report", report).code in {0, 3}
    return reports


def test_shards_ask_and_their_reports_add_up(
    added: Callable[..., None], run: Run, server: ServiceServer, tree: Path, tmp_path: Path
) -> None:
    added()
    merged = tmp_path / "merged.jsonl"
    done = run("report", "merge", *scan_shards(run, tree, tmp_path), "--output", merged)
    records = [json.loads(line) for line in merged.read_text().splitlines()]
    assert (done.code, verdicts(records)) == (0, {"clean": FILES - 1, "review": 1})
    assert len(server.asked) == len(set(server.asked))
    server.kill()
    (tree / "new-901").write_bytes(b"new")
    done = run("report", "merge", *scan_shards(run, tree, tmp_path), "--output", merged)
    records = [json.loads(line) for line in merged.read_text().splitlines()]
    assert (done.code, verdicts(records)) == (3, {"clean": FILES - 1, "review": 1, "undecoded": 1})
    assert "service" in codes(records[-1])


@pytest.mark.parametrize("difference", quick_first(["address", "digests", "variants", "acts"]))
def test_shards_that_asked_in_another_way_are_not_of_one_scan(
    added: Callable[..., None],
    run: Run,
    server: ServiceServer,
    key: Path,
    tree: Path,
    tmp_path: Path,
    difference: str,
) -> None:
    """Such as a machine on which another service has the name, which knows nothing."""
    added()
    reports = scan_shards(run, tree, tmp_path)
    assert run("lists", "remove", "national").code == 0
    if difference == "address":
        with service_running() as other:
            where = ("--service", other.url, "--key-file", key)
            assert run("lists", "add", "national", *where).code == 0
            run("scan", tree, "--shard", "2/2", "--report", reports[1])
    else:
        added(
            *{"digests": ("--digests", "sha1"), "variants": ("--variants",), "acts": ("--accept-answers",)}[
                difference
            ]
        )
        run("scan", tree, "--shard", "2/2", "--report", reports[1])
    done = run("report", "merge", *reports, "--output", tmp_path / "merged.jsonl")
    assert (done.code, "national" in done.err) == (2, True)


def restored(folder: Path, backup: Path) -> None:
    shutil.rmtree(folder)
    shutil.copytree(backup, folder)


def test_a_state_from_a_backup_asks_again_what_has_changed_since(
    added: Callable[..., None], scan: Scan, server: ServiceServer, tree: Path, state: Path, tmp_path: Path
) -> None:
    added()
    scan(tree)
    backup = tmp_path / "backup"
    shutil.copytree(state / "scans", backup)
    since: list[str] = []

    def note(service: ServiceServer) -> None:
        since.extend(re.findall(r"since=(\S*) HTTP", bytes(service.received).decode("latin-1")))

    server.entries = [Listed("n-21", "sha256", sha256(b"21"))]
    server.version = "2"
    server.changes = changed("2", prefixes={"sha256": [sha256(b"21").hex()[:4]]}, entries=["n-7"])
    scan(tree)
    server.version = "3"
    server.changes = changed("3")
    scan(tree)
    restored(state / "scans", backup)
    server.received.clear()
    server.on_request = note
    # From the version of the backup on.
    server.changes = changed("3", prefixes={"sha256": [sha256(b"21").hex()[:4]]}, entries=["n-7"])
    done, records = scan(tree)
    assert since[-1] == "1"
    assert done.code == 0
    assert [r["path"][-3:] for r in records if r["type"] == "finding"] == ["021"]


def test_a_database_from_a_backup_takes_no_answer_for_that_of_another_content(
    added: Callable[..., None],
    run: Run,
    scan: Scan,
    server: ServiceServer,
    tree: Path,
    state: Path,
    tmp_path: Path,
) -> None:
    """Only the database is restored, beside columns of a later state that gives contents other numbers."""
    added()
    scan(tree)
    backup = tmp_path / "backup"
    shutil.copytree(state / "scans", backup)
    for number in range(60):
        (tree / f"{NAME}-{number:03}").unlink()
    scan(tree, "--accept-shrink")
    assert run("state", "vacuum").code == 0
    for number in range(60):
        (tree / f"{NAME}-{number:03}").write_bytes(b"other %d" % number)
    scan(tree)
    for name in ("state.sqlite", "state.sqlite-wal", "state.sqlite-shm"):
        (state / "scans" / name).unlink(missing_ok=True)
        if (backup / name).exists():
            shutil.copy(backup / name, state / "scans" / name)
    (tree / "new-901").write_bytes(b"7")
    done, records = scan(tree)
    if done.code == 12:
        done, records = scan(tree)
    found = [r["path"][-3:] for r in records if r["type"] == "finding"]
    assert (found, sum(verdicts(records).values())) == (["901"], FILES + 1)


def test_nothing_is_moved_on_a_services_word_alone(
    added: Callable[..., None], scan: Scan, tree: Path
) -> None:
    added("--accept-answers")
    quarantine = ("--quarantine", "--retain-min", "90d", "--destroy-by", "365d")
    _, records = scan(tree, *quarantine)
    assert verdicts(records)["match"] == 1
    assert (tree / f"{NAME}-007").exists()
    scan(tree, *quarantine, "--act-on", "service")
    assert not (tree / f"{NAME}-007").exists()


def test_an_adapter_that_is_not_installed_is_named(
    added: Callable[..., None], run: Run, tree: Path, state: Path
) -> None:
    added()
    settings = state / "lists" / "national" / "service.json"
    settings.write_text(settings.read_text().replace('"hashscan"', '"another"'))
    done = run("scan", tree)
    assert done.code == 2
    assert "another" in done.err


def test_damaged_settings_are_named(added: Callable[..., None], run: Run, tree: Path, state: Path) -> None:
    added()
    (state / "lists" / "national" / "service.json").write_text("{")
    done = run("scan", tree)
    assert done.code == 10
    assert "national" in done.err


def test_a_key_that_others_may_read_stops_the_scan(
    added: Callable[..., None], run: Run, tree: Path, key: Path, server: ServiceServer
) -> None:
    added()
    key.chmod(0o644)
    assert run("scan", tree).code == 2
    assert server.requests == 0


class Filtered:
    """A service with a filter of its list's exact digests."""

    def __init__(self, server: ServiceServer, folder: Path) -> None:
        self.server = server
        self.filters = Filters(folder)
        self.server.filters = self.filters.repository
        self.listed: dict[str, bytes] = {}

    def list(self, *contents: bytes, version: str, new_base: bool = False) -> None:
        """List contents by SHA-256 in a new version, of which there is a filter."""
        entries = [Entry(f"n-{content.decode()}", "sha256", sha256(content), "A1") for content in contents]
        made = self.filters.publish(entries, new_base=new_base)
        self.server.entries = [Listed(each.id, "sha256", each.value) for each in entries]
        self.server.version = version
        self.server.filter = self.filters.address(f"{self.server.url}filters/", made.version)

    def asked(self, tree: Path, since: int = 0) -> set[bytes]:
        """The files about whose bytes was asked, after checking that the filter lets nothing else through."""
        found = read_filter(self.filters.folder)[1]
        asked = {(name, value) for name, value in self.server.asked[since:] if name != "pdq"}
        contents = {path.read_bytes() for path in tree.iterdir()}
        exact = {
            (name, hashlib.new(name, content).digest()): content
            for content in contents
            for name in ("md5", "sha1", "sha256")
        }
        assert asked == {digest for digest in exact if found.lets_through(*digest)}
        return {exact[digest] for digest in asked}


@pytest.fixture
def filtered(server: ServiceServer, tmp_path: Path) -> Filtered:
    made = Filtered(server, tmp_path / "owner")
    # The digest of an empty file, which nobody has here.
    made.list(b"7", b"", version="1")
    return made


def test_only_digests_that_the_filter_lets_through_are_asked(
    added: Callable[..., None], scan: Scan, filtered: Filtered, tree: Path
) -> None:
    added()
    done, records = scan(tree, "--show-requests")
    assert verdicts(records) == {"clean": FILES - 1, "review": 1}
    assert b"7" in filtered.asked(tree)
    pictures = [path for path in tree.iterdir() if int(path.name[-3:]) % 10 == 0]
    assert 0 < sum(name == "pdq" for name, _ in filtered.server.asked) <= len(pictures)
    sent = bytes(filtered.server.received)
    for secret in (PLACE, NAME, "mueller"):
        assert secret.encode() not in sent
    for path in pictures:
        assert path.read_bytes()[100:120] not in sent
    assert f"GET {filtered.server.url}filters/metadata/timestamp.json" in done.err
    assert SECRET not in done.err
    fetched, asked, requests = (
        len(filtered.server.fetched),
        len(filtered.server.asked),
        filtered.server.requests,
    )
    _, again = scan(tree)
    assert verdicts(again) == verdicts(records)
    assert (len(filtered.server.fetched), len(filtered.server.asked)) == (fetched, asked)
    assert filtered.server.requests == requests + 1


@pytest.mark.parametrize("new_base", [False, True])
def test_what_a_new_filter_lets_through_is_asked_again(
    added: Callable[..., None], scan: Scan, filtered: Filtered, tree: Path, new_base: bool
) -> None:
    added()
    scan(tree)
    before = len(filtered.server.asked)
    filtered.list(b"21", b"", version="2", new_base=new_base)
    # The service does not know what has changed, which counts for pictures only.
    filtered.server.changes = changed("2", everything=True)
    _, records = scan(tree)
    assert [r["path"][-3:] for r in records if r["type"] == "finding"] == ["021"]
    assert verdicts(records) == {"clean": FILES - 1, "review": 1}
    assert b"21" in filtered.asked(tree, before)
    assert any(name == "pdq" for name, _ in filtered.server.asked[before:])
    before = len(filtered.server.asked)
    filtered.list(b"21", b"31", b"", version="3", new_base=new_base)
    filtered.server.changes = changed("3")
    _, records = scan(tree)
    assert sorted(r["path"][-3:] for r in records if r["type"] == "finding") == ["021", "031"]
    assert {b"21", b"31"} <= filtered.asked(tree, before)
    assert not any(name == "pdq" for name, _ in filtered.server.asked[before:])
    before = len(filtered.server.asked)
    scan(tree)
    assert len(filtered.server.asked) == before


@pytest.mark.parametrize("wrong", ["repository", "version", "address", "root", "expired"])
def test_without_a_filter_everything_is_asked(
    added: Callable[..., None], scan: Scan, filtered: Filtered, tree: Path, wrong: str
) -> None:
    server = filtered.server
    assert server.filter is not None
    if wrong == "repository":
        server.filters = tree
    elif wrong == "expired":
        (filtered.filters.repository / "metadata" / "timestamp.json").write_bytes(b"{}")
    else:
        other = {
            "version": {"version": "another"},
            "address": {"url": "https://169.254.169.254/"},
            "root": {"root": "0" * 64},
        }
        server.filter = structs.replace(server.filter, **other[wrong])
    added()
    done, records = scan(tree)
    assert verdicts(records) == {"clean": FILES - 1, "review": 1}
    assert sum(name == "sha256" for name, _ in server.asked) == FILES
    assert "can't be used" in done.err
    assert done.code == 0


def test_a_list_that_grows_while_there_is_no_filter_of_it(
    added: Callable[..., None], scan: Scan, filtered: Filtered, tree: Path
) -> None:
    added()
    scan(tree)
    new = sha256(b"21")
    filtered.server.entries.append(Listed("n-21", "sha256", new))
    filtered.server.version = "2"
    filtered.server.changes = changed("2", prefixes={"sha256": [new.hex()[:4]]})
    assert filtered.server.filter is not None
    filtered.server.filter = structs.replace(filtered.server.filter, version="not-there-yet")
    _, records = scan(tree)
    assert sorted(r["path"][-3:] for r in records if r["type"] == "finding") == ["007", "021"]
    filtered.list(b"7", b"21", b"31", b"", version="3")
    filtered.server.changes = changed("3")
    _, records = scan(tree)
    assert sorted(r["path"][-3:] for r in records if r["type"] == "finding") == ["007", "021", "031"]


def test_a_service_that_is_down_clears_nothing_that_the_filter_lets_through(
    added: Callable[..., None], scan: Scan, filtered: Filtered, tree: Path
) -> None:
    added()

    def refuse(request: Any) -> None:
        request.send(b"", 500)

    def fail_after_info(server: ServiceServer) -> None:
        if any(path.endswith("base.filter") for path in server.fetched):
            server.fault = refuse

    filtered.server.on_request = fail_after_info
    done, records = scan(tree)
    assert done.code == 3
    left = verdicts(records)
    assert left["undecoded"] >= 1
    assert "review" not in left
    filtered.server.on_request = filtered.server.fault = None
    _, records = scan(tree)
    assert verdicts(records) == {"clean": FILES - 1, "review": 1}


def test_single_checks_ask_what_the_filter_lets_through(
    added: Callable[..., None], run: Run, filtered: Filtered, tree: Path
) -> None:
    added("--accept-answers")
    done = run("check", "--format", "json", tree / f"{NAME}-007", tree / f"{NAME}-008")
    assert [line["verdict"] for line in done.lines] == ["match", "clean"]
    found = read_filter(filtered.filters.folder)[1]
    assert all(found.lets_through(*digest) for digest in filtered.server.asked)


def test_the_filter_of_a_removed_service_is_removed(
    added: Callable[..., None], run: Run, scan: Scan, filtered: Filtered, tree: Path, state: Path
) -> None:
    added()
    scan(tree)
    assert list((state / "lists" / "national" / "filter").glob("*.filter"))
    assert run("lists", "remove", "national").code == 0
    assert not (state / "lists" / "national").exists()
