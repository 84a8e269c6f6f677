"""Tests of matching.effective_policy."""

from __future__ import annotations

import json
import os
import pwd
import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashscan.errors import UsageError
from hashscan.matching.effective_policy import (
    distances_of,
    effective_policy,
    policy_fields,
    rules_of,
    unused_lists,
)
from hashscan.model import Action, DistanceRule, ListInfo, PolicyRule, TrustState, Weak
from hashscan.settings.matching import PolicySettings
from hashscan.settings.table_rows import ROWS_MAX


def test_weak_lists_are_known_by_their_state() -> None:
    infos = [ListInfo(state.value, state) for state in TrustState]
    settings = PolicySettings((PolicyRule(1, Action.HELD),), (Weak.TEST,))
    policy = effective_policy(settings, infos, None).policy
    assert policy.weak_lists == {
        "local": Weak.LOCAL,
        "stale": Weak.STALE,
        "service": Weak.SERVICE,
        "exchange": Weak.EXCHANGE,
        "stale-exchange": Weak.STALE_EXCHANGE,
    }
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
    reported = [json.loads(json.dumps(policy_fields(settings))) for settings in others]
    assert len({fields["fingerprint"] for fields in reported}) == len(others)
    assert reported[0]["rules"] == [
        {
            "number": 1, "action": "held", "reason": "why", "categories": ["A1"], "algorithms": ["pdq"],
            "distance": 12, "lists": ["ours"], "paths": ["/a/"], "owners": [0],
        }
    ]  # fmt: skip
    assert reported[3]["rules"] == [{"number": 1, "action": "held"}]
    assert (reported[4]["number"], len(reported[4]["rules"])) == (200, 100)


USER = pwd.getpwuid(os.geteuid()).pw_name


def read(text: str) -> tuple[PolicyRule, ...]:
    return rules_of(tomllib.loads(text)["policy"], "policy.toml")


def test_all_of_it() -> None:
    rules = read(f"""
[[policy]]
action = "held"
reason = "a theme of ours"
path = ["/srv/themes/", "s3://assets/**/themes/"]
owner = ["{USER}", 33]

[[policy]]
action = "quarantine"
category = ["A1", "A2"]
algorithm = "sha256"
list = "national"

[[policy]]
action = "review"
algorithm = ["pdq"]
distance = 20

[[policy]]
action = "report"
""")
    assert rules == (
        PolicyRule(
            1, Action.HELD, "a theme of ours", paths=("/srv/themes/", "s3://assets/**/themes/"),
            owners=(os.geteuid(), 33),
        ),
        PolicyRule(2, Action.QUARANTINE, "", ("A1", "A2"), ("sha256",), lists=("national",)),
        PolicyRule(3, Action.REVIEW, algorithms=("pdq",), distance=20),
        PolicyRule(4, Action.REPORT),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("lines", "named", "remedy"),
    [
        ('actoin = "held"', "no key 'actoin'", "category, algorithm, list, path, owner, distance, action"),
        ('category = "A1"', "key 'action' is missing", "report, review, held, quarantine"),
        ('action = "delete"', "key 'action': 'delete' is no action", "report, review, held, quarantine"),
        ("action = 1", "key 'action': 1 is no action", "report"),
        ('action = "held"\nreason = ""', "key 'reason'", "one printable line"),
        ('action = "held"\nreason = "a\\u001b[2J"', "key 'reason'", "one printable line"),
        (f'action = "held"\nreason = "{"x" * 201}"', "key 'reason'", "at most 200"),
        ('action = "held"\ncategory = "A3"', "key 'category': 'A3' is no category", "A1, A2, B1"),
        ('action = "held"\ncategory = "other"', "for review only", "A1, A2"),
        ('action = "held"\ncategory = "known-good"', "never cause a finding", "A1, A2"),
        ('action = "held"\ncategory = []', "key 'category': an empty list fits nothing", "leave out"),
        ('action = "held"\ncategory = ["A1", 2]', "key 'category': 2 is no category", "A1, A2"),
        ('action = "held"\nalgorithm = "photodna_edge"', "key 'algorithm': 'photodna_edge'", "sha256"),
        ('action = "held"\nalgorithm = "phash"', "for review only", "sha256"),
        ('action = "held"\ndistance = "20"', "key 'distance': '20' is no distance", "from 0 to"),
        ('action = "held"\ndistance = true', "key 'distance': True is no distance", "from 0 to"),
        ('action = "held"\ndistance = [1, 2]', "key 'distance'", "from 0 to"),
        ('action = "held"\ndistance = -1', "key 'distance'", "from 0 to"),
        ('action = "held"\nlist = "No Name"', "key 'list': 'No Name' is no name", "lists status"),
        ('action = "held"\nlist = {a = 1}', "key 'list'", "lists status"),
        ('action = "held"\nowner = "no-such-user"', "key 'owner': there is no user", "without quotes"),
        ('action = "held"\nowner = "0\\u0000"', "key 'owner': there is no user", "without quotes"),
        ('action = "held"\nowner = -1', "key 'owner': -1 is no user", "without quotes"),
        ('action = "held"\nowner = true', "key 'owner': True is no user", "without quotes"),
        ('action = "held"\npath = "/a/[b"', "key 'path': path: the pattern '/a/[b'", ".gitignore"),
        ('action = "held"\npath = "/a/../b"', "key 'path': path: the pattern", ".gitignore"),
        ('action = "held"\npath = "www/shop/"', "key 'path': 'www/shop/' does not begin", "**/www/shop/"),
        ('action = "held"\npath = ""', "key 'path'", "--exclude"),
        ('action = "held"\npath = "ftp://a/"', "key 'path': 'ftp://a/' names no objects", "s3, gs, az"),
        ('action = "held"\npath = "s3://"', "key 'path': 's3://' names no objects", "s3, gs, az"),
        ('action = "held"\npath = "s3://b//c"', "key 'path': path: the pattern", ".gitignore"),
        ('action = "held"\npath = "/"', "key 'path': path: the pattern", ".gitignore"),
    ],
    ids=str,
)
def test_what_is_wrong_is_named(lines: str, named: str, remedy: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(f'[[policy]]\naction = "report"\n[[policy]]\n{lines}\n')
    assert str(caught.value).startswith("policy.toml, policy rule 2")
    assert named in str(caught.value)
    assert remedy in caught.value.remedy


@pytest.mark.parametrize(
    "value", ["policy = 1", "policy = [1]", "[policy]\naction = 'held'", "policy = ['a']"]
)
def test_no_table(value: str) -> None:
    with pytest.raises(UsageError, match=r"policy\.toml: `policy` is no table of rules"):
        read(value)


def test_too_many() -> None:
    with pytest.raises(UsageError, match="more than"):
        rules_of([{"action": "held"}] * (ROWS_MAX + 1), "policy.toml")


KEYS = st.sampled_from(
    ["category", "algorithm", "distance", "list", "path", "owner", "action", "reason", "x"]
)
VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8),
        st.sampled_from(["A1", "pdq", "held", "quarantine", "/a/", "s3://a/", "root", "ours"]),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=2),
    max_leaves=4,
)  # fmt: skip


@given(st.lists(st.dictionaries(KEYS, VALUES, max_size=4) | VALUES, max_size=3) | VALUES)
def test_whatever_stands_there_is_read_or_refused(tables: Any) -> None:
    try:
        rules = rules_of(tables, "policy.toml")
    except UsageError:
        return
    assert [rule.number for rule in rules] == list(range(1, len(rules) + 1))


def test_lists_that_are_not_used() -> None:
    rules = (PolicyRule(1, Action.HELD, lists=("ours", "theirs")), PolicyRule(2, Action.HELD))
    (reported,) = unused_lists(rules, [ListInfo("ours", TrustState.LOCAL)])
    assert reported == "policy rule 1 names the list theirs, which is not used"


def test_the_distances_of_photodna_are_read() -> None:
    rows = [{"list": ["a", "b"], "match": 900}, {"review": 20_000}]
    assert distances_of(rows, "x") == (DistanceRule(("a", "b"), 10_000, 900), DistanceRule((), 20_000))


@pytest.mark.parametrize(
    ("row", "named"),
    [
        ({"review": -1}, "key 'review'"),
        ({"match": 100_001}, "key 'match'"),
        ({"match": True}, "key 'match'"),
        ({"review": 5, "match": 6}, "row 2"),
        ({"match": 10_001}, "`review` is only 10000"),
        ({"list": "No Name"}, "key 'list'"),
        ({"reveiw": 5}, "reveiw"),
    ],
)
def test_a_distance_that_cannot_be_is_refused(row: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError, match=named) as caught:
        distances_of([{}, row], "x")
    assert caught.value.remedy
