"""Known-good lists by the real commands: published, pulled and scanned with."""

from __future__ import annotations

from pathlib import Path

import pytest

from hashscan.model import Entry
from tests.cli.conftest import Run
from tests.cli.later import days_later
from tests.cli.published import DAYS, publish, pull


@pytest.fixture
def accused(run: Run, uploads: Path, entries: Path, local_list: str) -> dict[str, dict[str, str]]:
    """Digests of two files that a local list accuses, by name."""
    ran = run("hash", uploads / "listed.jpg", uploads / "alike.jpg")
    return dict(zip(("listed.jpg", "alike.jpg"), (line["digests"] for line in ran.lines), strict=True))


def good(accused: dict[str, dict[str, str]], name: str, algorithm: str) -> Entry:
    value = bytes.fromhex(accused[name][algorithm])
    return Entry(f"good-{algorithm}", algorithm, value, "known-good")


def verdicts(run: Run, uploads: Path, **options: dict[str, str]) -> tuple[int, dict[str, str], list[str]]:
    ran = run("scan", uploads, "--report", "-", **options)
    assert ran.lines, ran.err
    findings = {
        Path(line["path"]).name: line["verdict"] for line in ran.lines[1:-1] if line["type"] != "standing"
    }
    return ran.code, findings, [info["state"] for info in ran.lines[0]["lists"]]


def test_published_pulled_and_heeded(
    run: Run, uploads: Path, accused: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    assert verdicts(run, uploads) == (1, {"listed.jpg": "match", "alike.jpg": "match"}, ["local"])
    publish(run, tmp_path / "goods", [good(accused, "alike.jpg", "sha256")])
    pull(run, tmp_path / "goods")
    held = {"listed.jpg": "match", "alike.jpg": "held"}
    assert verdicts(run, uploads) == (1, held, ["fresh", "local"])
    ran = run("check", "--format", "json", uploads / "alike.jpg")
    assert (ran.code, ran.lines[0]["verdict"]) == (0, "held")
    assert ran.lines[0]["because"].endswith(
        "but its content is known to be good: sha256 equal: entry good-sha256 (known-good) of list goods"
    )
    # Stale, it is used and said to be so, as any other list.
    later = days_later(tmp_path / "later", DAYS)
    assert verdicts(run, uploads, env=later) == (4, held, ["stale", "local"])
    (uploads / "listed.jpg").unlink()
    assert verdicts(run, uploads)[0] == 0
    (uploads / "alike.jpg").unlink()
    assert verdicts(run, uploads, env=later) == (3, {}, ["stale", "local"])


def test_neither_likeness_nor_weaker_digests_clear_anybody(
    run: Run, uploads: Path, accused: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    weaker = [good(accused, "listed.jpg", algorithm) for algorithm in ("md5", "sha1", "pdq")]
    publish(run, tmp_path / "goods", weaker)
    pull(run, tmp_path / "goods")
    assert verdicts(run, uploads)[:2] == (1, {"listed.jpg": "match", "alike.jpg": "match"})


def test_known_good_lists_alone_are_no_list_to_scan_with(
    run: Run, uploads: Path, accused: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    """Nothing could be found, so a scan that ended well would say what it doesn't know."""
    publish(run, tmp_path / "goods", [good(accused, "listed.jpg", "sha256")])
    pull(run, tmp_path / "goods")
    for command in (("scan", uploads), ("check", uploads / "listed.jpg")):
        ran = run(*command, "--list", "goods")
        assert ran.code == 10
        assert "nothing can be found: goods only say what is known to be good" in ran.err
        assert "lists add" in ran.err
    for named in ((), ("goods",)):
        ran = run("lists", "status", *named)
        local = not named
        assert ran.code == (0 if local else 10)
        assert ("nothing can be found: goods only say what is known to be good" in ran.err) != local
    run("lists", "remove", "ours")
    assert run("lists", "status").code == run("scan", uploads).code == 10
    # A named demonstration list is meant to find test entries only.
    ran = run("scan", uploads, "--list", "goods", "--list", "demo", "--report", "-")
    assert (ran.code, ran.lines[-1]["only_test_entries"]) == (0, True)
