from __future__ import annotations

import pytest

from hashscan.errors import UsageError
from hashscan.settings.matching import DecodingLimits


@pytest.mark.parametrize("limit", [{"memory_bytes": 0}, {"seconds": 0}, {"max_pixels": -1}])
def test_limits_are_positive(limit: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        DecodingLimits(**limit)  # type: ignore[arg-type]
