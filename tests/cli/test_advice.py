"""The options that errors advise to use exist, and each error is printed with its own advice."""

from __future__ import annotations

import ast
import errno
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import hashscan
from hashscan.cli.main import COMMANDS, cli
from hashscan.cli.output.logs import print_error
from hashscan.errors import OutputError
from hashscan.state.store.reading import NoStateError

FOREIGN = frozenset({"--clear"})
"""Options of other programs: `threatexchange` has this one."""


def options_of(command: click.Command) -> Iterator[str]:
    for parameter in command.params:
        yield from (*parameter.opts, *parameter.secondary_opts)
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from options_of(found)


def advised() -> Iterator[tuple[str, str]]:
    """Yield each option in an advice, with the name of its module."""
    for path in sorted(Path(hashscan.__file__).parent.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)) if "advice=" in text else ():
            if isinstance(node, ast.keyword) and node.arg == "advice":
                for part in ast.walk(node.value):
                    if isinstance(part, ast.Constant) and isinstance(part.value, str):
                        for option in re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", part.value):
                            yield option, path.name


def test_every_option_in_an_advice_exists() -> None:
    known = {"--help", "--version", *FOREIGN}
    for name in COMMANDS:
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        known.update(options_of(command))
    found = set(advised())
    assert found
    assert {(option, module) for option, module in found if option not in known} == set()


@pytest.mark.parametrize(
    ("kind", "advice"),
    [(OutputError, "Name a place in a folder."), (NoStateError, NoStateError.advice)],
)
def test_advice_by_error_number_replaces_none_that_a_kind_of_error_has_for_itself(
    kind: type[OutputError], advice: str, caplog: pytest.LogCaptureFixture
) -> None:
    error = kind("it can't be read")
    error.__cause__ = OSError(errno.ENOTDIR, "not a directory")
    print_error(error)
    assert [record.__dict__["advice"] for record in caplog.records if record.levelname == "ERROR"] == [advice]
