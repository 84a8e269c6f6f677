"""The circuit breaker, by the real commands and a signed list."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Ran, Run
from tests.cli.published import BAD, THEME, national, signed

TERMS = ("--retain-min", "90d", "--destroy-by", "365d")
LIMITS = ("--breaker-files", "4")

__all__ = ["national", "signed"]  # fixtures

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def www(tmp_path: Path) -> Path:
    folder = tmp_path / "www"
    folder.mkdir()
    for number in range(9):
        (folder / f"good{number}").write_bytes(b"innocent %d" % number)
    return folder


def put(path: Path, content: bytes, owner: int | None = None) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    if owner is not None:
        os.chown(path, owner, owner)
    return path


def digest(content: bytes) -> bytes:
    return hashlib.md5(content, usedforsecurity=False).hexdigest().encode()


def records(report: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in report.read_text().splitlines()]


def findings(report: Path) -> dict[str, dict[str, Any]]:
    return {Path(line["path"]).name: line for line in records(report) if line["type"] == "finding"}


def exported(run: Run) -> dict[str, str]:
    lines = map(json.loads, run("state", "export").out.splitlines())
    return {Path(line["path"]).name: line["verdict"] for line in lines if line.get("verdict")}


def nothing_stray(folder: Path) -> bool:
    return not [p for p in folder.rglob("*") if p.name.endswith((".partial", ".final"))]


@needs_root
@pytest.mark.usefixtures("signed")
def test_300_owners_have_it_and_nothing_is_moved(run: Run, www: Path, tmp_path: Path) -> None:
    for number in range(300):
        put(www / f"customer{number}" / f"theme{number}", THEME, 20_000 + number)
    bad = put(www / "customer7" / "bad", BAD, 20_007)
    report, note = tmp_path / "found.jsonl", put(tmp_path / "note", b"Ask us.")
    ran = run("scan", www, "--quarantine", *TERMS, "--leave-note", note, "--report", report)
    assert ran.code == 1, ran.err
    found = findings(report)
    assert Counter(line["verdict"] for line in found.values()) == {"held": 300, "match": 1}
    assert bad.read_bytes() == b"Ask us."
    assert all((www / f"customer{number}" / f"theme{number}").exists() for number in range(300))
    message = "entry e-theme of list national hits 300 files of more than 20 owners"
    assert f"BREAKER: {message}: too many matches" in ran.err
    assert {line["action"] for line in found.values() if line["verdict"] == "held"} == {"held"}
    assert message in found["theme0"]["because"]
    assert "1 moved into quarantine, 0 left" in ran.err
    summary = records(report)[-1]
    assert summary["verdicts"] | {"clean": 9, "held": 300, "match": 1} == summary["verdicts"]
    assert summary["breaker"] == {
        "held": 300,
        "entries": 1,
        "first": [{"list": "national", "entry": "e-theme", "files": 300, "owners_over": 20}],
    }
    assert nothing_stray(tmp_path)
    # The same picture, where one owner has it.
    for number in range(1, 300):
        (www / f"customer{number}" / f"theme{number}").unlink()
    ran = run("scan", www, "--quarantine", *TERMS, "--report", report, "--accept-shrink")
    assert (ran.code, (www / "customer0" / "theme0").exists()) == (1, False), ran.err
    (one,) = findings(report).values()
    assert (one["verdict"], one["action"], one["quarantine"]["outcome"]) == ("match", "quarantine", "done")
    kept = Path(one["quarantine"]["place"]["path"]) / one["quarantine"]["item"]
    assert kept.read_bytes() == THEME
    assert run("quarantine", "verify").code == 0


@pytest.mark.usefixtures("signed")
def test_too_many_files(run: Run, www: Path, tmp_path: Path) -> None:
    """Without --quarantine as with it, of kept digests as of those just computed."""
    for number in range(5):
        put(www / f"theme{number}", THEME)
    put(www / "bad", BAD)

    def scanned(report: Path | str) -> tuple[Ran, list[dict[str, Any]]]:
        ran = run("scan", www, *LIMITS, "--report", report)
        return ran, ran.lines if report == "-" else records(Path(report))

    report = tmp_path / "found.jsonl"
    # The first reads all, the others nothing.
    for target in ("-", report, "-"):
        ran, lines = scanned(target)
        found = {Path(line["path"]).name: line["verdict"] for line in lines[1:-1]}
        assert found == {"bad": "match", **{f"theme{number}": "held" for number in range(5)}}
        assert (ran.code, lines[0]["type"], lines[-1]["type"]) == (1, "scan", "summary")
        assert lines[-1]["verdicts"]["held"] == 5
        assert "hits 5 files of 1 owner: too many matches" in ran.err
    (www / "theme0").unlink()
    ran, lines = scanned(report)
    assert {line["verdict"] for line in lines[1:-1]} == {"match"}
    assert "BREAKER" not in ran.err
    assert "breaker" not in lines[-1]


@pytest.mark.usefixtures("signed")
def test_of_reports_too(run: Run, www: Path, tmp_path: Path) -> None:
    """`quarantine add` counts anew, by its own limits; of unfinished reports and shards nothing is moved."""
    for number in range(5):
        put(www / f"theme{number}", THEME)
    put(www / "bad", BAD)
    report, held = tmp_path / "found.jsonl", tmp_path / "held.jsonl"
    run("scan", www, "--report", report)
    run("scan", www, "--report", held, *LIMITS)
    for options in ((report, *LIMITS), (held,)):
        ran = run("quarantine", "add", *options, *TERMS, "--dry-run")
        assert (ran.code, ran.out) == (0, f"{www}/bad\n"), ran.err
    assert run("quarantine", "add", report, *TERMS, "--dry-run").out.count("\n") == 6
    lines = report.read_text().splitlines(keepends=True)
    report.write_text("".join(lines[:-1]))
    ran = run("quarantine", "add", report, *TERMS)
    assert (ran.code, "did not come to its end" in ran.err) == (2, True)
    run("scan", www, "--shard", "1/2", "--report", report)
    ran = run("quarantine", "add", report, *TERMS)
    assert (ran.code, "report merge" in ran.err) == (2, True)
    assert (www / "bad").exists()


@pytest.mark.usefixtures("signed")
def test_of_all_shards_together(run: Run, www: Path, tmp_path: Path) -> None:
    for number in range(8):
        put(www / f"theme{number}", THEME)
    put(www / "bad", BAD)
    limits = ("--breaker-files", "7")
    shards = []
    for index in (1, 2, 3):
        shards.append(tmp_path / f"{index}.jsonl")
        ran = run("scan", www, "--shard", f"{index}/3", *limits, "--report", shards[-1])
        assert "BREAKER" not in ran.err
    merged = tmp_path / "merged.jsonl"
    ran = run("report", "merge", *shards, "--output", merged)
    assert (ran.code, "BREAKER: entry e-theme of list national hits 8 files of 1 owner" in ran.err) == (
        1,
        True,
    )
    verdicts = Counter(line["verdict"] for line in findings(merged).values())
    assert verdicts == {"held": 8, "match": 1}
    assert records(merged)[-1]["verdicts"]["held"] == 8
    on_screen = run("report", "merge", *shards, "--output", "-")
    assert sorted(map(str, on_screen.lines[1:-1])) == sorted(map(str, records(merged)[1:-1]))
    ran = run("quarantine", "add", merged, *TERMS, "--dry-run", *limits)
    assert ran.out == f"{www}/bad\n"
    # Shards that counted by other limits are not of one scan.
    run("scan", www, "--shard", "3/3", "--report", shards[-1])
    ran = run("report", "merge", *shards, "--output", merged)
    assert (ran.code, "--breaker-owners or --breaker-files" in ran.err) == (2, True)


@pytest.mark.usefixtures("signed")
def test_what_is_held_is_so_wherever_it_is_reported(run: Run, www: Path, tmp_path: Path) -> None:
    for number in range(5):
        put(www / f"theme{number}", THEME)
    put(www / "bad", BAD)
    expected = {"bad": "match", **{f"theme{number}": "held" for number in range(5)}}
    run("scan", www, *LIMITS)
    assert exported(run) == expected
    # What an entry hits of all owners can't be counted where nothing is looked at: hence no limits here.
    known = tmp_path / "known.jsonl"
    for _ in range(2):
        assert run("scan", "--known", "--report", known).code == 1
        found = findings(known)
        assert {name: line["verdict"] for name, line in found.items()} == expected
    assert (found["theme0"]["action"], "too much to be right" in found["theme0"]["because"]) == ("held", True)
    assert records(known)[-1]["verdicts"]["held"] == 5
    # Another entry that accuses one of them is heard at once.
    table = put(tmp_path / "more.csv", b"id,algorithm,value,category\nmore,md5,%s,A1\n" % digest(THEME))
    run("lists", "import", table, "--name", "local")
    run("scan", "--known", "--report", known)
    assert [line["verdict"] for line in findings(known).values()] == ["match"] * 6
    run("scan", "--known", "--report", known, *LIMITS)
    assert exported(run) == expected
    report = tmp_path / "left.jsonl"
    run("scan", www, "--exclude", "theme*", "--report", report)
    standing = {Path(r["path"]).name: r["was"] for r in records(report) if r["type"] == "standing"}
    assert standing == {name: verdict for name, verdict in expected.items() if name != "bad"}


@pytest.mark.usefixtures("signed")
def test_what_is_held_sets_the_exit_code_of_a_rescan_too(run: Run, www: Path, tmp_path: Path) -> None:
    for number in range(5):
        put(www / f"theme{number}", THEME)
    assert run("scan", www, *LIMITS).code == 1
    known = tmp_path / "known.jsonl"
    for _ in range(2):
        assert run("scan", "--known", "--report", known).code == 1
        assert {line["breaker"] for line in findings(known).values()} == {"entry"}


@pytest.mark.usefixtures("signed")
def test_known_files_are_asked_for_their_owners_when_they_are_moved(
    run: Run, www: Path, tmp_path: Path, age: Callable[[], None]
) -> None:
    put(www / "bad", BAD)
    age()
    assert run("scan", www, "--report", tmp_path / "a").code == 1
    known = tmp_path / "known.jsonl"
    assert run("scan", "--known", "--report", known).code == 1
    assert "uid" not in findings(known)["bad"]
    ran = run("quarantine", "add", known, *TERMS)
    assert (ran.code, (www / "bad").exists()) == (0, False), ran.err
