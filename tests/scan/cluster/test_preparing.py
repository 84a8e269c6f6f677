"""Workers that can't get ready, or have no room: no scan waits for ever, and no file is to blame."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("distributed")

from hashscan.model import Entry
from tests.pictures import encoded, scene
from tests.prefork import CLUSTER_PREFORK
from tests.scan.cluster.scanning import (
    AFTER_ALL_ANSWERS,
    command,
    draw,
    killing,
    patched,
    run_scan,
    state_with,
    stop,
    story,
)
from tests.scan.nodes import HOSTILE_NODE, Cluster, cluster, until, workers_of


@pytest.mark.slow
def test_workers_that_die_as_they_prepare_are_given_up(
    here: Cluster, pictures: tuple[Path, Path], tmp_path: Path
) -> None:
    folder, state = pictures
    deadly = tmp_path / "deadly"
    deadly.touch()
    node = here.node(state, 1, HOSTILE_NODE, {"DIE_PREPARING": str(deadly)})
    # However long the node takes to start a worker again.
    patient = patched("pool", ARRIVE_SECONDS=100.0)
    code, said = run_scan(state, folder, tmp_path / "far.jsonl", *here.options, program=patient)
    assert code == 13, said
    assert "no worker of the cluster is usable: 127.0.0.1: its workers died 3 times as they prepared" in said
    assert deadly.stat().st_size == 3
    # What is well goes on, and is not held up.
    well = here.node(state)
    code, said = run_scan(state, folder, tmp_path / "far.jsonl", *here.options)
    assert code == 1, said
    assert story(tmp_path / "far.jsonl")[2]["files"] == 60
    stop([node, well])


@pytest.mark.slow
def test_a_scan_ends_when_workers_die_as_they_prepare_in_its_midst(
    here: Cluster, pictures: tuple[Path, Path], tmp_path: Path
) -> None:
    folder, state = pictures
    draw(folder, 700)
    deadly = tmp_path / "deadly"
    # Slowed down, so that the scan isn't over before a worker is killed.
    node = here.node(state, 1, HOSTILE_NODE, {"DIE_PREPARING": str(deadly), "HASHSCAN_LIMIT_FILES": "60"})

    def kill() -> None:
        deadly.touch()
        os.kill(workers_of(node)[0], signal.SIGKILL)

    # Not less than a busy machine takes to start the worker three times again.
    impatient = patched("dispatch", NO_WORKER_SECONDS=30.0)
    code, said = killing(
        kill,
        command(state, folder, tmp_path / "far.jsonl", *here.options, program=impatient),
        tmp_path / "far.jsonl.partial",
    )
    assert code == 4, said
    assert deadly.stat().st_size == 3
    assert "no worker is left: 127.0.0.1: its workers died 3 times as they prepared" in said
    _, _, counts = story(tmp_path / "far.jsonl")
    assert counts["reasons"]["unreadable"] == {"worker died": counts["verdicts"]["unreadable"]}
    assert counts["files"] == sum(counts["verdicts"].values())
    stop([node])


def running(scan: list[str]) -> subprocess.Popen[str]:
    return CLUSTER_PREFORK.popen(scan, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)


def read_to(program: subprocess.Popen[str], message: str) -> str:
    """Return a program's output until it has printed a message, or ends."""
    assert program.stderr is not None
    said = ""
    while message not in said and (line := program.stderr.readline()):
        said += line
    return said


@pytest.mark.slow
@pytest.mark.parametrize("idle_seconds", ["15", "0"])
def test_two_scans_where_there_is_room_for_one(
    idle_seconds: str, here: Cluster, pictures: tuple[Path, Path], tmp_path: Path
) -> None:
    """The second waits; or, if the first is taken for idle, both are forgotten again and again."""
    folder, state = pictures
    entries = draw(folder, 500)[:9]
    other = state_with(tmp_path / "other", entries)
    # Slowed down, so that the first scan isn't over as soon as it is seen to have begun.
    room = {"SCANS_KEPT": "1", "IDLE_SECONDS": idle_seconds, "HASHSCAN_LIMIT_FILES": "100"}
    node = here.node(state, 1, HOSTILE_NODE, room)
    # So that what is asked for first knows of the limits.
    assert run_scan(state, folder / "part-0", tmp_path / "before.jsonl", *here.options)[0] == 1
    reports = [tmp_path / "first.jsonl", tmp_path / "second.jsonl"]
    first = running(command(state, folder, reports[0], *here.options))
    under_way = tmp_path / "first.jsonl.partial"
    until(lambda: under_way.exists() and under_way.read_text().count("\n") > 1)
    waits = idle_seconds != "0"
    if waits:
        # However long the second takes to come, the first isn't over by then.
        first.send_signal(signal.SIGSTOP)
    second = running(command(other, folder, reports[1], *here.options))
    heard = read_to(second, "it is asked again") if waits else ""
    first.send_signal(signal.SIGCONT)
    said = [first.communicate(timeout=200)[1], heard + second.communicate(timeout=200)[1]]
    assert [first.returncode, second.returncode] == [1, 1], said
    assert ("it is asked again" in said[1]) is waits
    for report, message in zip(reports, said, strict=True):
        _, _, counts = story(report)
        assert (counts["files"], counts["verdicts"]["unreadable"]) == (500, 0)
        assert "lost a worker" not in message
    stop([node])


def test_a_node_that_can_start_no_decoder_is_refused(
    here: Cluster, pictures: tuple[Path, Path], tmp_path: Path
) -> None:
    folder, state = pictures
    node = here.node(state, 1, HOSTILE_NODE, {"DECODER": "tests.scan.nothing:load"})
    scan = running(command(state, folder, tmp_path / "far.jsonl", *here.options, program=AFTER_ALL_ANSWERS))
    _, said = scan.communicate(timeout=100)
    assert scan.returncode == 10, said
    assert "tests.scan.nothing:load can't be loaded" in said
    stop([node])


@pytest.mark.slow
def test_the_exit_code_when_the_scheduler_is_gone(pictures: tuple[Path, Path], tmp_path: Path) -> None:
    """Nothing on the list was met by then: incomplete, and the node says what it misses."""
    folder, _ = pictures
    draw(folder, 400)
    state = state_with(tmp_path / "other", [Entry("x", "md5", bytes(16), "A1")])
    for number in range(2):
        # The first thing that is written.
        (folder / f"cut-{number}.webp").write_bytes(encoded(scene(1), "WEBP")[:2000])
    with cluster(tmp_path / "own") as own:
        node = own.node(state, environment={"HASHSCAN_LIMIT_FILES": "60"})
        impatient = patched("dispatch", SCHEDULER_SECONDS=2.0)
        code, said = killing(
            lambda: own.scheduler.signal(signal.SIGKILL),
            command(state, folder, tmp_path / "far.jsonl", *own.options, program=impatient),
            tmp_path / "far.jsonl.partial",
        )
        assert code == 3, said
        assert "the scheduler is gone" in said
        _, _, counts = story(tmp_path / "far.jsonl")
        assert counts["verdicts"]["undecoded"] == 2
        assert counts["verdicts"]["unreadable"] > 0
        assert node.wait() == 13
