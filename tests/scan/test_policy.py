from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from hashscan.model import ALGORITHMS, CATEGORIES, Match, Reason, Verdict
from hashscan.scan.policy import judge


def match(algorithm: str = "sha256", category: str = "A1", distance: int = 0, entry: str = "e1") -> Match:
    return Match("list", entry, algorithm, category, distance, ALGORITHMS[algorithm].threshold)


def test_nothing_is_clean() -> None:
    assert judge([], None) == (Verdict.CLEAN, "")


def test_a_picture_without_digest_is_undecoded() -> None:
    assert judge([], Reason.TRUNCATED)[0] is Verdict.UNDECODED


def test_an_exact_match_outranks_a_picture_that_was_not_decoded() -> None:
    assert judge([match()], Reason.TRUNCATED)[0] is Verdict.MATCH


def test_acting_categories_match() -> None:
    for category in ("baseline", "A1", "A2", "B1", "B2", "test"):
        assert judge([match(category=category)], None)[0] is Verdict.MATCH


def test_other_is_for_review() -> None:
    verdict, because = judge([match(category="other")], None)
    assert verdict is Verdict.REVIEW
    assert "category" in because


def test_weak_algorithms_are_for_review() -> None:
    for algorithm in ("phash", "dhash", "ahash", "whash", "xxh3_128"):
        verdict, because = judge([match(algorithm)], None)
        assert verdict is Verdict.REVIEW
        assert "weak" in because


def test_a_near_miss_is_for_review() -> None:
    verdict, because = judge([match("pdq", distance=44)], None)
    assert verdict is Verdict.REVIEW
    assert "44 of 31 bits apart" in because
    assert "near miss" in because
    assert judge([match("pdq", distance=44), match("pdq", distance=31)], None)[0] is Verdict.MATCH


def test_a_doubted_likeness_is_for_review() -> None:
    doubted = replace(match("pdq", distance=4), doubt="it is made of rows and columns")
    verdict, because = judge([doubted], None)
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
    verdict, because = judge([match("pdq", distance=9), match("sha256", "known-good", entry="g")], None)
    assert verdict is Verdict.HELD
    assert "g" in because


def test_likeness_to_known_good_clears_nobody() -> None:
    assert judge([match(), match("pdq", "known-good", 3)], None)[0] is Verdict.MATCH
    assert judge([match(), match("md5", "known-good")], None)[0] is Verdict.MATCH


def test_known_good_alone_accuses_nobody() -> None:
    assert judge([match("sha256", "known-good")], None)[0] is Verdict.CLEAN
    assert judge([match("pdq", "known-good", 3)], Reason.BROKEN)[0] is Verdict.UNDECODED


def test_because_names_the_closest() -> None:
    _, because = judge([match("pdq", distance=30, entry="far"), match("pdq", distance=2, entry="near")], None)
    assert because == "pdq 2 of 31 bits apart: entry near (A1) of list list and 1 more"


@given(
    st.lists(
        st.builds(
            match,
            st.sampled_from(sorted(ALGORITHMS)),
            st.sampled_from(CATEGORIES),
            st.integers(0, 31),
            st.sampled_from(["a", "b"]),
        ),
        max_size=6,
    ),
    st.sampled_from([None, Reason.BROKEN, Reason.TIMEOUT]),
)
def test_findings_are_explained_and_others_are_not(matches: list[Match], reason: Reason | None) -> None:
    verdict, because = judge(matches, reason)
    assert bool(because) == (verdict in (Verdict.MATCH, Verdict.HELD, Verdict.REVIEW))
    accusing = [m for m in matches if m.category != "known-good"]
    assert bool(accusing) == (verdict in (Verdict.MATCH, Verdict.HELD, Verdict.REVIEW))
