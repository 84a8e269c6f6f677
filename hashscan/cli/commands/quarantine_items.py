"""`hashscan quarantine list`, `verify` and `export`: show, check and export what is in quarantine."""

from __future__ import annotations

import json
import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hashscan.cli.options.base import DurationParam, HashscanCommand, state_option
from hashscan.cli.options.output import format_option
from hashscan.cli.options.quarantine_items import (
    finish_interrupted,
    open_stores,
    print_quarantine_message,
    selected_items,
)
from hashscan.cli.output.list_changes import print_withdrawn_items
from hashscan.cli.output.terminal import escape_control, print_message, show_table
from hashscan.errors import EXIT_CLEAN, EXIT_INCOMPLETE, EXIT_OUTPUT
from hashscan.text import plural

if TYPE_CHECKING:
    from hashscan.quarantine.items import Item


@click.command("list", cls=HashscanCommand, exit_codes=(0, 2, 12, 70))
@click.option(
    "--older-than",
    type=DurationParam(),
    metavar="TIME",
    help="Only items that were moved longer ago, such as 30d.",
)
@click.option(
    "--owner",
    metavar="USER",
    help="Only files of this user (name or uid), or objects of this bucket (URL).",
)
@click.option("--category", metavar="NAME", help="Only items that an entry of this category matches.")
@click.option(
    "--withdrawn",
    is_flag=True,
    help="Only items that no entry matches any more, because their entries were withdrawn.",
)
@format_option("table", "json", help="A table, or the complete record of each item as JSON Lines.")
@state_option
def list_(
    older_than: float | None,
    owner: str | None,
    category: str | None,
    withdrawn: bool,
    format_name: str,
    state: Path,
) -> int:
    """List the items in quarantine."""
    from datetime import UTC, datetime

    from hashscan.quarantine.items import KEPT
    from hashscan.quarantine.store import read_items

    print_withdrawn_items(state)
    before = datetime.now(UTC) - timedelta(seconds=older_than or 0)
    shown = [
        item
        for item in read_items(state).values()
        if item.state in KEPT
        and datetime.fromisoformat(item.record["time"]) <= before
        and (owner is None or owner in item.owners)
        and (category is None or category in _categories(item))
        and (item.withdrawn or not withdrawn)
    ]
    if format_name == "json":
        for item in shown:
            line = {
                **item.record,
                "state": item.state.value,
                "latest": item.latest,
                "withdrawn": item.withdrawn,
                "withdrawals": item.withdrawals,
            }
            sys.stdout.write(json.dumps(line, separators=(",", ":")) + "\n")
        return EXIT_CLEAN
    show_table(
        f"{len(shown)} in quarantine",
        ("item", "since", "owner", "category", "path", "destroy by", "withdrawn"),
        (
            (
                item.id,
                item.record["time"][:19],
                item.owners[0],
                ", ".join(sorted(_categories(item))) or "-",
                os.fsdecode(item.path),
                item.record["destroy_by"][:10],
                "all" if item.withdrawn else "in part" if item.withdrawals else "-",
            )
            for item in shown
        ),
    )
    return EXIT_CLEAN


@click.command(cls=HashscanCommand, exit_codes=(0, 2, 11, 12, 70))
@click.option("--repair", is_flag=True, help="First finish the work of a killed command.")
@click.option(
    "--head", metavar="HEAD", help="A head of the log that was printed earlier and stored elsewhere."
)
@state_option
def verify(repair: bool, head: str | None, state: Path) -> int:
    """Check the complete log, and that all items in it are stored unaltered.

    Names the first line that was changed or is missing. --head also detects a log that was truncated and
    rewritten. The exit code is 12 if anything is wrong.
    """
    from hashscan.quarantine.log import parse_head
    from hashscan.quarantine.repair import verify as verify_all
    from hashscan.quarantine.store import Quarantine

    known = parse_head(head) if head is not None else None
    if repair:
        with Quarantine(state, notify=print_quarantine_message, stores=open_stores()) as quarantine:
            finish_interrupted(quarantine)
    found, kept, troubles = verify_all(state, known, open_stores())
    for trouble in troubles:
        print_message(f"hashscan: {escape_control(trouble)}")
    print_message(
        f"hashscan: {kept} in quarantine, {plural(len(troubles), 'problem')}; head of the log: {found}"
    )
    return EXIT_OUTPUT if troubles else EXIT_CLEAN


@click.command(cls=HashscanCommand, exit_codes=(0, 2, 3, 11, 12, 70))
@click.argument("items", nargs=-1, metavar="[ITEM]...")
@click.option("--all", "everything", is_flag=True, help="All items in quarantine.")
@click.option(
    "--recipient",
    "recipients",
    multiple=True,
    required=True,
    metavar="KEY",
    help="Public key (age1…) of a recipient; repeatable.",
)
@click.option(
    "--output", required=True, type=click.Path(path_type=Path), metavar="FILE", help="File to create."
)
@state_option
def export(
    items: tuple[str, ...], everything: bool, recipients: tuple[str, ...], output: Path, state: Path
) -> int:
    """Export items and their records, encrypted for the recipients; `age -d` makes it a tar archive.

    The items stay in quarantine. If an item is gone or was altered, no file is written and the exit code is
    3.
    """
    from hashscan.quarantine.captured_file import QuarantineSkipped
    from hashscan.quarantine.export import export as write
    from hashscan.quarantine.store import Quarantine

    with Quarantine(state, notify=print_quarantine_message, stores=open_stores()) as quarantine:
        finish_interrupted(quarantine)
        chosen = selected_items(items, everything, quarantine.items())
        try:
            digest = write(quarantine, chosen, recipients, output)
        except QuarantineSkipped as error:
            print_message(f"hashscan: nothing was written: {escape_control(str(error))}")
            return EXIT_INCOMPLETE
        click.echo(f"{digest}\t{escape_control(str(output))}")
        print_message(f"hashscan: {len(chosen)} exported; head of the log: {quarantine.head}")
    return EXIT_CLEAN


def _categories(item: Item) -> set[str]:
    return {match["category"] for match in item.matches}
