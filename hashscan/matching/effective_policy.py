"""Combine the policy of one scan from the settings, the trust in its lists, and the quarantine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from hashscan.errors import OutputError
from hashscan.matching.policy import Policy
from hashscan.matching.restored_content import read_put_back
from hashscan.model import ListInfo, PolicyRule
from hashscan.quarantine.trust_weakness import weak_list
from hashscan.reports.record_lines import Record
from hashscan.settings.policy import NO_RULES, PolicySettings

_RULES_SHOWN = 100
"""Rules listed in a report, at most; like patterns, there may be very many."""


class EffectivePolicy(NamedTuple):
    """The policy of one scan, and the reason if restored content is not known."""

    policy: Policy
    trouble: str
    """Why nobody can tell what was put back, in words; empty where it is known."""
    remedy: str


def effective_policy(
    settings: PolicySettings, infos: Iterable[ListInfo], state: Path | None
) -> EffectivePolicy:
    """Return the policy of one scan.

    Where the quarantine's log is damaged or lost, what was put back is a match again and not held: that hides
    nothing, and no file goes unchecked for it. Nothing may be moved by such a policy.

    Args:
        settings: rules and permissions of the administrator.
        infos: the lists in use.
        state: the state folder, whose quarantine tells what was put back; None where there is none.
    """
    weak = {info.name: found for info in infos if (found := weak_list(info.state)) is not None}
    trouble = remedy = ""
    try:
        put_back = read_put_back(state)
    except OutputError as error:
        put_back = {}
        trouble, remedy = f"the restored items of the quarantine can't be read: {error}", error.remedy
    return EffectivePolicy(Policy(settings.rules, settings.act_on, weak, put_back), trouble, remedy)


def policy_fields(settings: PolicySettings) -> Record:
    """Return the `policy` of a scan's record: a fingerprint, and its first rules; empty by default."""
    if settings == NO_RULES:
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
    return {key: value for key, value in asdict(rule).items() if value not in ((), None, "")}
