"""Messages about hash lists: known files that a new version would hit, the confirmation for too many,
quarantine items whose entries were withdrawn, and excepted entries.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import click

from hashscan.cli.output.logs import print_message
from hashscan.cli.output.progress import ComparisonProgress
from hashscan.errors import OutputError
from hashscan.model import DistanceRule, ListInfo
from hashscan.schema import encode_json
from hashscan.state_dir import StateDir
from hashscan.text import plural

if TYPE_CHECKING:
    from hashscan.lists.difference import Difference
    from hashscan.lists.exceptions import Exceptions
    from hashscan.lists.storage.layout import ListFolder
    from hashscan.quarantine.store import Quarantine


_FILES_SHOWN = 1000
_EXCEPTIONS_SHOWN = 10
"""Number of expired exceptions that are named; of more, only the number is printed."""


def print_hits(
    name: str, compared: Difference, state: StateDir, distances: Sequence[DistanceRule] = ()
) -> None:
    """Look up a staged version's new entries among the known files, and print the files that they hit;
    `distances` are those of PhotoDNA, for all lists."""
    from hashscan.state.queries.export import hit_record
    from hashscan.state.queries.would_hit import files_hit, hits_of
    from hashscan.state.store.reading import StateReader

    with StateReader(state) as reader, reader.reading():
        came = (change for change in compared.changes() if change.came)
        hits = hits_of(reader, came, name, distances)
        count = 0
        for file in files_hit(reader, hits):
            count += 1
            if count <= _FILES_SHOWN:
                record = hit_record(name, hits.nearest[file.content], file)
                sys.stdout.write(encode_json(record).decode("ascii") + "\n")
    for algorithm, entries in sorted(hits.left_out.items()):
        print_message(f"list {name}: {entries} new entries of {algorithm} were not compared")
    shown = f", the first {_FILES_SHOWN} of them shown" if count > _FILES_SHOWN else ""
    entries_hit = plural(hits.entries, "new entry hits", "new entries hit")
    print_message(f"list {name}: {entries_hit} {plural(count, 'known file')}{shown}")


def degenerate_note(counts: Iterable[tuple[str, int]]) -> str:
    """Return a sentence on the entries of a list that are not matched by similarity, by algorithm."""
    listed = ", ".join(f"{number} of {algorithm}" for algorithm, number in counts)
    return (
        f"{listed} are of smooth or even pictures, which too many unrelated pictures are similar to: "
        "these digests are not matched, others of the same pictures are"
    )


def print_degenerate(info: ListInfo) -> None:
    """Say how many entries of a list are not matched by similarity, if any."""
    if info.degenerate:
        print_message(f"list {info.name}: {degenerate_note(info.degenerate)}")


def print_withdrawn_items(state: StateDir, quarantine: Quarantine | None = None) -> None:
    """Compare the quarantine with the lists if either has changed, and print items without an entry."""
    from hashscan.quarantine.withdrawn_items import withdrawn_items

    for message in withdrawn_items(state, quarantine).messages:
        print_message(message)


_FILES_MIN = 100
"""Number of files below which the share is not checked, since a person can check each file."""
_SHARE_OFF = 100.0


confirm_share_option = click.option(
    "--confirm-share",
    type=click.FloatRange(0, _SHARE_OFF),
    default=0.1,
    show_default=True,
    metavar="PERCENT",
    help="Maximum share of the known files that new entries, all of a week together, may hit without `lists "
    f"activate --confirm`; fewer than {_FILES_MIN} files are always allowed, and 100 turns the check off.",
)


class ActivationCheck:
    """A check that new entries hit no larger share of the known files than is allowed.

    The entries of all versions that were admitted within a week count together.
    """

    def __init__(
        self,
        name: str,
        state: StateDir,
        folder: ListFolder,
        share: float,
        distances: Sequence[DistanceRule] = (),
    ) -> None:
        """Prepare the check of a list; the share is the largest one of the known files, in per cent."""
        self.messages: list[str] = []
        """Messages for the user, filled by the check."""
        self._name = name
        self._state = state
        self._folder = folder
        self._share = share
        self._distances = distances

    def __call__(self, compared: Difference) -> bool:
        """Return True if the version may become active; also, with a message, if nothing can be compared."""
        from hashscan.state.queries.would_hit import RecentHits, reach_of

        if self._share >= _SHARE_OFF:
            return True
        try:
            recent = RecentHits(self._folder.recent_hits)
            staged = self._folder.staged()
            assert staged is not None
            earlier = recent.files_besides(staged.name)
            with ComparisonProgress(self._name) as progress:
                reach = reach_of(
                    self._state,
                    compared.changes(),
                    max(_FILES_MIN - earlier, 1),
                    progress.watch,
                    self._name,
                    self._distances,
                )
        except OutputError as error:
            # The next scan reads everything again, and holds matches of an entry that hits too many files.
            self._add(f"WARNING: its new entries could not be compared with what scans know: {error}")
            return True
        if reach is None:
            self._add("no scan has remembered anything that its new entries could be compared with")
            return True
        for algorithm, entries in sorted(reach.left_out.items()):
            self._add(f"{entries} new entries of {algorithm} were not compared with known files")
        total = reach.files + earlier
        if not reach.files:
            return True
        if total < _FILES_MIN or total * 100 <= self._share * reach.known:
            recent.admit(staged.name, reach.files)
            return True
        before = f", and other versions of the last week hit {earlier}: together" if earlier else ","
        self._add(
            f"WARNING: version {compared.new.version} is NOT activated: {reach.entries} of its new entries "
            f"would hit {reach.files} of {reach.known} known files{before} more than {self._share:g} %. "
            f"It stays staged: see `hashscan lists diff {self._name} --would-hit`, and ask the list's owner; "
            f"if it is right, run `hashscan lists activate {self._name} --confirm --only "
            f"{compared.new.version}`"
        )
        return False

    def _add(self, message: str) -> None:
        self.messages.append(f"list {self._name}: {message}")


def print_exceptions(exceptions: Exceptions) -> None:
    """Print how many entries are excepted, and which exceptions have expired."""
    if number := len(exceptions.in_force):
        entries = plural(number, "entry is", "entries are")
        print_message(f"{entries} excepted here; see `hashscan lists except`")
    for gone in exceptions.expired[:_EXCEPTIONS_SHOWN]:
        print_message(
            f"the exception of entry {gone.entry_id} of list {gone.list_name} ended {gone.until}, "
            "and it matches again; renew it, or end this notice with `hashscan lists except --remove`"
        )
    if len(exceptions.expired) > _EXCEPTIONS_SHOWN:
        print_message(f"{len(exceptions.expired) - _EXCEPTIONS_SHOWN} more exceptions have expired")
    if number := len(exceptions.contents):
        contents = plural(number, "content is", "contents are")
        print_message(f"{contents} excepted here; see `hashscan lists except`")
    if number := len(exceptions.expired_contents):
        gone_contents = plural(number, "exception of a content has", "exceptions of contents have")
        print_message(f"{gone_contents} ended; renew or remove it: see `hashscan lists except`")
