"""`hashscan quarantine add`: move the matches of reports, or named files and objects, into quarantine."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hashscan.cli.options.base import HashscanCommand, state_option
from hashscan.cli.options.policy import act_on_option, weak_trust_of
from hashscan.cli.options.privileges import RootRights
from hashscan.cli.options.quarantine import quarantine_options
from hashscan.cli.options.quarantine_items import finish_interrupted, open_stores, print_quarantine_message
from hashscan.cli.output.list_changes import print_withdrawn_items
from hashscan.cli.output.terminal import escape_control, print_message
from hashscan.errors import EXIT_CLEAN, EXIT_INCOMPLETE
from hashscan.model import Weak
from hashscan.settings.matching import BreakerLimits, QuarantineSettings
from hashscan.text import plural

if TYPE_CHECKING:
    from hashscan.quarantine.captured_file import QuarantineRequest
    from hashscan.scan.quarantine_requests import QuarantineRequests


@click.command(cls=HashscanCommand, exit_codes=(0, 2, 3, 11, 12, 70), needs=RootRights.CHANGING)
@click.argument("what", nargs=-1, required=True, metavar="REPORT|PATH|URL...")
@click.option(
    "--reason",
    metavar="TEXT",
    help="Why the files at PATH or URL are moved; without it, the arguments are reports.",
)
@quarantine_options
@act_on_option
@click.option(
    "--endpoint", metavar="URL", help="URL of the buckets' service, if it is not the provider's own."
)
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
    state: Path,
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
