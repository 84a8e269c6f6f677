"""Messages about hash lists: known files that a new version would hit, the confirmation for too many,
quarantine items whose entries were withdrawn, and excepted entries.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from hashscan.cli.output.terminal import escape_control, print_message
from hashscan.errors import OutputError
from hashscan.state_dir import StateDir

if TYPE_CHECKING:
    from hashscan.lists.difference import Difference
    from hashscan.lists.exceptions import Exceptions
    from hashscan.quarantine.store import Quarantine


_FILES_SHOWN = 1000
_EXCEPTIONS_SHOWN = 10
"""Number of expired exceptions that are named; of more, only the number is printed."""


def print_hits(name: str, compared: Difference, state: StateDir) -> None:
    """Look up a staged version's new entries among the known files, and print the files that they hit."""
    from hashscan.state.queries.export import hit_record
    from hashscan.state.queries.would_hit import files_hit, hits_of
    from hashscan.state.store.reading import StateReader

    with StateReader(state) as reader, reader.reading():
        hits = hits_of(reader, (change for change in compared.changes() if change.came))
        count = 0
        for file in files_hit(reader, hits):
            count += 1
            if count <= _FILES_SHOWN:
                record = {"list": name, **hit_record(hits.nearest[file.content], file)}
                sys.stdout.write(json.dumps(record, separators=(",", ":")) + "\n")
    for algorithm, entries in sorted(hits.left_out.items()):
        print_message(f"hashscan: list {name}: {entries} new entries of {algorithm} were not compared")
    shown = f", the first {_FILES_SHOWN} of them shown" if count > _FILES_SHOWN else ""
    entries_hit = "entry hits" if hits.entries == 1 else "entries hit"
    files = "1 known file" if count == 1 else f"{count} known files"
    print_message(f"hashscan: list {name}: {hits.entries} new {entries_hit} {files}{shown}")


def print_withdrawn_items(state: StateDir, quarantine: Quarantine | None = None) -> None:
    """Compare the quarantine with the lists if either has changed, and print items without an entry.

    Args:
        state: state folder.
        quarantine: its quarantine, if this process has it open.
    """
    from hashscan.quarantine.withdrawn_items import withdrawn_items

    for message in withdrawn_items(state, quarantine).messages:
        print_message(f"hashscan: {escape_control(message)}")


F = TypeVar("F", bound=Callable[..., Any])

_FILES_MIN = 100
"""Number of files below which the share is not checked, since a person can check each file."""
_SHARE_OFF = 100.0


def confirm_share_option(command: F) -> F:
    """Add --confirm-share."""
    return click.option(
        "--confirm-share",
        type=click.FloatRange(0, _SHARE_OFF),
        default=0.1,
        show_default=True,
        metavar="PERCENT",
        help="Maximum share of the known files that new entries may hit without `lists activate --confirm`; "
        f"fewer than {_FILES_MIN} files are always allowed, and 100 turns the check off.",
    )(command)


class ActivationCheck:
    """A check that a version's new entries hit no larger share of the known files than is allowed."""

    def __init__(self, name: str, state: StateDir, share: float) -> None:
        """Prepare the check.

        Args:
            name: name of the list.
            state: state folder.
            share: largest allowed share of the known files, in per cent.
        """
        self.words: list[str] = []
        """Messages for the user, filled by the check."""
        self._name = name
        self._state = state
        self._share = share

    def __call__(self, compared: Difference) -> bool:
        """Return True if the version may become active; also, with a message, if nothing can be compared."""
        from hashscan.state.queries.would_hit import reach_of

        if self._share >= _SHARE_OFF:
            return True
        try:
            reach = reach_of(self._state, compared.changes(), _FILES_MIN)
        except OutputError as error:
            # The next scan reads everything again, and holds matches of an entry that hits too many files.
            self._say(f"WARNING: its new entries could not be compared with what scans know: {error}")
            return True
        if reach is None:
            self._say("no scan has remembered anything that its new entries could be compared with")
            return True
        for algorithm, entries in sorted(reach.left_out.items()):
            self._say(f"{entries} new entries of {algorithm} were not compared with known files")
        if reach.files < _FILES_MIN or reach.files * 100 <= self._share * reach.known:
            return True
        self._say(
            f"WARNING: version {compared.new.version} is NOT activated: {reach.entries} of its new entries "
            f"would hit {reach.files} of {reach.known} known files, more than {self._share:g} %. It stays "
            f"staged: see `hashscan lists diff {self._name} --would-hit`, and ask the list's owner; if it is "
            f"right, run `hashscan lists activate {self._name} --confirm --only {compared.new.version}`"
        )
        return False

    def _say(self, words: str) -> None:
        self.words.append(f"list {self._name}: {words}")


def print_exceptions(exceptions: Exceptions) -> None:
    """Print how many entries are excepted, and which exceptions have expired."""
    if exceptions.in_force:
        number = len(exceptions.in_force)
        which = "1 entry is" if number == 1 else f"{number} entries are"
        print_message(f"hashscan: {which} excepted here; see `hashscan lists except`")
    for gone in exceptions.expired[:_EXCEPTIONS_SHOWN]:
        print_message(
            f"hashscan: the exception of entry {gone.entry_id} of list {gone.list_name} ended {gone.until}, "
            "and it matches again; renew it, or end this notice with `hashscan lists except --remove`"
        )
    if len(exceptions.expired) > _EXCEPTIONS_SHOWN:
        print_message(f"hashscan: {len(exceptions.expired) - _EXCEPTIONS_SHOWN} more exceptions have expired")
