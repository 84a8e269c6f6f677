"""Decisions of people on cases: who must agree, what counts, what they change, and that none is lost."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashscan.cases.actions import REOPENED, record_action
from hashscan.cases.deadlines import DeadlineCalculator
from hashscan.cases.ledger import Ledger
from hashscan.cases.notice_import import import_notices
from hashscan.cases.notices.notice import Notice, NoticeKind
from hashscan.cases.queries import Queries
from hashscan.cases.reviews import (
    EXCEPTED_FOR,
    Decision,
    MatchKind,
    Outcome,
    Precision,
    Recorded,
    outcome_of,
    outcomes,
    precision,
    precision_by_kind,
    record_review,
    review_case,
)
from hashscan.cases.sync import sync
from hashscan.errors import UsageError
from hashscan.lists.exceptions import add_content, made_content_exception, read_contents
from hashscan.settings.cases_and_alerts import CaseSettings
from hashscan.state_dir import StateDir
from tests.cases.world import BEGIN, World, result

CONFIRMED, WRONG, UNCLEAR = Decision.CONFIRMED, Decision.WRONG, Decision.UNCLEAR
PICTURE = result(b"picture")


@pytest.fixture
def found(tmp_path: Path) -> Iterator[Ledger]:
    """A ledger whose case 1 is a match of the list `national`."""
    with World(tmp_path / "state") as world, Ledger(StateDir(world.state)) as ledger:
        world.scan({b"/srv/a": PICTURE})
        sync(ledger, StateDir(world.state))
        yield ledger


def decide(ledger: Ledger, decision: Decision, who: str = "ada", by: int = 1, case: int = 1) -> Recorded:
    return record_review(ledger, case, decision, "seen", who, BEGIN, by)


def state_of(ledger: Ledger) -> str:
    case = Queries(ledger, DeadlineCalculator(CaseSettings())).case(1)
    assert case is not None
    return case.state


def test_a_wrong_match_closes_its_case_until_that_is_taken_back(found: Ledger) -> None:
    recorded = decide(found, WRONG)
    assert recorded.closed
    assert recorded.sha256 == PICTURE.digests[0].value
    assert state_of(found) == "closed"
    assert decide(found, CONFIRMED).reopened
    assert state_of(found) == "found"
    assert outcome_of(found, 1, 1).decision is CONFIRMED


def test_a_notice_is_not_withdrawn_by_a_decision_and_its_digest_is_not_taken(tmp_path: Path) -> None:
    notice = Notice("R", "x", "https://x.example/1", digests=(("sha256", "ab" * 32),))
    inform = Notice("I", "x", "https://x.example/2", kind=NoticeKind.INFORM)
    with Ledger(StateDir(tmp_path)) as ledger:
        import_notices(ledger, iter([notice, inform]), lambda _: (), BEGIN)
        recorded = decide(ledger, WRONG)
        assert (recorded.closed, recorded.sha256) == (False, None)
        assert recorded.after.final
        assert state_of(ledger) == "never_seen"
        with pytest.raises(UsageError):
            decide(ledger, WRONG, case=2)


def test_two_people_must_agree_and_a_third_decides(found: Ledger) -> None:
    assert decide(found, WRONG, "ada", 2).after.decision is None
    # Neither case, width, nor the account that ran the command make another person.
    for same in ("Ada", " ada ", "ADA as root", "\uff41da"):
        assert decide(found, WRONG, same, 2).after.decision is None
    assert decide(found, CONFIRMED, "bob", 2).after == Outcome(
        UNCLEAR, ("\uff41da", "bob"), BEGIN, frozenset({MatchKind("national", "md5")})
    )
    assert state_of(found) == "found"
    assert decide(found, WRONG, "eve", 2).closed
    # Two against one stays; the first two then change their minds.
    assert decide(found, CONFIRMED, "bob", 2).after.decision is WRONG
    assert decide(found, UNCLEAR, "ada", 2).reopened
    assert outcome_of(found, 1, 2).people == ("ada",)


def test_precision_counts_what_matched_when_it_was_reviewed(found: Ledger, tmp_path: Path) -> None:
    decide(found, CONFIRMED)
    with found.transaction() as database:
        database.execute("DELETE FROM matches")
    counted = precision_by_kind(outcomes(found, 1).values())
    assert counted == {MatchKind("national", "md5"): Precision(1, 0, 0)}
    assert precision([Outcome(CONFIRMED), Outcome(CONFIRMED), Outcome(WRONG), Outcome()]).share == 2 / 3
    assert precision([]).share is None


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE reviews SET who='x'",
        "DELETE FROM reviews",
        "REPLACE INTO reviews SELECT event, id, 'wrong', who, kinds FROM reviews",
    ],
)
def test_decisions_are_never_changed(found: Ledger, change: str) -> None:
    decide(found, CONFIRMED)
    with closing(sqlite3.connect(found.path)) as database, pytest.raises(sqlite3.IntegrityError):
        database.execute(change)


@pytest.mark.parametrize("reason", ["", " ", "a\nb", "\u202ea", "x" * 451])
def test_a_reason_that_no_page_could_show_is_refused(found: Ledger, reason: str) -> None:
    with pytest.raises(UsageError):
        record_review(found, 1, CONFIRMED, reason, "ada", BEGIN, 1)
    assert outcomes(found, 1) == {}


_STEPS = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(Decision)), min_size=1, max_size=6)


@settings(max_examples=25, deadline=None)
@given(_STEPS, st.sampled_from([1, 2]))
def test_a_case_is_closed_exactly_while_it_is_decided_wrong(
    steps: list[tuple[str, Decision]], by: int
) -> None:
    with tempfile.TemporaryDirectory() as folder, World(Path(folder, "state")) as world:
        world.scan({b"/srv/a": PICTURE})
        with Ledger(StateDir(world.state)) as ledger:
            sync(ledger, StateDir(world.state))
            for who, decision in steps:
                recorded = decide(ledger, decision, who, by)
                assert recorded.after == outcome_of(ledger, 1, by)
                assert (state_of(ledger) == "closed") == (recorded.after.decision is WRONG)
                if by == 1:
                    assert recorded.after.decision is decision
                # Never by one person alone, and each is asked once.
                elif recorded.after.decision is not None:
                    assert len({*recorded.after.people}) == len(recorded.after.people) >= 2
            assert len(list(ledger.rows("SELECT 1 FROM reviews"))) == len(steps)


def test_an_exception_ends_with_the_decisions_that_made_it(tmp_path: Path) -> None:
    state, at = StateDir(tmp_path / "state"), datetime.fromtimestamp(BEGIN, UTC)
    with World(Path(state)) as world, Ledger(state) as ledger:
        world.scan({b"/srv/a": PICTURE, b"/srv/b": PICTURE})
        sync(ledger, state)

        def decided(number: int, decision: Decision) -> list[str]:
            review_case(ledger, state, number, decision, "seen", "ada", at, 1)
            return [content.case for content in read_contents(state)]

        assert decided(1, WRONG) == ["1"]
        # Of two files with one content, one is not confirmed while the other is withheld.
        assert decided(2, CONFIRMED) == []
        assert decided(1, WRONG) == []
        assert decided(2, UNCLEAR) == []
        assert decided(1, WRONG) == ["1"]
        record_action(ledger, [1], REOPENED, "look again", "ada", BEGIN)
        assert decided(1, UNCLEAR) == []
        # One that a person has made stays.
        manual = made_content_exception(PICTURE.digests[0].value, "x", at + EXCEPTED_FOR, "ada", at)
        add_content(state, manual)
        for decision in Decision:
            assert decided(1, decision) == [""]
        assert read_contents(state) == (manual,)


def test_a_content_that_a_notice_names_elsewhere_is_not_excepted(tmp_path: Path) -> None:
    state, at = StateDir(tmp_path / "state"), datetime.fromtimestamp(BEGIN, UTC)
    with World(Path(state)) as world, Ledger(state) as ledger:
        world.scan({b"/srv/a": PICTURE, b"/srv/b": PICTURE})
        sync(ledger, state)
        import_notices(ledger, iter([Notice("R", "x", path=b"/srv/b")]), lambda _: (), BEGIN)
        reviewed = review_case(ledger, state, 1, WRONG, "seen", "ada", at, 1)
        assert (reviewed.recorded.closed, reviewed.excepted_until) == (True, "")
        assert read_contents(state) == ()
