"""The format that the suffix of a file name stands for."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import click
import pytest

from hashscan.cli.config.settings_file import Catalogue
from hashscan.cli.main import cli
from hashscan.cli.options.output import choose_format, format_option, infer_format, written_results
from hashscan.errors import EXIT_OUTPUT, UsageError
from hashscan.registry import REPORT_FORMATS
from tests.cli.conftest import COMMAND, Run, environment

LISTS = ("csv", "ndjson", "hsb")


@pytest.mark.parametrize("name", list(REPORT_FORMATS))
def test_the_suffix_of_every_report_format_is_known(name: str) -> None:
    assert infer_format(Path(f"found{REPORT_FORMATS[name].suffix}"), REPORT_FORMATS) == name


@pytest.mark.parametrize(
    ("file", "formats", "expected"),
    [
        ("a.HTML", REPORT_FORMATS, "html"),
        ("a.xarf.jsonl", REPORT_FORMATS, "xarf"),
        ("a.jsonl", REPORT_FORMATS, "jsonl"),
        ("a.csv.jsonl", REPORT_FORMATS, "jsonl"),
        ("a.jsonl", LISTS, "ndjson"),
        ("a.html", LISTS, None),
        ("csv", LISTS, None),
        ("a.csv/file", LISTS, None),
        ("-", LISTS, None),
    ],
)
def test_a_suffix_stands_for_a_format_of_the_command(
    file: str, formats: tuple[str, ...], expected: str | None
) -> None:
    assert infer_format(Path(file), formats) == expected


def test_the_option_comes_before_the_suffix_and_the_default_last() -> None:
    assert choose_format("hsb", Path("a.csv"), LISTS, "ndjson") == "hsb"
    assert choose_format(None, Path("a.csv"), LISTS, "ndjson") == "csv"
    assert choose_format(None, Path("a"), LISTS, "ndjson") == "ndjson"
    with pytest.raises(UsageError, match="--format"):
        choose_format(None, Path("-"), LISTS, None)


def test_commands_take_the_format_from_the_file_name(run: Run, uploads: Path, tmp_path: Path) -> None:
    found, page = tmp_path / "found.jsonl", tmp_path / "found.html"
    scanned = run("scan", uploads, "--no-state", "--list", "demo", "--report", found, "--report", page)
    assert scanned.code in {0, 1}, scanned.err
    assert found.read_bytes().startswith(b'{"type"')
    assert page.read_bytes().lower().startswith(b"<!doctype html")
    assert run("report", "convert", found, "--output", tmp_path / "found.xml").code == 0
    assert (tmp_path / "found.xml").read_bytes().startswith(b"<?xml")
    assert run("report", "convert", found).code == 2
    assert run("stats", "--output", tmp_path / "stats.html").code in {0, 12}


def options_of(command: click.Command) -> set[str]:
    return {option for parameter in command.params for option in parameter.opts}


def test_formats_and_files_are_chosen_by_the_same_options_everywhere() -> None:
    for words, command in Catalogue.of(click.Context(cli)).commands.items():
        named = options_of(command)
        # The files of `lists import` and `publish add` are read.
        assert "--format" not in named or "--output" in named or words[-1] in {"import", "add"}, words
        assert not named & {"--json", "--csv", "--out", "-o"}, words


def test_results_go_to_a_file_in_the_format_of_its_suffix(run: Run, uploads: Path, tmp_path: Path) -> None:
    table, lines = tmp_path / "digests.txt", tmp_path / "digests.jsonl"
    os.umask(0o022)
    for file in (table, lines):
        ran = run("hash", uploads / "listed.jpg", "--output", file)
        assert (ran.code, ran.out) == (0, "")
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    sha256 = json.loads(lines.read_text())["digests"]["sha256"]
    assert f"sha256:{sha256} {uploads / 'listed.jpg'}" in table.read_text().splitlines()
    assert run("hash", uploads / "listed.jpg", "--output", lines, "--format", "text").code == 0
    assert lines.read_bytes() == table.read_bytes()
    assert run("hash", uploads / "listed.jpg", "--output", "-").lines[0]["digests"]["sha256"] == sha256


def test_a_file_of_results_stays_where_the_command_fails(run: Run, uploads: Path, tmp_path: Path) -> None:
    file = tmp_path / "known.csv"
    file.write_text("before")
    assert run("lookup", uploads / "none", "--output", file).code == 12
    assert file.read_text() == "before"
    assert run("hash", uploads / "listed.jpg", "--output", "/dev/null").code == 2
    assert Path("/dev/null").is_char_device()
    assert run("hash", uploads / "listed.jpg", "--output", tmp_path / "none" / "file").code == 12


def test_results_are_written_as_they_come(tmp_path: Path) -> None:
    file = tmp_path / "results"
    file.write_text("before")

    @click.command()
    @format_option("json", help="")
    @click.pass_context
    def command(ctx: click.Context, **_: object) -> None:
        with written_results(ctx):
            for _number in range(1000):
                sys.stdout.write("x" * 999 + "\n")
                sys.stdout.flush()
            sys.stdout.buffer.write(b"end\n")
            assert os.fstat(sys.stdout.buffer.fileno()).st_size > 900_000
            assert file.read_text() == "before"

    command.main(["--output", str(file)], standalone_mode=False)
    assert file.stat().st_size == 1_000_004
    assert file.read_bytes().endswith(b"x\nend\n")
    assert os.listdir(tmp_path) == ["results"]


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_file_without_space_is_named(state: Path, tmp_path: Path, form: str) -> None:
    """As large as a process may make it; the rest of the disk is as it was."""
    files = [tmp_path / f"{number:0200}" for number in range(60)]
    for each in files:
        each.write_bytes(b"x")
    results = tmp_path / "results"
    results.write_text("before")
    before = sorted(os.listdir(tmp_path))
    limited = ("sh", "-c", 'ulimit -f 16 && exec "$@"', "sh", *COMMAND, "hash", *map(str, files))
    ran = subprocess.run(
        [*limited, "--format", form, "--output", results],
        env=environment(state),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == EXIT_OUTPUT, ran.stderr
    assert str(results) in ran.stderr
    assert "Traceback" not in ran.stderr
    assert sorted(os.listdir(tmp_path)) == before
    assert results.read_text() == "before"


def test_a_check_answers_in_a_line(run: Run, uploads: Path, local_list: str, tmp_path: Path) -> None:
    hostile = tmp_path / "\x1b[2J\nx"
    hostile.write_bytes(b"x")
    ran = run("check", uploads / "listed.jpg", hostile, "sha256:" + "0" * 64)
    assert ran.code == 1
    listed, clean, digest = ran.out.splitlines()
    assert listed.startswith(f"{uploads / 'listed.jpg'}: MATCH {local_list}/e-")
    assert clean == f"{tmp_path}/\\x1b[2J\\x0ax: CLEAN"
    assert digest == f"sha256:{'0' * 64}: CLEAN"
