"""`hashscan lookup`: search the state for known files that have a digest or are similar."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import click

from hashscan.cli.options.base import ANY_PATH, HashscanCommand, state_option
from hashscan.cli.options.output import format_option, write_json_line, write_stdout
from hashscan.cli.options.privileges import RootRights
from hashscan.cli.options.tables import customer_options, decoding_options
from hashscan.cli.output.logs import ERROR, print_message
from hashscan.errors import (
    EXIT_CLEAN,
    EXIT_FOUND,
    EXIT_FOUND_INCOMPLETE,
    EXIT_INCOMPLETE,
    UsageError,
)
from hashscan.model import ALWAYS_COMPUTED, PHOTODNA_DISTANCE_MAX, QUADRANTS, ContainerKind, MemberLimits
from hashscan.settings.matching import DecodingLimits
from hashscan.state_dir import StateDir
from hashscan.text import plural, printable

if TYPE_CHECKING:
    from hashscan.attribution.customers import Customers
    from hashscan.model import CustomerRule
    from hashscan.state.queries.digest_lookup import ContentMatch, DigestQuery
    from hashscan.state.queries.export import KnownRecord
    from hashscan.state.store.reading import StateReader

_MAX_DISTANCE = 90
"""Largest distance that can be asked for, in bits; unrelated pictures begin to be as near as this."""


@click.command(cls=HashscanCommand, exit_codes=(0, 1, 2, 3, 4, 12, 70), needs=RootRights.READING)
@click.argument("items", nargs=-1, required=True, metavar="ITEM...", type=ANY_PATH)
@click.option(
    "--distance",
    type=click.IntRange(0, PHOTODNA_DISTANCE_MAX),
    metavar="BITS",
    help="Maximum distance between the hash of a known picture and the given one; for PDQ 31 by default and "
    f"{_MAX_DISTANCE} at most, for PhotoDNA a squared distance of 10000 and {PHOTODNA_DISTANCE_MAX}.",
)
@click.option(
    "--every-variant",
    is_flag=True,
    help="Also compare with frames, previews and rotated variants, not only with each picture as "
    "it is stored. Reads the whole state: some thousand pictures per second.",
)
@format_option("text", "json", help="One line of fields separated by tabs for each file, or JSON Lines.")
@customer_options
@decoding_options
@state_option
def command(
    items: tuple[bytes, ...],
    distance: int | None,
    every_variant: bool,
    format_name: str,
    customers: tuple[CustomerRule, ...],
    state: StateDir,
    decoding: DecodingLimits,
) -> int:
    """Look up known files by digest or similarity; write one line for each.

    Known files are those that scans have read. An ITEM is a digest in hexadecimal or a file, as for `hashscan
    check`, or `vpdq:` and the digest of a frame of a video, or `photodna:` and a digest in hexadecimal or
    base64; the pictures of a file are looked up in every variant, and with --every-variant by their
    quadrants, too; the frames of a video if scans have sampled videos for vPDQ. The output says whether the
    known file still exists, when its content was first read, when a scan last saw it, and its customer if a
    rule names one. Only the named files are read; no list is needed, and a scan may be running. The exit code
    is 1 if a file is known.
    """
    from hashscan.attribution.customers import Customers
    from hashscan.state.queries.digest_lookup import find_contents
    from hashscan.state.store.reading import StateReader

    rules = Customers(customers)
    known, complete = False, True
    with ExitStack() as stack:
        reader = stack.enter_context(StateReader(state))
        maker = _DigestMaker(reader, decoding, distance, stack, quadrants=every_variant)
        for item in items:
            sought, trouble = maker.digests_of(item)
            if trouble:
                complete = False
                print_message(f"{os.fsdecode(item)}: {trouble}", ERROR)
            with reader.reading():
                nearest: dict[int, ContentMatch] = {}
                for near in find_contents(reader, sought, every_variant=every_variant):
                    nearest.setdefault(near.content, near)
                count = 0
                for record in _records(reader, item, nearest, rules):
                    count += 1
                    _write(record, as_json=format_name == "json")
            known = known or count > 0
            print_message(f"{os.fsdecode(item)}: {plural(count, 'known file')}")
    if known:
        return EXIT_FOUND if complete else EXIT_FOUND_INCOMPLETE
    return EXIT_CLEAN if complete else EXIT_INCOMPLETE


class _DigestMaker:
    """A converter of items to digests; it starts a worker when the first file is named."""

    def __init__(
        self,
        reader: StateReader,
        limits: DecodingLimits,
        distance: int | None,
        stack: ExitStack,
        *,
        quadrants: bool,
    ) -> None:
        self._reader = reader
        self._limits = limits
        self._distance = distance
        self._stack = stack
        self._quadrants = quadrants
        self._worker: Any = None

    def digests_of(self, item: bytes) -> tuple[list[DigestQuery], str]:
        """Return the digests to look up, and a message on what of a file could not be digested."""
        from hashscan.scan.single_checks import LOOKED_UP, digests_named, is_named

        if is_named(item):
            self._check_distance("pdq")
            return self._of_file(item)
        from hashscan.state.queries.digest_lookup import sought_of_digest

        values = digests_named(os.fsdecode(item), LOOKED_UP).items()
        self._check_distance(*dict(values))
        return [sought_of_digest(self._reader, name, value, self._distance) for name, value in values], ""

    def _check_distance(self, *algorithms: str) -> None:
        if self._distance is not None and self._distance > _MAX_DISTANCE and "photodna" not in algorithms:
            raise UsageError(
                f"--distance {self._distance} is for digests of PhotoDNA only",
                advice=f"For others, it is a number of bits up to {_MAX_DISTANCE}.",
            )

    def _of_file(self, path: bytes) -> tuple[list[DigestQuery], str]:
        from hashscan.matching.worker_setup import VPDQ_RULE, WorkerSetup, sandbox_options
        from hashscan.scan.single_checks import read_file
        from hashscan.scan.workers.worker import Worker
        from hashscan.state.queries.digest_lookup import has_sampled_videos, sought_of_file

        if self._worker is None:
            # To decode all of a video takes long, and is of no use if nothing is compared with it.
            videos = has_sampled_videos(self._reader)
            setup = WorkerSetup(
                lists=(),
                sandbox=sandbox_options(self._limits),
                algorithms=(*ALWAYS_COMPUTED, *((QUADRANTS,) if self._quadrants else ())),
                max_pixels=self._limits.max_pixels,
                keep=True,
                containers=MemberLimits(kinds=(ContainerKind.VIDEO,)) if videos else None,
                videos=VPDQ_RULE if videos else None,
            )
            self._worker = self._stack.enter_context(Worker(setup))
        result, kept = read_file(self._worker, path)
        trouble = "" if result.reason is None else f"{result.reason.value} {result.detail}".strip()
        if kept is None:
            return [], trouble or "changed while read"
        setup = self._worker.setup
        return sought_of_file(kept, setup.exact, setup.pictures, self._distance), trouble


def _records(
    reader: StateReader, item: bytes, nearest: dict[int, ContentMatch], rules: Customers
) -> Iterator[KnownRecord]:
    from hashscan.state.queries.digest_lookup import load_content
    from hashscan.state.queries.export import known_record
    from hashscan.state.queries.known_files import KnownFiles

    loaded = {row: load_content(reader, row) for row in nearest}
    for file in KnownFiles(reader).having(list(nearest)):
        content = loaded[file.content]
        if content is not None:
            customer = rules.of(file.path, None)
            yield known_record(os.fsdecode(item), nearest[file.content], content, file, customer)


def _write(record: KnownRecord, *, as_json: bool) -> None:
    if as_json:
        write_json_line(record)
        return
    fields = (
        record.presence,
        f"{record.algorithm} {record.distance}",
        record.first_read,
        record.last_seen or "-",
        record.verdict or "-",
        record.path,
        *([record.customer] if record.customer else []),
        *([f"in the member {record.member}"] if record.member else []),
    )
    write_stdout("\t".join(map(printable, fields)))
