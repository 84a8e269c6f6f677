"""`hashscan publish feedback`: read what hosters say of the entries of a list."""

from __future__ import annotations

from pathlib import Path

import click

from hashscan.cli.options.base import ArgumentOption, HashscanCommand, work_option
from hashscan.cli.output.terminal import print_table
from hashscan.errors import UsageError


@click.command("feedback", cls=HashscanCommand, exit_codes=(0, 2, 10, 11, 12, 70))
@click.argument(
    "files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path, dir_okay=False)
)
@click.option(
    "--key",
    "keys",
    cls=ArgumentOption,
    multiple=True,
    metavar="FINGERPRINT",
    help="Accept only files that are signed with this key of a hoster; repeatable.",
)
@work_option
def feedback(files: tuple[Path, ...], keys: tuple[str, ...], work: Path) -> None:
    """Show the feedback in files from hosters, after checking their signatures.

    Nothing is changed: withdraw an entry with `hashscan publish withdraw`. The column `key` has the
    fingerprint of the key that signed a file. Compare it with the one that the hoster has told you by
    another channel; with --key, files of other keys are refused.
    """
    from hashscan.lists.publishing.feedback import read_feedback_file
    from hashscan.lists.publishing.publisher import Publisher

    publisher = Publisher(work)
    name = publisher.status().state.name
    read = []
    for file in files:
        found = read_feedback_file(file)
        if found.list_name != name:
            raise UsageError(
                f"{file} is about the list {found.list_name!r}, and not {name!r}",
                advice="Name the working folder of that list.",
            )
        if keys and found.fingerprint not in keys:
            raise UsageError(
                f"{file} is signed with another key: {found.fingerprint}",
                advice="Ask the hoster for the fingerprint of the key, by another channel than the file.",
            )
        read.append(found)
    active = publisher.active_ids(entry for found in read for entry, _, _ in found.opinions)
    print_table(
        ("entry", "", "opinion", "reason", "hoster", "key"),
        (
            (
                entry,
                "active" if entry in active else "not in the list",
                "wrong" if wrong else "right",
                reason,
                found.hoster,
                found.fingerprint,
            )
            for found in read
            for entry, wrong, reason in found.opinions
        ),
    )
