"""What the commands on items of the quarantine share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import click

from hashscan.cli.output.terminal import printable, say
from hashscan.cli.output.withdrawals import say_withdrawn
from hashscan.errors import EXIT_CLEAN, EXIT_INCOMPLETE, UsageError

if TYPE_CHECKING:
    from hashscan.quarantine.captured_file import NotDone
    from hashscan.quarantine.items import Item
    from hashscan.quarantine.objects.stores import Stores
    from hashscan.quarantine.store import Quarantine


def told(words: str) -> None:
    """Say what the quarantine has to say."""
    say(f"hashscan: {printable(words)}")


def stores(endpoint: str | None = None, place: str | None = None) -> Stores:
    """Where objects are found and kept; nothing is asked yet.

    Raises:
        UsageError: the place is none.
    """
    from hashscan.quarantine.objects.stores import Stores
    from hashscan.registry import SOURCES

    return Stores(SOURCES, endpoint, place)


def mend(quarantine: Quarantine) -> None:
    """Finish what a command that was killed had begun, before anything else; flag what was withdrawn."""
    from hashscan.quarantine.repair import repair

    for trouble in repair(quarantine):
        told(trouble)
    say_withdrawn(quarantine.state, quarantine)


def all_or_named(names: tuple[str, ...], everything: bool, known: dict[str, Item]) -> list[Item]:
    """The items that are named, or all that are kept.

    Raises:
        UsageError: it is not one or the other, or a name fits none or several.
    """
    from hashscan.quarantine.items import KEPT

    if bool(names) is everything:
        raise UsageError("it takes ITEMs or --all", advice="Name ITEMs, or say --all.")
    return named(names, known) if names else [item for item in known.values() if item.state in KEPT]


def named(names: Iterable[str], known: dict[str, Item]) -> list[Item]:
    """The items whose ids begin so; in the order in which they are named, each once.

    Raises:
        UsageError: none begins so, or more than one does.
    """
    chosen: dict[str, Item] = {}
    for name in names:
        found = [item for item in known.values() if item.id.startswith(name)]
        if len(found) != 1 or not name:
            which = "no item" if not found else "more than one item"
            raise UsageError(f"{which} begins with {name!r}", advice="See `hashscan quarantine list`.")
        chosen[found[0].id] = found[0]
    return list(chosen.values())


def each(items: Iterable[Item], quarantine: Quarantine, do: Callable[[Item], None], word: str) -> int:
    """Do something with each item, and say what came of it."""
    from hashscan.quarantine.captured_file import NotDone

    def done() -> Iterator[tuple[Item, NotDone | None]]:
        for item in items:
            try:
                do(item)
            except NotDone as error:
                yield item, error
            else:
                yield item, None

    return tell_each(done(), quarantine, word)


def tell_each(answers: Iterable[tuple[Item, NotDone | None]], quarantine: Quarantine, word: str) -> int:
    """Say what came of each item, as that comes."""
    done = left = 0
    for item, error in answers:
        if error is not None:
            left += 1
            say(f"hashscan: item {item.id} stays: {printable(str(error))}")
        else:
            done += 1
            click.echo(f"{item.id}\t{printable(os.fsdecode(item.path))}")
    say(f"hashscan: {done} {word}, {left} stay; head of the log: {quarantine.head}")
    return EXIT_INCOMPLETE if left else EXIT_CLEAN
