"""Scans of what a list names: events, changed files of a push, `find -print0`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import COMMAND, Run, environment
from tests.prefork import PREFORK
from tests.shortcomings import codes


@pytest.fixture(autouse=True)
def _there(uploads: Path, local_list: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(uploads)


def listed(state: Path, names: bytes, *arguments: object) -> tuple[int, list[dict[str, Any]], str]:
    done = subprocess.run(
        [PREFORK.program(), "scan", "--files-from", "-", "--report", "-", *map(str, arguments)],
        input=names,
        env=environment(state),
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert b"Traceback" not in done.stderr, done.stderr
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr.decode()


def outcomes(lines: list[dict[str, Any]]) -> dict[str, str]:
    return {line["path"]: line.get("reason", line["verdict"]) for line in lines[1:-1]}


def test_changed_files(state: Path, uploads: Path) -> None:
    code, lines, _ = listed(state, b"alike.jpg\nother.jpg\n")
    assert code == 1
    assert outcomes(lines) == {str(uploads / "alike.jpg"): "match"}
    assert lines[-1]["files"] == 2
    assert lines[-1]["passed"]["folders"] == 0
    assert lines[0]["targets"] == []
    assert lines[0]["files_from"] == {"path": "-"}


def test_from_a_file_and_beneath_a_target(state: Path, uploads: Path, tmp_path: Path, run: Run) -> None:
    (tmp_path / "names").write_bytes(b"listed.jpg\0../entries.csv\0")
    ran = run("scan", uploads, "--files-from", tmp_path / "names", "--report", "-")
    assert ran.code == 4
    assert outcomes(ran.lines) == {
        str(uploads / "listed.jpg"): "match",
        str(tmp_path / "entries.csv"): "outside the targets",
    }
    assert ran.lines[0]["targets"] == [{"path": str(uploads)}]


def test_nothing_new_is_complete(state: Path, uploads: Path) -> None:
    for names in (b"", b"\n"):
        code, lines, said = listed(state, names, uploads)
        assert (code, lines[-1]["incomplete"], lines[-1]["files"]) == (0, [], 0)
        assert "named no file" in said


def test_find_print0_and_hostile_names(state: Path, uploads: Path, tmp_path: Path) -> None:
    content = (uploads / "listed.jpg").read_bytes()
    odd = [b"\nnew\nline", b"\xff\xfe", b"\x1b[31mred", b"-rf", b" ", b"a\\0b", b"\n"]
    for name in odd:
        (uploads / os.fsdecode(name)).write_bytes(content)
    found = subprocess.run(["find", ".", "-type", "f", "-print0"], stdout=subprocess.PIPE, check=True).stdout
    code, lines, said = listed(state, found, uploads)
    assert code == 1
    assert lines[-1]["verdicts"]["match"] == len(odd) + 2
    assert lines[-1]["files"] == len(odd) + 3
    assert "\x1b[31m" not in said


def test_one_verdict_for_each_name(state: Path, uploads: Path) -> None:
    os.symlink("listed.jpg", "link")
    os.symlink(".", "folder-link")
    os.mkfifo("fifo")
    os.mkdir("folder")
    os.link("listed.jpg", "hard")
    names = [
        "listed.jpg", "listed.jpg", "hard", "other.jpg", "other.jpg", "gone.jpg", "link",
        "folder-link/listed.jpg", "fifo", "folder", "./x/../listed.jpg", "s4://bucket/key", "file:///etc/passwd",
    ]  # fmt: skip
    code, lines, _ = listed(state, "\0".join(names).encode())
    assert code == 4
    assert lines[-1]["files"] == len(names)
    assert lines[-1]["verdicts"]["match"] == 3
    assert lines[-1]["verdicts"]["clean"] == 2
    assert lines[-1]["reasons"]["unreadable"] == {
        "vanished": 1,
        "not a regular file": 4,
        "not a path or URL that can be opened": 3,
    }
    assert {line["path"] for line in lines[1:-1] if "://" in line["path"]} == {names[-1], names[-2]}


def test_patterns_limits_and_our_own(state: Path, uploads: Path) -> None:
    names = f"alike.jpg\0other.jpg\0{state}/lists/.lock\0".encode()
    (state / "lists" / ".lock").touch()
    code, lines, _ = listed(state, names, "--exclude", "other.*", "--max-file-size", "1K")
    assert code == 0
    assert set(outcomes(lines).values()) == {"excluded", "over the size limit", "being written by this scan"}


def test_shards_of_a_list(state: Path, uploads: Path, tmp_path: Path, run: Run) -> None:
    names = b"alike.jpg\nlisted.jpg\nother.jpg\ngone\n"
    parts = []
    for index in (1, 2, 3):
        _, lines, said = listed(state, names, "--shard", f"{index}/3")
        assert f"hashscan: shard {index}/3: {lines[-1]['files']} file" in said
        assert lines[-1]["listed"] == 4
        parts.append(tmp_path / f"{index}.jsonl")
        parts[-1].write_text("".join(json.dumps(line) + "\n" for line in lines))
    ran = run("report", "merge", *parts, "--output", "-")
    assert ran.code == 4
    assert ran.lines[-1]["verdicts"]["match"] == 2
    assert ran.lines[-1]["files"] == 4
    # One that was given another list is distinguished from the others.
    _, lines, _ = listed(state, names + b"more", "--shard", "3/3")
    parts[-1].write_text("".join(json.dumps(line) + "\n" for line in lines))
    ran = run("report", "merge", *parts, "--output", "-")
    assert "shards did not have the same before them" in ran.err


def test_misuse(run: Run, tmp_path: Path, uploads: Path) -> None:
    ran = run("scan")
    assert (ran.code, "no target given" in ran.err) == (2, True)
    ran = run("scan", "--files-from", tmp_path / "none")
    assert (ran.code, "can't open the list of names" in ran.err) == (2, True)
    ran = run("scan", "--files-from", uploads)
    assert (ran.code, "Is a directory" in ran.err) == (2, True)
    for shard in ("0/3", "4/3", "1/0", "3", "a/b", "-1/2", "1/2/3", "1/99999999"):
        ran = run("scan", uploads, "--shard", shard)
        assert (ran.code, "no shard" in ran.err) == (2, True), shard


def test_as_names_come_and_stopped_while_none_does(state: Path, uploads: Path, tmp_path: Path) -> None:
    """From a queue that never ends: what was named is reported soon, and a signal ends it in good order."""
    report = tmp_path / "report.jsonl"
    scan = PREFORK.popen(
        [*COMMAND, "scan", "--files-from", "-", "--report", str(report), "--workers", "1"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(state),
    )
    assert scan.stdin is not None
    scan.stdin.write(b"\0listed.jpg\0other.jpg\0")
    scan.stdin.flush()
    partial = report.with_name("report.jsonl.partial")
    until = time.monotonic() + 60
    while not (partial.exists() and b'"finding"' in partial.read_bytes()):
        assert time.monotonic() < until
        time.sleep(0.05)
    scan.send_signal(signal.SIGTERM)
    assert scan.wait(timeout=30) == 143
    scan.communicate()
    lines = [json.loads(line) for line in report.read_text().splitlines()]
    assert codes(lines[-1]) == ["stopped"]
    assert lines[-1]["verdicts"]["match"] == 1
