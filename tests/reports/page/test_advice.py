"""Advice about the next step."""

from __future__ import annotations

from typing import Any

import click
import pytest

from hashscan.cli.main import cli
from hashscan.reports.page.advice import Step, exit_words, headline, steps
from tests.shortcomings import shortcoming

NONE: dict[str, int | None] = dict.fromkeys(
    ("match", "held", "review", "unreadable", "undecoded", "skipped", "clean"), 0
)


def of(
    summary: dict[str, Any] | None, *, state: str = "fresh", standing: int = 0, **counts: int
) -> list[Step]:
    scan = {"lists": [{"name": "national", "state": state}]}
    return steps(scan, summary, NONE | counts, standing)


def test_nothing_is_asked_for_without_need() -> None:
    assert of({}, clean=7, skipped=2) == []


@pytest.mark.parametrize(
    ("asked", "title"),
    [
        (of({}, match=2), "Act on 2 files"),
        (of({"quarantine": {"moved": 1}}, match=1), "Report 1 file moved"),
        (of({"only_test_entries": True}, match=1), "Nothing real could be found"),
        (of({}, held=1), "Check why 1 file is held"),
        (of({}, held=1200), "Check why 1\u202f200 files are held"),
        (of({}, review=1), "Review 1 file"),
        (of({}, standing=3), "Note 3 findings"),
        (of({}, state="stale"), "Pull list national, which is stale"),
        (of({}, undecoded=1), "Note that 1 file"),
        (of({"incomplete": [shortcoming("x")]}), "Make the next scan complete"),
        (of(None), "Scan again"),
        (of({"withdrawn": ["1", "2"]}), "Restore 2 files"),
        (of({"breaker": {"entries": 2}}), "Ask the list's owner about 2 entries"),
    ],
)
def test_each_trouble_has_a_step(asked: list[Step], title: str) -> None:
    assert [step.title[: len(title)] for step in asked] == [title]


def test_the_commands_that_are_named_exist() -> None:
    asked = [
        *of(None, state="missing", standing=1, match=1, held=1, review=1),
        *of({"quarantine": {"moved": 1}, "withdrawn": ["1"], "breaker": {"entries": 1}}, match=2),
        *of({"only_test_entries": True}, match=1),
    ]
    named = {command for step in asked for command in step.commands}
    assert len(named) >= 8
    for command in named:
        at: click.Command = cli
        context = click.Context(cli)
        for word in command.split()[1:]:
            if word.startswith("--"):
                assert any(word in option.opts for option in at.params), command
            elif isinstance(at, click.Group):
                found = at.get_command(context, word)
                assert found is not None, command
                at = found


def test_a_killed_scan_has_no_exit_code() -> None:
    assert exit_words(None) == "none: it was killed"
    assert exit_words({"exit_code": 4}) == "4: found, and incomplete"
    assert exit_words({"exit_code": 77}) == "77"
    assert headline(None, NONE, 0).tone == "doubt"
