"""`hashscan lists except`: list entries and contents whose matches this machine withholds."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from hashscan.cli.options.base import ANY_PATH, HashscanCommand, argument_option, list_option, state_option
from hashscan.cli.options.privileges import RootRights
from hashscan.cli.options.tables import reporter_option
from hashscan.cli.output.feedback import give_feedback
from hashscan.cli.output.logs import print_message
from hashscan.cli.output.terminal import print_table
from hashscan.errors import EXIT_CLEAN, NoUsableListError, UsageError
from hashscan.lists.services.adapter import NO_SINGLE_ENTRY
from hashscan.model import KNOWN_GOOD_CATEGORY, Entry, ExceptedEntry, Reporter
from hashscan.settings.values import parse_future
from hashscan.state_dir import StateDir

if TYPE_CHECKING:
    from hashscan.lists.exceptions import ListedEntry


@click.command("except", cls=HashscanCommand, exit_codes=(0, 2, 10, 11, 12, 13, 70), needs=RootRights.FILES)
@click.argument("entries", nargs=-1, metavar="[ENTRY]...")
@click.option("--reason", metavar="TEXT", help="Reason why the entry is wrong; included in every report.")
@click.option(
    "--until",
    metavar="DATE",
    help="Expiry: a day (to its end, UTC), or a time such as 2027-01-31T18:00:00Z.",
)
@argument_option(
    "--content",
    "contents",
    multiple=True,
    type=ANY_PATH,
    metavar="FILE|sha256:DIGEST",
    help="Except a content instead of entries: no entry of any list makes a match of it; repeatable.",
)
@click.option(
    "--remove", is_flag=True, help="End an exception: from the next scan on, the entry matches again."
)
@argument_option(
    "--feedback",
    is_flag=True,
    help="Also send feedback to the list's owner that the entry is wrong, with the reason; see "
    "`hashscan lists feedback`.",
)
@list_option
@reporter_option
@state_option
def except_(
    entries: tuple[str, ...],
    reason: str | None,
    until: str | None,
    contents: tuple[bytes, ...],
    remove: bool,
    feedback: bool,
    lists: tuple[str, ...],
    reporter: Reporter | None,
    state: StateDir,
) -> int:
    """Except entries on this server: from the next scan or check on, their matches are `held`.

    ENTRY is the id of an entry, as in reports; --list is needed if several lists have it. Tell the list's
    owner too, with --feedback: an exception expires, and applies to this server only. A file that another
    entry matches is still a match, and a held one is still reported, but does not make the exit code 1.

    If a picture is hit by many entries, such as those of crops, --content excepts this one content, with its
    bytes as they are, for all entries of all lists, also of later versions. Copies that differ still match.

    Without ENTRY and --content, all exceptions are shown. They stay after pulls, and if a list is removed and
    added again.
    """
    if feedback and (remove or not entries):
        raise UsageError("--feedback is about entries that are excepted", advice="Name the entries.")
    if contents and (entries or lists):
        raise UsageError(
            "--content excepts for all entries of all lists",
            advice="Leave out the entries and --list, or leave out --content.",
        )
    if not entries and not contents:
        if reason is not None or until is not None or remove:
            raise UsageError(
                "no entry is named", advice="Name the id of an entry, as in reports, or use --content."
            )
        _show(lists, state)
        return EXIT_CLEAN
    if remove:
        if reason is not None or until is not None:
            raise UsageError(
                "an exception that is removed needs no --reason and no --until", advice="Leave them out."
            )
        _remove(entries, lists, state)
        _remove_contents(contents, state)
        return EXIT_CLEAN
    if reason is None or until is None:
        raise UsageError(
            "an exception needs a reason and an end", advice="Add --reason TEXT and --until DATE."
        )
    if contents:
        _add_contents(contents, reason, until, state)
        return EXIT_CLEAN
    found = _add(entries, reason, until, lists, state)
    if feedback:
        return give_feedback(found, state, wrong=True, reason=reason, reporter=reporter)
    return EXIT_CLEAN


def _show(lists: tuple[str, ...], state: StateDir) -> None:
    from hashscan.lists.exceptions import in_force, read_contents, read_exceptions

    now = datetime.now(UTC)
    kept = [e for e in read_exceptions(state) if not lists or e.list_name in lists]
    contents = () if lists else read_contents(state)
    if not kept:
        print_message("no entry is excepted")
    else:
        _show_entries(kept, now)
    if contents:
        print_table(
            ("sha256", "until", "", "reason", "by", "since"),
            (
                (
                    content.sha256,
                    content.until,
                    "in force" if in_force(content, now) else "ended",
                    content.reason,
                    content.by,
                    content.since,
                )
                for content in contents
            ),
            "excepted contents",
        )


def _show_entries(kept: Iterable[ExceptedEntry], now: datetime) -> None:
    from hashscan.lists.exceptions import in_force

    print_table(
        ("entry", "list", "algorithm", "category", "until", "", "reason", "by", "since"),
        (
            (
                e.entry_id,
                e.list_name,
                e.algorithm,
                e.category,
                e.until,
                "in force" if in_force(e, now) else "ended",
                e.reason,
                e.by,
                e.since,
            )
            for e in kept
        ),
        "excepted entries",
    )


def _remove(entry_ids: tuple[str, ...], lists: tuple[str, ...], state: StateDir) -> None:
    from hashscan.lists.exceptions import remove_exception

    for entry_id in entry_ids:
        gone = remove_exception(state, entry_id, lists)
        print_message(f"entry {gone.entry_id} of list {gone.list_name} is no longer excepted")


def _remove_contents(contents: tuple[bytes, ...], state: StateDir) -> None:
    from hashscan.lists.exceptions import remove_content

    for sha256 in [_sha256_of(content) for content in contents]:
        gone = remove_content(state, sha256)
        print_message(f"content sha256:{gone.sha256} is no longer excepted")


def _add_contents(contents: tuple[bytes, ...], reason: str, until: str, state: StateDir) -> None:
    from hashscan.lists.exceptions import add_content, made_content_exception

    now = datetime.now(UTC)
    end = parse_future(until, now)
    # All files are read before anything is changed.
    for sha256 in [_sha256_of(content) for content in contents]:
        excepted = made_content_exception(sha256, reason, end, invoking_user(), now)
        before = add_content(state, excepted)
        print_message(
            f"content sha256:{excepted.sha256} is excepted until {excepted.until}"
            f"{', no longer ' + before.until if before else ''}"
        )


def _sha256_of(content: bytes) -> bytes:
    """Return the SHA-256 of a file, or the one that is written as `sha256:DIGEST`."""
    from hashscan.matching.worker_setup import WorkerSetup, sandbox_options
    from hashscan.scan.single_checks import check_file, digests_named, is_named
    from hashscan.scan.workers.worker import Worker
    from hashscan.settings.matching import DecodingLimits

    if not is_named(content):
        text = os.fsdecode(content)
        try:
            return digests_named(text)["sha256"]
        except KeyError:
            raise UsageError(
                f"{text!r} is no SHA-256",
                advice="Name the file, or its digest as sha256:…; `hashscan hash FILE` prints it.",
            ) from None
    # No picture is decoded for exact digests, so no decoder is started.
    limits = DecodingLimits()
    setup = WorkerSetup((), sandbox_options(limits), ("sha256",), limits.max_pixels, with_digests=True)
    with Worker(setup) as worker:
        result = check_file(worker, content)
    for digest in result.digests:
        if digest.algorithm == "sha256":
            return digest.value
    raise UsageError(
        f"{os.fsdecode(content)} can't be read: {result.detail or result.reason}",
        advice="Read it as a user who may, or name its digest as sha256:….",
    )


def _add(
    entry_ids: tuple[str, ...], reason: str, until: str, lists: tuple[str, ...], state: StateDir
) -> list[ListedEntry]:
    from hashscan.lists.exceptions import add_exception, made_exception

    now = datetime.now(UTC)
    end = parse_future(until, now)
    # All entries are looked up before anything is changed.
    found = [find_listed_entry(entry_id, lists, state, now) for entry_id in entry_ids]
    for list_name, entry, service in found:
        if entry.category == KNOWN_GOOD_CATEGORY:
            raise UsageError(
                f"the entry {entry.id!r} is known-good, so it has no matches to except",
                advice="Ask the list's owner to withdraw it.",
            )
        if service and entry.id.startswith(NO_SINGLE_ENTRY):
            raise UsageError(
                f"{entry.id!r} is the id of all entries that {list_name} does not name",
                advice="Except the content with --content.",
            )
    user = invoking_user()
    made = [made_exception(name, entry, reason, end, user, now, service) for name, entry, service in found]
    for (list_name, entry, _), excepted in zip(found, made, strict=True):
        before = add_exception(state, excepted)
        print_message(
            f"entry {entry.id} ({entry.algorithm}, {entry.category}) of list {list_name} "
            f"is excepted until {excepted.until}{', no longer ' + before.until if before else ''}"
        )
    return found


def find_listed_entry(entry_id: str, lists: tuple[str, ...], state: StateDir, now: datetime) -> ListedEntry:
    """Return the entry with this id, of a list or, as far as it was named in an answer, of a service."""
    from hashscan.lists.entries import find_entry
    from hashscan.lists.exceptions import ListedEntry
    from hashscan.lists.storage.stored_version import VerificationLevel
    from hashscan.lists.store import ListStore
    from hashscan.state.queries.overview import entry_named_by

    with ListStore(state.lists).open(lists or None, now, VerificationLevel.SIZES) as opened:
        usable = {handle.name for handle in opened.handles} | {service.name for service in opened.services}
        unusable = [f"{i.name} is {i.state.value}" for i in opened.infos if i.name not in usable]
        if not usable:
            raise NoUsableListError(
                f"there is no usable hash list{': ' if unusable else ''}{'; '.join(unusable)}"
            )
        found = [
            ListedEntry(handle.name, entry)
            for handle in opened.handles
            if (entry := find_entry(handle, entry_id)) is not None
        ]
        for service in opened.services:
            if (named := entry_named_by(state, service, entry_id)) is not None:
                entry = Entry(entry_id, named.algorithm, b"", named.category)
                found.append(ListedEntry(service.name, entry, service.identity))
    if not found:
        searched = " and ".join(sorted(usable))
        others = f"; others could not be searched: {', '.join(unusable)}" if unusable else ""
        raise UsageError(
            f"no entry of {searched} has the id {entry_id!r}{others}",
            advice="Use the id in reports: `entry` in each match of a finding.",
        )
    if len(found) > 1:
        raise UsageError(
            f"the lists {' and '.join(each.list_name for each in found)} each have an entry {entry_id!r}",
            advice="Choose one with --list NAME.",
        )
    return found[0]


def invoking_user() -> str:
    """Return the name of the user who runs the command; under sudo, of the user who called sudo."""
    name = os.environ.get("SUDO_USER")
    if not name:
        try:
            name = pwd.getpwuid(os.geteuid()).pw_name
        except KeyError:
            name = str(os.geteuid())
    return name if name.isprintable() else ascii(name)
