"""Options for quarantine, and helpers of the commands on its items: choosing items, repair, printing of
outcomes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hashscan.cli.options.base import DURATION, TableOption, add_options, gather_options, setting_options
from hashscan.cli.output.list_changes import print_withdrawn_items
from hashscan.cli.output.logs import ERROR, print_message
from hashscan.errors import EXIT_CLEAN, EXIT_INCOMPLETE, UsageError
from hashscan.settings.matching import BreakerLimits, QuarantineSettings
from hashscan.state_dir import StateDir
from hashscan.text import printable

if TYPE_CHECKING:
    from hashscan.quarantine.captured_file import QuarantineSkipped
    from hashscan.quarantine.items import Item
    from hashscan.quarantine.object_stores import Stores
    from hashscan.quarantine.store import Quarantine


_option = partial(click.option, cls=TableOption, table="quarantine")


_terms_options = gather_options(
    "terms",
    lambda *values: partial(QuarantineSettings.of, *values),
    _option(
        "--retain-min",
        type=DURATION,
        metavar="TIME",
        help="Minimum retention of evidence, such as 90d. No default: it depends on the law.",
    ),
    _option(
        "--destroy-by",
        type=DURATION,
        metavar="TIME",
        help=("Maximum retention of evidence, such as 365d. It depends on the law, so it has no default."),
    ),
    _option(
        "--quarantine-dir",
        "quarantine_dirs",
        multiple=True,
        metavar="FOLDER|URL",
        help="Quarantine folder for files on the same filesystem; repeatable, for root only. Objects "
        "are stored in the first folder, or in another bucket if its URL is given.",
    ),
    setting_options(QuarantineSettings, cls=TableOption, table="quarantine"),
)
_breaker_options = gather_options(
    "breaker", BreakerLimits, setting_options(BreakerLimits, cls=TableOption, table="quarantine")
)
quarantine_options = add_options(_terms_options, _breaker_options)
"""Options of quarantine; settings files have them in the table `quarantine`.

The command gets `terms`, a function that returns the `QuarantineSettings` or raises `UsageError`, and
`breaker`.
"""


def open_stores(endpoint: str | None = None, place: str | None = None) -> Stores:
    """Return the stores in which objects are found and kept; no server is asked yet."""
    from hashscan.quarantine.object_stores import Stores
    from hashscan.registry import SOURCES

    return Stores(SOURCES, endpoint, place)


@contextmanager
def opened_quarantine(
    state: StateDir, places: tuple[Path, ...] = (), stores: Stores | None = None
) -> Iterator[Quarantine]:
    """Open the quarantine for changes; finish first what a killed command has begun.

    Also prints the items whose entries were withdrawn.
    """
    from hashscan.quarantine.repair import repair
    from hashscan.quarantine.store import Quarantine

    with Quarantine(state, places, print_message, stores or open_stores()) as quarantine:
        for trouble in repair(quarantine):
            print_message(trouble, ERROR)
        print_withdrawn_items(state, quarantine)
        yield quarantine


def selected_items(names: tuple[str, ...], everything: bool, known: dict[str, Item]) -> list[Item]:
    """Return the named items, or all items that are kept."""
    from hashscan.quarantine.items import KEPT

    if bool(names) is everything:
        raise UsageError("no items are named", advice="Name ITEMs, or use --all, but not both.")
    return items_by_prefix(names, known) if names else [item for item in known.values() if item.state in KEPT]


def items_by_prefix(names: Iterable[str], known: dict[str, Item]) -> list[Item]:
    """Return the items whose ids begin with the names; in the order of the names, each once."""
    chosen: dict[str, Item] = {}
    for name in names:
        found = [item for item in known.values() if item.id.startswith(name)]
        if len(found) != 1 or not name:
            which = "no item" if not found else "more than one item"
            raise UsageError(f"{which} begins with {name!r}", advice="See `hashscan quarantine list`.")
        chosen[found[0].id] = found[0]
    return list(chosen.values())


def print_outcomes(
    results: Iterable[tuple[Item, QuarantineSkipped | None]], quarantine: Quarantine, word: str
) -> int:
    """Print the outcome of each item as it arrives, and a summary; return the exit code."""
    done = left = 0
    for item, error in results:
        if error is not None:
            left += 1
            print_message(f"item {item.id} stays: {error}", ERROR)
        else:
            done += 1
            click.echo(f"{item.id}\t{printable(os.fsdecode(item.path))}")
    print_message(f"{done} {word}, {left} stay; head of the log: {quarantine.head}")
    return EXIT_INCOMPLETE if left else EXIT_CLEAN
