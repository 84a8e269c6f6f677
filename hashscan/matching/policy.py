"""Judge the matches of a file by policy rules and by restored content: its verdict, with the reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from msgspec import structs

from hashscan.model import (
    ACTING_CATEGORIES,
    ALGORITHMS,
    DOUBT_TEXTS,
    KNOWN_GOOD_CATEGORY,
    STAY_DOWN_LIST,
    TEST_CATEGORY,
    Action,
    Doubt,
    ExceptedContent,
    ExceptedEntry,
    FileStat,
    Match,
    PolicyRule,
    Reason,
    Verdict,
    Weak,
)
from hashscan.quarantine.restored import RestoredContent
from hashscan.quarantine.trust_weakness import WEAKNESS_NAMES, blocking_weakness_of
from hashscan.sources.patterns import Patterns
from hashscan.text import shortened


class Subject(NamedTuple):
    """The attributes of a judged file, besides its matches; None where one is not known."""

    path: bytes | None = None
    owner: int | None = None
    """Number of the user; an object has none."""
    sha256: bytes | None = None


NO_SUBJECT = Subject()


def subject_of(path: bytes, stat: FileStat) -> Subject:
    """Return the attributes of a file with its owner, or of an object."""
    return Subject(path, None if stat.of_object else stat.uid)


def select_rule(
    rules: Sequence[PolicyRule], match: Match, subject: Subject
) -> tuple[PolicyRule | None, list[str]]:
    """Return the first rule that fits, if there is one; and a text for each earlier rule that could not be
    applied, since an attribute of the file is not known."""
    unasked: list[str] = []
    for rule in rules:
        if not _is_for(rule, match) or _asks_owner(rule, subject) is False:
            continue
        conditions = {"path": _asks_path(rule, subject), "owner": _asks_owner(rule, subject)}
        if all(conditions.values()):
            return rule, unasked
        if False not in conditions.values():
            unknown = " and ".join(key for key, answer in conditions.items() if answer is None)
            unasked.append(f"rule {rule.number} asks for its {unknown}, which is not known")
    return None, unasked


def rule_text(rule: PolicyRule) -> str:
    """Return a rule as text: its number, action and reason."""
    return f"rule {rule.number}: {rule.action}" + (f" ({rule.reason})" if rule.reason else "")


def _is_for(rule: PolicyRule, match: Match) -> bool:
    return (
        (not rule.categories or match.category in rule.categories)
        and (not rule.algorithms or match.algorithm in rule.algorithms)
        and (not rule.lists or match.list_name in rule.lists)
        and (rule.distance is None or match.distance <= rule.distance)
    )


def _asks_path(rule: PolicyRule, subject: Subject) -> bool | None:
    """Return True if the path fits; None where it is not known."""
    if not rule.paths:
        return True
    return None if subject.path is None else covers(rule.paths, subject.path)


def _asks_owner(rule: PolicyRule, subject: Subject) -> bool | None:
    """Return True if the owner fits; None where it is not known."""
    if not rule.owners:
        return True
    return None if subject.owner is None else subject.owner in rule.owners


def covers(patterns: tuple[str, ...], path: bytes) -> bool:
    """Return True if patterns name a file, or a folder it is in.

    Args:
        patterns: in the syntax of `sources.patterns`, over the whole path; for objects over the URL.
    """
    scheme, separator, rest = path.partition(b"://")
    of_object = bool(separator) and b"/" not in scheme
    compiled = _compiled(patterns, scheme.decode("ascii", "replace") if of_object else "")
    place = compiled.start
    *folders, name = (rest if of_object else path.removeprefix(b"/")).split(b"/")
    for folder in folders:
        if compiled.excludes(place, folder, is_folder=True):
            return True
        place = compiled.descend(place, folder)
    return compiled.excludes(place, name, is_folder=False)


@lru_cache(1024)
def _compiled(patterns: tuple[str, ...], scheme: str) -> Patterns:
    """Compile those patterns that can name a file, or an object beneath a scheme."""
    return Patterns.compile(tuple(patterns_for(patterns, scheme)))


def patterns_for(patterns: Sequence[str], scheme: str) -> Iterator[str]:
    """Yield the patterns for the paths beneath a scheme, without it; the empty scheme is that of files."""
    for pattern in patterns:
        before, separator, rest = pattern.partition("://")
        if not separator or "/" in before:
            # A pattern that begins with a slash is a path, which no URL has.
            if not (scheme and pattern.startswith("/")):
                yield pattern
        elif before == scheme:
            yield f"/{rest}"


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
    contents: Mapping[bytes, ExceptedContent] = field(default_factory=dict)
    """Contents for which the matches of all entries are withheld, by their sha256."""
    stay_down: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Owners of the removed files, by the stem of the entries' ids in the list `stay-down`."""


ONLY_REPORT = Policy()


class Judgement(NamedTuple):
    """The result of the policy for one file."""

    verdict: Verdict
    because: str = ""
    action: Action | None = None


def accusing(matches: Sequence[Match]) -> list[Match]:
    """Return the matches of a digest that are named to a client, without those that this server withholds."""
    if any(match.category == KNOWN_GOOD_CATEGORY and not match.near_miss for match in matches):
        return []
    return [m for m in matches if not (m.excepted or m.withheld or m.near_miss)]


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
    """
    matches = _with_excepted_content(matches, subject, policy)
    good = [m for m in matches if m.category == KNOWN_GOOD_CATEGORY and _identifies(m)]
    accusing = [m for m in matches if m.category != KNOWN_GOOD_CATEGORY]
    acting = [m for m in accusing if m.category in ACTING_CATEGORIES and _doubt(m) is None]
    if acting and good:
        but = f"but its content is known to be good: {_described(good)}"
        return Judgement(Verdict.HELD, f"{_described(acting)}; {but}", Action.HELD)
    if acting:
        return _strongest(acting, subject, policy)
    if accusing:
        doubt = _doubt(min(accusing, key=sort_key))
        if doubt is None:
            doubt = "the category is for review only"
        # No action ever follows from it, so an exception has nothing to withhold: it is only mentioned.
        said = "" if any(m.excepted is None for m in accusing) else f"; {_withheld(accusing)}"
        return Judgement(Verdict.REVIEW, f"{_described(accusing)}; {doubt}{said}", Action.REVIEW)
    return Judgement(Verdict.CLEAN if reason is None else Verdict.UNDECODED)


def _strongest(matches: Sequence[Match], subject: Subject, policy: Policy) -> Judgement:
    """Return the judgement on matches each of which could be acted on."""
    weighed = [(match, *_weigh(match, subject, policy)) for match in matches]
    action = min((action for _, action, _ in weighed), key=_STRONGEST_FIRST.index)
    decided = {match: why for match, weight, why in weighed if weight is action}
    first = min(decided, key=sort_key)
    why = decided[first] if first.excepted is None else f"but {_withheld(list(decided))}"
    because = _described(list(decided)) + (f"; {why}" if why else "")
    return Judgement(_VERDICTS[action], because, action)


def explained(matches: Sequence[Match], subject: Subject, policy: Policy) -> list[Match]:
    """Return the matches of a finding, each with the reason why it is withheld, if it is; those last.

    Of very many only the first are reported, and these must explain the verdict.
    """
    if not (policy.rules or policy.put_back or policy.contents or policy.stay_down):
        return list(matches)
    matches = _with_excepted_content(matches, subject, policy)
    results = [_explained(match, subject, policy) for match in matches]
    return sorted(results, key=lambda match: (match.excepted is not None, bool(match.withheld)))


def matches_of_member(matches: Sequence[Match], sha256: bytes | None, policy: Policy) -> list[Match]:
    """Return those matches of a container's member (of this sha256) that count for the container. Known-good
    content clears itself alone, or a member would clear what lies beside it; what accuses the same member is
    for review. The same holds for excepted content."""
    accusing = [match for match in matches if match.category != KNOWN_GOOD_CATEGORY]
    if any(match.category == KNOWN_GOOD_CATEGORY and _identifies(match) for match in matches):
        return [structs.replace(match, doubt=Doubt.KNOWN_GOOD) for match in accusing]
    return list(_with_excepted_content(accusing, NO_SUBJECT._replace(sha256=sha256), policy))


def _with_excepted_content(matches: Sequence[Match], subject: Subject, policy: Policy) -> Sequence[Match]:
    """Return the matches; if the content is excepted, each that accuses as if its entry were excepted."""
    content = policy.contents.get(subject.sha256) if subject.sha256 is not None else None
    if content is None:
        return matches
    return [
        match
        if match.excepted is not None or match.category == KNOWN_GOOD_CATEGORY
        else structs.replace(match, excepted=_of_content(content, match))
        for match in matches
    ]


def _of_content(content: ExceptedContent, match: Match) -> ExceptedEntry:
    return ExceptedEntry(
        match.list_name,
        match.entry_id,
        match.algorithm,
        match.category,
        "",
        content.reason,
        content.until,
        content.by,
        content.since,
        content.sha256,
    )


def _explained(match: Match, subject: Subject, policy: Policy) -> Match:
    if match.category not in ACTING_CATEGORIES or match.excepted is not None or _doubt(match) is not None:
        return match
    action, why = _weigh(match, subject, policy)
    return structs.replace(match, withheld=why) if action in {Action.HELD, Action.REVIEW} else match


def _weigh(match: Match, subject: Subject, policy: Policy) -> tuple[Action, str]:
    """Return the action for one match, and the reason, where there is more to say than that it matches."""
    if match.excepted is not None:
        return Action.HELD, ""
    put_back = policy.put_back.get(subject.sha256) if subject.sha256 is not None else None
    if put_back is not None and put_back.covers(match.list_name, match.entry_id):
        return Action.HELD, f"but its content was put back on {put_back.day} by {put_back.by}"
    if match.list_name == STAY_DOWN_LIST:
        doubt = _stay_down_doubt(match, subject, policy)
        if doubt is not None:
            return Action.REVIEW, doubt
    if not policy.rules:
        return Action.REPORT, ""
    rule, unasked = select_rule(policy.rules, match, subject)
    said = [*unasked, "no rule fits" if rule is None else rule_text(rule)]
    action = Action.REPORT if rule is None else rule.action
    if action is Action.QUARANTINE:
        weak = blocking_weakness_of(policy.weak_lists.get(match.list_name), match.category, policy.act_on)
        if weak is not None:
            action = Action.REPORT
            said.append(f"but {WEAKNESS_NAMES[weak]} is not enough to move a file")
    return action, "; ".join(said)


_FORGEABLE = frozenset({"md5", "sha1"})
"""Algorithms for which the customer of a removed file can have made another file with the same digest, so
that another owner is accused. Real copies have the same sha256, which is known of every content."""


def _stay_down_doubt(match: Match, subject: Subject, policy: Policy) -> str | None:
    """Return why a match with content that stays down is for review only; None if it is not."""
    owners = policy.stay_down.get(match.entry_id.partition(":")[0])
    if owners is None:
        return "but there is no record, or no more, that this content stays down"
    if match.algorithm in _FORGEABLE:
        return f"but only the {match.algorithm} is that of the removed file, and others can be made with it"
    if not ALGORITHMS[match.algorithm].of_picture or Weak.STAY_DOWN in policy.act_on:
        return None
    if subject.owner is not None:
        is_same = str(subject.owner) in owners
    else:
        path = subject.path or b""
        is_same = any("://" in owner and path.startswith(owner.encode() + b"/") for owner in owners)
    return None if is_same else "but the file that was removed had another owner"


def only_test(matches: Sequence[Match]) -> bool:
    """Return True if only test entries accuse a file; known-good entries accuse nothing."""
    return {m.category for m in matches} - {KNOWN_GOOD_CATEGORY} == {TEST_CATEGORY}


def _doubt(match: Match) -> str | None:
    """Return the reason why a match of any category can't accuse by itself; None if it can."""
    if ALGORITHMS[match.algorithm].review_only:
        return "the algorithm is too weak to accuse by itself"
    if match.near_miss:
        return "a near miss, for a look only"
    return None if match.doubt is None else DOUBT_TEXTS[match.doubt]


def _identifies(match: Match) -> bool:
    """Return True if a match identifies the content.

    Similarity never clears a file: only the digest that identifies content does.
    """
    return match.algorithm == "sha256"


def _withheld(matches: Sequence[Match]) -> str:
    """Return why and until when the closest of some matches, all of excepted entries, is withheld."""
    excepted = min(matches, key=sort_key).excepted
    assert excepted is not None
    if excepted.sha256:
        which = "the content is"
    else:
        which = "the entry is" if len(matches) == 1 else "all these entries are"
    return f"{which} excepted here until {excepted.until}: {excepted.reason}"


def _likeness(match: Match) -> str:
    if ALGORITHMS[match.algorithm].metric == "video":
        return (
            f"finds {100 - match.distance} % of the listed video's frames, "
            f"and {match.scanned_share} % of this one's in it"
        )
    if match.threshold == 0:
        return "equal"
    return f"{match.distance} of {match.threshold} {ALGORITHMS[match.algorithm].unit} apart"


_PLACE_SHOWN = 200
"""Longest place of a member in an explanation, in characters; the match has all of it."""


def _described(matches: Sequence[Match]) -> str:
    """Return the closest match as text, with the number of further ones."""
    first = min(matches, key=sort_key)
    likeness = _likeness(first)
    if first.variant != "as stored":
        likeness += f", {first.variant}"
    more = f" and {len(matches) - 1} more" if len(matches) > 1 else ""
    # At the end and in quotes that it can't close: a name must not read like a part of the sentence.
    place = shortened(first.member.replace('"', r"\x22"), _PLACE_SHOWN)
    where = f', in the member "{place}"' if first.member else ""
    return (
        f"{first.algorithm} {likeness}: entry {first.entry_id} ({first.category}) "
        f"of list {first.list_name}{more}{where}"
    )
