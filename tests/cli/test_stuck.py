"""A customer who keeps his file locked in the kernel holds up nobody else, by the real command."""

from __future__ import annotations

import json
import mmap
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.cli.conftest import Ran, Run, environment
from tests.cli.test_ctime import on_loop
from tests.prefork import PREFORK
from tests.shortcomings import codes
from tests.small_fuse import SmallFile, small_filesystem
from tests.waiting import until

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not os.path.exists("/dev/fuse"), reason="only root may mount a FUSE"
)

ATTACKER = 65534
BUFFER = 1 << 16
WORKERS = 2
STUCK = "reading it does not end"
SOON = "StuckLimits(4.0, 2.0, 3, 18.0, 0.2, 1.5)"
LATE = "StuckLimits(1e6, 1e6, 3, 1e7, 0.2, 1.5)"
"""Longer than half a second, in which a worker waits for its decoder."""

WRITE = (
    "import mmap, os, sys\n"
    f"buffer = mmap.mmap(os.open(sys.argv[1], os.O_RDONLY), {BUFFER}, mmap.MAP_PRIVATE, mmap.PROT_READ)\n"
    "os.write(os.open(sys.argv[2], os.O_WRONLY), buffer)\n"
)


class Gate(threading.Event):
    """Keeps answers back; tells when one was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = threading.Event()

    def wait(self, timeout: float | None = None) -> bool:
        self.asked.set()
        return super().wait(timeout)


@contextmanager
def locked(scratch: Path, files: list[Path]) -> Iterator[None]:
    """Have each file locked by a write that does not end."""
    gates = [Gate() for _ in files]
    served = {b"%d" % n: SmallFile(bytes(BUFFER), n + 2, gate=gate) for n, gate in enumerate(gates)}
    scratch.mkdir()
    with ExitStack() as stack:
        stack.enter_context(small_filesystem(scratch, "slow", served))
        writers = []
        for number, (path, gate) in enumerate(zip(files, gates, strict=True)):
            writers.append(subprocess.Popen([sys.executable, "-c", WRITE, scratch / f"{number}", path]))
            assert gate.asked.wait(60)
        try:
            yield
        finally:
            for gate in gates:
                gate.set()
            for writer in writers:
                assert writer.wait(60) == 0


def attacked(target: Path, folders: int, files: int) -> list[Path]:
    """Files of the attacker, in folders that come before those of others."""
    made = []
    for folder in range(folders):
        (target / f"aa{folder}").mkdir()
        for number in range(files):
            path = target / f"aa{folder}" / f"{number}"
            path.write_bytes(b"x" * mmap.PAGESIZE)
            os.chown(path, ATTACKER, ATTACKER)
            made.append(path)
    return made


@pytest.fixture
def target(tmp_path: Path, uploads: Path) -> Iterator[Path]:
    """On XFS, with what is on a list."""
    with on_loop(tmp_path, "xfs") as at:
        (at / "zz").mkdir()
        (at / "zz" / "listed.jpg").write_bytes((uploads / "listed.jpg").read_bytes())
        yield at


def scan(state: Path, target: Path, *arguments: object, limits: str = SOON) -> subprocess.Popen[str]:
    """The command with other limits, for which there is no option."""
    code = (
        "import sys\n"
        "from hashscan.cli.main import run\n"
        "from hashscan.scan.workers import pool\n"
        "from hashscan.scan.workers.watchdog import StuckLimits\n"
        f"pool.LIMITS = {limits}\n"
        "sys.exit(run(sys.argv[1:]))\n"
    )
    command = [sys.executable, "-c", code, "scan", target, "--workers", WORKERS, *arguments]
    return PREFORK.popen(
        [*map(str, command)],
        env=environment(state),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def outcome(process: subprocess.Popen[str]) -> Ran:
    # A worker that is stuck still must not hold the pipes open.
    out, err = process.communicate(timeout=120)
    assert "Traceback" not in err, err
    return Ran(process.returncode, out, err)


@pytest.mark.slow
def test_workers_that_are_stuck_are_replaced(
    state: Path, target: Path, local_list: str, tmp_path: Path
) -> None:
    """Nothing ends them, since XFS waits for the lock whatever signal comes."""
    files = attacked(target, WORKERS, 1)
    with locked(tmp_path / "fuse", files):
        ran = outcome(scan(state, target, "--report", "-"))
        assert ran.code == 4
        summary = ran.lines[-1]
        assert summary["verdicts"]["match"] == 1
        assert summary["reasons"]["unreadable"] == {STUCK: len(files)}
    # They are read as soon as they can be.
    again = outcome(scan(state, target, "--report", "-"))
    assert again.code == 1
    assert again.lines[-1]["verdicts"]["clean"] == len(files)


@pytest.mark.slow
def test_an_owner_whose_files_are_stuck_is_given_up(
    state: Path, target: Path, local_list: str, tmp_path: Path
) -> None:
    files = attacked(target, 1, 20)
    shutil.copy(target / "zz" / "listed.jpg", target / "aa0" / "listed.jpg")
    with locked(tmp_path / "fuse", files):
        ran = outcome(scan(state, target, "--report", "-"))
    assert ran.code == 4
    summary = ran.lines[-1]
    # That of another owner in the same folder, too.
    assert summary["verdicts"]["match"] == 2
    assert summary["reasons"]["unreadable"] == {STUCK: len(files)}
    tried = [line["detail"].startswith("no progress") for line in ran.lines if line.get("reason") == STUCK]
    assert 3 < sum(tried) < len(files)


@pytest.mark.slow
def test_to_ask_ext4_for_holes(state: Path, uploads: Path, local_list: str, tmp_path: Path) -> None:
    with on_loop(tmp_path, "ext4") as target:
        (target / "zz.jpg").write_bytes((uploads / "listed.jpg").read_bytes())
        (file,) = attacked(target, 1, 1)
        os.truncate(file, 8 << 20)
        with locked(tmp_path / "fuse", [file]):
            ran = outcome(scan(state, target, "--report", "-", "--max-sparse", "4M"))
    assert ran.code == 4
    assert ran.lines[-1]["reasons"]["unreadable"] == {STUCK: 1}


@pytest.mark.slow
def test_a_fuse_of_root(state: Path, uploads: Path, local_list: str, tmp_path: Path) -> None:
    """The administrator's own, which is read; a signal ends that."""
    (uploads / "aa").mkdir()
    served = {b"f": SmallFile(bytes(BUFFER), 2, gate=Gate()), b"g": SmallFile(bytes(BUFFER), 3)}
    with small_filesystem(uploads / "aa", "slow", served):
        ran = outcome(scan(state, uploads, "--report", "-"))
    assert ran.code == 4
    found = {os.path.basename(line["path"]): line.get("reason") for line in ran.lines if "verdict" in line}
    assert found["f"] == STUCK
    assert ran.lines[-1]["reasons"]["unreadable"] == {STUCK: 1}


@pytest.mark.slow
def test_the_time_budget(run: Run, target: Path, local_list: str, tmp_path: Path) -> None:
    with locked(tmp_path / "fuse", attacked(target, WORKERS, 1)):
        ran = run("scan", target, "--report", "-", "--workers", str(WORKERS), "--time-budget", "3s")
        # With as many workers stuck as there are, nothing else may have been read by then.
        assert ran.code in {3, 4}
        assert "time" in codes(ran.lines[-1])
        # And the lock is free.
        assert run("scan", target / "zz", "--report", "-").code == 1


@pytest.mark.slow
def test_terminated(state: Path, target: Path, local_list: str, tmp_path: Path) -> None:
    """After what lay behind the stuck file was read by another worker."""
    report = tmp_path / "r.jsonl"
    with locked(tmp_path / "fuse", attacked(target, 1, 1)):
        scanning = scan(state, target, "--report", report, limits=LATE)
        partial = report.with_name("r.jsonl.partial")
        until(lambda: partial.exists() and b"listed.jpg" in partial.read_bytes())
        scanning.send_signal(signal.SIGTERM)
        assert outcome(scanning).code == 143
        verdicts = [line.get("verdict") for line in map(json.loads, report.read_text().splitlines())]
        assert verdicts.count("match") == 1
