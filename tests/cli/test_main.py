from __future__ import annotations

import os
import re
import subprocess
import sys
from itertools import chain
from pathlib import Path

import click
import pytest

from hashscan.cli.config.settings_file import Catalogue
from hashscan.cli.main import COMMANDS, cli
from hashscan.cli.options.base import FIRST_OPTIONS, HELP_SECTIONS
from hashscan.hashing.formats import counts_faults
from tests.cli.conftest import COMMAND, Run

PATHS = [
    (),
    *((name,) for name in COMMANDS),
    *(("lists", n) for n in ("add", "pull", "status", "import", "remove")),
]
PATHS += [("state", name) for name in ("status", "check", "vacuum", "export")]
PATHS += [("quarantine", name) for name in ("add", "list", "verify", "restore", "destroy", "export")]
PATHS += [
    ("publish", name)
    for name in ("init", "add", "withdraw", "release", "compact", "refresh", "rotate", "status")
]


@pytest.mark.parametrize("path", PATHS, ids=" ".join)
def test_every_help_works_and_lists_exit_codes(run: Run, path: tuple[str, ...]) -> None:
    ran = run(*path, "--help")
    assert ran.code == 0
    if " COMMAND " not in ran.out.splitlines()[0]:
        assert "Exit codes:" in ran.out
        assert "a defect in hashscan" in ran.out


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_can_be_imported_first(command: str) -> None:
    """In other tests, commands are forked after others were imported."""
    done = subprocess.run([*COMMAND, command, "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_lines_of_the_help_are_those_of_the_commands(run: Run) -> None:
    out = " ".join(run("--help").out.split())
    for name, text in COMMANDS.items():
        assert f"{name} {text}" in out


CATALOGUE = Catalogue.of(click.Context(cli))


@pytest.mark.parametrize("path", CATALOGUE.commands, ids=" ".join)
def test_a_help_begins_with_few_options(path: tuple[str, ...]) -> None:
    command = CATALOGUE.commands[path]
    with click.Context(command, info_name=path[-1]) as ctx:
        sections = _options_by_heading(command.get_help(ctx))
        named = [max(p.opts, key=len) for p in command.get_params(ctx) if isinstance(p, click.Option)]
    assert len(sections["Options"]) <= FIRST_OPTIONS + 1
    assert sorted(chain.from_iterable(sections.values())) == sorted(named)


def _options_by_heading(shown: str) -> dict[str, list[str]]:
    sections: dict[str, list[str]] = {}
    for line in shown.splitlines():
        if line and not line.startswith(" ") and line.endswith(":"):
            sections[line[:-1]] = []
        elif sections and (found := re.match(r"  (?:-\w, )?(--[\w-]+)", line)):
            sections[list(sections)[-1]].append(found[1])
    return sections


def test_each_option_with_a_heading_is_one_of_a_command() -> None:
    known = {
        max(option.opts, key=len)
        for command in CATALOGUE.commands.values()
        for option in command.params
        if isinstance(option, click.Option)
    }
    named = list(chain.from_iterable(HELP_SECTIONS.values()))
    assert len(named) == len(set(named))
    assert set(named) <= known


def test_help_imports_no_library_that_only_some_commands_need() -> None:
    code = (
        "import sys; from hashscan.cli.main import run; run(['--help']); "
        "heavy = {'numpy', 'PIL', 'tuf', 'rich', 'tqdm', 'sqlite3', 'multiprocessing'}; "
        "print(sorted({m.split('.')[0] for m in sys.modules} & heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("broken", ["click", "numpy", "tuf"])
def test_a_broken_dependency_is_a_defect_and_no_finding(tmp_path: Path, broken: str) -> None:
    plant = tmp_path / "plant"
    plant.mkdir()
    (plant / f"{broken}.py").write_text("raise ImportError('planted')\n")
    (tmp_path / "uploads").mkdir()
    (tmp_path / "uploads" / "file").write_bytes(b"x")
    done = subprocess.run(
        [*COMMAND, "scan", "--no-state", "--list", "demo", str(tmp_path / "uploads")],
        env={**os.environ, "PYTHONPATH": str(plant)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 70
    assert "defect" in done.stderr


def test_unknown_commands_and_options_are_usage(run: Run) -> None:
    assert run("nonsense").code == 2
    assert "Did you mean 'scan'?" in run("scna").err
    assert run("scan", "--nonsense", "/tmp").code == 2
    assert run("scan").code == 2


def test_version(run: Run) -> None:
    """It says which loops match pictures; the help, which doesn't, is free of numpy."""
    ran = run("--version")
    assert ran.code == 0
    assert ran.out.startswith("hashscan, version ")
    assert ran.out.splitlines()[1] in ("matching: C", "matching: numpy")
    assert ran.out.splitlines()[2] in ("hashing: C", "hashing: numpy")
    assert (ran.out.splitlines()[3] == "jpeg and tiff: decoded") == counts_faults()


def test_a_reader_that_goes_away_is_our_output_failing(tmp_path: Path) -> None:
    done = subprocess.run(
        f"{sys.executable} -m hashscan hash {' '.join([__file__] * 2000)} | head -c 1; "
        "exit ${PIPESTATUS[0]}",
        shell=True,
        executable="/bin/bash",
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 12
    assert done.stderr == b""
