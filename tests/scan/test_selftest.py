from __future__ import annotations

from pathlib import Path

from hashscan.lists.entries import canary_entries
from hashscan.model import ALWAYS_COMPUTED
from hashscan.scan.selftest import make_test_picture
from hashscan.scan.workers.worker import Worker
from tests.scan.workers.test_worker import SETUP, check


def test_the_entries_are_the_digests_of_the_picture(tmp_path: Path) -> None:
    (tmp_path / "canary").write_bytes(make_test_picture())
    with Worker(SETUP) as worker:
        result = check(worker, tmp_path)["canary"]
    assert {digest.algorithm: digest.value for digest in result.digests} == {
        entry.algorithm: entry.value for entry in canary_entries()
    }
    assert not result.low_quality


def test_no_list_makes_a_scan_compute_more_because_of_the_canary() -> None:
    assert {entry.algorithm for entry in canary_entries()} == set(ALWAYS_COMPUTED)


def test_the_entries_can_stand_in_any_list() -> None:
    entries = canary_entries()
    assert len({entry.id for entry in entries}) == len(entries)
    assert {entry.category for entry in entries} == {"test"}
    assert max(len(entry.id) for entry in entries) <= 8
