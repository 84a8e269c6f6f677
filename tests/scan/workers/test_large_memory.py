"""Memory limit of the decoder of a large picture."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hashscan.locking import try_flock
from hashscan.scan.workers import large_memory
from hashscan.scan.workers.large_memory import (
    decoder_memory,
    free_memory,
    granted_memory,
    turn_on_machine,
    usable_memory,
)

MIB = 1 << 20


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with 8 GiB, 6 of them free, and no limit of a control group."""
    (tmp_path / "meminfo").write_text("MemTotal: 8388608 kB\nMemAvailable: 6291456 kB\n")
    monkeypatch.setattr(large_memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(large_memory, "memory_limit", lambda: 8 << 30)
    monkeypatch.setattr(large_memory, "control_groups", lambda: [tmp_path])
    return tmp_path


def test_half_of_the_machine_at_most(machine: Path) -> None:
    assert usable_memory(3 << 30) == 3 << 30
    assert usable_memory(6 << 30) == 4 << 30
    assert usable_memory(MIB - 1) == 0


def test_three_quarters_of_what_is_free(machine: Path) -> None:
    assert free_memory() == 6 << 30
    assert granted_memory(3 << 30) == 3 << 30
    (machine / "meminfo").write_text("MemAvailable: 1048576 kB\n")
    assert granted_memory(3 << 30) == 768 * MIB


def test_a_control_group_counts_without_its_cache_of_files(machine: Path) -> None:
    (machine / "memory.max").write_text(f"{2 << 30}\n")
    (machine / "memory.current").write_text(f"{1536 * MIB}\n")
    (machine / "memory.stat").write_text(f"anon 5\ninactive_file {256 * MIB}\nactive_file {256 * MIB}\n")
    assert free_memory() == 1 << 30
    assert granted_memory(3 << 30) == 768 * MIB


@pytest.mark.parametrize("text", ["", "MemAvailable:\n", "MemAvailable: much kB\n"])
def test_without_figures_the_limit_of_the_machine_counts(machine: Path, text: str) -> None:
    (machine / "meminfo").write_text(text)
    assert free_memory() == 8 << 30


def test_all_decoders_share_the_memory(machine: Path) -> None:
    assert decoder_memory(768 * MIB, 2) == 768 * MIB
    assert decoder_memory(768 * MIB, 8) == 384 * MIB
    assert decoder_memory(768 * MIB, 100) == 384 * MIB
    assert decoder_memory(100 * MIB, 2) == 100 * MIB


def test_one_large_picture_at_a_time_on_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_memory, "_TURNS", tmp_path / "lock")
    with turn_on_machine():
        other = os.open(tmp_path / "lock", os.O_RDWR)
        assert not try_flock(other)
    assert try_flock(other)
    os.close(other)


def test_where_no_lock_can_be_none_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setattr(large_memory, "_TURNS", tmp_path / "file" / "lock")
    with turn_on_machine(), turn_on_machine():
        pass


def test_a_lock_that_others_can_hold_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(large_memory, "_TURNS", tmp_path / "lock")
    tmp_path.chmod(0o777)
    with turn_on_machine(), turn_on_machine():
        pass
