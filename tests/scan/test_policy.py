from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from hashscan.model import ALGORITHMS, CATEGORIES, Action, ExceptedEntry, Match, Reason, Verdict
from hashscan.scan.policy import closeness, judge, only_test


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
    doubted = replace(match("pdq", distance=4), doubt="it is made of rows and columns")
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
    assert min(matches, key=closeness).entry_id == "far"


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
