"""Mutated sessions at each door: each one ends, and nothing of it is left."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.service.doors.clamd.fuzz_sessions import fuzz as fuzz_clamd
from tests.service.doors.fuzzing import Fuzz
from tests.service.doors.http.fuzz_sessions import fuzz as fuzz_http
from tests.service.doors.icap.fuzz_sessions import fuzz as fuzz_icap


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fuzz", "wrong", "right"),
    [
        (fuzz_clamd, ("unknown",), ("ok", "found", "pong")),
        (fuzz_http, ("400", "401"), ("200",)),
        (fuzz_icap, ("400",), ("200", "204")),
    ],
)
def test_mutated_sessions(tmp_path: Path, fuzz: Fuzz, wrong: tuple[str, ...], right: tuple[str, ...]) -> None:
    counts = asyncio.run(fuzz(tmp_path, 300, 7))
    assert counts["(unchanged)"] == 6
    assert sum(counts[kind] for kind in wrong) > 40
    assert sum(counts[kind] for kind in right) > 10
