"""`hashscan state`: show, check, vacuum and export the cache of scans."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from hashscan.cli.options.base import HashscanGroup, output_option, state_option
from hashscan.cli.output.terminal import escape_control, human_bytes, print_message, show_table
from hashscan.errors import EXIT_CLEAN, EXIT_OUTPUT
from hashscan.lists.durable import output_errors, replace_stream

_DAMAGES_SHOWN = 20


@click.group(cls=HashscanGroup)
def command() -> None:
    """Look at what sweeps remember, check it, give space back, export it."""


@command.command(exit_codes=(0, 2, 12, 70))
@state_option
def status(state: Path) -> int:
    """Show how many files and contents are known, on which filesystems, and when targets were last swept."""
    from hashscan.state.maintenance.vacuum import size_of
    from hashscan.state.queries.overview import overview_of
    from hashscan.state.store.reading import StateReader
    from hashscan.timefmt import format_time

    with StateReader(state) as reader, reader.reading():
        found = overview_of(reader)
        size = size_of(reader.folder)
    show_table(
        "filesystems",
        ("filesystem", "folders", "files", "size"),
        (
            (os.fsdecode(each.name), str(each.folders), str(each.files), human_bytes(each.bytes))
            for each in found.filesystems
        ),
    )
    if found.stores:
        show_table(
            "buckets",
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
        )
    show_table(
        "targets",
        ("target", "shard", "files", "last complete sweep"),
        (
            (
                os.fsdecode(each.target),
                each.shard or "-",
                "-" if each.files is None else str(each.files),
                "never" if each.complete is None else format_time(each.complete),
            )
            for each in found.targets
        ),
    )
    known = found.files + found.objects
    each = f", {size / known:.0f} bytes a file" if known else ""
    objects = f"{found.objects} objects, " if found.objects else ""
    print_message(
        f"hashscan: {found.files} files, {objects}{found.contents} contents, {found.pictures} pictures; "
        f"{human_bytes(size)} on the disk{each}"
    )
    begun = "never" if found.last_begun is None else format_time(found.last_begun)
    print_message(
        f"hashscan: {found.findings} findings stand, {found.gone} are gone; last sweep begun: {begun}"
    )
    return EXIT_CLEAN


@command.command(exit_codes=(0, 2, 12, 70))
@state_option
def check(state: Path) -> int:
    """Look through all of it for damage; the next sweep sets a damaged state aside and reads everything.

    Reads all that is kept, some hundred thousand contents a second, and may run beside a sweep.
    """
    from hashscan.state.maintenance.verifying import find_damage
    from hashscan.state.store.reading import StateReader

    count = 0
    with StateReader(state) as reader, reader.reading():
        for words in find_damage(reader):
            count += 1
            if count <= _DAMAGES_SHOWN:
                print_message(f"hashscan: {escape_control(words)}")
        if count:
            reader.mark_damaged()
            print_message(
                f"hashscan: {count} faults; the next sweep sets the state aside and reads everything again"
            )
            return EXIT_OUTPUT
        print_message(f"hashscan: {reader.contents.rows} contents, all in order")
    return EXIT_CLEAN


@command.command(exit_codes=(0, 2, 11, 12, 70))
@state_option
def vacuum(state: Path) -> int:
    """Drop contents that no file and no finding has any more, and give the space back.

    Needs as much free space again as what stays. No sweep can run meanwhile. Killed at any time, it loses
    nothing.
    """
    from hashscan.scan.lock import ScanLock
    from hashscan.state.maintenance.vacuum import vacuum as drop

    with ScanLock(state):
        done = drop(state)
    print_message(
        f"hashscan: {done.dropped} of {done.contents} contents dropped, "
        f"{human_bytes(done.before)} became {human_bytes(done.after)}"
    )
    return EXIT_CLEAN


@command.command(exit_codes=(0, 2, 12, 70))
@click.option(
    "--format", "form", type=click.Choice(["ndjson", "csv"]), default="ndjson", show_default=True,
    help="JSON lines, or a table for spreadsheets.",
)  # fmt: skip
@output_option()
@click.option("--with-digests", is_flag=True, help="Write sha256, md5 and sha1 of every file, too.")
@state_option
def export(form: str, output: Path, with_digests: bool, state: Path) -> int:
    """Write out every known file and object: path, size, times, and the verdict of findings."""
    from hashscan.reports.destinations import require_destination
    from hashscan.state.queries.export import FORMATS
    from hashscan.state.store.reading import StateReader

    if str(output) != "-":
        require_destination(output)
    with StateReader(state) as reader, reader.reading():
        lines = (line.encode("utf-8") for line in FORMATS[form](reader, with_digests=with_digests))
        if str(output) == "-":
            with output_errors("can't write to standard output"):
                for line in lines:
                    sys.stdout.buffer.write(line)
                sys.stdout.buffer.flush()
        else:
            with output_errors(f"can't write {output}"):
                replace_stream(output, lines)
    return EXIT_CLEAN
