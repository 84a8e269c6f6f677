"""Options and reading of files with hash list entries that are named on the command line."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hashscan.cli.options.base import HashscanCommand, argument_option
from hashscan.cli.output.logs import print_message
from hashscan.errors import UsageError
from hashscan.model import ALGORITHMS, CATEGORIES
from hashscan.registry import LIST_FORMATS
from hashscan.text import plural

if TYPE_CHECKING:
    from hashscan.lists.storage.columns import EntryBlock


class EntriesCommand(HashscanCommand):
    """A command that reads a file of entries; its help describes each format."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the formats above the exit codes."""
        with formatter.section("Formats, and the categories of their entries"):
            formatter.write_dl([(row.name, row.summary) for row in LIST_FORMATS.rows.values()])
        with formatter.section("One digest in several categories"):
            formatter.write_text(
                "It is an entry in each category, and the strongest action is taken. A match is held if the "
                "sha256 of the file is known-good; known-good digests of other algorithms have no effect."
            )
        super().format_epilog(ctx, formatter)


entry_format_option = click.option(
    "--format",
    "format_name",
    type=click.Choice(list(LIST_FORMATS)),
    default="csv",
    show_default=True,
    help="Format of the file; see below.",
)


category_option = click.option(
    "--category",
    type=click.Choice(CATEGORIES),
    help="Category of all entries, for formats without categories. `other` is for review only.",
)


algorithm_option = argument_option(
    "--algorithm",
    type=click.Choice(list(ALGORITHMS)),
    help="Algorithm of the digests on lines that name none, for the format `hashes`.",
)


def print_left_out(left_out: Mapping[str, int], noun: str, several: str | None = None) -> None:
    for reason, count in sorted(left_out.items()):
        print_message(f"{plural(count, noun, several)} skipped: {reason}")


@contextmanager
def open_entries(
    file: Path, format_name: str, category: str | None = None, algorithm: str | None = None
) -> Iterator[tuple[Iterator[EntryBlock], str]]:
    """Open a file of entries; yield its blocks, which are read on demand, and its name for error messages."""
    kind = LIST_FORMATS[format_name]
    if kind.takes_category and category is None:
        raise UsageError(
            f"the format {format_name} has no categories",
            advice=f"Add --category with one of {', '.join(CATEGORIES)}; see the supplier's terms.",
        )
    if category is not None and not kind.takes_category:
        raise UsageError(
            f"the format {format_name} has categories of its own",
            advice="Leave out --category, or use another format.",
        )
    if algorithm is not None and not kind.takes_algorithm:
        raise UsageError(
            f"the format {format_name} says the algorithm of each digest itself",
            advice="Leave out --algorithm, or use the format hashes.",
        )
    reader = kind(category, algorithm) if kind.takes_algorithm else kind(category)
    if str(file) == "-":
        if sys.stdin is None:
            raise UsageError("standard input is closed", advice="Name a file, or pipe one in.")
        yield reader.blocks(sys.stdin.buffer, "standard input"), "standard input"
        print_left_out(reader.left_out, "record")
        return
    try:
        stream = file.open("rb")
    except OSError as error:
        raise UsageError(f"can't read {file}: {error.strerror}", advice="Name an existing file.") from error
    with stream:
        yield reader.blocks(stream, str(file)), str(file)
        print_left_out(reader.left_out, "record")
