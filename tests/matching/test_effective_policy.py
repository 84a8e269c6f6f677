"""The policy of one scan."""

from __future__ import annotations

import json

from hashscan.matching.effective_policy import effective_policy, policy_fields
from hashscan.model import Action, ListInfo, PolicyRule, TrustState, Weak
from hashscan.settings.policy import PolicySettings


def test_weak_lists_are_known_by_their_state() -> None:
    infos = [ListInfo(state.value, state) for state in TrustState]
    settings = PolicySettings((PolicyRule(1, Action.HELD),), (Weak.TEST,))
    policy = effective_policy(settings, infos, None).policy
    assert policy.weak_lists == {"local": Weak.LOCAL, "stale": Weak.STALE}
    assert (policy.rules, policy.act_on) == (settings.rules, settings.act_on)


def test_the_default_says_nothing() -> None:
    assert policy_fields(PolicySettings()) == {}


def test_every_difference_shows() -> None:
    rule = PolicyRule(1, Action.HELD, "why", ("A1",), ("pdq",), 12, ("ours",), ("/a/",), (0,))
    many = tuple(PolicyRule(n, Action.HELD, owners=(n,)) for n in range(1, 201))
    others = [
        PolicySettings((rule,)),
        PolicySettings((rule,), (Weak.LOCAL,)),
        PolicySettings((), (Weak.LOCAL,)),
        PolicySettings((PolicyRule(1, Action.HELD),)),
        PolicySettings(many),
        PolicySettings((*many[:-1], PolicyRule(200, Action.REPORT, owners=(200,)))),
    ]
    told = [json.loads(json.dumps(policy_fields(settings))) for settings in others]
    assert len({fields["fingerprint"] for fields in told}) == len(others)
    assert told[0]["rules"] == [
        {
            "number": 1, "action": "held", "reason": "why", "categories": ["A1"], "algorithms": ["pdq"],
            "distance": 12, "lists": ["ours"], "paths": ["/a/"], "owners": [0],
        }
    ]  # fmt: skip
    assert told[3]["rules"] == [{"number": 1, "action": "held"}]
    assert (told[4]["number"], len(told[4]["rules"])) == (200, 100)
