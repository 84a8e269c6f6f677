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
from hashscan.cli.options.quarantine_items import (
    finish_interrupted,
    open_stores,
    print_quarantine_message,
    selected_items,
)
from hashscan.cli.output.terminal import escape_control, print_message, show_table
from hashscan.cli.output.withdrawals import print_withdrawn_items
from hashscan.errors import EXIT_CLEAN, EXIT_INCOMPLETE, EXIT_OUTPUT

if TYPE_CHECKING:
    from hashscan.quarantine.items import Item


@click.command("list", cls=HashscanCommand, exit_codes=(0, 2, 12, 70))
@click.option(
    "--older-than", type=DurationParam(), metavar="TIME", help="Only what was moved longer ago, such as 30d."
)
@click.option(
    "--owner",
    metavar="USER",
    help="Only files of this user, by name or number, or objects of this bucket, by URL.",
)
@click.option("--category", metavar="NAME", help="Only what an entry of this category accuses.")
@click.option(
    "--withdrawn", is_flag=True, help="Only what nothing accuses any more, since its entries were withdrawn."
)
@click.option("--json", "as_json", is_flag=True, help="The whole record of each, as JSON Lines.")
@state_option
def list_(
    older_than: float | None,
    owner: str | None,
    category: str | None,
    withdrawn: bool,
    as_json: bool,
    state: Path,
) -> int:
    """Show what is in quarantine."""
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
    if as_json:
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
@click.option("--repair", is_flag=True, help="First finish what a command that was killed had begun.")
@click.option("--head", metavar="HEAD", help="A head that was printed earlier and kept elsewhere.")
@state_option
def verify(repair: bool, head: str | None, state: Path) -> int:
    """Check the log from its first line on, and that all it names is kept unaltered.

    Names the first line that was changed or is missing. With --head, also a log that was cut and written
    anew is found out. Exits 12 when anything is wrong.
    """
    from hashscan.quarantine.log import parse_head
    from hashscan.quarantine.store import Quarantine
    from hashscan.quarantine.verifying import verify as verify_all

    known = parse_head(head) if head is not None else None
    if repair:
        with Quarantine(state, told=print_quarantine_message, stores=open_stores()) as quarantine:
            finish_interrupted(quarantine)
    found, kept, troubles = verify_all(state, known, open_stores())
    for trouble in troubles:
        print_message(f"hashscan: {escape_control(trouble)}")
    print_message(f"hashscan: {kept} in quarantine, {len(troubles)} troubles; head of the log: {found}")
    return EXIT_OUTPUT if troubles else EXIT_CLEAN


@click.command(cls=HashscanCommand, exit_codes=(0, 2, 3, 11, 12, 70))
@click.argument("items", nargs=-1, metavar="[ITEM]...")
@click.option("--all", "everything", is_flag=True, help="All files that are in quarantine.")
@click.option(
    "--recipient",
    "recipients",
    multiple=True,
    required=True,
    metavar="KEY",
    help="Public key of age; repeatable.",
)
@click.option(
    "--output", required=True, type=click.Path(path_type=Path), metavar="FILE", help="The new file."
)
@state_option
def export(
    items: tuple[str, ...], everything: bool, recipients: tuple[str, ...], output: Path, state: Path
) -> int:
    """Write items and their records into a file that only the recipients can open; `age -d` makes it a tar.

    The items stay in quarantine. Exits 3, and leaves no file, when one is gone or was altered.
    """
    from hashscan.quarantine.captured_file import QuarantineSkipped
    from hashscan.quarantine.export import export as write
    from hashscan.quarantine.store import Quarantine

    with Quarantine(state, told=print_quarantine_message, stores=open_stores()) as quarantine:
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
