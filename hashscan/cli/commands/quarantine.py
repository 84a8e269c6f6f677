"""`hashscan quarantine`: move findings out of reach, put them back, or destroy them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hashscan.cli.options.base import (
    ArgumentOption,
    DurationParam,
    HashscanCommand,
    HashscanGroup,
    endpoint_option,
    state_option,
)
from hashscan.cli.options.output import format_option
from hashscan.cli.options.privileges import RootRights
from hashscan.cli.options.quarantine import (
    apply_to_items,
    finish_interrupted,
    items_by_prefix,
    open_stores,
    print_outcomes,
    print_quarantine_message,
    quarantine_options,
    selected_items,
)
from hashscan.cli.options.tables import act_on_option, weak_trust_of
from hashscan.cli.output.list_changes import print_withdrawn_items
from hashscan.cli.output.terminal import ROWS_SHOWN, escape_control, print_message, show_table
from hashscan.errors import EXIT_CLEAN, EXIT_INCOMPLETE, EXIT_OUTPUT, UsageError
from hashscan.model import Weak
from hashscan.settings.matching import BreakerLimits, QuarantineSettings
from hashscan.state_dir import StateDir
from hashscan.text import plural

if TYPE_CHECKING:
    from hashscan.quarantine.captured_file import QuarantineRequest
    from hashscan.quarantine.items import Item
    from hashscan.scan.quarantine_requests import QuarantineRequests


@click.command(cls=HashscanCommand, exit_codes=(0, 2, 3, 11, 12, 70), needs=RootRights.CHANGING)
@click.argument("what", nargs=-1, required=True, metavar="REPORT|PATH|URL...")
@click.option(
    "--reason",
    metavar="TEXT",
    help="Reason for moving the files at PATH or URL; without it, the arguments are reports.",
)
@quarantine_options
@act_on_option
@endpoint_option
@click.option("--dry-run", is_flag=True, help="Only show which files would be moved.")
@state_option
def add(
    what: tuple[str, ...],
    reason: str | None,
    retain_min: float | None,
    destroy_by: float | None,
    quarantine_dirs: tuple[str, ...],
    note: Path | None,
    breaker_owners: int,
    breaker_files: int,
    act_on: tuple[str, ...],
    endpoint: str | None,
    dry_run: bool,
    state: StateDir,
) -> int:
    """Move the matches of reports, or with --reason the files at PATHs and objects at URLs, into quarantine.

    Only files with verdict `match` are moved from a REPORT; not those that are held or for review, and not
    the matches of entries that match too much. Files that match only test entries, local lists or stale lists
    stay unless --act-on permits them, and so do files that have changed. Each file is hashed again when it is
    moved. The report must be that of a complete scan. Both retention times are required, because they depend
    on the law. The exit code is 3 if a file was not moved.
    """
    from hashscan.quarantine.captured_file import Outcome
    from hashscan.quarantine.moving import move
    from hashscan.quarantine.notes import read_note
    from hashscan.quarantine.retention import Retention
    from hashscan.quarantine.store import Quarantine

    settings = QuarantineSettings.of(retain_min, destroy_by, quarantine_dirs, note)
    text = None if note is None else read_note(note)
    limits = BreakerLimits(breaker_owners, breaker_files)
    requests: Iterable[QuarantineRequest]
    if reason is not None:
        requests = by_hand = _by_hand(what, reason)
        urls = [request.path for request in by_hand if request.is_object]
    else:
        accused = _accused(what, limits, weak_trust_of(act_on))
        requests, urls = _asked(accused), list(accused.urls)
    kept_in = open_stores(endpoint, settings.bucket)
    kept_in.keep_apart(urls)
    if dry_run:
        for request in requests:
            click.echo(escape_control(os.fsdecode(request.path)))
        return EXIT_CLEAN
    if os.geteuid() != 0:
        print_message("hashscan: without root, only your own files can be moved, and you can still open them")
    moved = left = 0
    with Quarantine(state, settings.places, print_quarantine_message, kept_in) as quarantine:
        finish_interrupted(quarantine)
        terms = Retention(timedelta(seconds=settings.retain_min), timedelta(seconds=settings.destroy_by))
        for answer in move(quarantine, requests, terms, text):
            path = escape_control(os.fsdecode(answer.path))
            if answer.outcome is Outcome.DONE:
                moved += 1
                click.echo(f"{answer.item}\t{path}")
                if answer.detail:
                    print_message(f"hashscan: {path}: {answer.detail}")
                if answer.links > 1:
                    print_message(
                        f"hashscan: {path} has {plural(answer.links - 1, 'other hard link')}, which "
                        "can't be opened any more"
                    )
                if answer.writers:
                    print_message(
                        f"hashscan: {path} is open for writing: "
                        f"{', '.join(map(escape_control, answer.writers))}"
                    )
                if answer.no_note:
                    print_message(f"hashscan: no note was left at {path}: {answer.no_note}")
            else:
                left += 1
                print_message(
                    f"hashscan: not moved: {path}: {answer.outcome.value}: {escape_control(answer.detail)}"
                )
        # An entry may have been withdrawn after the report was written.
        print_withdrawn_items(state, quarantine)
        print_message(f"hashscan: {moved} moved, {left} left; head of the log: {quarantine.head}")
    return EXIT_INCOMPLETE if left else EXIT_CLEAN


def _by_hand(paths: Iterable[str], reason: str) -> list[QuarantineRequest]:
    from hashscan.quarantine.captured_file import QuarantineRequest, is_url

    named = map(os.fsencode, paths)
    return [
        QuarantineRequest(one if is_url(one) else os.path.abspath(one), {"reason": reason}) for one in named
    ]


def _accused(names: Iterable[str], limits: BreakerLimits, act_on: tuple[Weak, ...]) -> QuarantineRequests:
    """Return the requests of all reports, read in full first: nothing is moved if a report is not valid."""
    from hashscan.scan.quarantine_requests import QuarantineRequests

    accused = QuarantineRequests([Path(name) for name in names], limits, act_on)
    for words in accused.breaker_messages():
        print_message(f"hashscan: {escape_control(words)}")
    return accused


def _asked(accused: QuarantineRequests) -> Iterator[QuarantineRequest]:
    yield from accused.requests()
    for words in accused.unmoved_messages():
        print_message(f"hashscan: {words}")


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
    state: StateDir,
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
def verify(repair: bool, head: str | None, state: StateDir) -> int:
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
    items: tuple[str, ...], everything: bool, recipients: tuple[str, ...], output: Path, state: StateDir
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


@click.command(cls=HashscanCommand, exit_codes=(0, 2, 3, 11, 12, 70), needs=RootRights.CHANGING)
@click.argument("items", nargs=-1, metavar="[ITEM]...")
@click.option("--all", "everything", is_flag=True, help="All items in quarantine, the latest first.")
@click.option("--withdrawn", is_flag=True, help="All items that no entry matches any more.")
@state_option
def restore(items: tuple[str, ...], everything: bool, withdrawn: bool, state: StateDir) -> int:
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
@click.option("--reason", metavar="TEXT", help="Reason; recorded in the log.")
@click.option("--yes", cls=ArgumentOption, is_flag=True, help="Don't ask for confirmation on a terminal.")
@state_option
def destroy(items: tuple[str, ...], override: bool, reason: str | None, yes: bool, state: StateDir) -> int:
    """Destroy items that have passed their --destroy-by, or the named items that have passed --retain-min.

    Asks for confirmation on a terminal. The record stays in the log. An item whose entries were all
    withdrawn is not destroyed without --override. The exit code is 3 if an item stays.
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


@click.group(cls=HashscanGroup)
def command() -> None:
    """Move matching files into quarantine, keep them as evidence, restore or destroy them."""


for _command in (add, list_, verify, restore, destroy, export):
    command.add_command(_command)
