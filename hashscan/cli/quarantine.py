"""`hashscan quarantine`: what was found is put where nobody reaches it, and can be put back."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hashscan.cli.base import Duration, HashscanGroup, state_option
from hashscan.cli.screen import printable, say, show_table
from hashscan.errors import EXIT_CLEAN, EXIT_INCOMPLETE, EXIT_OUTPUT, UsageError

if TYPE_CHECKING:
    from hashscan.quarantine.holding import Request
    from hashscan.quarantine.items import Item
    from hashscan.quarantine.store import Quarantine


@click.group(cls=HashscanGroup)
def command() -> None:
    """Move what was found out of reach, keep it as evidence, put it back or destroy it."""


@command.command(exit_codes=(0, 2, 3, 11, 12, 70))
@click.argument("what", nargs=-1, required=True, metavar="REPORT|PATH...")
@click.option(
    "--reason", metavar="TEXT", help="Why files named by PATH are moved; without it, reports are named."
)
@click.option(
    "--retain-min", type=Duration(), metavar="TIME", help="How long evidence must be kept, such as 90d."
)
@click.option(
    "--destroy-by", type=Duration(), metavar="TIME", help="How long it may be kept at most, such as 365d."
)
@click.option(
    "--place",
    "places",
    multiple=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep what is found on this folder's file system beneath it; repeatable. Root only.",
)
@click.option("--dry-run", is_flag=True, help="Only name what would be moved.")
@state_option
def add(
    what: tuple[str, ...],
    reason: str | None,
    retain_min: float | None,
    destroy_by: float | None,
    places: tuple[Path, ...],
    dry_run: bool,
    state: Path,
) -> int:
    """Move the matches of reports, or with --reason the files at PATHs, into quarantine.

    Of a REPORT all that is `match` is moved, and nothing that is held, for review, or matched by test
    entries or stale lists alone; a file that has changed since stays. Each file is hashed once more as it is
    moved. How long it is kept is for the law to say, so both terms must be given. Exits 3 when a file was
    not moved.
    """
    from hashscan.quarantine.holding import Outcome
    from hashscan.quarantine.moving import Retention, move
    from hashscan.quarantine.store import Quarantine

    if retain_min is None or destroy_by is None:
        raise UsageError(
            "how long evidence is kept differs by country, so --retain-min and --destroy-by have no default",
            advice="Ask your counsel how long this must be kept for the authorities, and by when it must be "
            "destroyed; then say both, such as --retain-min 90d --destroy-by 365d.",
        )
    if destroy_by < retain_min:
        raise UsageError(
            "--destroy-by is shorter than --retain-min", advice="Give the longer term to the former."
        )
    requests = _by_hand(what, reason) if reason is not None else _of_reports(map(Path, what))
    if dry_run:
        for request in requests:
            click.echo(printable(os.fsdecode(request.path)))
        return EXIT_CLEAN
    if os.geteuid() != 0:
        say("hashscan: an ordinary user can move nothing but own files, and that user can open them still")
    moved = left = 0
    with Quarantine(state, places) as quarantine:
        _mend(quarantine)
        terms = Retention(timedelta(seconds=retain_min), timedelta(seconds=destroy_by))
        for answer in move(quarantine, requests, terms):
            path = printable(os.fsdecode(answer.path))
            if answer.outcome is Outcome.DONE:
                moved += 1
                click.echo(f"{answer.item}\t{path}")
                if answer.links > 1:
                    say(
                        f"hashscan: {path} has {answer.links - 1} other names, which can't be opened any more"
                    )
                if answer.writers:
                    say(f"hashscan: {path} is open for writing: {', '.join(map(printable, answer.writers))}")
            else:
                left += 1
                say(f"hashscan: not moved: {path}: {answer.outcome.value}: {printable(answer.detail)}")
        say(f"hashscan: {moved} moved, {left} left; head of the log: {quarantine.head}")
    return EXIT_INCOMPLETE if left else EXIT_CLEAN


@command.command("list", exit_codes=(0, 2, 12, 70))
@click.option(
    "--older-than", type=Duration(), metavar="TIME", help="Only what was moved longer ago, such as 30d."
)
@click.option("--owner", metavar="USER", help="Only files of this user, by name or number.")
@click.option("--category", metavar="NAME", help="Only what an entry of this category accuses.")
@click.option("--json", "as_json", is_flag=True, help="The whole record of each, as JSON Lines.")
@state_option
def list_(
    older_than: float | None, owner: str | None, category: str | None, as_json: bool, state: Path
) -> int:
    """Show what is in quarantine."""
    from datetime import UTC, datetime

    from hashscan.quarantine.items import KEPT
    from hashscan.quarantine.store import read_items

    before = datetime.now(UTC) - timedelta(seconds=older_than or 0)
    shown = [
        item
        for item in read_items(state).values()
        if item.state in KEPT
        and datetime.fromisoformat(item.record["time"]) <= before
        and (owner is None or owner in {item.record["file"]["user"], str(item.record["file"]["uid"])})
        and (category is None or category in _categories(item))
    ]
    if as_json:
        for item in shown:
            line = {**item.record, "state": item.state.value, "latest": item.latest}
            sys.stdout.write(json.dumps(line, separators=(",", ":")) + "\n")
        return EXIT_CLEAN
    show_table(
        f"{len(shown)} in quarantine",
        ("item", "since", "owner", "category", "path", "destroy by"),
        (
            (
                item.id,
                item.record["time"][:19],
                str(item.record["file"]["user"] or item.record["file"]["uid"]),
                ", ".join(sorted(_categories(item))) or "-",
                os.fsdecode(item.path),
                item.record["destroy_by"][:10],
            )
            for item in shown
        ),
    )
    return EXIT_CLEAN


@command.command(exit_codes=(0, 2, 11, 12, 70))
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
        with Quarantine(state) as quarantine:
            _mend(quarantine)
    found, kept, troubles = verify_all(state, known)
    for trouble in troubles:
        say(f"hashscan: {printable(trouble)}")
    say(f"hashscan: {kept} in quarantine, {len(troubles)} troubles; head of the log: {found}")
    return EXIT_OUTPUT if troubles else EXIT_CLEAN


@command.command(exit_codes=(0, 2, 3, 11, 12, 70))
@click.argument("items", nargs=-1, metavar="[ITEM]...")
@click.option("--all", "everything", is_flag=True, help="All that is in quarantine, the latest first.")
@state_option
def restore(items: tuple[str, ...], everything: bool, state: Path) -> int:
    """Put files back where they were found: content, owner, mode, attributes, ACL and times.

    Nothing is replaced: an item whose name is taken, or whose folder is gone, stays. Exits 3 when one stays.
    """
    from hashscan.quarantine.restoring import restore as put_back
    from hashscan.quarantine.store import Quarantine

    with Quarantine(state) as quarantine:
        _mend(quarantine)
        chosen = _chosen(items, everything, quarantine.items())
        # The folders' times go back step by step, so the last that was taken comes first.
        return _each(reversed(chosen), quarantine, lambda item: put_back(quarantine, item), "restored")


@command.command(exit_codes=(0, 2, 3, 11, 12, 70))
@click.argument("items", nargs=-1, metavar="[ITEM]...")
@click.option("--override", is_flag=True, help="Destroy the named items although they must be kept longer.")
@click.option("--reason", metavar="TEXT", help="Why; it stands in the log.")
@state_option
def release(items: tuple[str, ...], override: bool, reason: str | None, state: Path) -> int:
    """Destroy what has passed its --destroy-by, or the named items that have passed their --retain-min.

    The record stays in the log. Exits 3 when a named item must still be kept.
    """
    from hashscan.quarantine.releasing import is_due
    from hashscan.quarantine.releasing import release as destroy
    from hashscan.quarantine.store import Quarantine

    if override and (reason is None or not items):
        raise UsageError("--override needs ITEMs and a --reason", advice="Say which, and why.")
    with Quarantine(state) as quarantine:
        _mend(quarantine)
        known = quarantine.items()
        chosen = _named(items, known) if items else [item for item in known.values() if is_due(item)]
        return _each(
            chosen, quarantine, lambda item: destroy(quarantine, item, reason, override=override), "destroyed"
        )


@command.command(exit_codes=(0, 2, 3, 11, 12, 70))
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
    from hashscan.quarantine.export import export as write
    from hashscan.quarantine.holding import NotDone
    from hashscan.quarantine.store import Quarantine

    with Quarantine(state) as quarantine:
        _mend(quarantine)
        chosen = _chosen(items, everything, quarantine.items())
        try:
            digest = write(quarantine, chosen, recipients, output)
        except NotDone as error:
            say(f"hashscan: nothing was written: {printable(str(error))}")
            return EXIT_INCOMPLETE
        click.echo(f"{digest}\t{printable(str(output))}")
        say(f"hashscan: {len(chosen)} exported; head of the log: {quarantine.head}")
    return EXIT_CLEAN


def _each(items: Iterable[Item], quarantine: Quarantine, do: Any, word: str) -> int:
    """Do something with each item, and say what came of it."""
    from hashscan.quarantine.holding import NotDone

    done = left = 0
    for item in items:
        try:
            do(item)
        except NotDone as error:
            left += 1
            say(f"hashscan: item {item.id} stays: {printable(str(error))}")
        else:
            done += 1
            click.echo(f"{item.id}\t{printable(os.fsdecode(item.path))}")
    say(f"hashscan: {done} {word}, {left} stay; head of the log: {quarantine.head}")
    return EXIT_INCOMPLETE if left else EXIT_CLEAN


def _chosen(names: tuple[str, ...], everything: bool, known: dict[str, Item]) -> list[Item]:
    """The items that are named, or all that are kept."""
    from hashscan.quarantine.items import KEPT

    if bool(names) is everything:
        raise UsageError("it takes ITEMs or --all", advice="Name ITEMs, or say --all.")
    return _named(names, known) if names else [item for item in known.values() if item.state in KEPT]


def _named(names: Iterable[str], known: dict[str, Item]) -> list[Item]:
    chosen = []
    for name in dict.fromkeys(names):
        found = [item for item in known.values() if item.id.startswith(name)]
        if len(found) != 1 or not name:
            which = "no item" if not found else "more than one item"
            raise UsageError(f"{which} begins with {name!r}", advice="See `hashscan quarantine list`.")
        chosen += found
    return chosen


def _categories(item: Item) -> set[str]:
    return {match["category"] for match in item.record["accusation"].get("matches", ())}


def _mend(quarantine: Quarantine) -> None:
    """Finish what a command that was killed had begun, before anything else is."""
    from hashscan.quarantine.repair import repair

    for trouble in repair(quarantine):
        say(f"hashscan: {printable(trouble)}")


def _by_hand(paths: Iterable[str], reason: str) -> list[Request]:
    from hashscan.quarantine.holding import Request

    return [Request(os.path.abspath(os.fsencode(path)), {"reason": reason}) for path in paths]


def _of_reports(reports: Iterable[Path]) -> Iterator[Request]:
    from hashscan.quarantine.accusing import request_of
    from hashscan.reports.reading import read_report

    for report in reports:
        records = read_report(report)
        sweep = next(records)
        for record in records:
            request = request_of(record, sweep)
            if request is not None:
                yield request
