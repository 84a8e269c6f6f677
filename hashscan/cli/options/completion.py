"""Shell completion of values that depend on this machine: names of hash lists, numbers of cases."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from hashscan.cli.options.privileges import controlling_uid
from hashscan.errors import HashscanError, UsageError
from hashscan.state_dir import StateDir, default_state

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


def list_names(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Return the names of this machine's hash lists; none on errors, since a shell shows no messages."""
    from click.shell_completion import CompletionItem

    from hashscan.lists.storage.manifest import LIST_NAME

    try:
        names = sorted(entry.name for entry in os.scandir(state_of(ctx).lists) if entry.is_dir())
    except (OSError, HashscanError):
        return []
    return [CompletionItem(n) for n in names if n.startswith(incomplete) and LIST_NAME.fullmatch(n)]


def case_numbers(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Return the numbers of open cases, each with its customer and categories."""
    from click.shell_completion import CompletionItem

    from hashscan.cases.ledger import waiting_cases
    from hashscan.text import printable

    try:
        found = waiting_cases(state_of(ctx))
    except HashscanError:
        return []
    return [
        CompletionItem(str(number), help=printable(" ".join(filter(None, (what, who)))))
        for number, who, what in found
        if str(number).startswith(incomplete)
    ]


def state_of(ctx: click.Context) -> StateDir:
    """Return the state folder of a command line that is not complete yet."""
    from hashscan.settings.file import read_file

    state = ctx.params.get("state")
    if not isinstance(state, StateDir) or ctx.get_parameter_source("state") is ParameterSource.DEFAULT:
        # The settings file sets the options only of commands that run.
        _, _, values = read_file(ctx.find_root().params.get("config"), os.environ)
        named = values.get("state")
        state = StateDir(named) if isinstance(named, str) else default_state()
    if os.geteuid() == 0 and controlling_uid(state.path) != 0:
        raise UsageError(f"the state folder {state} is another user's")
    return state
