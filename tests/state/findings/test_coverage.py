"""Matches that a scan would report again, so that their absence ends a finding."""

from __future__ import annotations

import pytest

from hashscan.hashing.variants import VARIANTS
from hashscan.matching.evaluation import RESTORED_THRESHOLD
from hashscan.state.findings.coverage import Coverage


@pytest.mark.parametrize(
    ("variant", "distance", "variants", "covered"),
    [
        ("as stored", 31, VARIANTS, True),
        ("as stored", 32, VARIANTS, False),
        ("restored, 5 % lost at each side", RESTORED_THRESHOLD, VARIANTS, True),
        ("restored, 5 % lost at each side", RESTORED_THRESHOLD + 1, VARIANTS, False),
        ("restored, 5 % lost at each side", 12, VARIANTS.keys() - {"restored"}, False),
        ("section, left half", 12, VARIANTS, True),
        ("section, left half", 12, VARIANTS.keys() - {"sections"}, False),
    ],
)
def test_a_match_is_covered_within_the_reach_of_its_variant(
    variant: str, distance: int, variants: dict[str, str], covered: bool
) -> None:
    coverage = Coverage(frozenset({"ours"}), {"pdq": 31}, frozenset(variants))
    match = {"list": "ours", "algorithm": "pdq", "variant": variant, "distance": distance}
    assert coverage.covers(match) is covered
