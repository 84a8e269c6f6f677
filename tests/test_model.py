from __future__ import annotations

import pytest

from hashscan.model import CATEGORIES, ListInfo, TrustState


@pytest.mark.parametrize("category", CATEGORIES)
def test_whether_a_list_accuses(category: str) -> None:
    """Whatever stands beside known-good entries does, but for the test picture, which every list has."""
    alone = ListInfo("x", TrustState.FRESH, categories=(category,))
    beside = ListInfo("x", TrustState.FRESH, categories=("known-good", category))
    assert alone.can_find == (category != "known-good")
    assert beside.can_find == (category not in {"known-good", "test"})
