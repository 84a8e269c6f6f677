"""Confirmation before a list version becomes active that would hit a large share of the known files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from hashscan.errors import OutputError

if TYPE_CHECKING:
    from hashscan.lists.difference import Difference

F = TypeVar("F", bound=Callable[..., Any])

_MATTERS = 100
"""Number of files below which the share is not checked, since a person can check each file."""
_OFF = 100.0


def confirm_share_option(command: F) -> F:
    """Add --confirm-share."""
    return click.option(
        "--confirm-share",
        type=click.FloatRange(0, _OFF),
        default=0.1,
        show_default=True,
        metavar="PERCENT",
        help="How many of all known files new entries may hit, from "
        f"{_MATTERS} files on, without `lists activate --confirm`; 100 compares nothing.",
    )(command)


class ActivationCheck:
    """A check that a version's new entries hit no larger share of the known files than is allowed."""

    def __init__(self, name: str, state: Path, share: float) -> None:
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
        from hashscan.state.queries.list_reach import reach_of

        if self._share >= _OFF:
            return True
        try:
            reach = reach_of(self._state, compared.changes(), _MATTERS)
        except OutputError as error:
            # The next scan reads everything again, and holds matches of an entry that hits too many files.
            self._say(f"WARNING: its new entries could not be compared with what scans know: {error}")
            return True
        if reach is None:
            self._say("no scan has remembered anything that its new entries could be compared with")
            return True
        for algorithm, entries in sorted(reach.left_out.items()):
            self._say(f"{entries} new entries of {algorithm} were not compared with known files")
        if reach.files < _MATTERS or reach.files * 100 <= self._share * reach.known:
            return True
        self._say(
            f"WARNING: version {compared.new.version} is NOT put in use: {reach.entries} of its new entries "
            f"would hit {reach.files} of {reach.known} known files, more than {self._share:g} %. It is kept "
            f"aside: see `hashscan lists diff {self._name} --would-hit`, and ask the list's owner; where it "
            f"is right, say `hashscan lists activate {self._name} --confirm --only {compared.new.version}`"
        )
        return False

    def _say(self, words: str) -> None:
        self.words.append(f"list {self._name}: {words}")
