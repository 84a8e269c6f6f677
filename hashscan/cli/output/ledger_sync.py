"""Synchronisation of the ledger with scans and the custody log, before and after a command."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from hashscan.cli.output.logs import ERROR, print_message
from hashscan.errors import EXIT_FOUND, EXIT_FOUND_INCOMPLETE, EXIT_OUTPUT, HashscanError, OutputError
from hashscan.settings.cases_and_alerts import DEFAULT_DEADLINES, CaseSettings
from hashscan.state_dir import StateDir
from hashscan.text import plural

if TYPE_CHECKING:
    from hashscan.cases.ledger import Ledger
    from hashscan.cases.queries import Queries
    from hashscan.cases.sightings import Sightings
    from hashscan.settings.scan import ScanSettings


def sync_ledger(state: StateDir) -> bool:
    """Add the findings of scans and the custody log to the ledger; return True if all was added.

    Errors are printed and not raised: any later command can add what is missing.
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


def check_noticed_files(settings: ScanSettings, state: StateDir) -> bool:
    """End the cases of noticed files that a complete scan has seen gone; the ledger is up to date.

    Errors are printed, and False returned for them: the next complete scan does it.
    """
    from hashscan.cases.ledger import Ledger
    from hashscan.cases.noticed_files import check_files

    try:
        with Ledger(state) as ledger:
            ended = check_files(ledger, settings, state, int(time.time()))
    except HashscanError as error:
        _say_troubles([error])
        return False
    if ended:
        print_message(f"{plural(ended, 'case')} of notices ended: the files are gone")
    return True


def import_report_into_ledger(state: StateDir, record: Path | None) -> bool:
    """Add the content of a report, if any, to the ledger; print errors, and return False for them."""
    from hashscan.cases.ledger import Ledger
    from hashscan.cases.report_import import import_report

    if record is None:
        print_message("to make cases of its findings, run `hashscan cases import REPORT`")
        return True
    try:
        with Ledger(state) as ledger:
            import_report(ledger, record)
    except HashscanError as error:
        _say_troubles([error])
        return False
    return True


def require_state(state: StateDir) -> None:
    """Refuse a state folder that does not exist, so that a misspelt one does not look like one without
    cases."""
    if not state.path.is_dir():
        raise OutputError(f"there is no state folder {state}", advice="Scan first, or name its --state.")


class SyncedLedger:
    """A ledger that is up to date, as far as that was possible."""

    def __init__(self, ledger: Ledger, queries: Queries, sightings: Sightings, *, whole: bool) -> None:
        self.ledger = ledger
        self.queries = queries
        self.sightings = sightings
        """Finds out which files were seen here."""
        self.whole = whole
        """True if nothing is missing in the ledger."""

    def exit_code(self, code: int) -> int:
        """Return a command's exit code; if the ledger may be incomplete, never one for success."""
        return code if self.whole or code == EXIT_FOUND else EXIT_OUTPUT


@contextmanager
def synced_ledger(state: StateDir, deadlines: CaseSettings = DEFAULT_DEADLINES) -> Iterator[SyncedLedger]:
    """Open the ledger of a state folder and bring it up to date."""
    from hashscan.cases.deadlines import DeadlineCalculator
    from hashscan.cases.ledger import Ledger
    from hashscan.cases.queries import Queries
    from hashscan.cases.sightings import Sightings
    from hashscan.cases.sync import sync

    with Ledger(state) as ledger, Sightings(state) as sightings:
        troubles = sync(ledger, state).troubles
        _say_troubles(troubles)
        queries = Queries(ledger, DeadlineCalculator(deadlines))
        yield SyncedLedger(ledger, queries, sightings, whole=not troubles)


def _say_troubles(troubles: Iterable[HashscanError]) -> None:
    for trouble in troubles:
        print_message(f"the ledger of cases is not up to date: {trouble}. {trouble.remedy}", ERROR)


def exit_code_without_output(code: int) -> int:
    """Return the exit code of a scan whose findings are in its report, but not in the ledger or its output.

    The code must still show that something was found.
    """
    return EXIT_FOUND_INCOMPLETE if code in {EXIT_FOUND, EXIT_FOUND_INCOMPLETE} else EXIT_OUTPUT
