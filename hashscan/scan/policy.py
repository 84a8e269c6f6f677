"""From matches to a verdict: a pure function, explained in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from hashscan.model import (
    ACTING_CATEGORIES,
    ALGORITHMS,
    KNOWN_GOOD_CATEGORY,
    TEST_CATEGORY,
    Action,
    Match,
    Reason,
    Verdict,
)


class Judgement(NamedTuple):
    """What policy says of one file."""

    verdict: Verdict
    because: str = ""
    """For findings: why."""
    action: Action | None = None
    """For findings: what is to be done."""


def closeness(match: Match) -> tuple[bool, int, bool, int, str, str]:
    """Sorts matches: the closest first, and of equally close ones the algorithm that is hardest to forge.

    Excepted ones come last: of very many only the first are reported, and these must explain the verdict.
    """
    return (
        match.excepted is not None,
        match.distance,
        ALGORITHMS[match.algorithm].of_picture,
        -ALGORITHMS[match.algorithm].bits,
        match.list_name,
        match.entry_id,
    )


def judge(matches: Sequence[Match], reason: Reason | None) -> Judgement:
    """The verdict for a file whose bytes were read.

    Args:
        matches: every entry within its threshold.
        reason: why it was not looked at in full, or None.

    """
    good = [m for m in matches if m.category == KNOWN_GOOD_CATEGORY and _identifies(m)]
    accusing = [m for m in matches if m.category != KNOWN_GOOD_CATEGORY]
    acting = [m for m in accusing if m.category in ACTING_CATEGORIES and not _doubt(m)]
    standing = [m for m in acting if m.excepted is None]
    if acting and good:
        but = f"but its content is known to be good: {_words(good)}"
        return Judgement(Verdict.HELD, f"{_words(acting)}; {but}", Action.HELD)
    if standing:
        return Judgement(Verdict.MATCH, _words(standing), Action.REPORT)
    if acting:
        return Judgement(Verdict.HELD, f"{_words(acting)}; but {_withheld(acting)}", Action.HELD)
    if accusing:
        doubt = _doubt(min(accusing, key=closeness)) or "the category is for review only"
        # Nothing is ever done on its word, so an exception has nothing to withhold: it is said, and no more.
        said = "" if any(m.excepted is None for m in accusing) else f"; {_withheld(accusing)}"
        return Judgement(Verdict.REVIEW, f"{_words(accusing)}; {doubt}{said}", Action.REVIEW)
    return Judgement(Verdict.CLEAN if reason is None else Verdict.UNDECODED)


def only_test(matches: Sequence[Match]) -> bool:
    """Whether whatever accuses a file is there for tests; what is known to be good accuses nothing."""
    return {m.category for m in matches} - {KNOWN_GOOD_CATEGORY} == {TEST_CATEGORY}


def _doubt(match: Match) -> str:
    """Why an entry accuses nobody by itself, whatever its category; empty where it may."""
    if ALGORITHMS[match.algorithm].review_only:
        return "the algorithm is too weak to accuse by itself"
    if match.near_miss:
        return "a near miss, for a look only"
    return f"likeness says little of such a picture: {match.doubt}" if match.doubt else ""


def _identifies(match: Match) -> bool:
    """Likeness never clears a file: only the digest that identifies content does."""
    return match.algorithm == "sha256"


def _withheld(matches: Sequence[Match]) -> str:
    """Why and until when the closest of some matches, which are all of excepted entries, is withheld."""
    excepted = min(matches, key=closeness).excepted
    assert excepted is not None
    which = "the entry is" if len(matches) == 1 else "all these entries are"
    return f"{which} excepted here until {excepted.until}: {excepted.reason}"


def _words(matches: Sequence[Match]) -> str:
    """The closest match in words, and how many more there are."""
    first = min(matches, key=closeness)
    likeness = "equal" if first.threshold == 0 else f"{first.distance} of {first.threshold} bits apart"
    if first.variant != "as stored":
        likeness += f", {first.variant}"
    more = f" and {len(matches) - 1} more" if len(matches) > 1 else ""
    return (
        f"{first.algorithm} {likeness}: entry {first.entry_id} ({first.category}) "
        f"of list {first.list_name}{more}"
    )
