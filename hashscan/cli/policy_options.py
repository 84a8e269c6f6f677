"""The options that say what is to be done about matches."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from hashscan.cli.base import SETTINGS_FILE, TableOption
from hashscan.cli.settings_file import TablesParam
from hashscan.errors import UsageError
from hashscan.model import PolicyRule, Weak
from hashscan.settings.acting import PolicySettings
from hashscan.settings.file import read_file

F = TypeVar("F", bound=Callable[..., Any])


class PolicyParam(TablesParam[tuple[PolicyRule, ...]]):
    """The policy table: named as a file of its own, or as it stands in the settings file."""

    name = "policy"
    example = 'category = "A1"\naction = "report"'

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[PolicyRule, ...]:
        """Read its rules."""
        from hashscan.scan.policy_table import rules_of

        if isinstance(value, tuple):
            return value
        if not isinstance(value, str):
            assert ctx is not None
            return rules_of(value, ctx.meta[SETTINGS_FILE])
        path = Path(value)
        _, _, tables = read_file(path, {})
        for key in tables:
            if key != "policy":
                raise UsageError(
                    f"{path}: {key!r} is no part of a policy", advice="It holds tables [[policy]] alone."
                )
        if "policy" not in tables:
            raise UsageError(f"{path} holds no policy", advice="Begin each rule with a line [[policy]].")
        return rules_of(tables["policy"], str(path))


def act_on_option(command: F) -> F:
    """The option --act-on."""
    return click.option(
        "--act-on",
        cls=TableOption,
        table="quarantine",
        multiple=True,
        type=click.Choice(list(map(str, Weak))),
        help="Also move files on the word of local lists, of lists past their expiry, or of test entries; "
        "repeatable. By default only fresh, signed lists are trusted so far.",
    )(command)


def policy_options(command: F) -> F:
    """This one, and --policy; `policy_of` takes their values."""
    return click.option(
        "--policy",
        type=PolicyParam(),
        metavar="FILE",
        help="Tables [[policy]] that say which matches are only reported, held, for review, or may be moved; "
        "the settings file may hold them, too. Without any, all are only reported.",
    )(act_on_option(command))


def policy_of(policy: tuple[PolicyRule, ...] | None, act_on: tuple[str, ...]) -> PolicySettings:
    """What these options say."""
    return PolicySettings(policy or (), weak_of(act_on))


def weak_of(act_on: tuple[str, ...]) -> tuple[Weak, ...]:
    """On whose word files may be moved."""
    return tuple(weak for weak in Weak if weak in act_on)
