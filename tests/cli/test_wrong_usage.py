"""Wrong usages: each has its exit code, and a hint that fits."""

from __future__ import annotations

from pathlib import Path

import pytest

from hashscan.errors import EXIT_CLEAN, EXIT_NO_LIST, EXIT_OUTPUT, EXIT_USAGE
from tests.cli.conftest import Run

MISSING_VALUE = ("lists", "import", "entries.csv")
ADD = ("lists", "add", "europe", "https://lists.example", "--root-fingerprint", "0" * 64)

USAGES: list[tuple[tuple[str, ...], int, str]] = [
    (("scna", "www"), EXIT_USAGE, "'scan'"),
    (("www",), EXIT_USAGE, "`hashscan scan`"),
    (("lists", "pul"), EXIT_USAGE, "'pull'"),
    (("config", "show", "scna"), EXIT_USAGE, "'scan'"),
    (("scan",), EXIT_USAGE, "targets"),
    (("scan", "nowhere"), EXIT_USAGE, "existing"),
    (("scan", "www/none", "--list", "demo"), EXIT_USAGE, "/place'"),
    (("scan", ""), EXIT_USAGE, "unset"),
    (("scan", "s3:/bucket"), EXIT_USAGE, "s3://"),
    (("scan", "ftp://host/x"), EXIT_USAGE, "s3, gs, az"),
    (("scan", "www", "--lsit", "demo"), EXIT_USAGE, "'--list'"),
    (("scan", "www", "--exclude"), EXIT_USAGE, "--exclude GLOB:"),
    (("scan", "www", "--workers", "many"), EXIT_USAGE, "--workers INTEGER:"),
    (("scan", "www", "--workers", "0"), EXIT_USAGE, "above 0"),
    (("scan", "www", "--max-file-size", "3bananas"), EXIT_USAGE, "500M"),
    (("scan", "www", "--shard", "17/16"), EXIT_USAGE, "3/16"),
    (("scan", "www", "--report", "jsnl=x"), EXIT_USAGE, "'jsonl'"),
    (("scan", "www", "--list", "demo", "--report", "www"), EXIT_OUTPUT, "not a folder"),
    (("scan", "www", "--no-state", "--report", "none/x.jsonl"), EXIT_OUTPUT, "Create the folder"),
    (("scan", "www", "--log-file", "none/x.log"), EXIT_USAGE, "--log-file"),
    (("scan", "www", "--no-state", "--known"), EXIT_USAGE, "`hashscan scan --help`"),
    (("scan", "www", "--exec", "{place}/entries.csv", "--list", "demo"), EXIT_USAGE, "chmod a+x"),
    (("scan", "www"), EXIT_NO_LIST, "/state/lists"),
    (("scan", "www", "--list", "nationel"), EXIT_NO_LIST, "'national'"),
    (("scan", "www", "--state", ""), EXIT_USAGE, "unset"),
    (("scan", "www", "--state", "entries.csv"), EXIT_USAGE, "not a folder"),
    (("--config", "settings.toml", "scan", "www"), EXIT_NO_LIST, "'workers'"),
    (("--config", "none.toml", "scan", "www"), EXIT_USAGE, "`hashscan config init`"),
    (("--config", "latin.toml", "scan", "www"), EXIT_USAGE, "line 2"),
    (("check", "www", "--list", "demo"), EXIT_USAGE, "`hashscan scan`"),
    (("check", "none", "--list", "demo"), EXIT_USAGE, "sha256:"),
    (("check", "0" * 31, "--list", "demo"), EXIT_USAGE, "md5 32"),
    (("hash", "entries.csv", "--algorithm", "sha255"), EXIT_USAGE, "'sha256'"),
    (("hash", "entries.csv", "--output", "www"), EXIT_USAGE, "--output FILE:"),
    (("lists", "add", "europe"), EXIT_USAGE, "--root"),
    ((*ADD, "--token-file", "token"), EXIT_USAGE, "chmod 600"),
    (MISSING_VALUE, EXIT_USAGE, "--name TEXT:"),
    (("lists", "pull", "nationel"), EXIT_USAGE, "'national'"),
    (("lists", "pull", "national", "nationel"), EXIT_USAGE, "`hashscan lists import FILE --name national`"),
    (("lists", "remove", "nationel"), EXIT_USAGE, "'national'"),
    (("lists", "remove", "demo"), EXIT_USAGE, "another list"),
    (("lists", "activate", "nationel"), EXIT_USAGE, "'national'"),
    (("lists", "diff", "nationel"), EXIT_USAGE, "'national'"),
    (("lists", "export", "nationel", "--format", "csv"), EXIT_NO_LIST, "'national'"),
    (("lists", "export", "national", "--output", "nationel.xyz"), EXIT_USAGE, "csv, ndjson"),
    (("lists", "status", "nationel"), EXIT_NO_LIST, "'national'"),
    (("stats", "--since", "yesterday"), EXIT_USAGE, "2026-W48"),
    (("stats",), EXIT_OUTPUT, "--state"),
    (("report", "show", "none.jsonl"), EXIT_USAGE, "none.jsonl"),
    (("report", "show", "empty.jsonl"), EXIT_USAGE, "is empty"),
    (("report", "show", "www"), EXIT_USAGE, "'REPORT': 'www'"),
    (("cases", "list"), EXIT_OUTPUT, "--state"),
    (("cases", "show", "9", "--state", "www"), EXIT_USAGE, "`hashscan cases list"),
    (("quarantine", "list"), EXIT_OUTPUT, "--state"),
    (("setup", "--target", "www"), EXIT_USAGE, "`hashscan setup --help`"),
    (("schema", "reprot"), EXIT_USAGE, "'report'"),
]


@pytest.fixture
def place(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with files and a list `national`, as the current one."""
    here = tmp_path / "place"
    (here / "www").mkdir(parents=True)
    (here / "www" / "file").write_bytes(b"x")
    (here / "settings.toml").write_text("wrokers = 2\n")
    (here / "latin.toml").write_bytes(b"# 1\n# caf\xe9\n")
    (here / "empty.jsonl").touch()
    (here / "token").write_text("secret")
    (here / "token").chmod(0o644)
    (here / "entries.csv").write_text(f"id,algorithm,value,category\ne-1,md5,{'0' * 32},A1\n")
    monkeypatch.chdir(here)
    return here


@pytest.mark.parametrize(("usage", "code", "hint"), USAGES, ids=[" ".join(usage) for usage, _, _ in USAGES])
def test_a_wrong_usage_has_a_hint_that_fits(
    run: Run, place: Path, usage: tuple[str, ...], code: int, hint: str
) -> None:
    if any("nationel" in word for word in usage):
        assert run("lists", "import", "entries.csv", "--name", "national", cwd=place).code == EXIT_CLEAN
    ran = run(*(word.replace("{place}", str(place)) for word in usage), cwd=place)
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
