"""`hashscan cases check`: check whether the files of open cases are gone."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import click

from hashscan.cli.options.base import HashscanCommand, state_option
from hashscan.cli.options.privileges import RootRights
from hashscan.cli.output.ledger_sync import synced_ledger
from hashscan.cli.output.terminal import escape_control, print_message
from hashscan.errors import EXIT_CLEAN, EXIT_INCOMPLETE, UsageError
from hashscan.text import plural

_BATCH_SIZE = 200
"""Results that are stored in one transaction."""


@click.command(
    cls=HashscanCommand,
    exit_codes=(0, 2, 3, 12, 70),
    needs=RootRights.READING,
    meanings={0: "all cases were looked at", 3: "of some, nobody can tell whether the file is gone"},
)
@click.argument("cases", nargs=-1, type=click.IntRange(min=1), metavar="[CASE]...")
@click.option(
    "--endpoint", metavar="URL", help="URL of the buckets' service, if it is not the provider's own."
)
@state_option
def check(cases: tuple[int, ...], endpoint: str | None, state: Path) -> int:
    """Check the files and objects of open CASEs (default: all), and end the cases of those that are gone.

    A changed file is digested: if its content is different, the case ends too. A file that was only renamed
    is found by the next scan. Symlinks are not followed.
    """
    from hashscan.cases.presence_check import Presence, PresenceChecker
    from hashscan.cases.tracker import CaseTracker
    from hashscan.registry import SOURCES

    counts: Counter[Presence] = Counter()
    with synced_ledger(state) as followed:
        # Only their numbers are kept: there may be a million cases, and checking them takes a while.
        wanted = [case.id for case in followed.queries.open_cases() if not cases or case.id in cases]
        for number in set(cases) - set(wanted):
            if followed.queries.case(number) is None:
                raise UsageError(
                    f"there is no case {number}", advice="See `hashscan cases list --status all`."
                )
        checker = PresenceChecker(SOURCES, endpoint)
        try:
            for start in range(0, len(wanted), _BATCH_SIZE):
                some = map(followed.queries.case, wanted[start : start + _BATCH_SIZE])
                looks = [checker.look(case) for case in some if case is not None and case.open]
                now = int(time.time())
                with followed.ledger.transaction() as database:
                    book = CaseTracker(database)
                    for look in looks:
                        book.take_look(look.case.id, look.presence.value, now)
                for look in looks:
                    counts[look.presence] += 1
                    if look.presence is not Presence.THERE:
                        words = f": {look.words}" if look.words else ""
                        print_message(
                            f"hashscan: case {look.case.id}: {look.presence.value}{escape_control(words)}"
                        )
        finally:
            checker.close()
        outcomes = ", ".join(f"{number} {presence.value}" for presence, number in sorted(counts.items()))
        print_message(
            f"hashscan: {plural(len(wanted), 'case')} checked" + (f": {outcomes}" if outcomes else "")
        )
        return followed.exit_code(EXIT_INCOMPLETE if counts[Presence.UNKNOWN] else EXIT_CLEAN)
