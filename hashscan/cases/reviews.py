"""Decisions of people on cases: confirmed, wrong or unclear, by one person or by two who agree.

A decision is about what a list, an uploader's refusal or a notice says of a file, and no picture is shown. It
never ends a case that somebody has sent a notice or an order of. A match that is finally wrong closes its
case; if that is withdrawn later, the case is open again, and its earlier decisions no longer count.
"""

from __future__ import annotations

import json
import sqlite3
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from hashscan.cases.ledger import Ledger
from hashscan.cases.queries import Case, Queries
from hashscan.cases.tracker import INFORM, CaseTracker, KnownCase
from hashscan.errors import UsageError
from hashscan.lists.exceptions import (
    add_content,
    in_force,
    made_content_exception,
    read_contents,
    remove_contents,
)
from hashscan.state_dir import StateDir
from hashscan.text import is_printable_line

EXCEPTED_FOR = timedelta(days=365)
"""Time for which the content of a wrong match is excepted, unless a person says otherwise."""
REASON_MAX = 450
"""Largest length in characters; the reason of an exception, which names the case too, may have 500."""
PERSON_MAX = 100


class Decision(StrEnum):
    """A decision about a case."""

    CONFIRMED = "confirmed"
    """The file is what the match or the notice says."""
    WRONG = "wrong"
    UNCLEAR = "unclear"


class MatchKind(NamedTuple):
    """A kind of match, of which the precision is counted."""

    list_name: str
    algorithm: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """The decisions on a case that count, together."""

    decision: Decision | None = None
    """None until enough people have decided; UNCLEAR if they disagree."""
    people: tuple[str, ...] = ()
    """People who have decided, the latest decision last."""
    at: int = 0
    """Time of the last decision, in seconds since 1970."""
    kinds: frozenset[MatchKind] = frozenset()
    """The kinds of match at that time; empty for the file of a mere notice."""

    @property
    def final(self) -> bool:
        """True if no other decision is needed."""
        return self.decision in {Decision.CONFIRMED, Decision.WRONG}


@dataclass(frozen=True, slots=True)
class Precision:
    """Numbers of reviewed cases of one kind of match, or of all."""

    confirmed: int
    wrong: int
    unclear: int

    @property
    def share(self) -> float | None:
        """The share of confirmed ones of those that are clear; None if there are none."""
        clear = self.confirmed + self.wrong
        return self.confirmed / clear if clear else None


class Recorded(NamedTuple):
    """Changes by a decision."""

    before: Outcome
    after: Outcome
    sha256: bytes | None
    """The content of the file as a scan read it; None if it is not known, a notice may have named it, or
    another case of it is confirmed."""
    closed: bool
    reopened: bool


_REVIEWS = (
    "SELECT id, decision, reviews.who, kinds, at FROM reviews JOIN events USING (id) "
    "WHERE number=event AND event>(SELECT coalesce(max(number), 0) FROM events AS later "
    "WHERE later.id=reviews.id AND later.kind='reopened')"
)


def outcomes(ledger: Ledger, review_by: int) -> dict[int, Outcome]:
    """Return the outcomes of all cases on which somebody has decided, by their numbers.

    Args:
        review_by: number of people who must agree, 1 or 2.

    Raises:
        LedgerError: the ledger can't be read.
    """
    return _joined(ledger.rows(f"{_REVIEWS} ORDER BY event"), review_by)


def outcome_of(ledger: Ledger, number: int, review_by: int) -> Outcome:
    """Return the outcome of one case; arguments and errors as `outcomes`."""
    found = _joined(ledger.rows(f"{_REVIEWS} AND id=? ORDER BY event", number), review_by)
    return found.get(number, Outcome())


def precision(found: Iterable[Outcome]) -> Precision:
    """Return the numbers of cases with each outcome; those that wait for somebody are not counted."""
    counts = Counter(one.decision for one in found)
    return Precision(counts[Decision.CONFIRMED], counts[Decision.WRONG], counts[Decision.UNCLEAR])


def precision_by_kind(found: Iterable[Outcome]) -> Mapping[MatchKind, Precision]:
    """Return the same for each kind of match; a file that several kinds match counts for each."""
    by_kind: dict[MatchKind, list[Outcome]] = {}
    for one in found:
        for kind in one.kinds:
            by_kind.setdefault(kind, []).append(one)
    return {kind: precision(by_kind[kind]) for kind in sorted(by_kind)}


def record_review(
    ledger: Ledger,
    number: int,
    decision: Decision,
    reason: str,
    who: str,
    now: int,
    review_by: int,
    entered_by: str = "",
    withdraw: Callable[[bytes | None, Outcome], None] | None = None,
) -> Recorded:
    """Record the decision of a person on a case; all that it changes in the ledger, or nothing.

    Args:
        who: the person.
        now: seconds since 1970.
        review_by: number of people who must agree, 1 or 2.
        entered_by: the user who ran the command, if that is somebody else.
        withdraw: ends exceptions of a content that is not, or no longer, wrong, before that is recorded.

    Raises:
        UsageError: the case doesn't exist or can't be reviewed; the reason or the name can't be used.
        LedgerError: the ledger can't be written.
    """
    reason, who = checked_line("reason", reason, REASON_MAX), checked_line("name", who, PERSON_MAX)
    with ledger.transaction() as database:
        tracker = CaseTracker(database)
        case = tracker.existing(number)
        if case.verdict == INFORM:
            raise UsageError(
                f"case {number} is an order to provide information", advice="Answer it, and close the case."
            )
        before = _outcome(database, number, review_by)
        matches = tracker.matches(number)
        kinds = sorted({MatchKind(str(match["list"]), str(match["algorithm"])) for match in matches})
        after = _tally(
            [*_rows(database, number), (number, decision.value, who, json.dumps(kinds), now)], review_by
        )
        # A notice or an order is not withdrawn by our decision.
        decides = case.noticed is None and case.removed is None
        closed = decides and case.closed is None and after.decision is Decision.WRONG
        reopened = (
            decides
            and case.closed is not None
            and not case.how
            and before.decision is Decision.WRONG
            and after.decision is not Decision.WRONG
            and _may_open(database, number)
        )
        if reopened:
            database.execute("UPDATE cases SET closed=NULL, why='' WHERE id=?", (number,))
            tracker.add_event(number, now, "reopened", "", who)
        entered = f", entered by {entered_by}" if entered_by and entered_by != who else ""
        tracker.add_event(number, now, "reviewed", f"{decision}: {reason}", who + entered)
        (event,) = database.execute("SELECT last_insert_rowid()").fetchone()
        database.execute(
            "INSERT INTO reviews VALUES (?, ?, ?, ?, ?)", (event, number, decision, who, json.dumps(kinds))
        )
        if closed:
            database.execute("UPDATE cases SET closed=?, why=? WHERE id=?", (now, reason, number))
            tracker.add_event(number, now, "closed", reason, who)
        is_wrong = matches and not _is_accused_elsewhere(database, case, review_by)
        known = case.sha256 if is_wrong and case.noticed is None else None
        outcome = _outcome(database, number, review_by)
        if withdraw is not None and outcome.decision is not Decision.WRONG:
            # Before the commit: a process that is killed here must not leave the exception in force.
            withdraw(case.sha256, outcome)
        return Recorded(before, outcome, known, closed, reopened)


class Reviewed(NamedTuple):
    """Changes by a decision, in the ledger and among the exceptions."""

    recorded: Recorded
    excepted_until: str
    """The end of the exception of the file's content; empty if there is none."""


def review_case(
    ledger: Ledger,
    state: StateDir,
    number: int,
    decision: Decision,
    reason: str,
    who: str,
    at: datetime,
    review_by: int,
    *,
    until: datetime | None = None,
    entered_by: str = "",
) -> Reviewed:
    """Record a decision, and except the content of a file that is wrongly matched, or end its exception.

    The content is excepted where a scan has read it, and no notice could have named its digest.

    Args:
        at: the time, timezone-aware.
        until: the end of the exception; None for `EXCEPTED_FOR`.

    Raises, besides those of `record_review`:
        LockedError: another process is writing the exceptions.
        OutputError: the exceptions can't be read or written.
    """

    def withdraw(sha256: bytes | None, outcome: Outcome) -> None:
        # Of a confirmed content, exceptions that other cases have made, too.
        other = sha256.hex() if sha256 is not None and outcome.decision is Decision.CONFIRMED else ""
        remove_contents(
            state, lambda one: one.case == str(number) or (bool(one.case) and one.sha256 == other)
        )

    recorded = record_review(
        ledger, number, decision, reason, who, int(at.timestamp()), review_by, entered_by, withdraw
    )
    if recorded.after.decision is not Decision.WRONG or recorded.sha256 is None:
        return Reviewed(recorded, "")
    end = at + EXCEPTED_FOR if until is None else until
    excepted = made_content_exception(
        recorded.sha256, f"case {number}: {reason.strip()}", end, who.strip(), at, str(number)
    )
    for one in read_contents(state):
        if one.sha256 == excepted.sha256 and not one.case and in_force(one, at):
            return Reviewed(recorded, one.until)  # made by a person, who may end it
    add_content(state, excepted)
    return Reviewed(recorded, excepted.until)


def end_exceptions(state: StateDir, numbers: Collection[int]) -> None:
    """End the exceptions that decisions on some cases have made.

    Raises:
        LockedError: another process is writing the exceptions.
        OutputError: the exceptions can't be read or written.
    """
    cases = set(map(str, numbers))
    remove_contents(state, lambda one: one.case in cases)


class WaitingCase(NamedTuple):
    """A case that waits for a decision."""

    case: Case
    outcome: Outcome


def review_queue(
    ledger: Ledger, queries: Queries, review_by: int, now: float, who: str = ""
) -> Iterator[WaitingCase]:
    """Yield the cases that wait for a decision: overdue orders first, then by deadline, then files in
    quarantine.

    Args:
        who: leave out cases that wait for another person than this one; empty for all.
    """
    found, person = outcomes(ledger, review_by), person_key(who)
    for case in queries.reviewable_cases(now):
        outcome = found.get(case.id, Outcome())
        if outcome.final or (review_by > 1 and who and person in map(person_key, outcome.people)):
            continue
        yield WaitingCase(case, outcome)


def _is_accused_elsewhere(database: sqlite3.Connection, case: KnownCase, review_by: int) -> bool:
    """Return True if another case of the same content has a notice, or is confirmed."""
    rows = database.execute(
        "SELECT id, noticed FROM cases WHERE sha256=? AND id<>?", (case.sha256, case.id)
    ).fetchall()
    return any(
        noticed is not None or _outcome(database, number, review_by).decision is Decision.CONFIRMED
        for number, noticed in rows
    )


def _may_open(database: sqlite3.Connection, number: int) -> bool:
    """Return True unless the file of a case has another case that is open."""
    query = (
        "SELECT 1 FROM cases JOIN cases AS other USING (path, version, host) WHERE cases.id=? "
        "AND other.id<>cases.id AND other.removed IS NULL AND other.closed IS NULL"
    )
    return database.execute(query, (number,)).fetchone() is None


def checked_line(what: str, text: str, longest: int) -> str:
    """Return a text without white space around it.

    Raises:
        UsageError: it is empty, too long, or not one printable line.
    """
    text = text.strip()
    if not text or not is_printable_line(text, longest):
        raise UsageError(
            f"the {what} can't be used",
            advice=f"Write it in one line of 1 to {longest} printable characters.",
        )
    return text


_Row = tuple[int, str, str, str, int]


def _rows(database: sqlite3.Connection, number: int) -> list[_Row]:
    return database.execute(f"{_REVIEWS} AND id=? ORDER BY event", (number,)).fetchall()


def _outcome(database: sqlite3.Connection, number: int, review_by: int) -> Outcome:
    return _tally(_rows(database, number), review_by)


def _joined(rows: Iterable[_Row], review_by: int) -> dict[int, Outcome]:
    by_case: dict[int, list[_Row]] = {}
    for row in rows:
        by_case.setdefault(row[0], []).append(row)
    return {number: _tally(found, review_by) for number, found in by_case.items()}


def _tally(rows: list[_Row], review_by: int) -> Outcome:
    """Return the outcome of the decisions on one case, in their order: the latest of each person counts."""
    if not rows:
        return Outcome()
    latest: dict[str, tuple[str, Decision]] = {}
    for _, decision, who, _, _ in rows:
        person = person_key(who)
        latest.pop(person, None)
        latest[person] = who, Decision(decision)
    kinds = frozenset(MatchKind(*kind) for kind in json.loads(rows[-1][3]))
    people = tuple(who for who, _ in latest.values())
    return Outcome(_agreed([one for _, one in latest.values()], review_by), people, rows[-1][4], kinds)


def _agreed(decisions: list[Decision], review_by: int) -> Decision | None:
    """Return what people have decided, in the order of their decisions."""
    if review_by == 1:
        return decisions[-1]
    if len(decisions) < review_by:
        return None
    (first, number), *others = Counter(decisions).most_common()
    if number < review_by or (others and others[0][1] == number):
        return Decision.UNCLEAR
    return first


def person_key(who: str) -> str:
    """Return the normalised name of a person, to compare people: that of `alice as root` is alice."""
    name = unicodedata.normalize("NFKC", who).casefold().partition(" as ")[0]
    return " ".join(name.split())
