"""Read the policy table of a TOML file, and combine the effective policy of one scan."""

from __future__ import annotations

import hashlib
import json
import pwd
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from msgspec import structs

from hashscan.errors import OutputError, RowError, UsageError
from hashscan.lists.storage.manifest import LIST_NAME
from hashscan.matching.policy import Policy, patterns_for
from hashscan.model import (
    ACTING_CATEGORIES,
    ALGORITHMS,
    PHOTODNA_DISTANCE_MAX,
    Action,
    DistanceRule,
    ExceptedContent,
    ListInfo,
    PolicyRule,
)
from hashscan.quarantine.restored import RestoredContent, quarantine_states
from hashscan.quarantine.stay_down import owners_by_entry, read_stay_down
from hashscan.quarantine.store import read_restored
from hashscan.quarantine.trust_weakness import weak_list
from hashscan.registry import SOURCES
from hashscan.reports.records import Record
from hashscan.settings.matching import PolicySettings
from hashscan.settings.table_rows import InvalidValueError, read_each, read_row, rows_of, unknown_key
from hashscan.sources.patterns import Patterns
from hashscan.state_dir import StateDir
from hashscan.text import is_printable_line

REASON_MAX = 200
_USER_MAX = 0xFFFFFFFF

_ALGORITHMS = tuple(name for name, a in ALGORITHMS.items() if a.scanned and not a.review_only)
_CATEGORIES = tuple(sorted(ACTING_CATEGORIES))
_FARTHEST = max(a.farthest for a in ALGORITHMS.values() if a.matched)


def rules_of(tables: object, source: str) -> tuple[PolicyRule, ...]:
    """Return the rules in their order."""
    rows = rows_of(tables, "policy", source)
    return tuple(_rule(row, number, source) for number, row in enumerate(rows, start=1))


def _rule(table: Mapping[str, Any], number: int, source: str) -> PolicyRule:
    where = f"{source}, policy rule {number}"
    for key in table:
        if key not in _READERS and key not in {"action", "reason", "distance"}:
            raise unknown_key(key, (*_READERS, "distance", "action", "reason"), where)
    if "action" not in table:
        raise UsageError(
            f"{where}: key 'action' is missing", advice=f"Name one of {', '.join(map(str, Action))}."
        )
    found: dict[str, Any] = {}
    for key, value in table.items():
        try:
            if key in _READERS:
                name, read = _READERS[key]
                found[name] = read_each(value, read)
            else:
                found[key] = _SINGLE[key](value)
        except (InvalidValueError, UsageError) as error:
            raise RowError(key, f"{where}, key {key!r}: {error}", error.remedy) from error
    return PolicyRule(number, **found)


def _one_of(what: str, names: Sequence[str], value: object, why_not: str = "") -> str:
    if not isinstance(value, str) or value not in names:
        raise InvalidValueError(
            f"{value!r} is no {what} that a rule can name{why_not}", f"Name one of {', '.join(names)}."
        )
    return value


def _category(value: object) -> str:
    return _one_of(
        "category", _CATEGORIES, value, " (all others are for review only, or never cause a finding)"
    )


def _algorithm(value: object) -> str:
    return _one_of("algorithm", _ALGORITHMS, value, " (all others are for review only)")


def _list(value: object) -> str:
    if not isinstance(value, str) or not LIST_NAME.fullmatch(value):
        raise InvalidValueError(f"{value!r} is no name of a list", "See `hashscan lists status`.")
    return value


def _path(value: object) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise InvalidValueError(
            f"{value!r} is no pattern", "Write one as for --exclude, such as '/var/www/example/'."
        )
    scheme, separator, rest = value.partition("://")
    if separator and "/" not in scheme:
        if scheme not in SOURCES or not rest:
            schemes = ", ".join(name for name in SOURCES if name != "file")
            raise InvalidValueError(
                f"{value!r} names no objects", f"There is {schemes}; such as 's3://bucket/uploads/'."
            )
    elif "/" in value.rstrip("/") and not value.startswith(("/", "**/")):
        raise InvalidValueError(
            f"{value!r} does not begin where paths do",
            f"Write the whole path from / on, or '**/{value}' for any place.",
        )
    for known in ("", scheme if separator else ""):
        Patterns.compile(tuple(patterns_for([value], known)), where="path")
    return value


def _owner(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _USER_MAX:
        return value
    if not isinstance(value, str):
        raise InvalidValueError(f"{value!r} is no user", "Write a user's name, or the number without quotes.")
    try:
        return pwd.getpwnam(value).pw_uid
    except (KeyError, ValueError):
        raise InvalidValueError(
            f"there is no user {value!r} here", "Mend the name, or write the user's number without quotes."
        ) from None


_READERS: Mapping[str, tuple[str, Callable[[object], Any]]] = {
    "category": ("categories", _category),
    "algorithm": ("algorithms", _algorithm),
    "list": ("lists", _list),
    "path": ("paths", _path),
    "owner": ("owners", _owner),
}
"""Field of a condition, and the function that checks one value of it, by key."""


def _distance(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _FARTHEST:
        raise InvalidValueError(f"{value!r} is no distance", f"Write a number from 0 to {_FARTHEST}.")
    return value


def distances_of(tables: object, source: str) -> tuple[DistanceRule, ...]:
    """Return the distances of PhotoDNA, in their order."""
    found = []
    for number, row in enumerate(rows_of(tables, "photodna_distance", source), start=1):
        where = f"{source}, row {number} of photodna_distance"
        values = read_row(row, _DISTANCES, where)
        rule = DistanceRule(values.pop("list", ()), **values)
        if rule.match is not None and rule.match > rule.review:
            raise UsageError(
                f"{where}: `match` is {rule.match}, and `review` is only {rule.review}",
                advice="An entry that accuses is named, too: make `review` at least as large.",
            )
        found.append(rule)
    return tuple(found)


def _vectors(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= PHOTODNA_DISTANCE_MAX:
        raise InvalidValueError(
            f"{value!r} is no distance of PhotoDNA",
            f"Write a number from 0 to {PHOTODNA_DISTANCE_MAX}: the sum of the squared differences of the "
            "bytes.",
        )
    return value


_DISTANCES: Mapping[str, Callable[[object], Any]] = {
    "list": lambda value: read_each(value, _list),
    "review": _vectors,
    "match": _vectors,
}


def _reason(value: object) -> str:
    if not isinstance(value, str) or not value.strip() or not is_printable_line(value, REASON_MAX):
        raise InvalidValueError(
            f"{str(value)[:60]!r} is no reason",
            f"Write the reason in one printable line of at most {REASON_MAX} characters.",
        )
    return value.strip()


_SINGLE: Mapping[str, Callable[[object], Any]] = {
    "action": lambda value: Action(_one_of("action", tuple(Action), value)),
    "distance": _distance,
    "reason": _reason,
}


def unused_lists(rules: Iterable[PolicyRule], infos: Iterable[ListInfo]) -> list[str]:
    """Return a warning for each list that rules name but that is not in use, such as a mistyped name."""
    names = {info.name for info in infos}
    return [
        f"policy rule {rule.number} names the list {name}, which is not used"
        for rule in rules
        for name in rule.lists
        if name not in names
    ]


_RULES_SHOWN = 100
"""Rules listed in a report, at most; like patterns, there may be very many."""


class EffectivePolicy(NamedTuple):
    """The policy of one scan, and the reason if restored content is not known."""

    policy: Policy
    trouble: str
    """Reason why the restored content is not known, as text; empty if it is known."""
    remedy: str


def effective_policy(
    settings: PolicySettings,
    infos: Iterable[ListInfo],
    state: StateDir | None,
    contents: Iterable[ExceptedContent] = (),
    named: Sequence[StateDir] = (),
) -> EffectivePolicy:
    """Return the policy of one scan.

    If the quarantine's log is damaged or lost, restored content is a match again and not held: this hides
    nothing, and every file is still checked. No file may be moved by such a policy.

    Args:
        state: the state folder, whose quarantine log names restored content; None if there is none.
        named: states of other quarantines whose logs say what was restored.
    """
    weak = {info.name: found for info in infos if (found := weak_list(info.state)) is not None}
    trouble = remedy = ""
    stay_down: Mapping[str, tuple[str, ...]] = {}
    try:
        # Where the records can't be read, the list's matches are for review only, and none is lost.
        if state is not None:
            stay_down = owners_by_entry(read_stay_down(state), datetime.now(UTC))
    except OutputError as error:
        trouble, remedy = str(error), error.remedy
    put_back: Mapping[bytes, RestoredContent] = {}
    try:
        put_back = read_restored(quarantine_states(state, named))
    except OutputError as error:
        trouble, remedy = f"the restored items of the quarantine can't be read: {error}", error.remedy
    excepted = {bytes.fromhex(content.sha256): content for content in contents}
    policy = Policy(settings.rules, settings.act_on, weak, put_back, excepted, stay_down)
    return EffectivePolicy(policy, trouble, remedy)


def policy_fields(settings: PolicySettings) -> Record:
    """Return the `policy` of a scan's record: a fingerprint, and its first rules; empty by default."""
    if not (settings.rules or settings.act_on):
        return {}
    rules = [_rule_fields(rule) for rule in settings.rules]
    act_on = sorted(map(str, settings.act_on))
    document = json.dumps([rules, act_on])
    return {
        "number": len(rules),
        "fingerprint": hashlib.sha256(document.encode("ascii")).hexdigest(),
        "act_on": act_on,
        "rules": rules[:_RULES_SHOWN],
    }


def _rule_fields(rule: PolicyRule) -> dict[str, Any]:
    """Return a rule as reports contain it; conditions that are not set are left out."""
    return {key: value for key, value in structs.asdict(rule).items() if value not in ((), None, "")}
