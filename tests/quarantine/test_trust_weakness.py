from __future__ import annotations

import pytest

from hashscan.model import ACTING_CATEGORIES, CATEGORIES, USABLE_STATES, TrustState, Weak
from hashscan.quarantine.trust_weakness import (
    WEAKNESS_NAMES,
    blocking_weakness_of,
    justifies_action,
    weak_list,
)

NEEDED = {
    TrustState.LOCAL: Weak.LOCAL,
    TrustState.STALE: Weak.STALE,
    TrustState.EXCHANGE: Weak.EXCHANGE,
    TrustState.STALE_EXCHANGE: Weak.STALE_EXCHANGE,
}


@pytest.mark.parametrize("state", NEEDED)
def test_a_weak_list_acts_only_where_just_that_weakness_is_allowed(state: TrustState) -> None:
    needed = NEEDED[state]
    assert weak_list(state) is needed
    assert blocking_weakness_of(needed, "A1", set(Weak) - {needed}) is needed
    assert blocking_weakness_of(needed, "A1", {needed}) is None


def test_every_usable_state_but_that_of_a_fresh_signed_list_is_weak() -> None:
    assert {state for state in USABLE_STATES if weak_list(state) is None} == {TrustState.FRESH}
    assert set(WEAKNESS_NAMES) == set(Weak)


@pytest.mark.parametrize("category", CATEGORIES)
def test_terrorism_and_intimate_pictures_justify_no_action(category: str) -> None:
    match = {"category": category, "distance": 0, "threshold": 0, "algorithm": "sha256"}
    assert justifies_action(match) is (category in ACTING_CATEGORIES)
    assert category in ACTING_CATEGORIES or category in {"other", "known-good", "terrorism", "ncii"}
