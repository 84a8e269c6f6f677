"""Test settings that are declared together with their options."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from hashscan.cli.options.base import gather_options, setting_options
from hashscan.errors import UsageError
from hashscan.settings.option import Checked, Option, options_of, setting
from hashscan.settings.values import parse_duration, parse_size

pytestmark = pytest.mark.unit


@dataclass(frozen=True, slots=True)
class _Settings(Checked):
    name: str = "unnamed"
    size: int = setting("--size", 3 << 20, "Size.", "size")
    time: float | None = setting("--time", None, "Time.", "time")
    percent: int = setting("--percent", 0, "Share.", range(101))
    word: str = setting("--word", "one", "Word.", ("one", "two"))
    flag: bool = setting("--flag", False, "Flag.", bool)
    file: Path | None = setting("--file", None, "File.", Path)


def test_all_options_give_the_fields_in_their_order() -> None:
    """Values arrive in the fields; without options, the defaults do."""
    found = []

    @click.command()
    @gather_options("settings", lambda *values: _Settings("named", *values), setting_options(_Settings))
    def command(settings: _Settings) -> None:
        found.append(settings)

    runner = CliRunner()
    given = ["--size=2K", "--time=2m", "--percent=7", "--word=two", "--flag", "--file=here"]
    assert runner.invoke(command, []).exit_code == runner.invoke(command, given).exit_code == 0
    assert found == [_Settings("named"), _Settings("named", 2048, 120.0, 7, "two", True, Path("here"))]
    for wrong in ("--percent=101", "--percent=-1", "--word=three", "--size=x", "--time=x"):
        assert runner.invoke(command, [wrong]).exit_code == 2
    for zero in ("--size=0", "--time=0"):
        assert isinstance(runner.invoke(command, [zero]).exception, UsageError)
    assert len(found) == 2


@pytest.mark.parametrize("wrong", [{"size": 0}, {"time": -1.0}, {"time": float("inf")}])
def test_numbers_are_above_zero(wrong: dict[str, float]) -> None:
    """Settings that no option gave are checked as well."""
    with pytest.raises(UsageError):
        _Settings(**wrong)  # type: ignore[arg-type]


def test_only_declared_fields_have_options() -> None:
    """A field without an option is none of the command line."""
    assert "name" not in options_of(_Settings)


@pytest.mark.parametrize(
    ("kind", "value", "shown"),
    [
        ("size", 3 << 20, "3M"),
        ("size", 10 << 30, "10G"),
        ("size", 1000, "1000"),
        ("time", 90.0, "90s"),
        ("time", 604_800.0, "7d"),
    ],
)
def test_defaults_are_shown_in_the_largest_unit(kind: str, value: float, shown: str) -> None:
    """The value that the help shows is the default when it is given."""
    option = Option("--name", value, "Text.", "size" if kind == "size" else "time")
    assert option.shown_default == shown
    assert (parse_size if kind == "size" else parse_duration)(shown) == value
