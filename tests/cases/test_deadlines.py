from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hashscan.cases.deadlines import DeadlineCalculator
from hashscan.settings.cases_and_alerts import CaseSettings

DEADLINES = DeadlineCalculator(
    CaseSettings(deadline=100.0, deadlines={"A1": 10.0, "B2": 1000.0}, review_deadline=500.0)
)


def test_each_verdict_has_its_own_time() -> None:
    assert DEADLINES.due("match", "", 0, None, None) == 100
    assert DEADLINES.due("match", "A1", 0, None, None) == 10
    assert DEADLINES.due("match", "B2", 0, None, None) == 1000
    assert DEADLINES.due("match", "A1 B2 baseline", 0, None, None) == 10
    assert DEADLINES.due("match", "B2 baseline", 0, None, None) == 100
    assert DEADLINES.due("review", "A1", 0, None, None) == 500
    assert DEADLINES.due("held", "A1", 0, None, None) is None


def test_a_notice_sets_a_deadline_whatever_scans_say() -> None:
    assert DEADLINES.due("held", "A1", 0, 70, None) == 80
    assert DEADLINES.due("review", "", 0, 70, None) == 170
    assert DEADLINES.due("notice", "", 70, 70, None) == 170


def test_what_a_notice_states_only_shortens_it() -> None:
    assert DEADLINES.due("match", "A1", 0, 5, 7) == 7
    assert DEADLINES.due("match", "A1", 0, 5, 70) == 10


@given(
    st.sampled_from(("match", "held", "review", "notice")),
    st.lists(st.sampled_from(("A1", "B2", "other", "strange"))),
    st.integers(0, 10**10),
    st.none() | st.integers(0, 10**10),
    st.none() | st.integers(0, 10**10),
)
def test_nothing_that_is_added_gives_more_time(
    verdict: str, categories: list[str], found: int, noticed: int | None, stated: int | None
) -> None:
    due = DEADLINES.due(verdict, " ".join(categories), found, noticed, stated)
    for fewer in (
        DEADLINES.due(verdict, " ".join(categories), found, None, stated),
        DEADLINES.due(verdict, " ".join(categories), found, noticed, None),
    ):
        assert fewer is None or (due is not None and due <= fewer)
