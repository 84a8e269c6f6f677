"""Decide how well a match is supported (signed, fresh list; no test entry) before a file is moved for it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from hashscan.model import ACTING_CATEGORIES, ALGORITHMS, TEST_CATEGORY, TrustState, Weak

NOT_ACTED_ON = frozenset({"excepted", "doubt", "withheld"})
"""Keys that a report sets on matches that do not justify an action."""

WEAKNESS_NAMES = {
    Weak.LOCAL: "a local list",
    Weak.STALE: "a list past its expiry",
    Weak.EXCHANGE: "a list of an exchange",
    Weak.STALE_EXCHANGE: "a list of an exchange that was not pulled in time",
    Weak.SERVICE: "a matching service's answer",
    Weak.TEST: "a test entry",
    Weak.STAY_DOWN: "likeness to a file of another owner that stays down",
}
_OF_STATE = {
    TrustState.LOCAL: Weak.LOCAL,
    TrustState.STALE: Weak.STALE,
    TrustState.EXCHANGE: Weak.EXCHANGE,
    TrustState.STALE_EXCHANGE: Weak.STALE_EXCHANGE,
    TrustState.SERVICE: Weak.SERVICE,
}


def justifies_action(match: Mapping[str, Any], silenced: Collection[str] = NOT_ACTED_ON) -> bool:
    """Return True if a match in a report justifies an action by itself.

    Args:
        silenced: the keys that mark a match as not acted on.
    """
    return (
        match["category"] in ACTING_CATEGORIES
        and match["distance"] <= match["threshold"]
        and match["algorithm"] in ALGORITHMS
        and not ALGORITHMS[match["algorithm"]].review_only
        and not any(key in match for key in silenced)
    )


def weak_list(state: TrustState) -> Weak | None:
    """Return the weakness of a usable list; None for a fresh, signed list."""
    return _OF_STATE.get(state)


def blocking_weakness_of(weak: Weak | None, category: str, act_on: Collection[Weak]) -> Weak | None:
    """Return the weakness that keeps a match from being acted on; None if there is none.

    Args:
        weak: the weakness of its list.
        act_on: the weaknesses that the settings allow.
    """
    if weak is not None and weak not in act_on:
        return weak
    return Weak.TEST if category == TEST_CATEGORY and Weak.TEST not in act_on else None


def weakness_messages(unbacked: Mapping[Weak, int]) -> list[str]:
    """Return a message per weakness for matches that are not moved because of it, from their counts."""
    return [
        f"{number} {'match stays' if number == 1 else 'matches stay'}: {WEAKNESS_NAMES[weak]} is not enough "
        f"to move a file without --act-on {weak}"
        for weak, number in unbacked.items()
    ]
