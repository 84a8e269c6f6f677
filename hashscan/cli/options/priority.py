"""Options for the load that a scan or a cluster node causes: rate limits, load limit, priority."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

from hashscan.cli.options.base import SizeParam, positive
from hashscan.settings.priority import PrioritySettings

F = TypeVar("F", bound=Callable[..., Any])


def neighbour_options(command: F) -> F:
    """Add the options; `neighbour_of` takes their values."""
    for option in reversed(
        (
            click.option(
                "--background/--foreground",
                default=None,
                help="Take processors and disks only when nobody else wants them (nice 19, idle I/O). By "
                "default where standard error is no terminal, as under cron.",
            ),
            click.option(
                "--limit-rate",
                type=SizeParam(),
                callback=positive,
                metavar="SIZE",
                help="Read or download at most so many bytes a second, all workers together; such as 20M.",
            ),
            click.option(
                "--limit-files",
                type=float,
                callback=positive,
                metavar="NUMBER",
                help="Open at most so many files or objects a second, all workers together.",
            ),
            click.option(
                "--max-load",
                type=float,
                callback=positive,
                metavar="NUMBER",
                help="Wait while the load average over a minute, less what this sweep adds to it, is higher.",
            ),
        )
    ):
        command = option(command)
    return command


def neighbour_of(
    background: bool | None, limit_rate: int | None, limit_files: float | None, max_load: float | None
) -> PrioritySettings:
    """Return the values of these options as settings.

    Raises:
        UsageError: a limit is not above 0.
    """
    if background is None:
        background = not sys.stderr.isatty()
    return PrioritySettings(background, limit_rate, limit_files, max_load)
