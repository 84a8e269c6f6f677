"""Wrong usages: each has its exit code, and a hint that fits."""

from __future__ import annotations

from pathlib import Path

import pytest

from hashscan.errors import EXIT_CLEAN, EXIT_NO_LIST, EXIT_OUTPUT, EXIT_USAGE
from tests.cli.conftest import Run

MISSING_VALUE = ("lists", "import", "entries.csv")

USAGES: list[tuple[tuple[str, ...], int, str]] = [
    (("scna", "www"), EXIT_USAGE, "'scan'"),
    (("www",), EXIT_USAGE, "`hashscan scan`"),
    (("lists", "pul"), EXIT_USAGE, "'pull'"),
    (("config", "show", "scna"), EXIT_USAGE, "'scan'"),
    (("scan",), EXIT_USAGE, "targets"),
    (("scan", "nowhere"), EXIT_USAGE, "existing"),
    (("scan", "s3:/bucket"), EXIT_USAGE, "s3://"),
    (("scan", "www", "--lsit", "demo"), EXIT_USAGE, "'--list'"),
    (("scan", "www", "--exclude"), EXIT_USAGE, "--exclude"),
    (("scan", "www", "--workers", "many"), EXIT_USAGE, "`hashscan scan --help`"),
    (("scan", "www", "--max-file-size", "3bananas"), EXIT_USAGE, "500M"),
    (("scan", "www", "--shard", "17/16"), EXIT_USAGE, "3/16"),
    (("scan", "www", "--report", "jsnl=x"), EXIT_USAGE, "'jsonl'"),
    (("scan", "www", "--no-state", "--report", "none/x.jsonl"), EXIT_OUTPUT, "Create the folder"),
    (("scan", "www", "--log-file", "none/x.log"), EXIT_USAGE, "--log-file"),
    (("scan", "www", "--list", "nationel"), EXIT_NO_LIST, "'national'"),
    (("--config", "settings.toml", "scan", "www"), EXIT_NO_LIST, "'workers'"),
    (("--config", "none.toml", "scan", "www"), EXIT_USAGE, "none.toml"),
    (("check", "www", "--list", "demo"), EXIT_USAGE, "`hashscan scan`"),
    (("check", "none", "--list", "demo"), EXIT_USAGE, "sha256:"),
    (("hash", "entries.csv", "--algorithm", "sha255"), EXIT_USAGE, "'sha256'"),
    (("hash", "entries.csv", "--output", "www"), EXIT_USAGE, "--output"),
    (("lists", "add", "europe"), EXIT_USAGE, "--root"),
    (MISSING_VALUE, EXIT_USAGE, "--name"),
    (("lists", "pull", "nationel"), EXIT_USAGE, "'national'"),
    (("lists", "remove", "nationel"), EXIT_USAGE, "'national'"),
    (("lists", "status", "nationel"), EXIT_NO_LIST, "'national'"),
    (("stats", "--since", "yesterday"), EXIT_OUTPUT, "--state"),
    (("report", "show", "none.jsonl"), EXIT_USAGE, "none.jsonl"),
    (("cases", "show", "9"), EXIT_USAGE, "`hashscan cases list"),
]


@pytest.fixture
def place(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with files and a list `national`, as the current one."""
    here = tmp_path / "place"
    (here / "www").mkdir(parents=True)
    (here / "www" / "file").write_bytes(b"x")
    (here / "settings.toml").write_text("wrokers = 2\n")
    (here / "entries.csv").write_text(f"id,algorithm,value,category\ne-1,md5,{'0' * 32},A1\n")
    monkeypatch.chdir(here)
    return here


@pytest.mark.parametrize(("usage", "code", "hint"), USAGES, ids=[" ".join(usage) for usage, _, _ in USAGES])
def test_a_wrong_usage_has_a_hint_that_fits(
    run: Run, place: Path, usage: tuple[str, ...], code: int, hint: str
) -> None:
    if any("nationel" in word for word in usage):
        assert run("lists", "import", "entries.csv", "--name", "national", cwd=place).code == EXIT_CLEAN
    ran = run(*usage, cwd=place)
    assert ran.code == code, ran.err
    assert hint in ran.err + ran.out
    # No usage is printed as a program's own, and every line of advice belongs to a message.
    lines = ran.err.splitlines()
    assert lines[0].startswith("hashscan: ")
    assert all(line.startswith(("hashscan: ", "  ")) for line in lines)


def test_a_misspelt_variable_is_named(run: Run, place: Path) -> None:
    ran = run("hash", "entries.csv", env={"HASHSCAN_DECODER_MEMROY": "1G"})
    assert ran.code == EXIT_CLEAN
    assert "HASHSCAN_DECODER_MEMORY" in ran.err
    for name in ("HASHSCAN_REPORT", "HASHSCAN_PASSPHRASE", "HASHSCAN_SOMETHING_ELSE"):
        assert name not in run("hash", "entries.csv", env={name: "x"}).err
