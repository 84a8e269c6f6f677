"""Give feedback to the owners of lists, and print what became of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from hashscan.cli.output.logs import print_line, print_message
from hashscan.errors import EXIT_CLEAN, EXIT_UNREACHABLE
from hashscan.text import plural

if TYPE_CHECKING:
    from hashscan.lists.exceptions import ListedEntry
    from hashscan.model import Reporter
    from hashscan.state_dir import StateDir


def give_feedback(
    entries: Sequence[ListedEntry], state: StateDir, *, wrong: bool, reason: str, reporter: Reporter | None
) -> int:
    """Store feedback on entries, send what can be sent, and return the exit code."""
    from hashscan.lists.feedback import made_feedback, store_feedback
    from hashscan.lists.store import ListStore
    from hashscan.matching.remote.feedback import feedback_identity
    from hashscan.timefmt import format_utc

    store, now = ListStore(state.lists), format_utc(datetime.now(UTC))
    hoster = reporter.organisation if reporter else ""
    made = [
        made_feedback(
            found.list_name,
            feedback_identity(store, found.list_name),
            found.entry.id,
            wrong=wrong,
            reason=reason,
            hoster=hoster,
            since=now,
        )
        for found in entries
    ]
    for feedback in made:
        store_feedback(state, feedback)
        if not feedback.identity:
            print_message(
                f"feedback on entry {feedback.entry_id} of list {feedback.list_name} is kept; write it to a "
                f"file for the list's owner with `hashscan lists feedback --list {feedback.list_name} "
                "--output FILE`"
            )
    return send_waiting(state, {feedback.list_name for feedback in made if feedback.identity})


def send_waiting(state: StateDir, lists: Iterable[str] | None = None, *, refused: bool = False) -> int:
    """Send feedback (for all lists, if `lists` is None) that waits, print what became of it, and return the
    exit code. `refused` also sends what an owner has refused before."""
    from hashscan.matching.remote.feedback import send_feedback

    names = None if lists is None else tuple(lists)
    if names == ():
        return EXIT_CLEAN
    code = EXIT_CLEAN
    for feedback, problem, advice, dropped in send_feedback(state, names or (), refused=refused):
        what = f"feedback on entry {feedback.entry_id} of list {feedback.list_name}"
        if not problem:
            print_message(f"{what} ({feedback.opinion}) is sent")
            continue
        print_message(f"{what} is not sent{', and dropped' if dropped else ''}: {problem}")
        if advice:
            print_line(f"  {advice}")
        code = code if dropped else EXIT_UNREACHABLE
    return code


def print_waiting(state: StateDir) -> None:
    from hashscan.lists.feedback import read_feedback

    waiting = Counter(feedback.list_name for feedback in read_feedback(state))
    for name, number in waiting.items():
        entries = plural(number, "entry", "entries")
        print_message(f"list {name}: feedback on {entries} waits; see `hashscan lists feedback`")
