"""`hashscan lists diff` and `activate`: compare, activate or discard list versions that a pull has staged."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hashscan.cli.options.base import HashscanCommand, state_option
from hashscan.cli.options.completion import list_names
from hashscan.cli.output.list_changes import ActivationCheck, confirm_share_option, print_withdrawn_items
from hashscan.cli.output.terminal import print_message, show_table
from hashscan.errors import EXIT_CLEAN, EXIT_INCOMPLETE, UsageError
from hashscan.model import CATEGORIES
from hashscan.text import plural

if TYPE_CHECKING:
    from hashscan.lists.difference import Difference, EntryChange
    from hashscan.lists.store import ListStore


@click.command(cls=HashscanCommand, exit_codes=(0, 2, 3, 10, 11, 12, 70))
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=list_names)
@click.option("--discard", "drop", is_flag=True, help="Delete the staged version instead.")
@click.option(
    "--confirm", is_flag=True, help="Activate the version even if its new entries match many known files."
)
@click.option(
    "--only",
    "version",
    type=int,
    metavar="VERSION",
    help=(
        "Activate only if the staged version of the one named list is this one: a pull may have "
        "staged a newer version."
    ),
)
@confirm_share_option
@state_option
def activate(
    names: tuple[str, ...],
    drop: bool,
    confirm: bool,
    version: int | None,
    confirm_share: float,
    state: Path,
) -> int:
    """Activate versions that a pull has staged, after verifying them again; default: all.

    No server is contacted. If verification fails, the active version stays active. A version whose new
    entries would match too many known files is activated only with --confirm; without it, the version stays
    staged and the exit code is 3.
    """
    from hashscan.lists.pulling import client
    from hashscan.lists.store import ListStore

    store = ListStore(state / "lists")
    if version is not None and (drop or len(names) != 1):
        raise UsageError("--only applies to one list", advice="Name one list, without --discard.")
    code = EXIT_CLEAN
    for name in names or _staged(store):
        if drop:
            client.discard(store, name)
            print_message(f"hashscan: list {name}: the staged version is deleted")
            continue
        gate = ActivationCheck(name, state, confirm_share)
        done = client.activate(store, name, None if confirm else gate, only=version)
        for words in gate.words:
            print_message(f"hashscan: {words}")
        if done is None:
            code = EXIT_INCOMPLETE
            continue
        print_message(
            f"hashscan: list {name} version {done.info.version} is active "
            f"(before: {done.previous or 'none'}): {plural(done.info.entries, 'entry', 'entries')}"
        )
        if done.info.problem:
            print_message(f"hashscan: list {name} is {done.info.state.value}: {done.info.problem}")
    print_withdrawn_items(state)
    return code


@click.command(cls=HashscanCommand, exit_codes=(0, 2, 10, 12, 70))
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=list_names)
@click.option(
    "--entries", is_flag=True, help="Write added and removed entries to standard output, one JSON line each."
)
@click.option(
    "--would-hit",
    is_flag=True,
    help=(
        "Show which known files the new entries would match; the first ones on standard output, "
        "one JSON line each."
    ),
)
@state_option
def diff(names: tuple[str, ...], entries: bool, would_hit: bool, state: Path) -> int:
    """Compare the active version with the version that `pull --stage` has staged; default: all.

    Shows the added and removed entries by algorithm and category. An entry changed under its id counts as
    both. For --would-hit, similarity is that of pictures as they are stored; a scan tries other variants too.
    """
    from hashscan.cli.output.list_changes import print_hits
    from hashscan.lists.difference import difference
    from hashscan.lists.store import ListStore

    store = ListStore(state / "lists")
    for name in names or _staged(store):
        with difference(store, name) as compared:
            _show(name, compared, write_entries=entries)
            if would_hit:
                print_hits(name, compared, state)
    return EXIT_CLEAN


def _staged(store: ListStore) -> tuple[str, ...]:
    """Return the names of all lists with a staged version.

    Raises:
        UsageError: no list has one.
    """
    from hashscan.lists.pulling.client import staged_info

    names = tuple(name for name in store.names() if staged_info(store, name) is not None)
    if not names:
        raise UsageError(
            "no version of any list is staged", advice="Stage one with `hashscan lists pull --stage`."
        )
    return names


def _show(name: str, compared: Difference, *, write_entries: bool) -> None:
    counts: dict[str, Counter[tuple[str, str]]] = {"came": Counter(), "went": Counter()}
    for change in compared.changes():
        word = "came" if change.came else "went"
        counts[word][change.algorithm, change.category] += len(change)
        if write_entries:
            _write(name, word, change)
    old = f"version {compared.old.version}" if compared.old else "nothing"
    title = f"list {name}: from {old} to version {compared.new.version}"
    came, went = (counts[word].total() for word in ("came", "went"))
    if came or went:
        kinds = sorted(counts["came"] | counts["went"], key=lambda kind: (kind[0], CATEGORIES.index(kind[1])))
        show_table(
            title,
            ("algorithm", "category", "added", "removed"),
            ((*kind, str(counts["came"][kind]), str(counts["went"][kind])) for kind in kinds),
        )
    print_message(f"hashscan: {title}: {plural(came, 'entry', 'entries')} added, {went} removed")


def _write(name: str, word: str, change: EntryChange) -> None:
    kind = {"list": name, "change": word, "algorithm": change.algorithm, "category": change.category}
    for entry in change.ids:
        sys.stdout.write(json.dumps({**kind, "entry": entry}) + "\n")
