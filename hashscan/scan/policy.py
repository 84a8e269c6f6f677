"""From matches to a verdict: a pure function, explained in words."""

from __future__ import annotations

from collections.abc import Sequence

from hashscan.model import ACTING_CATEGORIES, ALGORITHMS, Match, Reason, Verdict

KNOWN_GOOD = "known-good"

_UNDECODED = frozenset(
    {
        Reason.TRUNCATED,
        Reason.BROKEN,
        Reason.TOO_LARGE,
        Reason.MEMORY,
        Reason.TIMEOUT,
        Reason.DECODER_DIED,
        Reason.UNSUPPORTED,
        Reason.UNCONFIRMED,
        Reason.TOO_MANY,
    }
)


def closeness(match: Match) -> tuple[int, int, str, str]:
    """Sorts matches: the closest first, and of equally close ones the algorithm that is hardest to forge."""
    return match.distance, -ALGORITHMS[match.algorithm].bits, match.list_name, match.entry_id


def judge(matches: Sequence[Match], reason: Reason | None) -> tuple[Verdict, str]:
    """The verdict for a file whose bytes were read.

    Args:
        matches: every entry within its threshold.
        reason: why the picture gave no digest, or None.

    Returns:
        The verdict, and for findings why.
    """
    good = [m for m in matches if m.category == KNOWN_GOOD and _identifies(m)]
    accusing = [m for m in matches if m.category != KNOWN_GOOD]
    acting = [m for m in accusing if m.category in ACTING_CATEGORIES and not _doubt(m)]
    if acting and good:
        return Verdict.HELD, f"{_words(acting)}; but its content is known to be good: {_words(good)}"
    if acting:
        return Verdict.MATCH, _words(acting)
    if accusing:
        doubt = _doubt(min(accusing, key=closeness)) or "the category is for review only"
        return Verdict.REVIEW, f"{_words(accusing)}; {doubt}"
    if reason in _UNDECODED:
        return Verdict.UNDECODED, ""
    return Verdict.CLEAN, ""


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
