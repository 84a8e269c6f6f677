"""Which rule decides about a match."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashscan.matching.policy_rules import NO_SUBJECT, Subject, covers, select_rule, subject_of, words_of
from hashscan.model import Action, FileStat, Match, PolicyRule

MATCH = Match("ours", "e-1", "pdq", "A1", 12, 31)


@pytest.mark.parametrize(
    ("pattern", "path", "fits"),
    [
        ("/var/www/shop/", b"/var/www/shop/a/b.jpg", True),
        ("/var/www/shop/", b"/var/www/shopping/a.jpg", False),
        ("/var/www/shop/", b"/var/www/shop", False),
        ("/var/www/shop", b"/var/www/shop", True),
        ("/var/www/*/cache/", b"/var/www/shop/cache/a.jpg", True),
        ("/var/www/*/cache/", b"/var/www/shop/x/cache/a.jpg", False),
        ("/var/**/cache/", b"/var/www/shop/x/cache/a.jpg", True),
        ("**/cache/*.jpg", b"/cache/a.jpg", True),
        ("*.jpg", b"/a/b.jpg", True),
        ("*.jpg", b"s3://bucket/a/b.jpg", True),
        ("cache/", b"/a/cache/b", True),
        ("/", b"/a", None),
        ("/bucket/", b"s3://bucket/a", False),
        ("s3://bucket/", b"s3://bucket/a/b", True),
        ("s3://bucket/a/*", b"s3://bucket/a/b", True),
        ("s3://bucket/", b"gs://bucket/a", False),
        ("s3://bucket/", b"/bucket/a", False),
        ("s3://bucket/", b"/s3://bucket/a", False),
        ("s3://b*/x/", b"s3://bucket//x/y", False),
        ("s3://b*/**/x/", b"s3://bucket//x/y", True),
        ("/caf\u00e9/", "/caf\u00e9/a".encode(), True),
    ],
)
def test_paths(pattern: str, path: bytes, fits: bool | None) -> None:
    if fits is not None:
        assert covers((pattern,), path) is fits
        assert covers(("nothing-of-that-name", pattern), path) is fits


@given(st.binary(max_size=200))
def test_any_path_can_be_asked_about(path: bytes) -> None:
    assert covers(("**",), b"/" + path)
    assert not covers(("/a name that no file has/",), b"/" + path.replace(b"a", b"b"))


def test_the_first_that_fits_decides() -> None:
    rules = [
        PolicyRule(1, Action.HELD, categories=("B1", "B2")),
        PolicyRule(2, Action.HELD, algorithms=("sha256",)),
        PolicyRule(3, Action.HELD, lists=("theirs",)),
        PolicyRule(4, Action.HELD, distance=11),
        PolicyRule(5, Action.HELD, paths=("/home/",)),
        PolicyRule(6, Action.HELD, owners=(0,)),
        PolicyRule(7, Action.QUARANTINE, "as told", ("A1",), ("pdq",), 12, ("ours",), ("/srv/",), (0, 33)),
        PolicyRule(8, Action.REVIEW),
    ]
    rule, unasked = select_rule(rules, MATCH, Subject(b"/srv/a", 33))
    assert (rule, unasked) == (rules[6], [])
    assert words_of(rules[6]) == "rule 7: quarantine (as told)"
    assert select_rule(rules[:6], MATCH, Subject(b"/srv/a", 33)) == (None, [])
    for number, other in enumerate((Subject(b"/home/a", 33), Subject(b"/srv/a", 0)), start=4):
        assert select_rule(rules, MATCH, other)[0] == rules[number]


def test_what_is_not_known_of_a_file_fits_no_rule_and_is_said() -> None:
    rule = PolicyRule(1, Action.QUARANTINE, paths=("/srv/",), owners=(33,))
    assert select_rule([rule], MATCH, NO_SUBJECT) == (
        None,
        ["rule 1 asks for its path and owner, which is not known"],
    )
    assert select_rule([rule], MATCH, Subject(b"/srv/a"))[1] == [
        "rule 1 asks for its owner, which is not known"
    ]
    # What is known and does not fit leaves no question.
    assert select_rule([rule], MATCH, Subject(b"/home/a")) == (None, [])
    assert select_rule([rule], MATCH, Subject(None, 34)) == (None, [])


def test_an_object_has_no_owner() -> None:
    file = FileStat(device=1, inode=2, size=3, mtime_ns=4, ctime_ns=5, links=1, uid=33)
    assert subject_of(b"/a", file) == Subject(b"/a", 33)
    assert subject_of(b"s3://b/a", file._replace(device=0, inode=0)) == Subject(b"s3://b/a", None)
