"""Valid and invalid listings of a bucket."""

from __future__ import annotations

from typing import Any

import pytest

from hashscan.sources.objects.s3.source import _FOUND, is_listing

ENTRY = {"Key": "a", "Size": "3"}


@pytest.mark.parametrize(
    ("page", "all_versions", "expected"),
    [
        ({_FOUND: []}, False, True),
        ({_FOUND: [ENTRY]}, False, True),
        ({_FOUND: [ENTRY], "IsTruncated": True, "NextContinuationToken": "t"}, False, True),
        ({_FOUND: [ENTRY], "IsTruncated": True, "NextKeyMarker": "a"}, True, True),
        ({}, False, False),
        ({_FOUND: [ENTRY], "IsTruncated": True}, False, False),
        ({_FOUND: [ENTRY], "IsTruncated": True, "NextContinuationToken": "t"}, True, False),
        ({_FOUND: [{"Key": "a"}]}, False, False),
        ({_FOUND: [{"Size": "3"}]}, False, False),
        ({_FOUND: [{"Key": "a", "Size": None}]}, False, False),
    ],
)
def test_pages(page: dict[str, Any], all_versions: bool, expected: bool) -> None:
    assert is_listing(page, all_versions=all_versions) is expected
