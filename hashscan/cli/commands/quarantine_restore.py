"""`hashscan quarantine restore` and `release`: put quarantine items back, or destroy them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from hashscan.cli.options.base import HashscanCommand, state_option
from hashscan.cli.options.quarantine_items import (
    apply_to_items,
    finish_interrupted,
    items_by_prefix,
    open_stores,
    print_outcomes,
    print_quarantine_message,
    selected_items,
)
from hashscan.cli.output.terminal import print_message
from hashscan.cli.owner import RootRights
from hashscan.errors import UsageError

if TYPE_CHECKING:
    from hashscan.quarantine.items import Item


@click.command(cls=HashscanCommand, exit_codes=(0, 2, 3, 11, 12, 70), needs=RootRights.CHANGING)
@click.argument("items", nargs=-1, metavar="[ITEM]...")
@click.option("--all", "everything", is_flag=True, help="All that is in quarantine, the latest first.")
@click.option("--withdrawn", is_flag=True, help="All that nothing accuses any more.")
@state_option
def restore(items: tuple[str, ...], everything: bool, withdrawn: bool, state: Path) -> int:
    """Put files back where they were found: content, owner, mode, attributes, ACL and times.

    Objects go back into their buckets with headers, metadata, tags and ACL; version and time are new ones.
    Nothing is replaced: an item whose name is taken, or whose folder is gone, stays. Exits 3 when one stays.
    """
    from hashscan.quarantine.items import KEPT
    from hashscan.quarantine.restoring import restore_all
    from hashscan.quarantine.store import Quarantine

    if withdrawn and (items or everything):
        raise UsageError("--withdrawn names all there is to restore", advice="Leave out ITEMs and --all.")
    with Quarantine(state, told=print_quarantine_message, stores=open_stores()) as quarantine:
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
@click.option("--reason", metavar="TEXT", help="Why; it stands in the log.")
@state_option
def release(items: tuple[str, ...], override: bool, reason: str | None, state: Path) -> int:
    """Destroy what has passed its --destroy-by, or the named items that have passed their --retain-min.

    The record stays in the log. What nothing accuses any more is not destroyed without --override. Exits 3
    when an item stays.
    """
    from hashscan.quarantine.releasing import destroy, is_due
    from hashscan.quarantine.store import Quarantine

    if override and (reason is None or not items):
        raise UsageError("--override needs ITEMs and a --reason", advice="Say which, and why.")
    with Quarantine(state, told=print_quarantine_message, stores=open_stores()) as quarantine:
        finish_interrupted(quarantine)
        known = quarantine.items()
        chosen = items_by_prefix(items, known) if items else [item for item in known.values() if is_due(item)]

        def do(item: Item) -> None:
            if names := destroy(quarantine, item, reason, override=override):
                print_message(
                    f"hashscan: {item.id} has {names} other names, under which its content stays: remove them"
                )

        return apply_to_items(chosen, quarantine, do, "destroyed")
