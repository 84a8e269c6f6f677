"""`hashscan state`: show, check, vacuum and export the cache of scans."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from msgspec import UNSET, Struct, UnsetType, to_builtins

from hashscan.cli.options.base import HashscanGroup, state_option
from hashscan.cli.options.output import (
    choose_format,
    format_option,
    output_format_option,
    output_option,
    print_result,
    write_json_line,
    write_output,
)
from hashscan.cli.output.logs import ERROR, print_message
from hashscan.cli.output.terminal import print_table
from hashscan.errors import EXIT_CLEAN, EXIT_OUTPUT
from hashscan.reports.records import path_text
from hashscan.schema import Time
from hashscan.state_dir import StateDir
from hashscan.text import human_bytes, path_fields, plural

if TYPE_CHECKING:
    from hashscan.state.queries.overview import Overview

_DAMAGES_SHOWN = 20


@click.group(cls=HashscanGroup)
def command() -> None:
    """Show, check, export and vacuum the cached results of scans."""


class FilesystemStatus(Struct):
    """The counts of a filesystem."""

    name: str
    folders: int
    files: int
    bytes: int


class BucketStatus(Struct):
    """The counts of a bucket or a web server; `service` is empty for the provider's own."""

    name: str
    service: str
    objects: int
    bytes: int


class TargetStatus(Struct):
    """A target with a shard and a set of exclusions; null as long as no scan of it was complete."""

    path: str
    shard: str
    files: int | None
    completed: Time | None
    path_b64: str | UnsetType = UNSET


class StateStatus(Struct):
    """The counts of the cache of scans."""

    files: int
    objects: int
    contents: int
    pictures: int
    open_findings: int
    ended_findings: int
    bytes_on_disk: int
    last_started: Time | None
    filesystems: list[FilesystemStatus]
    buckets: list[BucketStatus]
    targets: list[TargetStatus]


@command.command(exit_codes=(0, 2, 12, 70))
@format_option("table", "json", help="Tables, or a JSON document.")
@state_option
def status(format_name: str, state: StateDir) -> None:
    """Show the number of known files and contents, their filesystems, and the last scan of each target."""
    from hashscan.state.queries.overview import overview_of
    from hashscan.state.store.reading import StateReader
    from hashscan.state.vacuum import size_of

    with StateReader(state) as reader, reader.reading():
        status = _status_of(overview_of(reader), size_of(reader.folder))
    if format_name == "json":
        write_json_line(status)
    else:
        _print_status(status)


def _status_of(found: Overview, size: int) -> StateStatus:
    from hashscan.timefmt import format_time

    return StateStatus(
        files=found.files,
        objects=found.objects,
        contents=found.contents,
        pictures=found.pictures,
        open_findings=found.findings,
        ended_findings=found.gone,
        bytes_on_disk=size,
        last_started=None if found.last_begun is None else format_time(found.last_begun),
        filesystems=[
            FilesystemStatus(_text(each.name), each.folders, each.files, each.bytes)
            for each in found.filesystems
        ],
        buckets=[
            BucketStatus(_text(each.container), each.endpoint, each.objects, each.bytes)
            for each in found.stores
        ],
        targets=[
            TargetStatus(
                **path_fields(each.target),
                shard=each.shard,
                files=each.files,
                completed=None if each.complete is None else format_time(each.complete),
            )
            for each in found.targets
        ],
    )


def _text(name: bytes) -> str:
    return name.decode(errors="backslashreplace")


def _print_status(status: StateStatus) -> None:
    print_table(
        ("filesystem", "folders", "files", "size"),
        (
            (each.name, str(each.folders), str(each.files), human_bytes(each.bytes))
            for each in status.filesystems
        ),
        "filesystems",
    )
    if status.buckets:
        print_table(
            ("bucket", "service", "objects", "size"),
            (
                (each.name, each.service or "-", str(each.objects), human_bytes(each.bytes))
                for each in status.buckets
            ),
            "buckets",
        )
    print_table(
        ("target", "shard", "files", "last complete scan"),
        (
            (
                path_text(to_builtins(each)),
                each.shard or "-",
                "-" if each.files is None else str(each.files),
                each.completed or "never",
            )
            for each in status.targets
        ),
        "targets",
    )
    known = status.files + status.objects
    each_file = f", {status.bytes_on_disk / known:.0f} bytes per file" if known else ""
    objects = f"{plural(status.objects, 'object')}, " if status.objects else ""
    print_result(
        f"{plural(status.files, 'file')}, {objects}{plural(status.contents, 'content')}, "
        f"{plural(status.pictures, 'picture')}; "
        f"{human_bytes(status.bytes_on_disk)} on the disk{each_file}"
    )
    print_result(
        f"{plural(status.open_findings, 'open finding')}, {status.ended_findings} ended; "
        f"last scan started: {status.last_started or 'never'}"
    )


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
