"""`hashscan publish`: the list owner's side."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from hashscan.cli.base import HashscanCommand, HashscanGroup
from hashscan.cli.entries import category_option, entries_of, format_option
from hashscan.cli.publish_hash import hash_command
from hashscan.cli.screen import say
from hashscan.errors import EXIT_CLEAN, UsageError

PASSPHRASE_VARIABLE = "HASHSCAN_PASSPHRASE"  # noqa: S105 - the name of a variable

work_option = click.option(
    "--work",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Working folder of the list: what waits, and the root file to hand out. Never publish it.",
)


def passphrase_options(command: Any) -> Any:
    """The options that say where the passphrase of the keys comes from; never the passphrase itself."""
    command = click.option(
        "--no-passphrase", is_flag=True, help="The keys are not encrypted; whoever reads them can sign."
    )(command)
    return click.option(
        "--passphrase-file",
        type=click.Path(path_type=Path, dir_okay=False),
        help=f"File whose first line is the keys' passphrase. Else {PASSPHRASE_VARIABLE}, else a prompt.",
    )(command)


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
@click.option("--root-days", type=int, default=365, show_default=True, help="How long the root holds.")
@click.option("--targets-days", type=int, default=90, show_default=True, help="How long a release holds.")
@click.option("--snapshot-days", type=int, default=14, show_default=True, help="How long its snapshot holds.")
@click.option(
    "--timestamp-days", type=int, default=3, show_default=True, help="How long its timestamp holds."
)
@passphrase_options
def init(
    name: str,
    work: Path,
    repository: Path,
    keys: Path | None,
    root_days: int,
    targets_days: int,
    snapshot_days: int,
    timestamp_days: int,
    passphrase_file: Path | None,
    no_passphrase: bool,
) -> int:
    """Begin a list: make its keys and its root."""
    from hashscan.lists.publisher import Publisher
    from hashscan.lists.publisher_state import Expiry

    Publisher.init(
        work,
        repository,
        keys or work / "keys",
        name,
        expiry=Expiry(root_days, targets_days, snapshot_days, timestamp_days),
        passphrase=_passphrase(passphrase_file, no_passphrase, new=True),
    )
    say(f"hashscan: list {name} is begun; give its subscribers {work / 'root.json'} by a way they trust")
    return EXIT_CLEAN


@command.command(cls=HashscanCommand, exit_codes=(0, 2, 10, 11, 12, 70))
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False))
@work_option
@format_option
@category_option
def add(file: Path, work: Path, form: str, category: str | None) -> int:
    """Take in the entries of a file for the next release; all of them, or none when a line is wrong."""
    from hashscan.lists.publisher import Publisher

    with entries_of(file, form, category) as (entries, label):
        count = Publisher(work).add(entries, label)
    say(f"hashscan: {count} entries wait for the next release")
    return EXIT_CLEAN


@command.command(cls=HashscanCommand, exit_codes=(0, 2, 10, 11, 12, 70))
@work_option
@passphrase_options
def release(work: Path, passphrase_file: Path | None, no_passphrase: bool) -> int:
    """Sign and publish a new version with everything that waits."""
    from hashscan.lists.publisher import Publisher

    info = Publisher(work).release(passphrase=_passphrase(passphrase_file, no_passphrase, new=False))
    say(
        f"hashscan: version {info.version} is published: {info.entries} entries; "
        f"the first signature runs out {info.expires}"
    )
    return EXIT_CLEAN


def _passphrase(file: Path | None, none: bool, *, new: bool) -> bytes | None:
    """The passphrase from where it was said to be.

    Raises:
        UsageError: there is none, and nobody to ask.
    """
    if none:
        return None
    if file is not None:
        try:
            text = file.read_bytes().split(b"\n")[0].rstrip(b"\r")
        except OSError as error:
            raise UsageError(
                f"can't read the passphrase file {file}: {error.strerror}", advice="Name an existing file."
            ) from error
        if not text:
            raise UsageError(f"the first line of {file} is empty", advice="Write the passphrase into it.")
        return text
    variable = os.environ.get(PASSPHRASE_VARIABLE)
    if variable:
        return os.fsencode(variable)
    if not sys.stdin.isatty():
        raise UsageError(
            "the keys' passphrase is not given",
            advice=f"Name --passphrase-file, set {PASSPHRASE_VARIABLE}, or say --no-passphrase.",
        )
    typed: str = click.prompt("Passphrase of the keys", hide_input=True, confirmation_prompt=new, err=True)
    return typed.encode()
