"""`hashscan quarantine add`: what was found is moved."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hashscan.cli.base import Duration, HashscanCommand, state_option
from hashscan.cli.kept_items import mend, stores, told
from hashscan.cli.screen import printable, say
from hashscan.errors import EXIT_CLEAN, EXIT_INCOMPLETE, UsageError

if TYPE_CHECKING:
    from hashscan.quarantine.holding import Request


@click.command(cls=HashscanCommand, exit_codes=(0, 2, 3, 11, 12, 70))
@click.argument("what", nargs=-1, required=True, metavar="REPORT|PATH|URL...")
@click.option(
    "--reason",
    metavar="TEXT",
    help="Why what is named by PATH or URL is moved; without it, reports are named.",
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
    metavar="FOLDER|URL",
    help="Keep what is found on this folder's file system beneath it; repeatable, root only. Objects are "
    "kept in the first, or where a bucket is named, there.",
)
@click.option("--endpoint", metavar="URL", help="Service of the buckets, where it is not the provider's own.")
@click.option("--dry-run", is_flag=True, help="Only name what would be moved.")
@state_option
def add(
    what: tuple[str, ...],
    reason: str | None,
    retain_min: float | None,
    destroy_by: float | None,
    places: tuple[str, ...],
    endpoint: str | None,
    dry_run: bool,
    state: Path,
) -> int:
    """Move the matches of reports, or with --reason the files at PATHs and objects at URLs, into quarantine.

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
    urls = [place for place in places if "://" in place]
    if len(urls) > 1:
        raise UsageError("objects are kept in one place", advice="Name one URL with --place.")
    folders = [Path(place) for place in places if "://" not in place]
    keep = stores(endpoint, next(iter(urls), None))
    moved = left = 0
    with Quarantine(state, folders, told, keep) as quarantine:
        mend(quarantine)
        terms = Retention(timedelta(seconds=retain_min), timedelta(seconds=destroy_by))
        for answer in move(quarantine, requests, terms):
            path = printable(os.fsdecode(answer.path))
            if answer.outcome is Outcome.DONE:
                moved += 1
                click.echo(f"{answer.item}\t{path}")
                if answer.detail:
                    say(f"hashscan: {path}: {answer.detail}")
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


def _by_hand(paths: Iterable[str], reason: str) -> list[Request]:
    from hashscan.quarantine.holding import Request, is_url

    named = map(os.fsencode, paths)
    return [Request(one if is_url(one) else os.path.abspath(one), {"reason": reason}) for one in named]


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
