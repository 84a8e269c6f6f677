"""Every command's help has examples that the command accepts, and its own exit codes."""

from __future__ import annotations

import shlex

import click
import pytest

from hashscan.cli.config.settings_file import Catalogue
from hashscan.cli.main import cli
from hashscan.cli.options.base import HashscanCommand
from hashscan.cli.options.help_texts import EXAMPLES, MEANINGS
from hashscan.errors import EXIT_DEFECT

CATALOGUE = Catalogue.of(click.Context(cli))
COMMANDS = {
    " ".join(words): one for words, one in CATALOGUE.commands.items() if not isinstance(one, click.Group)
}
SHELL = {"|", ">"}
"""The beginnings of words at which an example continues in the shell."""


def test_there_are_examples_for_every_command_and_no_other() -> None:
    assert set(EXAMPLES) == set(COMMANDS)
    assert set(MEANINGS) <= set(COMMANDS)
    shown = [example for examples in EXAMPLES.values() for example in examples]
    assert len(set(shown)) == len(shown)


@pytest.mark.parametrize("words", COMMANDS)
def test_a_help_has_examples_and_exit_codes(words: str) -> None:
    command = COMMANDS[words]
    assert isinstance(command, HashscanCommand)
    assert len(EXAMPLES[words]) in {2, 3}
    text = command.get_help(click.Context(command, info_name=f"hashscan {words}"))
    assert all(f"  {example}\n" in text for example in EXAMPLES[words])
    _, _, codes = text.partition("\nExit codes:\n")
    listed = [line.split()[0] for line in codes.splitlines() if line[2:3].isdigit()]
    assert listed == [str(code) for code in command.exit_codes]
    assert set(MEANINGS.get(words, ())) <= set(command.exit_codes)
    assert EXIT_DEFECT in command.exit_codes


@pytest.mark.parametrize(
    "example", [e for examples in EXAMPLES.values() for e in examples], ids=lambda example: example[:60]
)
def test_an_example_is_accepted(example: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HASHSCAN_LIST", "HASHSCAN_STATE"):
        monkeypatch.delenv(name, raising=False)
    program, *arguments = shlex.split(example)
    assert program == "hashscan"
    arguments = arguments[: next((n for n, word in enumerate(arguments) if word[0] in SHELL), None)]
    words = next(n for n in (3, 2, 1) if " ".join(arguments[:n]) in COMMANDS)
    name = " ".join(arguments[:words])
    assert example in EXAMPLES[name]
    # Raises if an option, a value or a missing argument is wrong.
    COMMANDS[name].make_context(name, arguments[words:])
