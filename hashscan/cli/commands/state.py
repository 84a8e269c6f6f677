"""`hashscan state`: show, check, vacuum and export the cache of scans."""

from __future__ import annotations

import os
from pathlib import Path

import click

from hashscan.cli.options.base import HashscanGroup, state_option
from hashscan.cli.options.output import (
    choose_format,
    output_format_option,
    output_option,
    print_result,
    write_output,
)
from hashscan.cli.output.logs import ERROR, print_message
from hashscan.cli.output.terminal import print_table
from hashscan.errors import EXIT_CLEAN, EXIT_OUTPUT
from hashscan.state_dir import StateDir
from hashscan.text import human_bytes, plural

_DAMAGES_SHOWN = 20


@click.group(cls=HashscanGroup)
def command() -> None:
    """Show, check, export and vacuum the cached results of scans."""


@command.command(exit_codes=(0, 2, 12, 70))
@state_option
def status(state: StateDir) -> None:
    """Show the number of known files and contents, their filesystems, and the last scan of each target."""
    from hashscan.state.queries.overview import overview_of
    from hashscan.state.store.reading import StateReader
    from hashscan.state.vacuum import size_of
    from hashscan.timefmt import format_time

    with StateReader(state) as reader, reader.reading():
        found = overview_of(reader)
        size = size_of(reader.folder)
    print_table(
        ("filesystem", "folders", "files", "size"),
        (
            (os.fsdecode(each.name), str(each.folders), str(each.files), human_bytes(each.bytes))
            for each in found.filesystems
        ),
        "filesystems",
    )
    if found.stores:
        print_table(
            ("bucket", "service", "objects", "size"),
            (
                (
                    os.fsdecode(each.container),
                    each.endpoint or "-",
                    str(each.objects),
                    human_bytes(each.bytes),
                )
                for each in found.stores
            ),
            "buckets",
        )
    print_table(
        ("target", "shard", "files", "last complete scan"),
        (
            (
                os.fsdecode(each.target),
                each.shard or "-",
                "-" if each.files is None else str(each.files),
                "never" if each.complete is None else format_time(each.complete),
            )
            for each in found.targets
        ),
        "targets",
    )
    known = found.files + found.objects
    each = f", {size / known:.0f} bytes per file" if known else ""
    objects = f"{plural(found.objects, 'object')}, " if found.objects else ""
    print_result(
        f"{plural(found.files, 'file')}, {objects}{plural(found.contents, 'content')}, "
        f"{plural(found.pictures, 'picture')}; "
        f"{human_bytes(size)} on the disk{each}"
    )
    begun = "never" if found.last_begun is None else format_time(found.last_begun)
    print_result(f"{plural(found.findings, 'open finding')}, {found.gone} ended; last scan started: {begun}")


@command.command(exit_codes=(0, 2, 12, 70))
@state_option
def check(state: StateDir) -> int:
    """Check the complete state for damage; the next scan sets a damaged state aside and reads everything.

    Reads some hundred thousand contents per second, and may run beside a scan.
    """
    from hashscan.state.store.reading import StateReader
    from hashscan.state.verifying import find_damage

    count = 0
    with StateReader(state) as reader, reader.reading():
        for damage in find_damage(reader):
            count += 1
            if count <= _DAMAGES_SHOWN:
                print_message(damage, ERROR)
        if count:
            reader.mark_damaged()
            print_message(
                f"{plural(count, 'error')}; the next scan sets the state aside and reads everything again"
            )
            return EXIT_OUTPUT
        print_message(f"{plural(reader.contents.rows, 'content')}, no damage")
    return EXIT_CLEAN


@command.command(exit_codes=(0, 2, 11, 12, 70))
@state_option
def vacuum(state: StateDir) -> None:
    """Delete contents that no file and no finding refers to any more, and free the disk space.

    Needs free space of the size of the remaining data. No scan can run at the same time. If it is killed,
    nothing is lost.
    """
    from hashscan.locking import ScanLock
    from hashscan.state.vacuum import vacuum as drop

    with ScanLock(state):
        done = drop(state)
    print_message(
        f"{done.dropped} of {plural(done.contents, 'content')} deleted, "
        f"{human_bytes(done.before)} became {human_bytes(done.after)}"
    )


@command.command(exit_codes=(0, 2, 12, 70))
@output_format_option(("ndjson", "csv"), "ndjson", "JSON Lines, or a table for spreadsheets.")
@output_option()
@click.option("--with-digests", is_flag=True, help="Also write sha256, md5 and sha1 of every file.")
@state_option
def export(format_name: str | None, output: Path | None, with_digests: bool, state: StateDir) -> None:
    """Export every known file and object: path, size, times, and the verdict of findings."""
    from hashscan.reports.report_file import require_destination
    from hashscan.state.queries.export import FORMATS
    from hashscan.state.store.reading import StateReader

    chosen = choose_format(format_name, output, FORMATS, "ndjson")
    if output is not None:
        require_destination(output)
    with StateReader(state) as reader, reader.reading():
        lines = (line.encode("utf-8") for line in FORMATS[chosen](reader, with_digests=with_digests))
        write_output(output, lines)
