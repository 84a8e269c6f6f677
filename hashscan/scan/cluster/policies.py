"""Serialize a policy for a cluster's nodes."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from hashscan.matching.policy import Policy
from hashscan.matching.restored_content import RestoredContent
from hashscan.model import Action, PolicyRule, Weak


def policy_document(policy: Policy) -> dict[str, Any]:
    """Return the policy as JSON data."""
    return {
        "rules": [asdict(rule) for rule in policy.rules],
        "act_on": list(policy.act_on),
        "weak_lists": dict(policy.weak_lists),
        "put_back": {
            sha256.hex(): [back.day, back.by, sorted(back.entries)]
            for sha256, back in policy.put_back.items()
        },
    }


def policy_from(document: dict[str, Any]) -> Policy:
    """Return the policy that was sent by the same version."""
    return Policy(
        tuple(_rule(rule) for rule in document["rules"]),
        tuple(map(Weak, document["act_on"])),
        {name: Weak(weak) for name, weak in document["weak_lists"].items()},
        {
            bytes.fromhex(sha256): RestoredContent(day, by, frozenset(tuple(entry) for entry in entries))
            for sha256, (day, by, entries) in document["put_back"].items()
        },
    )


def _rule(document: dict[str, Any]) -> PolicyRule:
    values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in document.items()}
    return PolicyRule(**{**values, "action": Action(values["action"])})
