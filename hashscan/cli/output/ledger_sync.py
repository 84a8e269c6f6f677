"""Brings the ledger up to date around what a command does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from hashscan.cli.output.terminal import printable, say
from hashscan.errors import EXIT_FOUND, EXIT_FOUND_INCOMPLETE, EXIT_OUTPUT, HashscanError, OutputError
from hashscan.settings.cases import USUAL_DEADLINES, CaseSettings

if TYPE_CHECKING:
    from hashscan.cases.ledger import Ledger
    from hashscan.cases.queries import Queries


def follow(state: Path) -> bool:
    """Take over into the ledger what sweeps have found and what the custody log says.

    Trouble is said, and stops nobody: it can be taken over by any later command.

    Returns:
        Whether all was.
    """
    from hashscan.cases.ledger import Ledger
    from hashscan.cases.sync import sync

    try:
        with Ledger(state) as ledger:
            troubles = sync(ledger, state).troubles
    except OutputError as error:
        troubles = (error,)
    _say_troubles(troubles)
    return not troubles


def follow_report(state: Path, record: Path | None) -> bool:
    """Take over into the ledger what a report says.

    Returns:
        Whether it was; what stands in the way is said.
    """
    from hashscan.cases.ledger import Ledger
    from hashscan.cases.report_import import import_report

    if record is None:
        say("hashscan: its findings become cases by `hashscan cases import REPORT`")
        return True
    try:
        with Ledger(state) as ledger:
            import_report(ledger, record)
    except HashscanError as error:
        _say_troubles([error])
        return False
    return True


class Followed:
    """A ledger that is up to date, as far as that could be."""

    def __init__(self, ledger: Ledger, queries: Queries, *, whole: bool) -> None:
        self.ledger = ledger
        self.queries = queries
        self._whole = whole

    def exit_code(self, code: int) -> int:
        """The exit code of a command, which must not be that all is well where something may be missing."""
        return code if self._whole or code == EXIT_FOUND else EXIT_OUTPUT


@contextmanager
def followed_ledger(state: Path, deadlines: CaseSettings = USUAL_DEADLINES) -> Iterator[Followed]:
    """The ledger of a state folder, after all there is to be taken over was.

    Args:
        state: the folder.
        deadlines: by when somebody must have acted.

    Raises:
        LedgerError: it can't be used.
    """
    from hashscan.cases.deadlines import Clock
    from hashscan.cases.ledger import Ledger
    from hashscan.cases.queries import Queries
    from hashscan.cases.sync import sync

    with Ledger(state) as ledger:
        troubles = sync(ledger, state).troubles
        _say_troubles(troubles)
        yield Followed(ledger, Queries(ledger, Clock(deadlines)), whole=not troubles)


def _say_troubles(troubles: Iterable[HashscanError]) -> None:
    for trouble in troubles:
        say(f"hashscan: the ledger of cases is not up to date: {printable(str(trouble))}. {trouble.remedy}")


def exit_code_without_ledger(code: int) -> int:
    """The exit code of a sweep whose findings are in its report and not in the ledger.

    That something was found must still be seen in it.
    """
    return EXIT_FOUND_INCOMPLETE if code in {EXIT_FOUND, EXIT_FOUND_INCOMPLETE} else EXIT_OUTPUT
