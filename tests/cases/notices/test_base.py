from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from hashscan.cases.notices.base import Notice

NOTICE = Notice("R-1", "a@hotline.example", "https://a.example/x", received=datetime(2026, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    "again",
    [
        NOTICE,
        replace(NOTICE, received=datetime(2026, 1, 2, tzinfo=UTC)),
        replace(NOTICE, sender="A@Hotline.example"),
        replace(NOTICE, category="A1", deadline=datetime(2026, 1, 2, tzinfo=UTC)),
        replace(NOTICE, digests=(("md5", "0" * 32),)),
    ],
)
def test_what_is_told_again_has_the_same_key(again: Notice) -> None:
    assert again.key == NOTICE.key


@pytest.mark.parametrize(
    "other",
    [
        replace(NOTICE, reference="R-2"),
        replace(NOTICE, sender="b@hotline.example"),
        replace(NOTICE, url="https://a.example/X"),
        replace(NOTICE, path=b"/x"),
        replace(NOTICE, reference="", digests=(("md5", "0" * 32),)),
        replace(NOTICE, reference=""),
    ],
)
def test_what_is_another_thing_has_another(other: Notice) -> None:
    assert other.key != NOTICE.key
