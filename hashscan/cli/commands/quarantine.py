"""`hashscan quarantine`: move findings out of reach, put them back, or destroy them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hashscan.cli.options.base import (
    DURATION,
    HashscanCommand,
    HashscanGroup,
    argument_option,
    endpoint_option,
    state_option,
)
from hashscan.cli.options.output import format_option, write_json_line
from hashscan.cli.options.privileges import RootRights
from hashscan.cli.options.quarantine import (
    items_by_prefix,
    open_stores,
    opened_quarantine,
    print_outcomes,
    quarantine_options,
    selected_items,
)
from hashscan.cli.options.stay_down import (
    confirmation,
    keep_items_down,
    stay_down_options,
    take_back_restored,
)
from hashscan.cli.options.tables import act_on_option
from hashscan.cli.output.ledger_sync import require_state
from hashscan.cli.output.list_changes import print_withdrawn_items
from hashscan.cli.output.logs import ERROR, print_line, print_message
from hashscan.cli.output.notifications import store_limit_alerts
from hashscan.cli.output.terminal import ROWS_SHOWN, print_table
from hashscan.errors import EXIT_CLEAN, EXIT_INCOMPLETE, EXIT_OUTPUT, UsageError
from hashscan.model import Weak
from hashscan.settings.matching import BreakerLimits, QuarantineSettings
from hashscan.state_dir import StateDir
from hashscan.text import plural, printable

if TYPE_CHECKING:
    from hashscan.matching.list_limits import LimitedList
    from hashscan.quarantine.captured_file import QuarantineRequest, QuarantineSkipped
    from hashscan.quarantine.items import Item
    from hashscan.quarantine.moving import MoveResult
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
@argument_option(
    "--stay-down",
    is_flag=True,
    help="Have later scans find the moved content: the confirmation that it was removed rightly.",
)
@stay_down_options
@state_option
def add(
    what: tuple[str, ...],
    reason: str | None,
    terms: Callable[[], QuarantineSettings],
    breaker: BreakerLimits,
    act_on: tuple[Weak, ...],
    endpoint: str | None,
    dry_run: bool,
    stay_down: bool,
    until: str | None,
    category: str | None,
    state: StateDir,
) -> int:
    """Move the matches of reports, or with --reason the files at PATHs and objects at URLs, into quarantine.

    Only files with verdict `match` are moved from a REPORT; not those that are held or for review, and not
    the matches of entries that match too much. Files that match only test entries, local lists or stale lists
    stay unless --act-on permits them, and so do files that have changed. Each file is hashed again when it is
    moved. The report must be that of a complete scan. Both retention times are required, because they depend
    on the law. The exit code is 3 if a file was not moved.

    With --stay-down, the list `stay-down` gets the digests of what was moved, as by `cases confirm`.
    """
    from hashscan.quarantine.captured_file import Outcome
    from hashscan.quarantine.moving import move
    from hashscan.quarantine.notes import read_note
    from hashscan.quarantine.retention import Retention

    if (until is not None or category is not None) and not stay_down:
        raise UsageError("--until and --category are of --stay-down", advice="Add it, or leave them out.")
    if stay_down and reason is not None and category is None:
        raise UsageError("no entry names the category of these files", advice="Add --category.")
    confirmed = confirmation(reason or "moved by a report", until, category) if stay_down else None
    settings = terms()
    limited: list[LimitedList] = []
    requests: Iterable[QuarantineRequest]
    note = None if settings.note is None else read_note(settings.note)
    if reason is None:
        found = _requests_of_reports(what, breaker, act_on, state, containers=settings.containers)
        requests, urls, limited = _with_messages(found), list(found.urls), found.limited
    else:
        requests, urls = _requests_by_hand(what, reason)
    stores = open_stores(endpoint, settings.bucket)
    stores.keep_apart(urls)
    if dry_run:
        for request in requests:
            click.echo(printable(os.fsdecode(request.path)))
        return EXIT_CLEAN
    if os.geteuid() != 0:
        print_message("without root, only your own files can be moved, and you can still open them")
    moved = left = 0
    done: list[str] = []
    with opened_quarantine(state, settings.places, stores) as quarantine:
        retention = Retention(timedelta(seconds=settings.retain_min), timedelta(seconds=settings.destroy_by))
        for result in move(quarantine, requests, retention, note):
            if result.outcome is Outcome.DONE:
                moved += 1
                done.append(result.item)
                _print_moved(result)
            else:
                left += 1
                path = os.fsdecode(result.path)
                print_message(f"not moved: {path}: {result.outcome.value}: {result.detail}", ERROR)
        # An entry may have been withdrawn after the report was written.
        print_withdrawn_items(state, quarantine)
        print_message(f"{moved} moved, {left} left; head of the log: {quarantine.head}")
        if confirmed is not None and not keep_items_down(state, quarantine, done, confirmed):
            left += 1
    left += store_limit_alerts(state, limited)
    return EXIT_INCOMPLETE if left else EXIT_CLEAN


def _print_moved(result: MoveResult) -> None:
    """Print the item of a file that was moved, and remarks about the file."""
    path = os.fsdecode(result.path)
    click.echo(f"{result.item}\t{printable(path)}")
    if result.detail:
        print_message(f"{path}: {result.detail}")
    if result.links > 1:
        links = plural(result.links - 1, "other hard link")
        print_message(f"{path} has {links}, which can't be opened any more")
    if result.writers:
        print_message(f"{path} is open for writing: {', '.join(result.writers)}")
    if result.no_note:
        print_message(f"no note was left at {path}: {result.no_note}")


def _requests_by_hand(paths: Iterable[str], reason: str) -> tuple[list[QuarantineRequest], list[bytes]]:
    """Return the requests for named files and objects, and the URLs among them."""
    from hashscan.quarantine.captured_file import QuarantineRequest, is_url

    named = (path if is_url(path) else os.path.abspath(path) for path in map(os.fsencode, paths))
    requests = [QuarantineRequest(path, {"reason": reason}) for path in named]
    return requests, [request.path for request in requests if request.is_object]


def _requests_of_reports(
    names: Iterable[str],
    breaker: BreakerLimits,
    act_on: tuple[Weak, ...],
    state: StateDir,
    *,
    containers: bool,
) -> QuarantineRequests:
    """Return the requests of all reports, which are read in full: nothing is moved if one is not valid."""
    from hashscan.scan.quarantine_requests import QuarantineRequests

    found = QuarantineRequests(list(map(Path, names)), breaker, state, act_on, containers=containers)
    for message in found.breaker_messages():
        print_message(message)
    return found


def _with_messages(found: QuarantineRequests) -> Iterator[QuarantineRequest]:
    yield from found.requests()
    for message in found.unmoved_messages():
        print_message(message)


@click.command("list", cls=HashscanCommand, exit_codes=(0, 2, 12, 70))
@click.option(
    "--older-than", type=DURATION, metavar="TIME", help="Only items that were moved longer ago, such as 30d."
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
) -> None:
    """List the items in quarantine."""
    from hashscan.quarantine.items import KEPT
    from hashscan.quarantine.store import read_items

    require_state(state)
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
            derived = {
                "state": item.state.value,
                "latest": item.latest,
                "withdrawn": item.withdrawn,
                "withdrawals": item.withdrawals,
            }
            write_json_line({**item.record, **derived})
        return
    print_table(
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
        f"{len(shown)} in quarantine",
    )


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
    from hashscan.hash_chain import parse_head
    from hashscan.quarantine.repair import verify as verify_all

    known = parse_head(head) if head is not None else None
    if repair:
        with opened_quarantine(state):
            pass  # This repairs it.
    found, kept, troubles = verify_all(state, known, open_stores())
    for trouble in troubles:
        print_message(trouble, ERROR)
    print_message(f"{kept} in quarantine, {plural(len(troubles), 'problem')}; head of the log: {found}")
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

    with opened_quarantine(state) as quarantine:
        chosen = selected_items(items, everything, quarantine.items())
        try:
            digest = write(quarantine, chosen, recipients, output)
        except QuarantineSkipped as error:
            print_message(f"nothing was written: {error}", ERROR)
            return EXIT_INCOMPLETE
        click.echo(f"{digest}\t{printable(str(output))}")
        print_message(f"{len(chosen)} exported; head of the log: {quarantine.head}")
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
    exit code is 3. If restored content is on the list `stay-down`, it is removed from there.
    """
    from hashscan.quarantine.items import KEPT
    from hashscan.quarantine.restoring import restore_all

    if withdrawn and (items or everything):
        raise UsageError("--withdrawn already selects the items", advice="Leave out ITEMs and --all.")
    with opened_quarantine(state) as quarantine:
        known = quarantine.items()
        if withdrawn:
            chosen = [item for item in known.values() if item.withdrawn and item.state in KEPT]
        else:
            chosen = selected_items(items, everything, known)
        # The times of folders are restored step by step, so the item that was moved last comes first.
        code = print_outcomes(restore_all(quarantine, reversed(chosen)), quarantine, "restored")
    take_back_restored(state)
    return code


@click.command(cls=HashscanCommand, exit_codes=(0, 2, 3, 11, 12, 70), needs=RootRights.CHANGING)
@click.argument("items", nargs=-1, metavar="[ITEM]...")
@click.option("--override", is_flag=True, help="Destroy the named items although they must be kept longer.")
@click.option("--reason", metavar="TEXT", help="Reason; recorded in the log.")
@argument_option("--yes", is_flag=True, help="Don't ask for confirmation on a terminal.")
@state_option
def destroy(items: tuple[str, ...], override: bool, reason: str | None, yes: bool, state: StateDir) -> int:
    """Destroy items that have passed their --destroy-by, or the named items that have passed --retain-min.

    Asks for confirmation on a terminal. The record stays in the log. An item whose entries were all
    withdrawn is not destroyed without --override. The exit code is 3 if an item stays.
    """
    from hashscan.quarantine import retention
    from hashscan.quarantine.captured_file import QuarantineSkipped
    from hashscan.quarantine.store import read_items

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
            print_message("nothing was destroyed")
            return EXIT_INCOMPLETE
    with opened_quarantine(state) as quarantine:
        chosen = [item for item in select(quarantine.items()) if confirmed is None or item.id in confirmed]

        def outcomes() -> Iterator[tuple[Item, QuarantineSkipped | None]]:
            for item in chosen:
                try:
                    links = retention.destroy(quarantine, item, reason, override=override)
                except QuarantineSkipped as error:
                    yield item, error
                    continue
                if links:
                    links_text = plural(links, "other hard link")
                    print_message(f"{item.id} has {links_text} with the same content: remove them")
                yield item, None

        return print_outcomes(outcomes(), quarantine, "destroyed")


def _confirm_destruction(items: list[Item]) -> set[str] | None:
    """Show the items and ask whether to destroy them; return their ids, or None if the answer is no."""
    if items:
        for item in items[:ROWS_SHOWN]:
            print_line(f"  {item.id}  {printable(os.fsdecode(item.path))}")
        if len(items) > ROWS_SHOWN:
            print_line(f"  and {len(items) - ROWS_SHOWN} more")
        question = f"Destroy {plural(len(items), 'item')}? This can't be undone."
        if not click.confirm(question, err=True):
            return None
    return {item.id for item in items}


@click.group(cls=HashscanGroup)
def command() -> None:
    """Move matching files into quarantine, keep them as evidence, restore or destroy them."""


for _command in (add, list_, verify, restore, destroy, export):
    command.add_command(_command)
