"""`hashscan cases review`, `queue` and `assign`: decisions of people on cases, and who works on them."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from itertools import islice

import click

from hashscan.cli.cases.listing import cases_argument, describe_due, known_case, write_cases
from hashscan.cli.options.base import ArgumentOption, HashscanCommand, state_option
from hashscan.cli.options.cases_and_alerts import deadline_options
from hashscan.cli.options.output import format_option
from hashscan.cli.options.privileges import RootRights
from hashscan.cli.output.ledger_sync import require_state, synced_ledger
from hashscan.cli.output.logs import print_message
from hashscan.cli.output.terminal import ROWS_SHOWN, print_table
from hashscan.errors import EXIT_CLEAN
from hashscan.settings.cases_and_alerts import CaseSettings
from hashscan.settings.values import parse_future
from hashscan.state_dir import StateDir

_who_option = click.option(
    "--who", metavar="NAME", help="The person who decides. Default: the user who runs this."
)


@click.command(cls=HashscanCommand, exit_codes=(0, 2, 11, 12, 70), needs=RootRights.FILES)
@cases_argument
@click.option(
    "--decision", type=click.Choice(["confirmed", "wrong", "unclear"]), required=True, help="The decision."
)
@click.option("--reason", required=True, metavar="TEXT", help="Reason; recorded with the case.")
@_who_option
@click.option(
    "--until",
    metavar="DATE",
    help="End of the exception of a wrong match, as of `lists except`. Default: in 365 days.",
)
@deadline_options
@state_option
def review(
    cases: tuple[int, ...],
    decision: str,
    reason: str,
    who: str | None,
    until: str | None,
    deadlines: CaseSettings,
    state: StateDir,
) -> int:
    """Record what a person has found out about CASEs; a later decision supersedes an earlier one.

    With --review-by 2, it counts when two people agree, and a third decides where they don't. A match that is
    `wrong` closes its case, and its content is excepted as by `hashscan lists except --content`; a later
    decision ends that. The case of a notice or an order stays open.
    """
    from hashscan.cases.actions import operator
    from hashscan.cases.reviews import Decision, review_case
    from hashscan.cases.tracker import QUARANTINED

    now = datetime.now(UTC)
    end = None if until is None else parse_future(until, now)
    with synced_ledger(state, deadlines) as followed:
        for number in dict.fromkeys(cases):
            reviewed = review_case(
                followed.ledger, state, number, Decision(decision), reason, who or operator(), now,
                deadlines.review_by, until=end, entered_by=operator(),
            )  # fmt: skip
            outcome = reviewed.recorded.after.decision
            print_message(f"case {number}: {outcome or 'waits for a second person'}")
            if reviewed.excepted_until:
                print_message(f"case {number}: its content is excepted until {reviewed.excepted_until}")
            elif outcome is Decision.WRONG:
                print_message(
                    f"case {number}: no exception is made, since a notice may have named its content; see "
                    "`hashscan lists except --content FILE`"
                )
            if outcome is Decision.WRONG and known_case(followed.queries, number).how == QUARANTINED:
                print_message(f"case {number}: its file is in quarantine; see `hashscan quarantine restore`")
        return followed.exit_code(EXIT_CLEAN)


@click.command(cls=HashscanCommand, exit_codes=(0, 2, 12, 70))
@_who_option
@format_option("table", "json", "csv", help="A table, JSON Lines, or CSV.")
@deadline_options
@state_option
def queue(who: str | None, format_name: str, deadlines: CaseSettings, state: StateDir) -> int:
    """List the cases that wait for a decision of this person: those with an overdue order first."""
    from hashscan.cases.actions import operator
    from hashscan.cases.reviews import review_queue

    now = time.time()
    require_state(state)
    with synced_ledger(state, deadlines) as followed:
        left = review_queue(followed.ledger, followed.queries, deadlines.review_by, now, who or operator())
        if format_name != "table":
            write_cases(format_name, (waiting.case for waiting in left), now)
            return followed.exit_code(EXIT_CLEAN)
        rows = [
            (
                str(case.id),
                outcome.decision or ("second" if outcome.people else "new"),
                case.verdict,
                " ".join(case.categories) or "-",
                case.assignee or "-",
                describe_due(case, now),
                case.place,
            )
            for case, outcome in islice(left, ROWS_SHOWN)
        ]
        if rows:
            print_table(("case", "review", "verdict", "category", "assignee", "due", "where"), rows)
        if more := sum(1 for _ in left):
            print_message(f"and {more} more")
        if not rows:
            print_message("no case waits for a decision")
        return followed.exit_code(EXIT_CLEAN)


@click.command(cls=HashscanCommand, exit_codes=(0, 2, 12, 70))
@cases_argument
@click.option("--to", metavar="NAME", help="The person who works on CASEs from now on.")
@click.option(
    "--note", cls=ArgumentOption, default="", metavar="TEXT", help="A note; recorded with the case."
)
@state_option
def assign(cases: tuple[int, ...], to: str | None, note: str, state: StateDir) -> int:
    """Hand CASEs over to a person with a note; without --to, record the note alone."""
    from hashscan.cases.actions import assign as record
    from hashscan.cases.actions import operator

    with synced_ledger(state) as followed:
        changed = record(followed.ledger, cases, to, note, operator(), int(time.time()))
        for number in sorted(set(cases)):
            done = "noted" if to is None else f"assigned to {to.strip()}"
            print_message(f"case {number}: {done if number in changed else 'no change'}")
        return followed.exit_code(EXIT_CLEAN)
