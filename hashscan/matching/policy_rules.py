"""Select the rule of the policy table that decides about a match."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from hashscan.model import FileStat, Match, PolicyRule
from hashscan.sources.patterns import Patterns


class Subject(NamedTuple):
    """The attributes of a judged file, besides its matches; None where one is not known."""

    path: bytes | None = None
    """The whole path, or an object's URL."""
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
    """Return the first rule that fits.

    Returns:
        The rule, if there is one; and a text for each earlier rule that could not be applied, since an
        attribute of the file is not known.
    """
    unasked: list[str] = []
    for rule in rules:
        if not _is_for(rule, match) or _asks_owner(rule, subject) is False:
            continue
        answers = {"path": _asks_path(rule, subject), "owner": _asks_owner(rule, subject)}
        if all(answers.values()):
            return rule, unasked
        if False not in answers.values():
            unknown = " and ".join(key for key, answer in answers.items() if answer is None)
            unasked.append(f"rule {rule.number} asks for its {unknown}, which is not known")
    return None, unasked


def words_of(rule: PolicyRule) -> str:
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
        path: of a file or object.
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
