from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import click
import pytest

from hashscan.cli.config.settings_file import Catalogue
from hashscan.cli.main import COMMANDS, cli
from hashscan.cli.manual_page import manual
from hashscan.cli.options.base import HashscanCommand
from hashscan.cli.options.help_texts import SECTIONS
from tests.cli.conftest import Run

CATALOGUE = Catalogue.of(click.Context(cli))
PAGE = manual(CATALOGUE, cli)


def made_of(help_: str, names: list[str] | None = None) -> str:
    """The page of a program with one command."""
    option = click.Option(names or ["--name"], help=help_)
    catalogue = Catalogue({("scan",): HashscanCommand("scan", params=[option], help=help_)}, {}, {})
    return manual(catalogue, cli)


def read(page: str, tmp_path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    if shutil.which("mandoc") is None:
        pytest.skip("there is no mandoc")
    file = tmp_path / "hashscan.1"
    file.write_text(page)
    return subprocess.run(["mandoc", *options, str(file)], capture_output=True, text=True, check=False)


def shown(page: str, tmp_path: Path) -> str:
    text = re.sub(".\b", "", read(page, tmp_path, "-Tutf8", "-Owidth=500").stdout)
    return " ".join(text.split())


def test_mandoc_finds_nothing_to_say(tmp_path: Path) -> None:
    done = read(PAGE, tmp_path, "-Tlint", "-Wall")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.skipif(shutil.which("groff") is None, reason="there is no groff")
def test_groff_warns_of_nothing() -> None:
    command = ["groff", "-man", "-Tutf8", "-ww", "-z"]
    done = subprocess.run(command, input=PAGE, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_command_and_option_is_there(tmp_path: Path) -> None:
    text = shown(PAGE, tmp_path)
    for words, command in CATALOGUE.commands.items():
        assert f"hashscan {' '.join(words)} " in text
        for option in command.params:
            if isinstance(option, click.Option) and not option.hidden:
                assert f"{max(option.opts, key=len)} " in text
                assert " ".join((option.help or "").replace("`", "").split()) in text


def test_the_command_prints_it_the_same_on_every_machine(run: Run, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.toml"
    wrong.write_text("= no TOML")
    environ = {
        "HASHSCAN_WORKERS": "9",
        "XDG_STATE_HOME": "/x",
        "HASHSCAN_CONFIG": str(wrong),
    }
    assert run("manual", env=environ).out == PAGE


@pytest.mark.parametrize(
    "text",
    [
        ".TH at the beginning",
        "'at the beginning",
        "a \\fB back\\slash \\",
        "words " * 30 + ".PP and ." + "words " * 12 + ".it 'x",
        "`code` and --option-name, ~user, 2^3, a`b",
        "caf\u00e9 \u2026 \U0001f600",
        'says "this"',
    ],
)
def test_no_text_is_taken_for_a_request(text: str, tmp_path: Path) -> None:
    page = made_of(text)
    assert read(page, tmp_path, "-Tlint", "-Wwarning").stdout == ""
    assert " ".join(re.sub("`([^`]+)`", r"\1", text).split()) in shown(page, tmp_path)
    assert page.isascii()


def test_hyphens_can_be_copied() -> None:
    text = re.sub(r"^\.TH.*", "", PAGE)
    assert not re.search(r"(?<!\\)-", text)


def test_every_command_has_a_section() -> None:
    named = [name for names in SECTIONS.values() for name in names]
    assert len(named) == len(set(named))
    assert set(COMMANDS) <= set(named)
