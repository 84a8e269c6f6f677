"""The file for Prometheus, as its own parser reads it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from hashscan.alerts.metrics import (
    ListMetrics,
    Metrics,
    ScanMetrics,
    render_metrics,
    write_metrics,
)
from hashscan.cases.queries import LedgerStats
from hashscan.errors import OutputError

ROOT = Path(__file__).parents[2]
RUN = ScanMetrics(1_800_000_000, 1_800_000_100.5, 1, {"match": 2, "clean": 98}, 12_345, 0)
FULL = Metrics(
    RUN,
    1_800_000_100,
    (ListMetrics("national", "fresh", 10, 3, 1_900_000_000, 1_799_999_000),),
    LedgerStats(None, 1_800_000_100, {"match": 2, "notice": 1}, 1, 0, 5, in_quarantine=4),
    1,
    2,
    1_800_000_050,
    1_800_000_060,
)


def read(data: bytes) -> dict[str, float]:
    return {
        sample.name + "".join(f",{value}" for value in sample.labels.values()): sample.value
        for family in text_string_to_metric_families(data.decode())
        for sample in family.samples
    }


@pytest.fixture(autouse=True)
def strict_umask() -> Iterator[None]:
    old = os.umask(0o077)
    yield
    os.umask(old)


def test_it_says_all_that_is_known_and_anybody_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "hashscan.prom"
    write_metrics(path, FULL)
    assert path.stat().st_mode & 0o777 == 0o644
    assert [entry.name for entry in tmp_path.iterdir()] == ["hashscan.prom"]
    found = read(path.read_bytes())
    expected = {
        "hashscan_last_success_timestamp_seconds": 1_800_000_100,
        "hashscan_last_run_timestamp_seconds": 1_800_000_000,
        "hashscan_last_run_duration_seconds": 100.5,
        "hashscan_last_run_killed": 0,
        "hashscan_last_run_exit_code": 1,
        "hashscan_last_run_files,match": 2,
        "hashscan_last_run_files,held": 0,
        "hashscan_last_run_files,clean": 98,
        "hashscan_last_run_bytes": 12_345,
        "hashscan_list_state,national,fresh": 1,
        "hashscan_list_state,national,stale": 0,
        "hashscan_list_expiry_timestamp_seconds,national": 1_900_000_000,
        "hashscan_list_pulled_timestamp_seconds,national": 1_799_999_000,
        "hashscan_cases_open,match": 2,
        "hashscan_cases_open,notice": 1,
        "hashscan_cases_overdue": 1,
        "hashscan_cases_opened_total": 5,
        "hashscan_quarantine_items": 4,
        "hashscan_quarantine_withdrawn_items": 1,
        "hashscan_alerts_waiting": 2,
        "hashscan_alerts_oldest_waiting_timestamp_seconds": 1_800_000_050,
        "hashscan_form_refused_timestamp_seconds": 1_800_000_060,
    }
    assert found.items() >= expected.items()


def test_what_is_not_known_is_not_said() -> None:
    assert {name.partition(",")[0] for name in read(render_metrics(Metrics()))} == {"hashscan_build_info"}


def test_a_killed_scan_is_no_success(tmp_path: Path) -> None:
    path = tmp_path / "hashscan.prom"
    write_metrics(path, FULL)
    killed = ScanMetrics(1_800_086_400, None, None)
    write_metrics(path, replace(FULL, last=killed))
    found = read(path.read_bytes())
    assert found["hashscan_last_run_killed"] == 1
    assert "hashscan_last_run_exit_code" not in found
    assert found["hashscan_last_success_timestamp_seconds"] == 1_800_000_100


def test_a_scan_that_failed_early_stays_the_last_until_there_is_a_later_one(tmp_path: Path) -> None:
    path = tmp_path / "hashscan.prom"
    write_metrics(path, FULL)
    failed = ScanMetrics(1_800_086_400, 1_800_086_401, 12)
    write_metrics(path, replace(FULL, last=failed, last_success=None))
    write_metrics(path, FULL)
    found = read(path.read_bytes())
    assert found["hashscan_last_run_exit_code"] == 12
    assert found["hashscan_last_run_timestamp_seconds"] == 1_800_086_400
    assert found["hashscan_last_run_files,match"] == 0
    assert found["hashscan_last_success_timestamp_seconds"] == 1_800_000_100
    write_metrics(path, replace(FULL, last=replace(RUN, started=1_800_172_800), last_success=1_800_173_000))
    found = read(path.read_bytes())
    assert found["hashscan_last_run_timestamp_seconds"] == 1_800_172_800
    assert found["hashscan_last_success_timestamp_seconds"] == 1_800_173_000


@given(st.binary(max_size=300))
def test_whatever_stands_there_is_replaced(tmp_path_factory: pytest.TempPathFactory, junk: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "junk.prom"
    path.write_bytes(junk)
    write_metrics(path, FULL)
    assert read(path.read_bytes())["hashscan_cases_overdue"] == 1


def test_no_fifo_is_waited_for_and_no_link_followed(tmp_path: Path) -> None:
    fifo, link, pointed = (tmp_path / name for name in ("fifo.prom", "link.prom", "pointed.prom"))
    os.mkfifo(fifo)
    link.symlink_to(pointed)
    for path in (fifo, link):
        write_metrics(path, FULL)
        assert path.is_file()
        assert not path.is_symlink()
    assert not pointed.exists()


@given(st.floats() | st.integers(-(10**30), 10**30))
def test_numbers_of_any_kind_in_an_older_file(tmp_path_factory: pytest.TempPathFactory, value: float) -> None:
    path = tmp_path_factory.getbasetemp() / "numbers.prom"
    names = ("timestamp_seconds", "exit_code", "duration_seconds", "bytes")
    path.write_text("".join(f"hashscan_last_run_{name} {value}\n" for name in names))
    write_metrics(path, FULL)
    assert read(path.read_bytes())["hashscan_cases_overdue"] == 1


@pytest.mark.parametrize("place", ["docs/reference/metrics.md", "examples/prometheus/hashscan.rules.yml"])
def test_what_pages_and_rules_name_is_there(place: str) -> None:
    text = (ROOT / place).read_text(encoding="utf-8")
    named = set(re.findall(r"\bhashscan_[a-z_]+", text))
    written = {name.partition(",")[0] for name in read(render_metrics(FULL))}
    assert named
    assert named <= written
    if place.endswith(".md"):
        assert written == named


def test_where_it_cannot_be_written_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="the metrics can't be written"):
        write_metrics(tmp_path / "no" / "hashscan.prom", FULL)
