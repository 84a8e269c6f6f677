"""`hashscan publish`: commands for publishers of hash lists: keys, entries, signed releases."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import click

from hashscan.cli.commands.publish_hash import hash_command
from hashscan.cli.options.base import HashscanCommand, HashscanGroup
from hashscan.cli.options.entry_files import EntriesCommand, category_option, format_option, open_entries
from hashscan.cli.options.passphrases import (
    online_passphrase,
    passphrase_options,
    root_passphrase,
    root_passphrase_option,
    root_passphrases,
)
from hashscan.cli.output.terminal import print_message, show_table
from hashscan.errors import EXIT_CLEAN, UsageError
from hashscan.model import ListInfo

ROLES = ("root", "targets", "snapshot", "timestamp")
_DAY = "%Y-%m-%d %H:%M UTC"
_RENEWAL_ADVICE = {
    "root": "`hashscan publish rotate` renews it, with the root's keys",
    "targets": "the next release renews it, or `hashscan publish refresh --all`",
    "snapshot": "the next `hashscan publish refresh` renews it",
    "timestamp": "run `hashscan publish refresh` more often than it runs out",
}

work_option = click.option(
    "--work",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Working folder of the list: what waits, and the root file to hand out. Never publish it.",
)


root_keys_option = click.option(
    "--root-keys",
    multiple=True,
    type=click.Path(path_type=Path, file_okay=False),
    show_default="the folder root among the other keys",
    help="Folder of root keys, such as a USB stick's; repeatable. Only `rotate` needs them.",
)


@click.group(cls=HashscanGroup, help="The list owner's side: make and sign a hash list.")
def command() -> None:
    """Group of the commands below."""


command.add_command(hash_command)


@command.command(cls=HashscanCommand, exit_codes=(0, 2, 12, 70))
@click.argument("name")
@work_option
@click.option(
    "--repository",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of static files to publish, for any web server or bucket.",
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
    help="How many keys the root has; 3, held by different people in different places, is wise.",
)
@click.option(
    "--root-threshold",
    type=int,
    default=1,
    show_default=True,
    help="How many of them must sign a new root; 2 of 3 survives one key lost and one stolen.",
)
@click.option("--root-days", type=int, default=365, show_default=True, help="How long the root holds.")
@click.option("--targets-days", type=int, default=90, show_default=True, help="How long a release holds.")
@click.option("--snapshot-days", type=int, default=14, show_default=True, help="How long its snapshot holds.")
@click.option(
    "--timestamp-days", type=int, default=3, show_default=True, help="How long its timestamp holds."
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
) -> int:
    """Begin a list: make its keys and its root.

    Move the root's keys to where no attacker reaches them: they are needed once a year, to renew the root,
    and to replace keys that were lost or stolen.
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
        f"hashscan: list {name} is begun; give its subscribers {work / 'root.json'} by a way they trust"
    )
    for folder in root_keys or ((keys or work / "keys") / "root",):
        print_message(
            f"  keep the root's keys in {folder.resolve()} offline: only `hashscan publish rotate` needs them"
        )
    return EXIT_CLEAN


@command.command(cls=EntriesCommand, exit_codes=(0, 2, 10, 11, 12, 70))
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False))
@work_option
@format_option
@category_option
def add(file: Path, work: Path, form: str, category: str | None) -> int:
    """Take in the entries of a file for the next release; all of them, or none when a line is wrong."""
    from hashscan.lists.publishing.publisher import Publisher

    with open_entries(file, form, category) as (entries, label):
        count = Publisher(work).add(entries, label)
    print_message(f"hashscan: {count} entries wait for the next release")
    return EXIT_CLEAN


@command.command(cls=HashscanCommand, exit_codes=(0, 2, 10, 11, 12, 70))
@click.argument("entries", nargs=-1, metavar="[ENTRY]...")
@click.option(
    "--from",
    "file",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    help="File of entry ids, one a line (- is standard input).",
)
@work_option
def withdraw(entries: tuple[str, ...], file: Path | None, work: Path) -> int:
    """Withdraw entries by their ids; all of them, or none when an id is unknown.

    Published ones are entries until the next release, so release at once when an entry is wrong. To correct
    an entry, withdraw it and add it again under the same id.
    """
    from hashscan.lists.publishing.publisher import Publisher

    ids = [*entries, *(_lines(file) if file else [])]
    count = Publisher(work).withdraw(ids)
    print_message(f"hashscan: {count} entries are withdrawn; subscribers know when you have released")
    return EXIT_CLEAN


@command.command(cls=HashscanCommand, exit_codes=(0, 2, 10, 11, 12, 70))
@work_option
@passphrase_options
def release(work: Path, passphrase_file: Path | None, no_passphrase: bool) -> int:
    """Sign and publish a new version with everything that waits.

    After the first release only what is new or withdrawn is written, and only that is fetched.
    """
    from hashscan.lists.publishing.publisher import Publisher

    info = Publisher(work).release(passphrase=online_passphrase(passphrase_file, no_passphrase))
    _say_published(info)
    return EXIT_CLEAN


@command.command(cls=HashscanCommand, exit_codes=(0, 2, 10, 11, 12, 70))
@work_option
@passphrase_options
def compact(work: Path, passphrase_file: Path | None, no_passphrase: bool) -> int:
    """Sign and publish the same entries without the withdrawn ones, all releases made one.

    Subscribers fetch the whole list anew, so do it when `status` advises it. What waits goes on waiting.
    """
    from hashscan.lists.publishing.publisher import Publisher

    info = Publisher(work).compact(passphrase=online_passphrase(passphrase_file, no_passphrase))
    _say_published(info)
    return EXIT_CLEAN


@command.command(cls=HashscanCommand, exit_codes=(0, 2, 10, 11, 12, 70))
@work_option
@click.option(
    "--all", "everything", is_flag=True, help="Sign targets and snapshot anew too: the entries still hold."
)
@passphrase_options
def refresh(work: Path, everything: bool, passphrase_file: Path | None, no_passphrase: bool) -> int:
    """Sign the timestamp anew; for cron, more often than it runs out.

    The snapshot is signed anew too when less than a third of its time is left. Says what else runs out.
    """
    from hashscan.lists.publishing.publisher import Publisher

    passphrase = online_passphrase(passphrase_file, no_passphrase)
    refreshed = Publisher(work).refresh(everything=everything, passphrase=passphrase)
    expiries = ", ".join(f"{role} until {refreshed.expiries[role]:{_DAY}}" for role in refreshed.roles)
    print_message(f"hashscan: signed anew: {expiries}")
    _say_running_out(refreshed.running_out)
    return EXIT_CLEAN


@command.command(cls=HashscanCommand, exit_codes=(0, 2, 10, 11, 12, 70))
@click.argument("roles", nargs=-1, type=click.Choice(ROLES), metavar="[ROLE]...")
@work_option
@root_keys_option
@click.option(
    "--root-count", type=int, show_default="as many as before", help="How many keys the root shall have."
)
@click.option(
    "--root-threshold",
    type=int,
    show_default="as many as before",
    help="How many of them shall have to sign a new root.",
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
) -> int:
    """Make new keys for roles (root, targets, snapshot, timestamp), or with none renew the root in time.

    Subscribers follow by themselves, even those that slept through many rotations. A new root is signed by
    as many old keys as must sign, from one or several folders, and by the new ones, which lie beside them.
    New keys get the passphrases of the old ones. Old keys are kept aside.
    """
    from hashscan.lists.publishing.publisher import Publisher

    # Unless online keys are replaced, only the root's keys must be decrypted.
    passphrase = online_passphrase(passphrase_file, no_passphrase) if {*roles} - {"root"} else None
    rotated = Publisher(work).rotate(
        roles,
        root_keys=root_keys,
        root_count=root_count,
        root_threshold=root_threshold,
        passphrase=passphrase,
        root_passphrases=root_passphrases(root_passphrase_file, passphrase_file),
    )
    print_message(
        f"hashscan: root version {rotated.root_version} is published; it runs out {rotated.expires:{_DAY}}"
    )
    for path in rotated.made:
        print_message(f"  new key: {path}")
    for path in rotated.retired:
        print_message(f"  old key, trusted by nobody any more, kept as {path}")
    if "root" in roles:
        print_message(
            "  the root's old keys that were not needed to sign are trusted by nobody any more either"
        )
    for role in rotated.lost:
        print_message(
            f"  the old key of {role} was not there: a pull that was under way may have failed, "
            "the next won't"
        )
    if rotated.left_behind:
        print_message(
            f"  subscribers who were given a root of version {rotated.left_behind} or before can't follow "
            f"any more; give them {work / 'root.json'}"
        )
    return EXIT_CLEAN


@command.command(cls=HashscanCommand, exit_codes=(0, 2, 10, 11, 12, 70))
@work_option
def status(work: Path) -> int:
    """Show what is published, what waits, when signatures run out, and who must sign."""
    from hashscan.lists.publishing.publisher import Publisher

    found = Publisher(work).status()
    if found.published is None:
        print_message(f"hashscan: list {found.state.name} is not released yet")
    else:
        print_message(
            f"hashscan: list {found.state.name} version {found.published.version}: "
            f"{found.published.entries} entries, the base and {found.increments} increments, "
            f"{found.rows - found.published.entries} withdrawn rows"
        )
        show_table(
            "entries",
            ("algorithm", "category", "entries"),
            ((algorithm, category, str(n)) for algorithm, category, n in found.published.counts),
        )
    print_message(f"  {found.pending} entries wait to be released, {found.withdrawing} to be withdrawn")
    if found.compaction_pays:
        print_message(
            "  `hashscan publish compact` would make it smaller and quicker to pull for the first time"
        )
    show_table(
        "signatures",
        ("role", "runs out", "must sign", "keys"),
        (
            (
                role,
                f"{found.expiries[role]:{_DAY}}" if role in found.expiries else "-",
                f"{found.keys[role][1]} of {len(found.keys[role][0])}",
                ", ".join(key_id[:8] for key_id in found.keys[role][0]),
            )
            for role in ROLES
        ),
    )
    _say_running_out(found.running_out)
    return EXIT_CLEAN


def _say_running_out(running_out: Mapping[str, datetime]) -> None:
    """Print which signatures expire soon, and which command renews them."""
    for role, expires in sorted(running_out.items()):
        print_message(f"  {role} runs out {expires:{_DAY}}: {_RENEWAL_ADVICE[role]}")


def _say_published(info: ListInfo) -> None:
    print_message(
        f"hashscan: version {info.version} is published: {info.entries} entries; "
        f"the first signature runs out {info.expires}"
    )


def _lines(file: Path) -> list[str]:
    """Return the lines of a file of entry ids, without blank lines.

    Raises:
        UsageError: the file can't be read.
    """
    try:
        with click.open_file(str(file), encoding="utf-8", errors="surrogateescape") as stream:
            lines = [line.rstrip("\r\n") for line in stream]
    except OSError as error:
        raise UsageError(
            f"can't read the file of ids {file}: {error.strerror}", advice="Name an existing file."
        ) from error
    return [line for line in lines if line]
