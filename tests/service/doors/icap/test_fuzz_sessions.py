"""Mutated sessions: each one ends, and nothing of it is left."""

from __future__ import annotations

from pathlib import Path

from tests.service.doors.icap.fuzz_sessions import fuzz


def test_mutated_sessions(tmp_path: Path) -> None:
    counts = fuzz(tmp_path, 300, 7)
    assert counts["400"] > 50
    assert counts["200"] + counts["204"] > 20
