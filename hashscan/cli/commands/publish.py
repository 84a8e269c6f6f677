"""`hashscan publish`: the list owner's side: hash files, make and sign a hash list."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hashscan.cli.commands.feedback import publish_feedback
from hashscan.cli.options.base import (
    ANY_PATH,
    FILE,
    HashscanCommand,
    HashscanGroup,
    list_option,
    state_option,
    work_option,
    worker_count,
)
from hashscan.cli.options.entry_files import (
    EntriesCommand,
    algorithm_option,
    category_option,
    entry_format_option,
    open_entries,
)
from hashscan.cli.options.output import choose_format, output_format_option, output_option, print_result
from hashscan.cli.options.passphrases import (
    online_passphrase,
    passphrase_options,
    root_passphrase,
    root_passphrase_option,
    root_passphrases,
)
from hashscan.cli.options.tables import decoding_options
from hashscan.cli.output.logs import print_line, print_message
from hashscan.cli.output.terminal import print_table
from hashscan.errors import EXIT_CLEAN, EXIT_INCOMPLETE, UsageError
from hashscan.model import (
    ALWAYS_COMPUTED,
    CATEGORIES,
    COMPUTED,
    QUADRANTS,
    ContainerKind,
    Entry,
    ListInfo,
    MemberLimits,
)
from hashscan.settings.matching import DecodingLimits
from hashscan.settings.values import default_workers
from hashscan.state_dir import StateDir
from hashscan.text import plural

if TYPE_CHECKING:
    from hashscan.lists.publishing.publisher import Publisher

_WITH_FILES = (ContainerKind.ARCHIVE, ContainerKind.DOCUMENT, ContainerKind.MAIL)
"""The kinds of containers that have pictures as files in them."""
FORMATS = ("csv", "ndjson")
"""Formats that hold all fields of an entry."""


@click.command("hash", cls=HashscanCommand, exit_codes=(0, 2, 3, 12, 70))
@click.argument("folders", nargs=-1, required=True, metavar="FOLDER...", type=ANY_PATH)
@click.option("--category", required=True, type=click.Choice(CATEGORIES), help="Category of all entries.")
@click.option(
    "--algorithm",
    "algorithms",
    multiple=True,
    type=click.Choice((*COMPUTED, "vpdq")),
    default=ALWAYS_COMPUTED,
    show_default=True,
    help="Algorithm of the entries; repeatable. With vpdq, videos are decoded in full, and a frame a second "
    "is an entry.",
)
@click.option(
    "--augment",
    multiple=True,
    type=click.Choice(["crop", "shape", "trimmed", "quadrants", "frames", "none"]),
    default=("crop", "shape", "trimmed", "quadrants"),
    show_default=True,
    help="Additional entries of each picture, all of PDQ: crop, 17 crops, which match copies that lost 2 "
    "to 10 % of their width or height; shape, crops to 1:1, 4:5, 3:4, 4:3 and 16:9; trimmed, the "
    "picture without its borders; quadrants, one entry (pdq_quadrants) that finds copies with a sticker "
    "or caption over them, for review; frames, the further frames and pages; none of them. Repeatable.",
)
@click.option(
    "--members",
    is_flag=True,
    help="Also open archives, documents and mails, and make entries of the pictures in them; what else is in "
    "them gets none.",
)
@output_format_option(FORMATS, "csv", "File format.")
@output_option()
@click.option(
    "--workers",
    type=int,
    callback=worker_count,
    default=default_workers,
    show_default="one for each processor",
)
@decoding_options
def hash_command(
    folders: tuple[bytes, ...],
    category: str,
    algorithms: tuple[str, ...],
    augment: tuple[str, ...],
    members: bool,
    format_name: str | None,
    output: Path | None,
    workers: int,
    decoding: DecodingLimits,
) -> int:
    """Make entries from files, for `hashscan publish add`; only for those who may lawfully possess the files.

    Pictures are decoded in the sandbox, as in a scan. The id of an entry is derived from the SHA-256 of the
    file, so the same file always has the same ids; file names are not used. Files that can't be hashed, and
    pictures with too little detail for a perceptual hash, are named on standard error.
    """
    from hashscan.lists.entries import write_entries
    from hashscan.matching.worker_setup import VPDQ_RULE, WorkerSetup, sandbox_options
    from hashscan.registry import LIST_WRITERS
    from hashscan.scan.entry_maker import IDENTIFYING, EntryMaker, HashedFile, make_entries
    from hashscan.scan.workers.pool import ProcessPool
    from hashscan.sources.base import ListingOptions
    from hashscan.sources.filesystem.source import FilesystemSource
    from hashscan.sources.patterns import Patterns

    chosen = choose_format(format_name, output, FORMATS, "csv")
    if output is not None:
        _require_outside(output, folders)
    if "none" in augment:
        if len(augment) > 1:
            raise UsageError(
                "--augment none excludes other values of --augment", advice="Leave out one of them."
            )
        augment = ()
    if "quadrants" in augment and "pdq" in algorithms:
        algorithms = (*algorithms, QUADRANTS)
    source = FilesystemSource(folders, ListingOptions(exclude=Patterns.compile((), None)))
    samples = "vpdq" in algorithms
    # The opener of videos hashes key frames, too.
    of_videos = ("pdq",) if samples else ()
    kinds = (_WITH_FILES if members else ()) + ((ContainerKind.VIDEO,) if samples else ())
    setup = WorkerSetup(
        lists=(),
        sandbox=sandbox_options(decoding),
        algorithms=tuple(name for name in COMPUTED if name in {*algorithms, IDENTIFYING, *of_videos}),
        max_pixels=decoding.max_pixels,
        variants=(),
        with_digests=True,
        augment=tuple(name for name in augment if name != "quadrants"),
        keep=bool(kinds),
        containers=MemberLimits(kinds) if kinds else None,
        videos=VPDQ_RULE if samples else None,
    )
    maker = EntryMaker(category, algorithms, setup)

    def entries(made: Iterator[HashedFile]) -> Iterator[Entry]:
        for one in made:
            if one.problem:
                print_message(f"{os.fsdecode(one.path)}: {one.problem}")
            yield from one.entries

    with ProcessPool(setup, workers) as pool:
        made = entries(make_entries(source.listings(), pool, maker))
        write_entries(made, LIST_WRITERS[chosen]("hashed"), output)
    counts = maker.counts
    files = sum(counts[name] for name in ("hashed", "partial", "repeated", "unhashed"))
    within = f", {plural(counts['pictures'], 'picture')} in them hashed" if members else ""
    print_message(
        f"{plural(files, 'file')}: {counts['hashed']} hashed, "
        f"{counts['partial']} hashed in part, {counts['repeated']} with the content of another, "
        f"{counts['unhashed']} not hashed{within}; {counts['closed']} folders not entered"
    )
    if counts["degenerate"]:
        print_message(
            f"{plural(counts['degenerate'], 'digest')} of smooth or even pictures left out, which too many "
            "unrelated pictures are similar to; their other digests have entries"
        )
    complete = not (counts["partial"] or counts["unhashed"] or counts["closed"])
    return EXIT_CLEAN if complete else EXIT_INCOMPLETE


def _require_outside(output: Path, folders: tuple[bytes, ...]) -> None:
    """Refuse an output file in a folder that is to be hashed."""
    parent = Path(os.path.realpath(output.parent))
    for folder in folders:
        if parent.is_relative_to(os.path.realpath(os.fsdecode(folder))):
            raise UsageError(f"{output} is in a folder that is to be hashed", advice="Name a file elsewhere.")


ROLES = ("root", "targets", "snapshot", "timestamp")
_DAY = "%Y-%m-%d %H:%M UTC"
_RENEWAL_ADVICE = {
    "root": "`hashscan publish rotate` renews it, with the root's keys",
    "targets": "the next release renews it, or `hashscan publish refresh --all`",
    "snapshot": "the next `hashscan publish refresh` renews it",
    "timestamp": "run `hashscan publish refresh` more often than it expires",
}


root_keys_option = click.option(
    "--root-keys",
    multiple=True,
    type=click.Path(path_type=Path, file_okay=False),
    show_default="the folder root among the other keys",
    help="Folder with root keys, such as on a USB stick; repeatable. Only `rotate` needs them.",
)


@click.group(cls=HashscanGroup)
def command() -> None:
    """Publish a hash list: create, sign and update it."""


command.add_command(hash_command)
command.add_command(publish_feedback)


@command.command(cls=HashscanCommand, exit_codes=(0, 2, 12, 70))
@click.argument("name")
@work_option
@click.option(
    "--repository",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of static files to publish, by any web server or bucket.",
)
@click.option(
    "--keys",
    type=click.Path(path_type=Path, file_okay=False),
    show_default="the folder keys in the working folder",
    help="Folder for the keys.",
)
@root_keys_option
@click.option(
    "--root-count",
    type=int,
    default=1,
    show_default=True,
    help="Number of root keys; 3, held by different people in different places, is a good choice.",
)
@click.option(
    "--root-threshold",
    type=int,
    default=1,
    show_default=True,
    help=("Number of root keys that must sign a new root; with 2 of 3, one key may be lost and one stolen."),
)
@click.option("--root-days", type=int, default=365, show_default=True, help="Validity of the root, in days.")
@click.option(
    "--targets-days", type=int, default=90, show_default=True, help="Validity of a release, in days."
)
@click.option(
    "--snapshot-days", type=int, default=14, show_default=True, help="Validity of its snapshot, in days."
)
@click.option(
    "--timestamp-days", type=int, default=3, show_default=True, help="Validity of its timestamp, in days."
)
@root_passphrase_option
@passphrase_options
def init(
    name: str,
    work: Path,
    repository: Path,
    keys: Path | None,
    root_keys: tuple[Path, ...],
    root_count: int,
    root_threshold: int,
    root_days: int,
    targets_days: int,
    snapshot_days: int,
    timestamp_days: int,
    root_passphrase_file: tuple[Path, ...],
    passphrase_file: Path | None,
    no_passphrase: bool,
) -> None:
    """Create a list: its keys and its root.

    Move the root keys offline: they are needed once a year to renew the root, and to replace lost or stolen
    keys.
    """
    from hashscan.lists.publishing.publisher import Publisher
    from hashscan.lists.publishing.publisher_state import Expiry

    Publisher.init(
        work,
        repository,
        keys or work / "keys",
        name,
        expiry=Expiry(root_days, targets_days, snapshot_days, timestamp_days),
        passphrase=online_passphrase(passphrase_file, no_passphrase, new=True),
        root_keys=root_keys,
        root_count=root_count,
        root_threshold=root_threshold,
        root_passphrase=root_passphrase(root_passphrase_file, asked=not (passphrase_file or no_passphrase)),
    )
    print_message(
        f"list {name} is created; give its subscribers {work / 'root.json'} by a channel that they trust"
    )
    for folder in root_keys or ((keys or work / "keys") / "root",):
        print_line(
            f"  keep the root's keys in {folder.resolve()} offline: only `hashscan publish rotate` needs them"
        )


@command.command(cls=EntriesCommand, exit_codes=(0, 2, 10, 11, 12, 70))
@click.argument("file", metavar="FILE", type=FILE)
@work_option
@entry_format_option
@category_option
@algorithm_option
def add(file: Path, work: Path, format_name: str, category: str | None, algorithm: str | None) -> None:
    """Add the entries of a file to the next release; all of them, or none if a line is wrong."""
    with open_entries(file, format_name, category, algorithm) as (entries, label):
        count = _publisher(work).add(entries, label)
    print_message(f"{plural(count, 'entry waits', 'entries wait')} for the next release")


@command.command(cls=HashscanCommand, exit_codes=(0, 2, 10, 11, 12, 70))
@click.argument("entries", nargs=-1, metavar="[ENTRY]...")
@click.option(
    "--from",
    "file",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    help="File of entry ids, one on each line (- is standard input).",
)
@work_option
def withdraw(entries: tuple[str, ...], file: Path | None, work: Path) -> None:
    """Withdraw entries by their ids; all of them, or none if an id is unknown.

    Published entries stay active until the next release, so release at once if an entry is wrong. To correct
    an entry, withdraw it and add it again under the same id.
    """
    ids = [*entries, *(_lines(file) if file else [])]
    count = _publisher(work).withdraw(ids)
    print_message(f"{plural(count, 'entry is', 'entries are')} withdrawn with the next release")


@command.command(cls=HashscanCommand, exit_codes=(0, 2, 10, 11, 12, 70))
@work_option
@passphrase_options
def release(work: Path, passphrase_file: Path | None, no_passphrase: bool) -> None:
    """Sign and publish a new version with all added and withdrawn entries.

    After the first release, only new and withdrawn entries are written, and only these are downloaded.
    """
    _print_published(_publisher(work).release(passphrase=online_passphrase(passphrase_file, no_passphrase)))


@command.command(cls=HashscanCommand, exit_codes=(0, 2, 10, 11, 12, 70))
@work_option
@passphrase_options
def compact(work: Path, passphrase_file: Path | None, no_passphrase: bool) -> None:
    """Publish the active entries as one new base, without withdrawn entries and earlier releases.

    Subscribers download the complete list again, so run it when `status` advises it. Entries that wait for
    the next release keep waiting.
    """
    _print_published(_publisher(work).compact(passphrase=online_passphrase(passphrase_file, no_passphrase)))


@command.command(cls=HashscanCommand, exit_codes=(0, 2, 10, 11, 12, 70))
@work_option
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="Also sign targets and snapshot again: the entries are still valid.",
)
@passphrase_options
def refresh(work: Path, everything: bool, passphrase_file: Path | None, no_passphrase: bool) -> None:
    """Sign the timestamp again; for cron, more often than it expires.

    The snapshot is signed again if less than a third of its validity is left. Other expiries are reported.
    """
    passphrase = online_passphrase(passphrase_file, no_passphrase)
    refreshed = _publisher(work).refresh(everything=everything, passphrase=passphrase)
    expiries = ", ".join(f"{role} until {refreshed.expiries[role]:{_DAY}}" for role in refreshed.roles)
    print_message(f"signed again: {expiries}")
    _print_running_out(refreshed.running_out)


@command.command(cls=HashscanCommand, exit_codes=(0, 2, 10, 11, 12, 70))
@click.argument("roles", nargs=-1, type=click.Choice(ROLES), metavar="[ROLE]...")
@work_option
@root_keys_option
@click.option(
    "--root-count", type=int, show_default="as many as before", help="Number of keys of the new root."
)
@click.option(
    "--root-threshold",
    type=int,
    show_default="as many as before",
    help="Number of keys that must sign a new root.",
)
@root_passphrase_option
@passphrase_options
def rotate(
    roles: tuple[str, ...],
    work: Path,
    root_keys: tuple[Path, ...],
    root_count: int | None,
    root_threshold: int | None,
    root_passphrase_file: tuple[Path, ...],
    passphrase_file: Path | None,
    no_passphrase: bool,
) -> None:
    """Replace the keys of roles (root, targets, snapshot, timestamp); without a role, renew the root.

    Subscribers follow automatically, even if they missed several rotations. A new root is signed by the
    required number of old keys, from one or several folders, and by the new keys, which are stored beside
    them. New keys get the passphrases of the old ones. Old keys are kept under another name.
    """
    # Unless online keys are replaced, only the root's keys must be decrypted.
    passphrase = online_passphrase(passphrase_file, no_passphrase) if {*roles} - {"root"} else None
    rotated = _publisher(work).rotate(
        roles,
        root_keys=root_keys,
        root_count=root_count,
        root_threshold=root_threshold,
        passphrase=passphrase,
        root_passphrases=root_passphrases(root_passphrase_file, passphrase_file),
    )
    print_message(f"root version {rotated.root_version} is published; it expires {rotated.expires:{_DAY}}")
    for path in rotated.made:
        print_line(f"  new key: {path}")
    for path in rotated.retired:
        print_line(f"  old key, no longer trusted, kept as {path}")
    if "root" in roles:
        print_line("  the old root keys that were not needed to sign are no longer trusted either")
    for role in rotated.lost:
        print_line(
            f"  the old key of {role} was not there: a pull that was under way may have failed, "
            "the next won't"
        )
    if rotated.left_behind:
        print_line(
            f"  subscribers who were given a root of version {rotated.left_behind} or before can't follow "
            f"any more; give them {work / 'root.json'}"
        )


@command.command("filter", cls=HashscanCommand, exit_codes=(0, 2, 10, 11, 12, 70))
@work_option
@list_option
@click.option(
    "--new-base",
    is_flag=True,
    help="Make a complete filter, which clients download anew, also within a day after the last one.",
)
@passphrase_options
@state_option
def publish_filter(
    work: Path,
    lists: tuple[str, ...],
    new_base: bool,
    passphrase_file: Path | None,
    no_passphrase: bool,
    state: StateDir,
) -> None:
    """Publish a filter of the exact digests in lists of this machine, for the clients of a service with them.

    Clients of the service then ask only about digests that may be in a list. Whoever has the filter can find
    out if a file that they have is in a list: publish one only if the lists' owners agree. Run it after each
    change of the lists; it does nothing if they are the same. The working folder is made by `publish init`.
    """
    from hashscan.lists.publishing.filters import publish_filter_of

    passphrase = online_passphrase(passphrase_file, no_passphrase)
    made = publish_filter_of(work, state, lists or None, new_base=new_base, passphrase=passphrase)
    added = "" if made.additions is None else f", and {made.additions.digests} added"
    print_message(
        f"the filter of version {made.version} is published{'' if made.changed else ' already'}: "
        f"{plural(made.header.digests, 'digest')}{added}, {made.bytes / 1e6:.1f} MB"
    )
    print_line(f"  a service names it by its address and the fingerprint {made.fingerprint}")


@command.command(cls=HashscanCommand, exit_codes=(0, 2, 10, 11, 12, 70))
@work_option
def status(work: Path) -> None:
    """Show the published version, waiting entries, expiries, and the required signatures."""
    found = _publisher(work).status()
    if found.filters is not None:
        for each in found.filters.filters:
            print_result(f"filter of version {each.version}: {each.base}, {each.additions or 'no additions'}")
    elif found.published is None:
        print_result(f"list {found.state.name} is not released yet")
    else:
        print_result(
            f"list {found.state.name} version {found.published.version}: "
            f"{found.published.entries} entries, the base and {found.increments} increments, "
            f"{found.rows - found.published.entries} withdrawn rows"
        )
        print_table(
            ("algorithm", "category", "entries"),
            ((algorithm, category, str(n)) for algorithm, category, n in found.published.counts),
            "entries",
        )
    waiting, withdrawing = found.state.waiting, found.state.withdrawing
    if found.filters is None:
        print_result(f"{waiting} entries wait to be released, {withdrawing} to be withdrawn")
    if found.compaction_pays:
        print_result("`hashscan publish compact` would make it smaller, and the first pull faster")
    print_table(
        ("role", "expires", "must sign", "keys"),
        (
            (
                role,
                f"{found.expiries[role]:{_DAY}}" if role in found.expiries else "-",
                f"{found.keys[role][1]} of {len(found.keys[role][0])}",
                ", ".join(key_id[:8] for key_id in found.keys[role][0]),
            )
            for role in ROLES
        ),
        "signatures",
    )
    _print_running_out(found.running_out)


def _publisher(work: Path) -> Publisher:
    """Return the publisher of a working folder; this imports tuf."""
    from hashscan.lists.publishing.publisher import Publisher

    return Publisher(work)


def _print_running_out(running_out: Mapping[str, datetime]) -> None:
    """Print which signatures expire soon, and which command renews them."""
    for role, expires in sorted(running_out.items()):
        print_line(f"  {role} expires {expires:{_DAY}}: {_RENEWAL_ADVICE[role]}")


def _print_published(info: ListInfo) -> None:
    print_message(
        f"version {info.version} is published: {info.entries} entries; "
        f"the first signature expires {info.expires}"
    )


def _lines(file: Path) -> list[str]:
    """Return the lines of a file of entry ids, without blank ones; `UsageError` if it can't be read."""
    try:
        with click.open_file(str(file), encoding="utf-8", errors="surrogateescape") as stream:
            lines = [line.rstrip("\r\n") for line in stream]
    except OSError as error:
        raise UsageError(
            f"can't read the file of ids {file}: {error.strerror}", advice="Name an existing file."
        ) from error
    return [line for line in lines if line]
