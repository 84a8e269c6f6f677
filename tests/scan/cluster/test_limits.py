"""Nodes that hold back: all processes of one together, whatever the scan asks of them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.prefork import CLUSTER_PREFORK
from tests.scan.cluster.scanning import command, run_scan
from tests.scan.nodes import Cluster, records_of, until

pytest.importorskip("distributed")


@pytest.mark.slow
def test_a_node_has_one_rate_limit_for_all_its_processes(
    here: Cluster, pictures: tuple[Path, Path], tmp_path: Path
) -> None:
    folder, state = pictures
    limits = {"HASHSCAN_LIMIT_FILES": "20", "HASHSCAN_LIMIT_RATE": "100M", "HASHSCAN_MAX_LOAD": "100000"}
    here.nodes(here.start_node(state, 2, environment=limits))
    code, said = run_scan(state, folder, tmp_path / "r.jsonl", *here.options)
    assert code == 1, said
    summary = records_of(tmp_path / "r.jsonl")[-1]
    assert summary["files"] == 60
    assert float(str(summary["seconds"])) >= 60 / 20 - 0.2


@pytest.mark.slow
def test_the_node_of_a_busy_machine_waits(here: Cluster, pictures: tuple[Path, Path], tmp_path: Path) -> None:
    folder, state = pictures
    node = here.start_node(state, 1, environment={"HASHSCAN_MAX_LOAD": "0.0001"})
    node.wait_for("waiting")
    node.wait_for("are ready at")
    report = tmp_path / "r.jsonl"
    begun = CLUSTER_PREFORK.popen(command(state, folder, report, *here.options), stderr=subprocess.DEVNULL)
    partial = report.with_name(report.name + ".partial")
    until(lambda: partial.exists() and partial.stat().st_size > 0)
    with pytest.raises(subprocess.TimeoutExpired):
        begun.wait(4)
    begun.terminate()
    assert begun.wait(30) == 143
    assert records_of(report)[-1]["files"] == 0
