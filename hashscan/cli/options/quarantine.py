"""Options for quarantine, of scans and of `quarantine add`: retention, folder, circuit breaker limits."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import click

from hashscan.cli.options.base import DurationParam, TableOption, positive
from hashscan.settings.matching import BreakerLimits

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
                help="Minimum retention of evidence, such as 90d. No default: it depends on the law.",
            ),
            _option(
                "--destroy-by",
                type=DurationParam(),
                metavar="TIME",
                help=(
                    "Maximum retention of evidence, such as 365d. It depends on the law, so it has no "
                    "default."
                ),
            ),
            _option(
                "--quarantine-dir",
                "quarantine_dirs",
                multiple=True,
                metavar="FOLDER|URL",
                help=(
                    "Quarantine folder for files on the same filesystem; repeatable, for root only. Objects "
                    "are stored in the first folder, or in another bucket if its URL is given."
                ),
            ),
            _option(
                "--leave-note",
                "note",
                type=click.Path(path_type=Path, dir_okay=False),
                metavar="FILE",
                help=(
                    "Leave the text of this file in place of each moved file; it shows the customer that the "
                    "file was found."
                ),
            ),
            _option(
                "--breaker-owners",
                type=int,
                callback=positive,
                default=_LIMITS.owners,
                show_default=True,
                metavar="NUMBER",
                help=(
                    "Hold matches of entries that match files of more owners (users or buckets), unless "
                    "another entry matches too."
                ),
            ),
            _option(
                "--breaker-files",
                type=int,
                callback=positive,
                default=_LIMITS.files,
                show_default=True,
                metavar="NUMBER",
                help="Hold matches of entries that match more files, unless another entry matches too.",
            ),
        )
    ):
        command = option(command)
    return command
