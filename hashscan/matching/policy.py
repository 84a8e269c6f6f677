"""Judge matches: a pure function from matches to a verdict with a reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from hashscan.matching.policy_rules import NO_SUBJECT, Subject, select_rule, words_of
from hashscan.matching.restored_content import RestoredContent
from hashscan.model import (
    ACTING_CATEGORIES,
    ALGORITHMS,
    KNOWN_GOOD_CATEGORY,
    TEST_CATEGORY,
    Action,
    Match,
    PolicyRule,
    Reason,
    Verdict,
    Weak,
)
from hashscan.quarantine.trust_weakness import WEAKNESS_NAMES, blocking_weakness_of

_STRONGEST_FIRST = (Action.QUARANTINE, Action.REPORT, Action.HELD, Action.REVIEW)
_VERDICTS = {
    Action.QUARANTINE: Verdict.MATCH,
    Action.REPORT: Verdict.MATCH,
    Action.HELD: Verdict.HELD,
    Action.REVIEW: Verdict.REVIEW,
}


@dataclass(frozen=True, slots=True)
class Policy:
    """The decisions of an administrator; by default a match is only reported."""

    rules: tuple[PolicyRule, ...] = ()
    """The first rule that fits a match decides about it; where none does, it is reported."""
    act_on: tuple[Weak, ...] = ()
    """Kinds of weak lists and entries that may still cause a move, besides fresh, signed lists."""
    weak_lists: Mapping[str, Weak] = field(default_factory=dict)
    """Lists in use that are not fresh and signed, by name."""
    put_back: Mapping[bytes, RestoredContent] = field(default_factory=dict)
    """Contents that were restored from quarantine, by their sha256."""


ONLY_REPORT = Policy()


class Judgement(NamedTuple):
    """The result of the policy for one file."""

    verdict: Verdict
    because: str = ""
    """The reason, for findings."""
    action: Action | None = None
    """The action to be taken, for findings."""


def sort_key(match: Match) -> tuple[bool, int, bool, int, str, str]:
    """Return a sort key: the closest match first, then the algorithm that is hardest to forge.

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


def judge(
    matches: Sequence[Match],
    reason: Reason | None,
    subject: Subject = NO_SUBJECT,
    policy: Policy = ONLY_REPORT,
) -> Judgement:
    """Return the verdict for a file whose bytes were read.

    Each entry is judged separately, and the strongest action decides: a withheld entry does not affect
    another one.

    Args:
        matches: every entry within its threshold.
        reason: why the file was not checked in full, or None.
        subject: the file.
        policy: of the scan.
    """
    good = [m for m in matches if m.category == KNOWN_GOOD_CATEGORY and _identifies(m)]
    accusing = [m for m in matches if m.category != KNOWN_GOOD_CATEGORY]
    acting = [m for m in accusing if m.category in ACTING_CATEGORIES and not _doubt(m)]
    if acting and good:
        but = f"but its content is known to be good: {_words(good)}"
        return Judgement(Verdict.HELD, f"{_words(acting)}; {but}", Action.HELD)
    if acting:
        return _strongest(acting, subject, policy)
    if accusing:
        doubt = _doubt(min(accusing, key=sort_key)) or "the category is for review only"
        # No action ever follows from it, so an exception has nothing to withhold: it is only mentioned.
        said = "" if any(m.excepted is None for m in accusing) else f"; {_withheld(accusing)}"
        return Judgement(Verdict.REVIEW, f"{_words(accusing)}; {doubt}{said}", Action.REVIEW)
    return Judgement(Verdict.CLEAN if reason is None else Verdict.UNDECODED)


def _strongest(matches: Sequence[Match], subject: Subject, policy: Policy) -> Judgement:
    """Return the judgement on matches each of which could be acted on."""
    weighed = [(match, *_weigh(match, subject, policy)) for match in matches]
    action = min((action for _, action, _ in weighed), key=_STRONGEST_FIRST.index)
    decided = {match: why for match, weight, why in weighed if weight is action}
    first = min(decided, key=sort_key)
    why = decided[first] if first.excepted is None else f"but {_withheld(list(decided))}"
    words = _words(list(decided)) + (f"; {why}" if why else "")
    return Judgement(_VERDICTS[action], words, action)


def explained(matches: Sequence[Match], subject: Subject, policy: Policy) -> list[Match]:
    """Return the matches of a finding, each with the reason why it is withheld, if it is; those last.

    Of very many only the first are reported, and these must explain the verdict.
    """
    if not policy.rules and not policy.put_back:
        return list(matches)
    results = [_explained(match, subject, policy) for match in matches]
    return sorted(results, key=lambda match: (match.excepted is not None, bool(match.withheld)))


def _explained(match: Match, subject: Subject, policy: Policy) -> Match:
    if match.category not in ACTING_CATEGORIES or match.excepted is not None or _doubt(match):
        return match
    action, why = _weigh(match, subject, policy)
    return replace(match, withheld=why) if action in {Action.HELD, Action.REVIEW} else match


def _weigh(match: Match, subject: Subject, policy: Policy) -> tuple[Action, str]:
    """Return the action for one match, and the reason, where there is more to say than that it matches."""
    if match.excepted is not None:
        return Action.HELD, ""
    put_back = policy.put_back.get(subject.sha256) if subject.sha256 is not None else None
    if put_back is not None and put_back.covers(match):
        return Action.HELD, f"but its content was put back on {put_back.day} by {put_back.by}"
    if not policy.rules:
        return Action.REPORT, ""
    rule, unasked = select_rule(policy.rules, match, subject)
    said = [*unasked, "no rule fits" if rule is None else words_of(rule)]
    action = Action.REPORT if rule is None else rule.action
    if action is Action.QUARANTINE:
        weak = blocking_weakness_of(policy.weak_lists.get(match.list_name), match.category, policy.act_on)
        if weak is not None:
            action = Action.REPORT
            said.append(f"but nothing is moved on the word of {WEAKNESS_NAMES[weak]}")
    return action, "; ".join(said)


def only_test(matches: Sequence[Match]) -> bool:
    """Return True if only test entries accuse a file; known-good entries accuse nothing."""
    return {m.category for m in matches} - {KNOWN_GOOD_CATEGORY} == {TEST_CATEGORY}


def _doubt(match: Match) -> str:
    """Return why a match can't accuse by itself, whatever its category; empty where it can."""
    if ALGORITHMS[match.algorithm].review_only:
        return "the algorithm is too weak to accuse by itself"
    if match.near_miss:
        return "a near miss, for a look only"
    return f"likeness says little of such a picture: {match.doubt}" if match.doubt else ""


def _identifies(match: Match) -> bool:
    """Return True if a match identifies the content.

    Similarity never clears a file: only the digest that identifies content does.
    """
    return match.algorithm == "sha256"


def _withheld(matches: Sequence[Match]) -> str:
    """Return why and until when the closest of some matches, all of excepted entries, is withheld."""
    excepted = min(matches, key=sort_key).excepted
    assert excepted is not None
    which = "the entry is" if len(matches) == 1 else "all these entries are"
    return f"{which} excepted here until {excepted.until}: {excepted.reason}"


def _words(matches: Sequence[Match]) -> str:
    """Return the closest match as text, with the number of further ones."""
    first = min(matches, key=sort_key)
    likeness = "equal" if first.threshold == 0 else f"{first.distance} of {first.threshold} bits apart"
    if first.variant != "as stored":
        likeness += f", {first.variant}"
    more = f" and {len(matches) - 1} more" if len(matches) > 1 else ""
    return (
        f"{first.algorithm} {likeness}: entry {first.entry_id} ({first.category}) "
        f"of list {first.list_name}{more}"
    )
