"""Options for quarantine, of scans and of `quarantine add`: retention, folder, circuit breaker limits."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import click

from hashscan.cli.options.base import DurationParam, TableOption, positive
from hashscan.settings.policy import BreakerLimits

F = TypeVar("F", bound=Callable[..., Any])

_option = partial(click.option, cls=TableOption, table="quarantine")
_LIMITS = BreakerLimits()


def quarantine_options(command: F) -> F:
    """Add the options; the settings file has them in its table `quarantine`."""
    for option in reversed(
        (
            _option(
                "--retain-min",
                type=DurationParam(),
                metavar="TIME",
                help="How long evidence must be kept, such as 90d. No default: the law says.",
            ),
            _option(
                "--destroy-by",
                type=DurationParam(),
                metavar="TIME",
                help="How long it may be kept at most, such as 365d. No default: the law says.",
            ),
            _option(
                "--place",
                "places",
                multiple=True,
                metavar="FOLDER|URL",
                help="Keep what is found on this folder's file system beneath it; repeatable, root only. "
                "Objects are kept in the first of them, or in another bucket where its URL is given.",
            ),
            _option(
                "--leave-note",
                "note",
                type=click.Path(path_type=Path, dir_okay=False),
                metavar="FILE",
                help="Leave the text of this file in place of each; it tells the customer that you know.",
            ),
            _option(
                "--breaker-owners",
                type=int,
                callback=positive,
                default=_LIMITS.owners,
                show_default=True,
                metavar="NUMBER",
                help="Hold all that only entries accuse which hit files of more owners (users, or buckets).",
            ),
            _option(
                "--breaker-files",
                type=int,
                callback=positive,
                default=_LIMITS.files,
                show_default=True,
                metavar="NUMBER",
                help="Hold all that only entries accuse which hit more files.",
            ),
        )
    ):
        command = option(command)
    return command
