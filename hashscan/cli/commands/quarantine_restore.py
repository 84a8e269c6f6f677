"""`hashscan quarantine restore` and `destroy`: put quarantine items back, or destroy them."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hashscan.cli.options.base import ArgumentOption, HashscanCommand, state_option
from hashscan.cli.options.privileges import RootRights
from hashscan.cli.options.quarantine_items import (
    apply_to_items,
    finish_interrupted,
    items_by_prefix,
    open_stores,
    print_outcomes,
    print_quarantine_message,
    selected_items,
)
from hashscan.cli.output.terminal import ROWS_SHOWN, escape_control, print_message
from hashscan.errors import EXIT_INCOMPLETE, UsageError
from hashscan.text import plural

if TYPE_CHECKING:
    from hashscan.quarantine.items import Item


@click.command(cls=HashscanCommand, exit_codes=(0, 2, 3, 11, 12, 70), needs=RootRights.CHANGING)
@click.argument("items", nargs=-1, metavar="[ITEM]...")
@click.option("--all", "everything", is_flag=True, help="All items in quarantine, the latest first.")
@click.option("--withdrawn", is_flag=True, help="All items that no entry matches any more.")
@state_option
def restore(items: tuple[str, ...], everything: bool, withdrawn: bool, state: Path) -> int:
    """Restore files to where they were found: content, owner, mode, attributes, ACL and times.

    Objects are restored to their buckets with headers, metadata, tags and ACL; version and time are new.
    Nothing is replaced: an item whose name is taken, or whose folder is gone, stays in quarantine, and the
    exit code is 3.
    """
    from hashscan.quarantine.items import KEPT
    from hashscan.quarantine.restoring import restore_all
    from hashscan.quarantine.store import Quarantine

    if withdrawn and (items or everything):
        raise UsageError("--withdrawn already selects the items", advice="Leave out ITEMs and --all.")
    with Quarantine(state, notify=print_quarantine_message, stores=open_stores()) as quarantine:
        finish_interrupted(quarantine)
        known = quarantine.items()
        if withdrawn:
            chosen = [item for item in known.values() if item.withdrawn and item.state in KEPT]
        else:
            chosen = selected_items(items, everything, known)
        # The times of folders are restored step by step, so the item that was moved last comes first.
        return print_outcomes(restore_all(quarantine, reversed(chosen)), quarantine, "restored")


@click.command(cls=HashscanCommand, exit_codes=(0, 2, 3, 11, 12, 70), needs=RootRights.CHANGING)
@click.argument("items", nargs=-1, metavar="[ITEM]...")
@click.option("--override", is_flag=True, help="Destroy the named items although they must be kept longer.")
@click.option("--reason", metavar="TEXT", help="Why; recorded in the log.")
@click.option("--yes", cls=ArgumentOption, is_flag=True, help="Don't ask for confirmation on a terminal.")
@state_option
def destroy(items: tuple[str, ...], override: bool, reason: str | None, yes: bool, state: Path) -> int:
    """Destroy items that have passed their --destroy-by, or the named items that have passed --retain-min.

    Asks for confirmation on a terminal. The record stays in the log. An item whose entries were all
    withdrawn is not destroyed without --override. Exits 3 when an item stays.
    """
    from hashscan.quarantine import retention
    from hashscan.quarantine.store import Quarantine, read_items

    if override and (reason is None or not items):
        raise UsageError("--override needs ITEMs and a --reason", advice="Name the items and the reason.")

    def select(known: dict[str, Item]) -> list[Item]:
        return (
            items_by_prefix(items, known)
            if items
            else [item for item in known.values() if retention.is_due(item)]
        )

    confirmed = None
    if not yes and sys.stdin.isatty():
        # Ask before the quarantine is locked: a scan must not wait for an answer.
        confirmed = _confirm_destruction(select(read_items(state)))
        if confirmed is None:
            print_message("hashscan: nothing was destroyed")
            return EXIT_INCOMPLETE
    with Quarantine(state, notify=print_quarantine_message, stores=open_stores()) as quarantine:
        finish_interrupted(quarantine)
        chosen = [item for item in select(quarantine.items()) if confirmed is None or item.id in confirmed]

        def do(item: Item) -> None:
            if names := retention.destroy(quarantine, item, reason, override=override):
                print_message(
                    f"hashscan: {item.id} has {plural(names, 'other hard link')} with the same content: "
                    "remove them"
                )

        return apply_to_items(chosen, quarantine, do, "destroyed")


def _confirm_destruction(items: list[Item]) -> set[str] | None:
    """Show the items and ask whether to destroy them; return their ids, or None if the answer is no."""
    if items:
        for item in items[:ROWS_SHOWN]:
            print_message(f"  {item.id}  {escape_control(os.fsdecode(item.path))}")
        if len(items) > ROWS_SHOWN:
            print_message(f"  and {len(items) - ROWS_SHOWN} more")
        question = f"Destroy {plural(len(items), 'item')}? This can't be undone."
        if not click.confirm(question, err=True):
            return None
    return {item.id for item in items}
