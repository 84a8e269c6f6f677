"""A quarantine whose log was damaged or lost stops nothing but what needs it, and says what to do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.cli.published import BAD, national, signed
from tests.examples import quick_first
from tests.shortcomings import messages

TERMS = ("--retain-min", "90d", "--destroy-by", "365d")

__all__ = ["national", "signed"]  # fixtures


@pytest.fixture
def www(run: Run, signed: None, tmp_path: Path) -> Path:
    """A folder whose listed file was moved, and put back by an operator."""
    folder = tmp_path / "www"
    folder.mkdir()
    (folder / "bad").write_bytes(BAD)
    (folder / "good").write_bytes(b"innocent")
    assert run("scan", folder, "--quarantine", *TERMS).code == 1
    assert run("quarantine", "restore", "--all").code == 0
    return folder


def scanned(run: Run, www: Path) -> tuple[int, int, int, list[str]]:
    """Exit code, matches, held ones, and why it is incomplete."""
    ran = run("scan", www, "--report", "-")
    summary = ran.lines[-1]
    return ran.code, summary["verdicts"]["match"], summary["verdicts"]["held"], messages(summary)


@pytest.mark.parametrize(
    ("lost", "named"),
    quick_first(
        [
            (("quarantine/log.jsonl",), "quarantine/log.jsonl"),
            (("quarantine/log.jsonl", "quarantine/head"), "quarantine/log.jsonl"),
            (("quarantine/log.jsonl", "quarantine-head"), "quarantine/log.jsonl"),
            (("quarantine/head",), "quarantine/head"),
            (("quarantine-head",), "quarantine-head"),
        ],
        2,
    ),
)
def test_a_scan_goes_on_and_is_incomplete(
    run: Run, www: Path, state: Path, lost: tuple[str, ...], named: str
) -> None:
    assert scanned(run, www) == (0, 0, 1, [])
    for name in lost:
        (state / name).rename(state / f"{name}.aside")
    path = str(state / named)
    *found, why = scanned(run, www)
    assert (found, len(why), path in why[0]) == ([4, 1, 0], 1, True)
    for command, code in (
        (("scan", "--known"), 4),
        (("check", www / "bad"), 4),
        (("check", www / "good"), 3),
        (("scan", www, "--quarantine", *TERMS), 12),
        (("quarantine", "list"), 12),
        (("quarantine", "verify"), 12),
        (("quarantine", "add", www / "good", "--reason", "r", *TERMS), 12),
    ):
        ran = run(*command)
        assert (ran.code, f"{path} is gone" in ran.err) == (code, True), ran.err
    assert (www / "good").exists()
    for name in lost:
        (state / f"{name}.aside").rename(state / name)
    assert scanned(run, www) == (0, 0, 1, [])
    assert run("quarantine", "verify").code == 0


def test_a_damaged_one_too(run: Run, www: Path, state: Path) -> None:
    log = state / "quarantine" / "log.jsonl"
    log.write_bytes(log.read_bytes().replace(b"/www/bad", b"/www/bed"))
    *found, why = scanned(run, www)
    assert (found, "log.jsonl, line 1:" in why[0]) == ([4, 1, 0], True)
    assert run("scan", www, "--quarantine", *TERMS).code == 12


def test_without_a_backup_the_rest_is_moved_elsewhere(run: Run, www: Path, state: Path) -> None:
    (state / "quarantine" / "log.jsonl").unlink()
    for name in ("quarantine", "quarantine-head"):
        (state / name).rename(state / f"{name}.lost")
    ran = run("scan", www, "--quarantine", *TERMS)
    assert (ran.code, (www / "bad").exists()) == (1, False), ran.err
    assert run("quarantine", "verify").code == 0


def test_a_lost_head_is_written_anew_from_the_other(run: Run, www: Path, state: Path) -> None:
    (state / "quarantine" / "head").unlink()
    head = json.loads((state / "quarantine-head").read_text())["head"]
    (state / "quarantine" / "head").write_text(head)
    assert scanned(run, www) == (0, 0, 1, [])
    assert run("quarantine", "verify").code == 0
