"""Options for the policy: which matches are reported, held, for review, or may be quarantined."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from hashscan.cli.options.base import TableOption
from hashscan.cli.options.tables import TablesParam
from hashscan.model import PolicyRule, Weak
from hashscan.settings.matching import PolicySettings

F = TypeVar("F", bound=Callable[..., Any])


class PolicyParam(TablesParam[tuple[PolicyRule, ...]]):
    """A parameter with the policy table, from a file of its own or from the settings file."""

    name = "policy"
    example = 'category = "A1"\naction = "report"'

    def read(self, tables: object, source: str) -> tuple[PolicyRule, ...]:
        """Return the rules."""
        from hashscan.matching.effective_policy import rules_of

        return rules_of(tables, source)


def act_on_option(command: F) -> F:
    """Add --act-on."""
    return click.option(
        "--act-on",
        cls=TableOption,
        table="quarantine",
        multiple=True,
        type=click.Choice(list(map(str, Weak))),
        help=(
            "Also move files that match only local lists, lists past their expiry, or test entries; "
            "repeatable. Default: only fresh, signed lists."
        ),
    )(command)


def policy_options(command: F) -> F:
    """Add --act-on and --policy; `policy_of` takes their values."""
    return click.option(
        "--policy",
        type=PolicyParam(),
        metavar="FILE",
        help=(
            "Tables [[policy]]: which matches are only reported, held, for review, or may be moved. "
            "The settings file may contain them. Default: all are only reported."
        ),
    )(act_on_option(command))


def policy_of(policy: tuple[PolicyRule, ...] | None, act_on: tuple[str, ...]) -> PolicySettings:
    """Return the values of the policy options as settings."""
    return PolicySettings(policy or (), weak_trust_of(act_on))


def weak_trust_of(act_on: tuple[str, ...]) -> tuple[Weak, ...]:
    """Return the kinds of weakly trusted matches for which files may be moved."""
    return tuple(weak for weak in Weak if weak in act_on)
