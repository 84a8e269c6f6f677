"""`hashscan lists diff` and `activate`: compare, activate or discard list versions that a pull has staged."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hashscan.cli.config.completion import list_names
from hashscan.cli.options.base import HashscanCommand, state_option
from hashscan.cli.output.confirmation import ActivationCheck, confirm_share_option
from hashscan.cli.output.terminal import print_message, show_table
from hashscan.cli.output.withdrawals import print_withdrawn_items
from hashscan.errors import EXIT_CLEAN, EXIT_INCOMPLETE, UsageError
from hashscan.model import CATEGORIES

if TYPE_CHECKING:
    from hashscan.lists.difference import Difference, EntryChange
    from hashscan.lists.store import ListStore


@click.command(cls=HashscanCommand, exit_codes=(0, 2, 3, 10, 11, 12, 70))
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=list_names)
@click.option("--discard", "drop", is_flag=True, help="Drop the staged version instead.")
@click.option("--confirm", is_flag=True, help="However many of the known files its new entries hit.")
@click.option(
    "--only",
    "version",
    type=int,
    metavar="VERSION",
    help="Only if it is still this version of one list that is staged: a pull may have brought a newer one.",
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
    """Put in use what a pull has kept aside, after verifying it again; all when none is named.

    Asks no server. The version that is in use stays so when anything is wrong. A version whose new entries
    would hit very many of the known files is put in use only with --confirm; else it stays, and the exit code
    is 3.
    """
    from hashscan.lists.pulling import activation
    from hashscan.lists.store import ListStore

    store = ListStore(state / "lists")
    if version is not None and (drop or len(names) != 1):
        raise UsageError("--only says which version of one list", advice="Name one list, without --discard.")
    code = EXIT_CLEAN
    for name in names or _staged(store):
        if drop:
            activation.discard(store, name)
            print_message(f"hashscan: list {name}: the staged version is dropped")
            continue
        gate = ActivationCheck(name, state, confirm_share)
        done = activation.activate(store, name, None if confirm else gate, only=version)
        for words in gate.words:
            print_message(f"hashscan: {words}")
        if done is None:
            code = EXIT_INCOMPLETE
            continue
        print_message(
            f"hashscan: list {name} version {done.info.version} is in use "
            f"(was {done.previous or 'not there'} before): {done.info.entries} entries"
        )
        if done.info.problem:
            print_message(f"hashscan: list {name} is {done.info.state.value}: {done.info.problem}")
    print_withdrawn_items(state)
    return code


@click.command(cls=HashscanCommand, exit_codes=(0, 2, 10, 12, 70))
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=list_names)
@click.option(
    "--entries", is_flag=True, help="Write what came and went to standard output, a JSON line each."
)
@click.option(
    "--would-hit",
    is_flag=True,
    help="Say which files, known from sweeps, the new entries are of or like; the first ones on standard "
    "output, a JSON line each.",
)
@state_option
def diff(names: tuple[str, ...], entries: bool, would_hit: bool, state: Path) -> int:
    """Compare the version in use with the one that `pull --stage` keeps aside; all when none is named.

    Shows by algorithm and category what came and what went. An entry changed under its id counts as both.
    Likeness, for --would-hit, is that of pictures as they are stored; a sweep tries other variants, too.
    """
    from hashscan.cli.output.would_hit import print_hits
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
    from hashscan.lists.pulling.activation import staged_info

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
            ("algorithm", "category", "came", "went"),
            ((*kind, str(counts["came"][kind]), str(counts["went"][kind])) for kind in kinds),
        )
    print_message(f"hashscan: {title}: {came} entries came, {went} went")


def _write(name: str, word: str, change: EntryChange) -> None:
    kind = {"list": name, "change": word, "algorithm": change.algorithm, "category": change.category}
    for entry in change.ids:
        sys.stdout.write(json.dumps({**kind, "entry": entry}) + "\n")
