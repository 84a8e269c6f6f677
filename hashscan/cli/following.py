"""Brings the ledger up to date around what a command does."""

from __future__ import annotations

from pathlib import Path

from hashscan.cli.screen import printable, say
from hashscan.errors import EXIT_FOUND, EXIT_FOUND_INCOMPLETE, EXIT_OUTPUT, OutputError


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
    for trouble in troubles:
        say(f"hashscan: the ledger of cases is not up to date: {printable(str(trouble))}. {trouble.remedy}")
    return not troubles


def exit_code_without_ledger(code: int) -> int:
    """The exit code of a sweep whose findings are in its report and not in the ledger.

    That something was found must still be seen in it.
    """
    return EXIT_FOUND_INCOMPLETE if code in {EXIT_FOUND, EXIT_FOUND_INCOMPLETE} else EXIT_OUTPUT
