"""The options of messages: what is shown, and what a log file holds."""

from __future__ import annotations

import errno
import json
import logging
import os
import stat
from pathlib import Path
from typing import Any

import click
import pytest

from hashscan.cli.config.settings_file import Catalogue
from hashscan.cli.main import cli
from hashscan.cli.options.log_file import LogFile, open_log_file
from hashscan.cli.output.logs import (
    StandardError,
    TextFormatter,
    end_log,
    log_to_file,
    print_error,
    print_message,
)
from hashscan.errors import EXIT_CLEAN, EXIT_FOUND, EXIT_OUTPUT, EXIT_USAGE, OutputError, UsageError
from tests.cli.conftest import Run

CATALOGUE = Catalogue.of(click.Context(cli))
HOSTILE = os.fsdecode(b"\x1b[2J\n2026-01-01 ERROR a: b\xe2\x80\xae\xff")


def records(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n")[:-1]]


@pytest.mark.parametrize("words", CATALOGUE.commands, ids=" ".join)
def test_every_command_has_the_options(words: tuple[str, ...]) -> None:
    command = CATALOGUE.commands[words]
    named = {max(option.opts, key=len) for option in command.params}
    assert isinstance(command, click.Group) or {"--quiet", "--verbose", "--log-file", "--log-format"} <= named


def test_quiet_shows_findings_and_errors_alone(run: Run, uploads: Path, local_list: str) -> None:
    ran = run("scan", "-q", uploads)
    assert ran.code == EXIT_FOUND
    assert "MATCH" in ran.out
    assert ran.err == ""
    missing = run("scan", "-q", uploads / "none")
    assert missing.code == EXIT_USAGE
    assert "none" in missing.err


def test_verbose_shows_lists_folders_and_workers(run: Run, uploads: Path, local_list: str) -> None:
    def loggers(*options: str) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        # On a slow machine the files are old enough meanwhile to count as unchanged.
        ran = run("scan", uploads, "--reread", "100%", "--log-format", "json", *options)
        for line in ran.err.splitlines():
            record = json.loads(line)
            found.setdefault(record["level"], set()).add(record["logger"])
        return found

    normal, verbose, debug = loggers(), loggers("-v"), loggers("-vv")
    assert set(normal) == {"notice"}
    assert verbose["info"] >= {"hashscan.scan.session", "hashscan.scan.runner", "hashscan.scan.pipeline"}
    assert "debug" not in verbose
    assert debug["debug"]


def test_a_log_file_has_the_messages_that_quiet_hides(
    run: Run, tmp_path: Path, uploads: Path, local_list: str
) -> None:
    hostile = uploads / HOSTILE
    hostile.mkdir()
    (hostile / HOSTILE).write_bytes(b"x")
    log = tmp_path / "hashscan.log"
    for options in (("--log-format", "json"), ("--log-format", "json"), ()):
        ran = run("scan", "-q", "-vv", uploads, "--log-file", log, *options)
        assert ran.code == EXIT_FOUND
        assert ran.err == ""
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    text = log.read_text(encoding="utf-8")
    assert not {c for c in text if not c.isprintable()} - {"\n"}
    lines = text.splitlines()
    found = [json.loads(line) for line in lines if line.startswith("{")]
    assert len({record["process"] for record in found}) == 2
    assert any("\\x1b[2J\\x0a2026-01-01" in record["message"] for record in found)
    # No name makes a line that looks like one of ours.
    plain = [line for line in lines if not line.startswith("{")]
    assert plain
    assert not any(line.startswith("2026-01-01 ") for line in plain)


def test_settings_and_variables_name_a_log_file(run: Run, tmp_path: Path) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text(
        f'log_file = "{tmp_path / "a.log"}"\nlog_format = "json"\nquiet = true\nverbose = 2\n'
    )
    assert run("--config", settings, "scan", tmp_path / "none").code == EXIT_USAGE
    assert (
        run("scan", tmp_path / "none", env={"HASHSCAN_LOG_FILE": str(tmp_path / "b.log")}).code == EXIT_USAGE
    )
    assert {record["level"] for record in records(tmp_path / "a.log")} >= {"error", "debug"}
    assert (tmp_path / "b.log").stat().st_size


def test_a_log_file_that_cannot_be_opened_is_usage(run: Run, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("link")
    for path in (tmp_path / "none" / "log", tmp_path / "link", tmp_path / ("n" * 300)):
        ran = run("hash", __file__, "--log-file", path)
        assert ran.code == EXIT_USAGE
        assert path.name in ran.err
        assert ran.out == ""


def foreign(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a path another user's."""
    if os.geteuid() == 0:
        os.lchown(path, 65534, 65534)
    else:
        monkeypatch.setattr("os.geteuid", lambda: 65533)


def test_nobody_else_chooses_the_log_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs, log = tmp_path / "theirs", tmp_path / "log"
    (tmp_path / "folder").mkdir()
    theirs.symlink_to("folder")
    log.symlink_to("target")
    # Our own links are followed.
    os.close(open_log_file(theirs / "log"))
    os.close(open_log_file(log))
    assert (tmp_path / "target").exists()
    foreign(theirs, monkeypatch)
    foreign(log, monkeypatch)
    (tmp_path / "target").unlink()
    for path in (theirs / "other", log):
        with pytest.raises(UsageError, match="symlink of another user"):
            open_log_file(path)
    assert not (tmp_path / "folder" / "other").exists()
    assert not (tmp_path / "target").exists()


def test_a_log_file_is_a_file_of_ours_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fifo, linked, writable, theirs = (tmp_path / name for name in ("fifo", "linked", "writable", "theirs"))
    os.mkfifo(fifo)
    linked.write_text("x")
    (tmp_path / "other name").hardlink_to(linked)
    writable.write_text("x")
    writable.chmod(0o606)
    for path in (fifo, linked, writable, tmp_path, Path("/dev/null")):
        with pytest.raises(UsageError):
            open_log_file(path)
    theirs.write_text("x")
    foreign(theirs, monkeypatch)
    with pytest.raises(UsageError, match="another user"):
        open_log_file(theirs)
    assert theirs.read_text() == linked.read_text() == "x"


def test_a_log_that_was_rotated_goes_on_in_a_new_file(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log_to_file(LogFile(log, "json"))
    print_message("first")
    log.rename(tmp_path / "log.1")
    print_message("second")
    assert end_log(EXIT_CLEAN) == EXIT_CLEAN
    assert [record["message"] for record in records(tmp_path / "log.1")] == ["first"]
    assert [record["message"] for record in records(log)] == ["second"]


def test_a_full_disk_is_said_once_and_ends_in_an_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for code, ends in ((EXIT_CLEAN, EXIT_OUTPUT), (EXIT_FOUND, EXIT_FOUND)):
        log_to_file(LogFile(tmp_path / "log", "text"))
        with monkeypatch.context() as patch:
            patch.setattr("os.write", full)
            print_message("first")
            print_message("second")
        assert capsys.readouterr().err.count(str(tmp_path / "log")) == 1
        assert end_log(code) == ends


def test_an_error_has_its_advice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log_to_file(LogFile(tmp_path / "log", "json"))
    print_error(OutputError("no\x1b room\nleft", advice="make room"), "list x")
    end_log(EXIT_CLEAN)
    assert capsys.readouterr().err.splitlines() == [
        "hashscan: list x: no\\x1b room",
        "  left",
        "  make room",
    ]
    (record,) = records(tmp_path / "log")
    assert (record["level"], record["advice"]) == ("error", "make room")


def test_the_journal_gets_priorities(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    handler = StandardError()
    handler.setFormatter(TextFormatter())
    with (tmp_path / "stderr").open("w+", encoding="utf-8") as stream:
        status = os.fstat(stream.fileno())
        monkeypatch.setattr("sys.stderr", stream)
        for journal in (f"{status.st_dev}:{status.st_ino}", "1:1"):
            monkeypatch.setenv("JOURNAL_STREAM", journal)
            handler.handle(logging.LogRecord("a", logging.ERROR, "", 0, "one\ntwo", (), None))
        stream.seek(0)
        assert stream.read().splitlines() == ["<3>hashscan: one", "<3>  two", "hashscan: one", "  two"]
