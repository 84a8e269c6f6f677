"""Checks that nothing is decided on the words of messages, with others that are drawn at random."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest

from tests.changed_messages import changed_copies
from tests.cli.conftest import environment, runner
from tests.pictures import encoded, scene

Run = Callable[..., tuple[int, str]]
SEEDS = (1, 2)
THEME = b"a theme's picture"
TEXTS = {"because", "message", "pathless", "detail", "withheld", "subject", "text", "problem", "advice"}
"""Keys of messages; whether there is one is compared."""
TIMES = {"found", "began", "ended", "at", "time", "seen", "first", "last", "due", "retain_min", "destroy_by"}
TIMES |= {
    "acknowledge",
    "removed",
    "closed",
    "told",
    "disputed",
    "hours",
    "ordered",
    "noticed",
    "received",
    "deadline",
}
TIMES |= {"atime_ns", "mtime_ns", "ctime_ns", "after_ns"}
CHANCE = {"scan", "made", "uuid", "inode", "item", "message_id", "source", "charged"}
CHANCE |= {
    "witness",
    "bytes",
    "unchanged",
    "recognition",
    "sandbox",
    "latest",
    "seconds",
    "started",
    "head",
    "previous",
}
"""Keys of what differs from one run to the next, besides times: how much is read again depends on how long
ago a file was written, and who saw it last on whether a scan and a move fall into one second."""


def fields(value: Any, key: str = "") -> Any:
    """A document without the words of messages and without what is of chance."""
    if key in TEXTS:
        return bool(value)
    if isinstance(value, dict):
        if value.get("kind") == "withheld":
            # A sentence for people; the time is in a column of its own.
            value = {**value, "words": ""}
        if "code" in value:
            return value["code"], value.get("subject")
        return {name: fields(one, name) for name, one in value.items() if name not in CHANCE | TIMES}
    if isinstance(value, list):
        return [fields(one, key) for one in value]
    return value


def documents(text: str) -> list[Any]:
    """Return the documents of lines, by path."""
    found = [fields(json.loads(line)) for line in text.splitlines()]
    return sorted(found, key=lambda one: str(one.get("path", "")))


def make_files(www: Path) -> None:
    """Matches, a review, files of an entry that hits too many, and some that can't be checked in full."""
    shutil.rmtree(www, ignore_errors=True)
    www.mkdir()
    listed = encoded(scene(5), quality=90)
    (www / "listed.jpg").write_bytes(listed)
    (www / "alike.jpg").write_bytes(encoded(scene(5).resize((240, 180)), quality=40))
    (www / "mirrored.jpg").write_bytes(encoded(scene(5).rotate(3), quality=90))
    (www / "other.jpg").write_bytes(encoded(scene(6)))
    (www / "only-report.jpg").write_bytes(encoded(scene(7)))
    (www / "truncated.jpg").write_bytes(listed[: len(listed) // 2])
    (www / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    (www / "broken.zip").write_bytes(b"PK\x03\x04" + bytes(100))
    (www / "dangling").symlink_to("nowhere")
    for number in range(4):
        (www / f"theme{number}").write_bytes(THEME)


def scenario(run: Run, folder: Path, entries: Path) -> Iterator[tuple[str, int, list[Any]]]:
    """Run commands, and yield name, exit code and documents of each step."""
    www, report = folder / "www", folder / "report.jsonl"
    make_files(www)
    scan = ("scan", www, "--breaker-files", "3", "--exec", "/bin/true", "--strict")
    moving = ("--quarantine", "--act-on", "local", "--retain-min", "90d", "--destroy-by", "365d")

    def step(name: str, *arguments: object, reports: bool = False) -> tuple[str, int, list[Any]]:
        report.unlink(missing_ok=True)
        code, out = run(*arguments, *(("--report", report) if reports else ()))
        return name, code, documents(report.read_text() if reports and report.exists() else out)

    yield step("import", "lists", "import", entries, "--name", "ours")
    yield step("first", *scan, reports=True)
    (www / "theme9").write_bytes(THEME)
    yield step("still held", *scan, *moving, reports=True)
    yield step("held before", "scan", "--known", reports=True)
    for number in range(9):
        (www / f"theme{number}").unlink(missing_ok=True)
    yield step("one of them", *scan, "--accept-shrink", reports=True)
    yield step("known", "scan", "--known", "--breaker-files", "3", reports=True)
    yield step("wrong", "scan", www, "--list", "none")
    yield step("no target", "scan", folder / "nowhere", "--exec", "/bin/true")
    for column in (folder / "state" / "lists" / "ours").rglob("*.npy"):
        column.write_bytes(b"damaged")
    yield step("damaged", *scan, reports=True)
    yield step("lists", "lists", "status", "--format", "json")
    order = ("--kind", "order", "--sender", "orders@authority.example", "--reference", "R-1")
    yield step("order", "cases", "add", "https://127.0.0.1/a.jpg", *order)
    yield step("the same order", "cases", "add", "https://127.0.0.1/a.jpg", *order)
    yield step("web", "cases", "check", "--web")
    yield step("check", "cases", "check")
    yield step("confirmed", "cases", "review", 1, "--decision", "confirmed", "--reason", "compared")
    yield step("withheld", "cases", "withhold", 1, "--until", "2999-01-01", "--reason", "the order")
    yield step("letter", "cases", "letter", "--customer", "nobody")
    yield step("restored", "quarantine", "restore", "--withdrawn")
    yield step("queue", "cases", "queue", "--format", "json")
    for number in (1, 2):
        yield step("case", "cases", "show", number, "--format", "json")
    yield step("cases", "cases", "list", "--format", "json")
    yield step("alerts", "alerts", "list", "--format", "json")
    yield step("quarantine", "quarantine", "list", "--format", "json")


@pytest.mark.slow
def test_with_other_messages_all_is_decided_the_same(tmp_path: Path) -> None:
    runs = tmp_path / "run"
    entries = tmp_path / "entries.csv"
    copies = list(changed_copies(tmp_path / "copies", SEEDS))

    def plain(*arguments: object) -> tuple[int, str]:
        ran = runner(runs / "state")(*arguments)
        return ran.code, ran.out

    words: set[str] = set()

    # What one command has stored another reads that has other messages.
    each = cycle(copies)

    def changed(*arguments: object) -> tuple[int, str]:
        copy = next(each)
        variables = environment(runs / "state", {"HASHSCAN_WORKERS": "1", "PYTHONPATH": str(copy)})
        command = [sys.executable, "-m", "hashscan", *map(str, arguments)]
        ran = subprocess.run(
            command, cwd=copy, env=variables, capture_output=True, text=True, timeout=120, check=False
        )
        assert "Traceback" not in ran.stderr, ran.stderr
        words.update(ran.stderr.split())
        return ran.returncode, ran.stdout

    make_files(tmp_path / "hashed")
    names = ("listed.jpg", "only-report.jpg")
    _, out = plain("hash", *(tmp_path / "hashed" / name for name in names))
    accusing, reported = (json.loads(line)["digests"] for line in out.splitlines())
    entries.write_text(
        "id,algorithm,value,category\n"
        f"e:sha256,sha256,{accusing['sha256']},A1\n"
        f"e:pdq,pdq,{accusing['pdq']},A1\n"
        f"o:pdq,pdq,{reported['pdq']},other\n"
        f"theme,sha256,{hashlib.sha256(THEME).hexdigest()},A1\n"
    )
    shutil.rmtree(runs, ignore_errors=True)
    found = []
    for run in (plain, changed):
        runs.mkdir()
        found.append(list(scenario(run, runs, entries)))
        shutil.rmtree(runs)
    for (name, code, lines), (_, other_code, others) in zip(*found, strict=True):
        assert (code, len(lines)) == (other_code, len(others)), name
        for line, other in zip(lines, others, strict=True):
            assert line == other, name
    assert words.isdisjoint({"folder", "pictures"})
    # Otherwise the scenario would compare little.
    text = json.dumps(found[0])
    for code in ("match", "held", "review", "undecoded", "incomplete", "found", "failed", "done"):
        assert f'"{code}"' in text, code
