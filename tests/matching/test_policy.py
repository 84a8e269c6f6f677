"""Tests of matching.policy."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from hashscan.matching.policy import (
    NO_SUBJECT,
    Policy,
    RestoredContent,
    Subject,
    covers,
    explained,
    judge,
    only_test,
    rule_text,
    select_rule,
    sort_key,
    subject_of,
)
from hashscan.model import (
    ACTING_CATEGORIES,
    ALGORITHMS,
    CATEGORIES,
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
from hashscan.quarantine.trust_weakness import WEAKNESS_NAMES


def match(
    algorithm: str = "sha256",
    category: str = "A1",
    distance: int = 0,
    entry: str = "e1",
    excepted: str | None = None,
) -> Match:
    """A match; of an entry that is excepted for the reason `excepted`, if one is given."""
    exception = excepted and ExceptedEntry(
        "list",
        entry,
        algorithm,
        category,
        "",
        excepted,
        "2027-02-01T00:00:00Z",
        "root",
        "2027-01-01T00:00:00Z",
    )
    return Match(
        "list",
        entry,
        algorithm,
        category,
        distance,
        ALGORITHMS[algorithm].threshold,
        excepted=exception or None,
    )


def test_nothing_is_clean() -> None:
    assert judge([], None) == (Verdict.CLEAN, "", None)


def test_a_picture_without_digest_is_undecoded() -> None:
    assert judge([], Reason.TRUNCATED)[0] is Verdict.UNDECODED


def test_an_exact_match_outranks_a_picture_that_was_not_decoded() -> None:
    assert judge([match()], Reason.TRUNCATED)[0] is Verdict.MATCH


def test_acting_categories_match() -> None:
    for category in ("baseline", "A1", "A2", "B1", "B2", "test"):
        assert judge([match(category=category)], None)[0] is Verdict.MATCH


def test_other_is_for_review() -> None:
    verdict, because, _ = judge([match(category="other")], None)
    assert verdict is Verdict.REVIEW
    assert "category" in because


def test_weak_algorithms_are_for_review() -> None:
    for algorithm in ("phash", "dhash", "ahash", "whash", "xxh3_128"):
        verdict, because, _ = judge([match(algorithm)], None)
        assert verdict is Verdict.REVIEW
        assert "weak" in because


def test_a_near_miss_is_for_review() -> None:
    verdict, because, _ = judge([match("pdq", distance=44)], None)
    assert verdict is Verdict.REVIEW
    assert "44 of 31 bits apart" in because
    assert "near miss" in because
    assert judge([match("pdq", distance=44), match("pdq", distance=31)], None)[0] is Verdict.MATCH


def test_a_doubted_likeness_is_for_review() -> None:
    doubted = replace(match("pdq", distance=4), doubt=Doubt.ROWS_AND_COLUMNS)
    verdict, because, _ = judge([doubted], None)
    assert verdict is Verdict.REVIEW
    assert because.endswith("likeness says little of such a picture: it is made of rows and columns")
    # Its bytes leave no doubt.
    assert judge([doubted, match()], None)[0] is Verdict.MATCH


def test_because_names_the_variant() -> None:
    mirrored = replace(match("pdq", distance=4), variant="frame 3, mirrored")
    assert "4 of 31 bits apart, frame 3, mirrored: entry e1" in judge([mirrored], None)[1]


def test_a_strong_match_beside_a_weak_one_is_a_match() -> None:
    assert judge([match("phash", distance=1), match("pdq", distance=9)], None)[0] is Verdict.MATCH


def test_known_good_content_holds_a_match() -> None:
    verdict, because, _ = judge([match("pdq", distance=9), match("sha256", "known-good", entry="g")], None)
    assert verdict is Verdict.HELD
    assert "g" in because


def test_likeness_to_known_good_clears_nobody() -> None:
    assert judge([match(), match("pdq", "known-good", 3)], None)[0] is Verdict.MATCH
    assert judge([match(), match("md5", "known-good")], None)[0] is Verdict.MATCH


def test_known_good_alone_accuses_nobody() -> None:
    assert judge([match("sha256", "known-good")], None)[0] is Verdict.CLEAN
    assert judge([match("pdq", "known-good", 3)], Reason.BROKEN)[0] is Verdict.UNDECODED


def test_because_names_the_closest() -> None:
    because = judge(
        [match("pdq", distance=30, entry="far"), match("pdq", distance=2, entry="near")], None
    ).because
    assert because == "pdq 2 of 31 bits apart: entry near (A1) of list list and 1 more"


def test_an_excepted_entry_holds_its_match() -> None:
    verdict, because, _ = judge([match("pdq", distance=9, excepted="a logo")], None)
    assert verdict is Verdict.HELD
    assert because == (
        "pdq 9 of 31 bits apart: entry e1 (A1) of list list; "
        "but the entry is excepted here until 2027-02-01T00:00:00Z: a logo"
    )
    verdict, because, _ = judge([match(excepted="x"), match("pdq", entry="e2", excepted="y")], Reason.BROKEN)
    assert verdict is Verdict.HELD
    assert "all these entries are excepted here" in because


def test_one_entry_that_is_not_excepted_makes_a_match() -> None:
    held = [match(entry=f"e{number}", excepted="a logo") for number in range(40)]
    verdict, because, _ = judge([*held, match("pdq", distance=31, entry="other")], None)
    assert verdict is Verdict.MATCH
    assert because == "pdq 31 of 31 bits apart: entry other (A1) of list list"


def test_what_is_for_review_withholds_nothing_and_is_not_withheld() -> None:
    """An exception must not make more of a near miss than it was: held matches change the exit code."""
    for weak in (match(category="other", excepted="a logo"), match("phash", excepted="a logo")):
        verdict, because, _ = judge([weak], None)
        assert verdict is Verdict.REVIEW
        assert "excepted here until 2027-02-01T00:00:00Z: a logo" in because
        assert "excepted" not in judge([weak, match("dhash")], None)[1]
        assert judge([weak, match()], None)[0] is Verdict.MATCH
        assert judge([weak, match(excepted="x")], None)[0] is Verdict.HELD
    assert judge([match(excepted="x"), match(category="other")], None)[0] is Verdict.HELD


def test_known_good_content_is_held_whether_or_not_an_entry_is_excepted() -> None:
    good = match("sha256", "known-good", entry="g")
    for others in ([match(excepted="x")], [match(excepted="x"), match("pdq", entry="e2")]):
        verdict, because, _ = judge([*others, good], None)
        assert verdict is Verdict.HELD
        assert "known to be good" in because


def test_what_explains_the_verdict_is_reported_first() -> None:
    matches = [match(excepted="x"), match("pdq", distance=31, entry="far")]
    assert min(matches, key=sort_key).entry_id == "far"


def test_only_tests() -> None:
    assert only_test([match(category="test"), match("sha256", "known-good")])
    assert not only_test([match(category="test"), match("pdq")])
    assert not only_test([match("sha256", "known-good")])
    assert not only_test([])


@given(
    st.lists(
        st.builds(
            match,
            st.sampled_from(sorted(ALGORITHMS)),
            st.sampled_from(CATEGORIES),
            st.integers(0, 31),
            st.sampled_from(["a", "b"]),
            st.sampled_from([None, "a logo"]),
        ),
        max_size=6,
    ),
    st.sampled_from([None, Reason.BROKEN, Reason.TIMEOUT]),
)
def test_findings_are_explained_and_others_are_not(matches: list[Match], reason: Reason | None) -> None:
    verdict, because, action = judge(matches, reason)
    of_verdict = {Verdict.MATCH: Action.REPORT, Verdict.HELD: Action.HELD, Verdict.REVIEW: Action.REVIEW}
    assert action is of_verdict.get(verdict)
    assert bool(because) == (verdict in (Verdict.MATCH, Verdict.HELD, Verdict.REVIEW))
    accusing = [m for m in matches if m.category != "known-good"]
    assert bool(accusing) == (verdict in (Verdict.MATCH, Verdict.HELD, Verdict.REVIEW))
    if verdict is Verdict.MATCH:
        assert "excepted" not in because
    assert verdict is not Verdict.MATCH or any(m.excepted is None and m.category != "other" for m in accusing)


ALGORITHM_NAMES = sorted(name for name in ALGORITHMS if ALGORITHMS[name].matched)
LISTS = ("list", "local", "stale")
WEAK_LISTS = {"local": Weak.LOCAL, "stale": Weak.STALE}
CONTENT = bytes(32)


@st.composite
def many(draw: st.DrawFn) -> list[Match]:
    made = st.builds(
        lambda m, name, doubt: replace(m, list_name=name, doubt=doubt),
        st.builds(
            match,
            st.sampled_from(ALGORITHM_NAMES),
            st.sampled_from(CATEGORIES),
            st.integers(0, 60),
            st.sampled_from(["a", "b"]),
            st.sampled_from([None, None, "a logo"]),
        ),
        st.sampled_from(LISTS),
        st.sampled_from([None, None, Doubt.FEW_GREYS]),
    )
    return draw(st.lists(made, max_size=5))


def some(values: list[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(st.sampled_from(values), max_size=2, unique=True).map(tuple)


RULES = st.lists(
    st.builds(
        PolicyRule,
        st.just(0),
        st.sampled_from(Action),
        st.sampled_from(["", "why"]),
        some(sorted(ACTING_CATEGORIES)),
        some(["md5", "sha256", "pdq"]),
        st.none() | st.integers(0, 40),
        some(list(LISTS)),
        some(["/srv/", "*.jpg"]),
        some([0, 33]),
    ),
    max_size=4,
).map(lambda rules: tuple(replace(rule, number=n) for n, rule in enumerate(rules, start=1)))
PUT_BACK = st.none() | st.frozensets(st.tuples(st.sampled_from(LISTS), st.sampled_from(["a", "b", ""]))).map(
    lambda entries: RestoredContent("2027-01-31", "root", entries)
)
POLICIES = st.builds(
    lambda rules, act_on, back: Policy(rules, act_on, WEAK_LISTS, {} if back is None else {CONTENT: back}),
    RULES,
    some(list(Weak)),
    PUT_BACK,
)
SUBJECTS = st.builds(
    Subject, st.sampled_from([None, b"/srv/a.jpg", b"/home/a"]), st.sampled_from([None, 0, 33]),
    st.sampled_from([None, CONTENT, b"x" * 32]),
)  # fmt: skip
STRENGTH = [Verdict.CLEAN, Verdict.REVIEW, Verdict.HELD, Verdict.MATCH]
FINDINGS = {Verdict.MATCH, Verdict.HELD, Verdict.REVIEW}


@given(many(), SUBJECTS, POLICIES)
def test_a_policy_changes_what_is_done_and_never_what_is_found(
    matches: list[Match], subject: Subject, policy: Policy
) -> None:
    plain, judged = judge(matches, None), judge(matches, None, subject, policy)
    assert (plain.verdict in FINDINGS) == (judged.verdict in FINDINGS)
    assert STRENGTH.index(judged.verdict) <= STRENGTH.index(plain.verdict)
    assert bool(judged.because) == (judged.action is not None) == (judged.verdict in FINDINGS)
    if plain.verdict is not Verdict.MATCH:
        assert judged == plain or (plain.verdict, judged.verdict) == (Verdict.HELD, Verdict.HELD)
    # Whatever comes first, and asked again.
    again = judge(matches[::-1], None, subject, policy)
    assert (again.verdict, again.action) == (judged.verdict, judged.action)
    assert judge(matches, None, subject, policy) == judged
    assert judge(matches, None, subject, pickle.loads(pickle.dumps(policy))) == judged


@given(many(), SUBJECTS, POLICIES)
def test_what_is_moved_is_well_backed(matches: list[Match], subject: Subject, policy: Policy) -> None:
    judged = judge(matches, None, subject, policy)
    back = policy.put_back.get(subject.sha256 or b"")
    backing = [
        m
        for m in matches
        if m.category in ACTING_CATEGORIES
        and not (m.excepted or m.near_miss or m.doubt or ALGORITHMS[m.algorithm].review_only)
        and not (back and back.covers(m))
        and (m.list_name not in WEAK_LISTS or WEAK_LISTS[m.list_name] in policy.act_on)
        and (m.category != "test" or Weak.TEST in policy.act_on)
    ]
    good = any(m.category == "known-good" and m.algorithm == "sha256" for m in matches)
    if judged.action is Action.QUARANTINE:
        assert backing
        assert not good
        assert any(rule.action is Action.QUARANTINE for rule in policy.rules)
        assert "quarantine" in judged.because
    if backing and not good and all(rule.action is Action.QUARANTINE for rule in policy.rules[:1]):
        first = policy.rules[:1] and policy.rules[0]
        if first and first == PolicyRule(1, Action.QUARANTINE, first.reason):
            assert judged.action is Action.QUARANTINE
    if not policy.rules:
        assert judged.action is not Action.QUARANTINE


@given(many(), many(), SUBJECTS, POLICIES)
def test_a_further_accusation_never_helps(
    matches: list[Match], more: list[Match], subject: Subject, policy: Policy
) -> None:
    more = [m for m in more if m.category != "known-good"]
    less, all_of_them = judge(matches, None, subject, policy), judge([*matches, *more], None, subject, policy)
    assert STRENGTH.index(less.verdict) <= STRENGTH.index(all_of_them.verdict)
    order = [None, Action.REVIEW, Action.HELD, Action.REPORT, Action.QUARANTINE]
    assert order.index(less.action) <= order.index(all_of_them.action)


@given(many(), SUBJECTS, POLICIES)
def test_each_match_says_whether_it_is_withheld(
    matches: list[Match], subject: Subject, policy: Policy
) -> None:
    reported = explained(matches, subject, policy)
    assert sorted(map(repr, (replace(m, withheld="") for m in reported))) == sorted(map(repr, matches))
    judged = judge(matches, None, subject, policy)
    standing = [
        m
        for m in reported
        if m.category in ACTING_CATEGORIES
        and not (m.excepted or m.near_miss or m.doubt or m.withheld or ALGORITHMS[m.algorithm].review_only)
    ]
    good = any(m.category == "known-good" and m.algorithm == "sha256" for m in matches)
    assert (judged.verdict is Verdict.MATCH) == (bool(standing) and not good)


def test_a_rule_is_named_that_decides() -> None:
    rules = (
        PolicyRule(1, Action.HELD, "a theme", paths=("/srv/themes/",)),
        PolicyRule(2, Action.QUARANTINE, lists=("list",)),
        PolicyRule(3, Action.REVIEW, "we look", categories=("B2",)),
    )
    policy = Policy(rules, (), {"local": Weak.LOCAL})
    theme, upload = Subject(b"/srv/themes/a", 0), Subject(b"/srv/a", 0)
    message = "sha256 equal: entry e1 (A1) of list list"
    assert judge([match()], None, theme, policy) == (
        Verdict.HELD, f"{message}; rule 1: held (a theme)", Action.HELD,
    )  # fmt: skip
    assert judge([match()], None, upload, policy) == (
        Verdict.MATCH, f"{message}; rule 2: quarantine", Action.QUARANTINE,
    )  # fmt: skip
    other = replace(match(category="B2"), list_name="other")
    assert judge([other], None, upload, policy) == (
        Verdict.REVIEW, "sha256 equal: entry e1 (B2) of list other; rule 3: review (we look)", Action.REVIEW,
    )  # fmt: skip
    unruled = judge([replace(match(), list_name="other")], None, upload, policy)
    assert unruled == (
        Verdict.MATCH, "sha256 equal: entry e1 (A1) of list other; no rule fits", Action.REPORT,
    )  # fmt: skip


def test_weak_lists_move_nothing_unless_the_settings_say_so() -> None:
    rules = (PolicyRule(1, Action.QUARANTINE),)
    for changes, needed in (
        ({"list_name": "local"}, Weak.LOCAL),
        ({"list_name": "stale"}, Weak.STALE),
        ({"category": "test"}, Weak.TEST),
    ):
        weak = replace(match(), **changes)
        verdict, because, action = judge([weak], None, NO_SUBJECT, Policy(rules, (), WEAK_LISTS))
        assert (verdict, action) == (Verdict.MATCH, Action.REPORT)
        assert f"but {WEAKNESS_NAMES[needed]} is not enough to move a file" in because
        policy = Policy(rules, (needed,), WEAK_LISTS)
        assert judge([weak], None, NO_SUBJECT, policy).action is Action.QUARANTINE
        # A file is moved for a match that is not weak, and the reason names this match.
        both = judge([weak, match("pdq", distance=20)], None, NO_SUBJECT, Policy(rules, (), WEAK_LISTS))
        assert both.action is Action.QUARANTINE
        assert both.because == "pdq 20 of 31 bits apart: entry e1 (A1) of list list; rule 1: quarantine"


def test_what_was_put_back_is_held_unless_another_entry_accuses_it() -> None:
    back = RestoredContent("2027-01-31", "alice", frozenset({("list", "e1")}))
    for rules in ((), (PolicyRule(1, Action.QUARANTINE),)):
        policy = Policy(rules, put_back={CONTENT: back})
        same = Subject(b"/a", 0, CONTENT)
        assert judge([match(), match("pdq", distance=3)], None, same, policy) == (
            Verdict.HELD,
            "sha256 equal: entry e1 (A1) of list list and 1 more; but its content was put back on 2027-01-31 "
            "by alice",
            Action.HELD,
        )
        assert judge([match()], None, Subject(b"/a", 0, b"x" * 32), policy).verdict is Verdict.MATCH
        for another in (match(entry="e2"), replace(match(), list_name="other")):
            judged = judge([match(), another], None, same, policy)
            assert judged.verdict is Verdict.MATCH
            assert judged.because.startswith(f"sha256 equal: entry {another.entry_id}")
    whole = RestoredContent("2027-01-31", "alice", frozenset({("list", "")}))
    assert judge([match()], None, same, Policy(put_back={CONTENT: whole})).verdict is Verdict.HELD


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
    assert rule_text(rules[6]) == "rule 7: quarantine (as told)"
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


def test_an_excepted_content_holds_all_matches_of_this_content_alone() -> None:
    content = ExceptedContent("11" * 32, "a logo", "2027-02-01T00:00:00Z", "root", "2026-02-01T00:00:00Z")
    policy = Policy(contents={bytes.fromhex(content.sha256): content})
    subject = Subject(sha256=b"\x11" * 32)
    matches = [match(), match("pdq", entry="e2", distance=9), match("pdq", entry="e3", distance=10)]
    verdict, because, action = judge(matches, None, subject, policy)
    assert (verdict, action) == (Verdict.HELD, Action.HELD)
    assert because.endswith("but the content is excepted here until 2027-02-01T00:00:00Z: a logo")
    assert all(m.excepted is not None for m in explained(matches, subject, policy))
    for other in (Subject(sha256=b"\x12" * 32), Subject()):
        assert judge(matches, None, other, policy)[0] is Verdict.MATCH
        assert explained(matches, other, policy) == matches
    good = match(category="known-good", entry="g")
    assert "known to be good" in judge([*matches, good], None, subject, policy)[1]
    assert judge([match(category="other")], None, subject, policy)[0] is Verdict.REVIEW


def test_likeness_to_what_stays_down_accuses_its_owner_alone() -> None:
    policy = Policy(stay_down={"sd-1": ("1000", "s3://uploads")})
    alike = replace(match("pdq", entry="sd-1:pdq", distance=4), list_name="stay-down")
    same = replace(match("sha256", entry="sd-1:sha256"), list_name="stay-down")
    forgeable = replace(match("sha1", entry="sd-1:sha1"), list_name="stay-down")
    for subject, verdict in (
        (Subject(b"/www/a", 1000), Verdict.MATCH),
        (Subject(b"/www/a", 1001), Verdict.REVIEW),
        (Subject(b"s3://uploads/a"), Verdict.MATCH),
        (Subject(b"s3://uploads-of-another/a"), Verdict.REVIEW),
        (Subject(b"/s3://uploads/a", 7), Verdict.REVIEW),
        (Subject(), Verdict.REVIEW),
    ):
        assert judge([alike], None, subject, policy)[0] is verdict, subject
        assert judge([alike, same], None, subject, policy)[0] is Verdict.MATCH
        assert judge([forgeable], None, subject, policy)[0] is Verdict.REVIEW
        withheld = explained([alike], subject, policy)[0].withheld
        assert bool(withheld) is (verdict is Verdict.REVIEW)
    acting = Policy(act_on=(Weak.STAY_DOWN,), stay_down=policy.stay_down)
    assert judge([alike], None, Subject(b"/www/a", 1001), acting)[0] is Verdict.MATCH
    assert judge([same], None, Subject(b"/www/a", 1000), Policy())[0] is Verdict.REVIEW, "no record"
