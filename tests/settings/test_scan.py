from __future__ import annotations

from pathlib import Path

import pytest

from hashscan.errors import UsageError
from hashscan.settings.matching import DecodingLimits
from hashscan.settings.scan import ReportTarget, ScanSettings


def settings(**changes: object) -> ScanSettings:
    values: dict[str, object] = {
        "targets": (b"/srv",),
        "lists": None,
        "reports": (),
        "state": None,
        "workers": 1,
        "decoding": DecodingLimits(),
    }
    return ScanSettings(**{**values, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [
        {"targets": ()},
        {"workers": 0},
        {"workers": -1},
        {"max_file_size": 0},
        {"reports": (ReportTarget("jsonl", None), ReportTarget("jsonl", None))},
        {"reports": (ReportTarget("jsonl", Path("a")), ReportTarget("jsonl", Path("./a")))},
    ],
)
def test_what_can_not_be_meant_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        settings(**changes)
