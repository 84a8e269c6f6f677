"""`hashscan publish hash`: make list entries from files that the list's owner holds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from hashscan.cli.options.base import ANY_PATH, HashscanCommand, decoding_options, positive
from hashscan.cli.options.output import choose_format, output_format_option
from hashscan.cli.output.terminal import escape_control, print_message
from hashscan.errors import EXIT_CLEAN, EXIT_INCOMPLETE, UsageError
from hashscan.model import ALWAYS_COMPUTED, CATEGORIES, COMPUTED, Entry
from hashscan.settings.matching import DecodingLimits
from hashscan.settings.values import default_workers

FORMATS = ("csv", "ndjson")
"""Formats that hold all fields of an entry."""


@click.command("hash", cls=HashscanCommand, exit_codes=(0, 2, 3, 12, 70))
@click.argument("folders", nargs=-1, required=True, metavar="FOLDER...", type=ANY_PATH)
@click.option("--category", required=True, type=click.Choice(CATEGORIES), help="Category of all entries.")
@click.option(
    "--algorithm",
    "algorithms",
    multiple=True,
    type=click.Choice(COMPUTED),
    default=ALWAYS_COMPUTED,
    show_default=True,
    help="Algorithm of the entries; repeatable.",
)
@click.option(
    "--augment",
    multiple=True,
    type=click.Choice(["crop", "frames"]),
    help=(
        "Additional PDQ entries of each picture: crop, 17 crops, which match copies that lost 2 "
        "to 10 % of their width or height; frames, the further frames and pages. Repeatable."
    ),
)
@output_format_option(FORMATS, "csv", "File format.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    default="-",
    show_default="standard output",
    help="File to write; - is standard output. A file is readable by you only.",
)
@click.option(
    "--workers", type=int, callback=positive, default=default_workers, show_default="one a processor"
)
@decoding_options
def hash_command(
    folders: tuple[bytes, ...],
    category: str,
    algorithms: tuple[str, ...],
    augment: tuple[str, ...],
    format_name: str | None,
    output: Path,
    workers: int,
    sandbox: Any,
    decoder_memory: int,
    decoder_seconds: float,
    max_pixels: int,
) -> int:
    """Make entries from files, for `hashscan publish add`; only for those who may lawfully possess the files.

    Pictures are decoded in the sandbox, as in a scan. The id of an entry is derived from the SHA-256 of the
    file, so the same file always has the same ids; file names are not used. Files that can't be hashed, and
    pictures with too little detail for a perceptual hash, are named on standard error.
    """
    from hashscan.lists.entries import write_entries
    from hashscan.matching.worker_setup import WorkerSetup, sandbox_options
    from hashscan.registry import LIST_WRITERS
    from hashscan.scan.entry_maker import IDENTIFYING, EntryMaker, HashedFile, make_entries
    from hashscan.scan.workers.pool import ProcessPool
    from hashscan.sources.base import ListingOptions
    from hashscan.sources.filesystem.source import FilesystemSource
    from hashscan.sources.patterns import Patterns

    chosen = choose_format(format_name, output, FORMATS, "csv")
    target = None if str(output) == "-" else output
    if target is not None:
        _require_outside(target, folders)
    limits = DecodingLimits(sandbox, decoder_memory, decoder_seconds, max_pixels)
    source = FilesystemSource(folders, ListingOptions(exclude=Patterns.compile((), None)))
    maker = EntryMaker(category, algorithms)
    setup = WorkerSetup(
        lists=(),
        sandbox=sandbox_options(limits),
        algorithms=tuple(name for name in COMPUTED if name in {*algorithms, IDENTIFYING}),
        max_pixels=limits.max_pixels,
        variants=(),
        with_digests=True,
        augment=augment,
    )

    def entries(made: Iterator[HashedFile]) -> Iterator[Entry]:
        for one in made:
            if one.problem:
                print_message(f"hashscan: {escape_control(os.fsdecode(one.path))}: {one.problem}")
            yield from one.entries

    with ProcessPool(setup, workers) as pool:
        made = entries(make_entries(source.listings(), pool, maker))
        write_entries(made, LIST_WRITERS[chosen]("hashed"), target)
    counts = maker.counts
    print_message(
        f"hashscan: {counts.total() - counts['closed']} files: {counts['hashed']} hashed, "
        f"{counts['in part']} hashed in part, {counts['repeated']} with the content of another, "
        f"{counts['not hashed']} not hashed; {counts['closed']} folders not entered"
    )
    complete = not (counts["in part"] or counts["not hashed"] or counts["closed"])
    return EXIT_CLEAN if complete else EXIT_INCOMPLETE


def _require_outside(output: Path, folders: tuple[bytes, ...]) -> None:
    """Refuse an output file that lies in a folder that is to be hashed.

    Raises:
        UsageError: the file lies in such a folder.
    """
    place = Path(os.path.realpath(output.parent))
    for folder in folders:
        if place.is_relative_to(os.path.realpath(os.fsdecode(folder))):
            raise UsageError(
                f"{escape_control(str(output))} lies beneath a folder that is to be hashed",
                advice="Name a file elsewhere.",
            )
