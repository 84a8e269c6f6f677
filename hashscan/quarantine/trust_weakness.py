"""How well an accusation is backed before anything is moved on its word."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from hashscan.model import ACTING_CATEGORIES, ALGORITHMS, TEST_CATEGORY, TrustState, Weak

SILENCED = frozenset({"excepted", "doubt", "withheld"})
"""What a report says of matches that do not accuse."""

WORDS = {
    Weak.LOCAL: "a local list",
    Weak.STALE: "a list past its expiry",
    Weak.TEST: "a test entry",
}
_OF_STATE = {TrustState.LOCAL: Weak.LOCAL, TrustState.STALE: Weak.STALE}


def accuses(match: Mapping[str, Any], silenced: Collection[str] = SILENCED) -> bool:
    """Whether a match, as a report has it, accuses a file by itself.

    Args:
        match: of a finding.
        silenced: the keys that say it doesn't.
    """
    return (
        match["category"] in ACTING_CATEGORIES
        and match["distance"] <= match["threshold"]
        and match["algorithm"] in ALGORITHMS
        and not ALGORITHMS[match["algorithm"]].review_only
        and not any(key in match for key in silenced)
    )


def weak_list(state: TrustState) -> Weak | None:
    """What is weak about a list that is used; None for a fresh, signed one."""
    return _OF_STATE.get(state)


def lacking(weak: Weak | None, category: str, act_on: Collection[Weak]) -> Weak | None:
    """What keeps a match from being acted on; None where nothing does.

    Args:
        weak: what is weak about its list.
        category: of the entry.
        act_on: what the settings say may be acted on all the same.
    """
    if weak is not None and weak not in act_on:
        return weak
    return Weak.TEST if category == TEST_CATEGORY and Weak.TEST not in act_on else None


def words_of(unbacked: Mapping[Weak, int]) -> list[str]:
    """What is to be said of matches that stay for lack of this, given how many they are."""
    return [
        f"{number} {'match stays' if number == 1 else 'matches stay'}: nothing is moved on the word of "
        f"{WORDS[weak]} without --act-on {weak}"
        for weak, number in unbacked.items()
    ]
