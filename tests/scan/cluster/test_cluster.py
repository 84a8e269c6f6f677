"""Scans on a real cluster: a scheduler and nodes as commands of their own, joined by TLS on loopback."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from hashscan.model import Entry
from hashscan.reports.report import Report
from hashscan.scan.baseline import matches_to_accept, write_baseline
from tests.pictures import encoded, scene
from tests.prefork import CLUSTER_PREFORK
from tests.scan.cluster.scanning import (
    AFTER_ALL_ANSWERS,
    IMPATIENT,
    command,
    draw,
    killing,
    run_scan,
    state_with,
    stop,
    story,
)
from tests.scan.hostile import MARKS
from tests.scan.hostile_node import MACHINE
from tests.scan.nodes import HOSTILE_NODE, NODE, Cluster, cluster, records_of, until, workers_of
from tests.shortcomings import codes
from tests.web import served

pytest.importorskip("distributed")


SLOW = {"HASHSCAN_LIMIT_FILES": "60"}
"""So that a scan isn't over before something is done to it."""


def test_a_cluster_finds_what_a_scan_here_finds(
    here: Cluster, pictures: tuple[Path, Path], tmp_path: Path
) -> None:
    folder, state = pictures
    (folder / "cut.webp").write_bytes(encoded(scene(1), "WEBP")[:2000])
    (folder / b"odd \xff\n name".decode("utf-8", "surrogateescape")).write_bytes(b"text")
    os.link(folder / "part-0" / "0014.jpg", folder / "another name.jpg")
    expected = run_scan(state, folder, tmp_path / "local.jsonl", "--with-digests")
    first, second = here.nodes(here.start_node(state), here.start_node(state))
    code, said = run_scan(state, folder, tmp_path / "far.jsonl", "--with-digests", *here.options)
    assert code == expected[0] == 1, said
    _, found, counts = story(tmp_path / "local.jsonl")
    record, far_found, far_counts = story(tmp_path / "far.jsonl")
    assert far_found == found
    assert far_counts == counts
    assert counts["verdicts"]["match"] == 10
    (node,) = record["cluster"]["nodes"]
    assert record["cluster"]["scheduler"] == here.address
    # One that is slow to get ready is not waited for when the other is.
    assert node["workers"] in {1, 2}
    assert node["version"] == record["version"]
    for program in (first, second):
        program.signal(signal.SIGTERM)
        assert program.wait() == 143
        assert "Traceback" not in "".join(program.said)


@pytest.mark.slow
def test_what_was_learnt_by_reading_is_reported_from_afar_too(
    here: Cluster, pictures: tuple[Path, Path], tmp_path: Path
) -> None:
    """The size of a file that an inventory names is known only after reading."""
    folder, state = pictures
    (folder / "cut.webp").write_bytes(encoded(scene(1), "WEBP")[:2000])
    node = here.node(state)
    with served(folder) as address:
        paths = [*sorted((folder / "part-0").iterdir()), folder / "cut.webp"]
        names = tmp_path / "names"
        names.write_text("".join(f"{address}/{path.relative_to(folder)}\n" for path in paths))
        options = ("--files-from", str(names), "--with-digests")
        local = run_scan(state, None, tmp_path / "local.jsonl", *options)
        far = run_scan(state, None, tmp_path / "far.jsonl", *options, *here.options)
        now = datetime.now(UTC)
        known = matches_to_accept(
            Report(tmp_path / "local.jsonl"), "known", now + timedelta(days=1), "us", now
        )
        write_baseline(tmp_path / "baseline.json", known.matches)
        accepted = ("--baseline", str(tmp_path / "baseline.json"))
        again = run_scan(state, None, tmp_path / "again.jsonl", *options, *accepted, *here.options)
    assert again[0] == 0, again[1]
    assert local[0] == far[0] == 1, far[1]
    _, found, counts = story(tmp_path / "local.jsonl")
    assert {record["type"] for record in found.values()} == {"finding", "undecoded"}
    assert all(record["size"] > 0 for record in found.values())
    assert story(tmp_path / "far.jsonl")[1:] == (found, counts)
    stop([node])


@pytest.mark.slow
def test_a_killed_worker_costs_nothing(here: Cluster, pictures: tuple[Path, Path], tmp_path: Path) -> None:
    folder, state = pictures
    draw(folder, 700)
    assert run_scan(state, folder, tmp_path / "local.jsonl")[0] == 1
    nodes = here.nodes(*(here.start_node(state, environment=SLOW) for _ in range(2)))
    code, said = killing(
        lambda: os.kill(workers_of(nodes[0])[0], signal.SIGKILL),
        command(state, folder, tmp_path / "far.jsonl", *here.options),
        tmp_path / "far.jsonl.partial",
    )
    assert code == 1, said
    assert "lost a worker" in said
    assert story(tmp_path / "far.jsonl")[1:] == story(tmp_path / "local.jsonl")[1:]
    assert records_of(tmp_path / "far.jsonl")[-1]["cluster"]["workers_lost"] == 1  # type: ignore[index]
    stop(nodes)


def test_files_that_kill_cost_one_verdict_each(here: Cluster, tmp_path: Path) -> None:
    """One picture that kills its decoder, one file that kills its worker, twice: here and nowhere else."""
    folder = tmp_path / "pictures"
    state = state_with(tmp_path / "state", draw(folder, 60))
    for name, mark in (("0003.jpg", "segfault"), ("0005.jpg", "worker")):
        path = folder / "part-1" / name
        path.write_bytes(path.read_bytes() + MARKS[mark])
    node = here.node(state, 2, HOSTILE_NODE)
    before = set(workers_of(node))
    code, said = run_scan(state, folder, tmp_path / "far.jsonl", *here.options)
    assert code == 4, said
    _, found, counts = story(tmp_path / "far.jsonl")
    assert counts["files"] == 60
    assert counts["reasons"] == {
        "undecoded": {"decoder died": 1},
        "unreadable": {"worker died": 1},
    }
    assert found[str(folder / "part-1" / "0005.jpg")]["reason"] == "worker died"
    assert found[str(folder / "part-1" / "0003.jpg")]["reason"] == "decoder died"
    # It killed a worker in company and one alone, and no third.
    assert records_of(tmp_path / "far.jsonl")[-1]["cluster"]["workers_lost"] == 2  # type: ignore[index]
    until(lambda: len(workers_of(node)) == 2)
    assert len(before) == 2
    stop([node])


@pytest.mark.slow
def test_other_lists_and_other_versions_take_no_part(
    here: Cluster, pictures: tuple[Path, Path], tmp_path: Path
) -> None:
    folder, state = pictures
    other = state_with(tmp_path / "other", [Entry("x", "md5", bytes(16), "A1")])
    none = tmp_path / "none"
    none.mkdir(mode=0o700)
    strangers = here.nodes(here.start_node(other), here.start_node(none), here.start_node(state, 1, OLD_NODE))
    code, said = run_scan(state, folder, tmp_path / "refused.jsonl", *here.options, program=AFTER_ALL_ANSWERS)
    assert code == 10, said
    assert "its list ours has other entries" in said, said
    assert "its list ours is missing" in said, said
    assert "it has hashscan 0.0.9, not 0.1.0" in said, said
    node = here.node(state)
    # Otherwise a stranger that answers long after the node is ready would not be waited for.
    code, said = run_scan(state, folder, tmp_path / "far.jsonl", *here.options, program=AFTER_ALL_ANSWERS)
    assert code == 1, said
    assert said.count("takes no part") == 3
    record, _, counts = story(tmp_path / "far.jsonl")
    assert counts["files"] == 60
    assert [n["workers"] for n in record["cluster"]["nodes"]] == [1]
    assert len(record["cluster"]["refused"]) == 3
    stop([*strangers, node])


OLD_NODE = [
    sys.executable,
    "-c",
    "import sys; from hashscan.scan.cluster import host; host.__version__ = '0.0.9'\n"
    "from hashscan.cli.main import run\nif __name__ == '__main__': sys.exit(run(['worker', *sys.argv[1:]]))",
]


def test_who_has_no_certificate_of_the_cluster_is_refused(here: Cluster, tmp_path: Path) -> None:
    from tests.certificates import Authority

    target = tmp_path / "files"
    target.mkdir()
    state = state_with(tmp_path / "state", [Entry("x", "md5", bytes(16), "A1")])
    stranger = Authority(tmp_path / "stranger")
    cert, key = stranger.issue("localhost")
    key.chmod(0o600)
    ca = ["--cluster-ca", str(here.authority.file)]
    report = tmp_path / "report.jsonl"
    as_stranger = ["--cluster", here.address, *ca, "--cluster-cert", str(cert), "--cluster-key", str(key)]
    code, said = run_scan(state, target, report, *as_stranger, program=IMPATIENT)
    assert code == 13, said
    assert "can't be reached" in said
    code, said = run_scan(state, target, report, "--cluster", here.address, *ca)
    assert code == 2
    assert "needs --cluster-cert, --cluster-key" in said
    # In the clear there is no way in, either.
    code, said = run_scan(
        state, target, report, "--cluster", here.address.replace("tls", "tcp"), program=IMPATIENT
    )
    assert code == 13, said
    assert "can't be reached" in said


def test_no_scheduler_and_no_workers(here: Cluster, tmp_path: Path) -> None:
    target = tmp_path / "files"
    target.mkdir()
    state = state_with(tmp_path / "state", [Entry("x", "md5", bytes(16), "A1")])
    unreachable = ["--cluster", "tls://127.0.0.1:9", *here.certificates]
    code, said = run_scan(state, target, tmp_path / "report.jsonl", *unreachable, program=IMPATIENT)
    assert code == 13, said
    assert "tls://127.0.0.1:9 can't be reached" in said
    code, said = run_scan(state, target, tmp_path / "report.jsonl", *here.options, program=IMPATIENT)
    assert code == 13, said
    assert "has no worker" in said
    assert not (tmp_path / "report.jsonl").exists()


@pytest.mark.slow
def test_a_scheduler_that_dies_ends_the_scan_with_what_was_done(
    pictures: tuple[Path, Path], tmp_path: Path
) -> None:
    folder, state = pictures
    draw(folder, 700)
    with cluster(tmp_path / "own") as own:
        nodes = [own.node(state, environment=SLOW) for _ in range(2)]
        code, said = killing(
            lambda: own.scheduler.signal(signal.SIGKILL),
            command(state, folder, tmp_path / "far.jsonl", *own.options),
            tmp_path / "far.jsonl.partial",
        )
        assert code == 4, said
        assert "the scheduler is gone" in said
        _, found, counts = story(tmp_path / "far.jsonl")
        assert any(record["type"] == "finding" for record in found.values())
        assert counts["files"] == sum(counts["verdicts"].values())
        assert codes(records_of(tmp_path / "far.jsonl")[-1])[-1] == "failed"
        # Nothing is left behind.
        for node in nodes:
            assert node.wait() == 13, node.said
            assert not Path(f"/proc/{node.process.pid}").exists()


@pytest.mark.slow
def test_a_scheduler_that_comes_back_is_waited_for(pictures: tuple[Path, Path], tmp_path: Path) -> None:
    folder, state = pictures
    draw(folder, 700)
    assert run_scan(state, folder, tmp_path / "local.jsonl")[0] == 1
    with cluster(tmp_path / "own") as own:
        nodes = [own.node(state, environment=SLOW) for _ in range(2)]

        def replace_all() -> None:
            own.scheduler.signal(signal.SIGKILL)
            own.scheduler.wait()
            for node in nodes:
                node.wait()
            own.start_scheduler()
            own.node(state, 2)

        scan = command(state, folder, tmp_path / "far.jsonl", *own.options)
        code, said = killing(replace_all, scan, tmp_path / "far.jsonl.partial")
        assert code == 1, said
        assert story(tmp_path / "far.jsonl")[1:] == story(tmp_path / "local.jsonl")[1:]


@pytest.mark.slow
def test_a_node_that_vanishes_with_all_its_workers(pictures: tuple[Path, Path], tmp_path: Path) -> None:
    """As when a machine loses its power: nothing starts its workers again, and no file is to blame."""
    folder, state = pictures
    draw(folder, 700)
    assert run_scan(state, folder, tmp_path / "local.jsonl")[0] == 1
    with cluster(tmp_path / "own") as own:
        lost, _ = own.node(state, 2, environment=SLOW), own.node(state, environment=SLOW)
        scan = command(state, folder, tmp_path / "far.jsonl", *own.options)
        code, said = killing(
            lambda: os.killpg(lost.process.pid, signal.SIGKILL), scan, tmp_path / "far.jsonl.partial"
        )
        assert code == 1, said
        assert story(tmp_path / "far.jsonl")[1:] == story(tmp_path / "local.jsonl")[1:]


@pytest.mark.slow
def test_a_file_is_not_blamed_for_machines_that_are_lost_while_they_have_it(
    here: Cluster, pictures: tuple[Path, Path], tmp_path: Path
) -> None:
    """One machine goes while it has the file among others, the next while it has it alone."""
    folder, state = pictures
    unlucky = folder / "part-0" / "0014.jpg"
    unlucky.write_bytes(unlucky.read_bytes() + MACHINE)
    here.nodes(*(here.start_node(state, 1, HOSTILE_NODE) for _ in range(3)))
    code, said = run_scan(state, folder, tmp_path / "far.jsonl", *here.options)
    assert code == 1, said
    _, _, counts = story(tmp_path / "far.jsonl")
    assert counts["verdicts"] | {"clean": 52, "match": 8} == counts["verdicts"]
    assert records_of(tmp_path / "far.jsonl")[-1]["cluster"]["workers_lost"] == 2  # type: ignore[index]
    assert (tmp_path / "machines-lost").stat().st_size == 2


@pytest.mark.slow
def test_no_answer_is_unpickled(here: Cluster, pictures: tuple[Path, Path], tmp_path: Path) -> None:
    """The trap stands in for what a node that was taken over would send."""
    folder, state = pictures
    sprung = tmp_path / "sprung"
    trapped = here.start_node(state, 1, HOSTILE_NODE, {"TRAP": str(sprung)})
    here.nodes(trapped, here.start_node(state))
    code, said = run_scan(state, folder, tmp_path / "far.jsonl", *here.options)
    assert code == 1, said
    assert story(tmp_path / "far.jsonl")[2]["files"] == 60
    assert not sprung.exists()
    assert "takes no part: its answer can't be used: " in said


@pytest.fixture
def far_away() -> Iterator[str]:
    """Another host, as a network namespace of that name: it has 10.213.77.2, this one 10.213.77.1."""
    name = "hashscan-test"
    made = ip("netns", "add", name)
    if made.returncode:
        pytest.skip(f"no network namespace can be made: {made.stderr}")
    try:
        for message in (
            "link add hst0 type veth peer name hst1",
            f"link set hst1 netns {name}",
            "addr add 10.213.77.1/30 dev hst0",
            "link set hst0 up",
            f"-n {name} addr add 10.213.77.2/30 dev hst1",
            f"-n {name} link set hst1 up",
            f"-n {name} link set lo up",
        ):
            done = ip(*message.split())
            assert done.returncode == 0, done.stderr
        yield name
    finally:
        ip("link", "del", "hst0")
        ip("netns", "del", name)


def ip(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("ip") is None, reason="takes root and iproute2")
def test_a_machine_whose_cable_is_cut(pictures: tuple[Path, Path], tmp_path: Path, far_away: str) -> None:
    """No connection is closed, nothing answers any more, and the files are read by the other machine."""
    folder, state = pictures
    draw(folder, 700)
    assert run_scan(state, folder, tmp_path / "local.jsonl")[0] == 1
    # Dask takes no less than 11 s; its default is 30.
    impatient = {"DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "12s"}
    with cluster(tmp_path / "own", "10.213.77.1", impatient) as own:
        own.node(state, 2, ["ip", "netns", "exec", far_away, *NODE], SLOW)
        own.node(state, environment=SLOW)
        scan = command(state, folder, tmp_path / "far.jsonl", *own.options)
        code, said = killing(lambda: ip("link", "set", "hst0", "down"), scan, tmp_path / "far.jsonl.partial")
        assert code == 1, said
        assert story(tmp_path / "far.jsonl")[1:] == story(tmp_path / "local.jsonl")[1:]
        assert records_of(tmp_path / "far.jsonl")[-1]["cluster"]["workers_lost"] == 2  # type: ignore[index]


@pytest.mark.slow
def test_an_interrupted_scan_leaves_the_nodes_well(
    here: Cluster, pictures: tuple[Path, Path], tmp_path: Path
) -> None:
    folder, state = pictures
    draw(folder, 400)
    node = here.node(state, 2, environment=SLOW)
    report = tmp_path / "far.jsonl"
    scan = command(state, folder, report, *here.options)
    running = CLUSTER_PREFORK.popen(scan, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    partial = tmp_path / "far.jsonl.partial"
    until(lambda: partial.exists() and partial.read_text().count("\n") > 1)
    running.send_signal(signal.SIGTERM)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 143, said
    assert not re.search("Traceback|Task was", said), said
    shutil.rmtree(folder / "part-1")
    assert run_scan(state, folder, tmp_path / "again.jsonl", *here.options)[0] == 1
    stop([node])
