"""Scans that give way: in the background, slowly, while the machine is busy, paused, without a terminal."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.cli.commands.test_scan import alive, descendants
from tests.cli.conftest import COMMAND, Run, environment
from tests.hashing.documents.drawn import zipped
from tests.prefork import PREFORK

CONTENT = b"known"
FOLDERS = 120
EACH = 5


@pytest.fixture
def known(run: Run, tmp_path: Path) -> Path:
    """600 files in 120 folders, so that answers come a few at a time; each is a finding."""
    top = tmp_path / "known"
    for folder in range(FOLDERS):
        (top / f"{folder:03}").mkdir(parents=True)
        for number in range(EACH):
            (top / f"{folder:03}" / f"{number}").write_bytes(CONTENT)
    entries = tmp_path / "known.csv"
    digest = hashlib.sha256(CONTENT).hexdigest()
    entries.write_text(f"id,algorithm,value,category\ne,sha256,{digest},A1\n")
    assert run("lists", "import", entries, "--name", "known").code == 0
    return top


def count(report: Path) -> int:
    """Lines in a report that grows."""
    partial = report.with_name(report.name + ".partial")
    return partial.read_bytes().count(b"\n") if partial.exists() else 0


def until(happened: Callable[[], bool], process: subprocess.Popen[Any], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)


@contextmanager
def scanning(
    state: Path, report: Path, target: Path, *options: str, env: dict[str, str] | None = None, **how: Any
) -> Iterator[subprocess.Popen[str]]:
    """A slow scan that has begun to find something."""
    command = [
        *(*COMMAND, "scan", str(target), "--report", str(report), "--workers", "2"),
        *("--limit-files", "60", *options),
    ]
    # A fork server that was forked before the command began has not the priority that the command sets.
    start = subprocess.Popen if env else PREFORK.popen
    process = start(command, env=environment(state, env), text=True, **{"stderr": subprocess.PIPE, **how})
    try:
        until(lambda: count(report) > 5, process)
        yield process
    finally:
        process.kill()
        process.communicate()


def workers_of(process: subprocess.Popen[Any]) -> list[int]:
    """The grandchildren: what is forked from the fork server."""
    family = descendants(process.pid)
    children = {pid for pid in family if int(stat(pid)[1]) == process.pid}
    return [pid for pid in family if int(stat(pid)[1]) in children]


def wait_for_the_end_of(family: set[int]) -> None:
    deadline = time.monotonic() + 120
    while alive(family):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat, from the state on."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()


def niceness(pid: int) -> int:
    return int(stat(pid)[16])


def ended(report: Path) -> dict[str, Any]:
    lines = [json.loads(line) for line in report.read_text(encoding="ascii").splitlines()]
    summary: dict[str, Any] = lines[-1]
    assert summary["type"] == "summary"
    assert summary["files"] == summary["verdicts"]["match"] == len(lines) - 2
    return summary


def test_without_a_terminal_everything_steps_back(state: Path, tmp_path: Path, known: Path) -> None:
    report = tmp_path / "r.jsonl"
    for folder in known.iterdir():
        (folder / "archive.zip").write_bytes(zipped({"member": CONTENT}))
    # As if nothing was said: the tests' own environment says no.
    with scanning(state, report, known, env={"HASHSCAN_BACKGROUND": ""}) as process:
        # The scan, the fork server, two workers, two zygotes, and a decoder of each.
        until(lambda: len(descendants(process.pid)) >= 7, process)
        family = {process.pid, *descendants(process.pid)}
        seen = 0
        for pid in family:
            # A decoder may end meanwhile, and another one take its place.
            with suppress(FileNotFoundError, ProcessLookupError):
                assert niceness(pid) == 19
                said = subprocess.run(["ionice", "-p", str(pid)], capture_output=True, text=True, check=False)
                if stat(pid)[0] == "Z":
                    continue
                assert said.stdout.strip() == "idle"
                seen += 1
        assert seen >= 4
        group = Path("/proc/self/autogroup")
        if group.exists():
            workers = workers_of(process)
            assert len(workers) == 2
            for pid in workers:
                until(lambda: Path(f"/proc/{pid}/autogroup").read_text().endswith("nice 19\n"), process)  # noqa: B023
            # Whoever started the scan is as quick as before.
            assert Path(f"/proc/{process.pid}/autogroup").read_text() == group.read_text()


@pytest.mark.parametrize("word", ["option", "variable", "file"])
def test_in_the_foreground_if_one_likes(state: Path, tmp_path: Path, known: Path, word: str) -> None:
    settings = tmp_path / "hashscan.toml"
    settings.write_text("[scan]\nbackground = false\n" if word == "file" else "")
    env = {"HASHSCAN_BACKGROUND": "no" if word == "variable" else "", "HASHSCAN_CONFIG": str(settings)}
    options = ["--foreground"] if word == "option" else []
    with scanning(state, tmp_path / "r.jsonl", known, *options, env=env) as process:
        ours = niceness(os.getpid())
        assert {niceness(pid) for pid in (process.pid, *descendants(process.pid))} == {ours}


def test_bytes_a_second(run: Run, tmp_path: Path, local_list: str) -> None:
    top = tmp_path / "large"
    top.mkdir()
    for number in range(8):
        (top / str(number)).write_bytes(os.urandom(1 << 19))
    report = tmp_path / "r.jsonl"
    assert run("scan", top, "--limit-rate", "2M", "--report", report).code == 0
    summary = json.loads(report.read_text().splitlines()[-1])
    assert summary["bytes"] == 8 << 19
    # 4 MB, of which a tenth of a second's worth and a worker's first piece each may go at once.
    assert summary["seconds"] >= 2 - 0.1 - 2 * (1 << 18) / (2 << 20)


def test_files_a_second_from_a_variable(run: Run, tmp_path: Path, known: Path) -> None:
    report = tmp_path / "r.jsonl"
    assert run("scan", known, "--report", report, env={"HASHSCAN_LIMIT_FILES": "300"}).code == 1
    assert ended(report)["seconds"] >= 600 / 300 - 0.2


def test_files_a_second_from_a_settings_file(run: Run, tmp_path: Path, known: Path) -> None:
    report = tmp_path / "r.jsonl"
    settings = tmp_path / "hashscan.toml"
    settings.write_text('[scan]\nlimit-files = 400\nlimit-rate = "20M"\nmax-load = 1000\n')
    assert run("--config", settings, "scan", known, "--report", report).code == 1
    assert ended(report)["seconds"] >= 600 / 400 - 0.2


@pytest.mark.parametrize(
    "options", [["--limit-rate", "0"], ["--limit-files", "-1"], ["--max-load", "0"], ["--max-load", "nan"]]
)
def test_limits_that_can_not_be_meant(run: Run, known: Path, options: list[str]) -> None:
    ran = run("scan", known, *options)
    assert ran.code == 2
    assert options[0] in ran.err


def test_in_a_cluster_the_nodes_have_the_limits(run: Run, known: Path) -> None:
    ran = run("scan", known, "--limit-rate", "1M", "--cluster", "tcp://127.0.0.1:9")
    assert ran.code == 2
    assert "hashscan worker" in ran.err


def test_a_busy_machine_is_waited_for(run: Run, state: Path, tmp_path: Path, known: Path) -> None:
    """No machine that runs this has a load of 0."""
    report = tmp_path / "r.jsonl"
    command = [*COMMAND, "scan", str(known), "--report", str(report), "--max-load", "0.0001"]
    with open("/proc/loadavg", "rb") as loadavg:
        if float(loadavg.read().split()[0]) <= 0.0001:
            pytest.skip("this machine has nothing to do")
    process = PREFORK.popen(command, env=environment(state), stderr=subprocess.PIPE, text=True)
    until(lambda: count(report) >= 1, process)
    time.sleep(1)
    before = count(report)
    time.sleep(1)
    assert count(report) == before < 600
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    assert err.count("waiting") == 1
    ended(report)


def test_paused_and_continued(state: Path, tmp_path: Path, known: Path) -> None:
    """As `kill -TSTP` under cron, where no shell would stop the rest of it."""
    report = tmp_path / "r.jsonl"
    with scanning(state, report, known, start_new_session=True) as process:
        workers = workers_of(process)
        assert len(workers) == 2
        process.send_signal(signal.SIGTSTP)
        until(lambda: {stat(pid)[0] for pid in (process.pid, *workers)} == {"T"}, process)
        before = count(report)
        time.sleep(0.5)
        assert count(report) == before
        process.send_signal(signal.SIGCONT)
        until(lambda: count(report) > before, process)
        # Once more, and killed while it is paused: nothing of it is left behind.
        family = descendants(process.pid)
        process.send_signal(signal.SIGTSTP)
        until(lambda: stat(process.pid)[0] == "T", process)
        process.kill()
        process.wait()
        wait_for_the_end_of(family)


@pytest.mark.slow
def test_a_pause_costs_no_verdict(state: Path, tmp_path: Path, known: Path) -> None:
    report = tmp_path / "r.jsonl"
    with scanning(state, report, known, "--limit-files", "300", "--decoder-seconds", "1") as process:
        process.send_signal(signal.SIGTSTP)
        until(lambda: stat(process.pid)[0] == "T", process)
        time.sleep(2)
        process.send_signal(signal.SIGCONT)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 1, err
    assert ended(report)["files"] == 600


def test_a_hangup_ends_it_in_good_order(state: Path, tmp_path: Path, known: Path) -> None:
    """A shell that ends tells all its children."""
    report = tmp_path / "r.jsonl"
    with scanning(state, report, known, process_group=0) as process:
        family = descendants(process.pid)
        os.killpg(process.pid, signal.SIGHUP)
        os.killpg(process.pid, signal.SIGHUP)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 143, err
        assert "Traceback" not in err
    wait_for_the_end_of(family)
    assert 0 < ended(report)["files"] < 600
    assert ended(report)["exit_code"] == 143


def test_under_nohup_it_goes_on(state: Path, tmp_path: Path, known: Path) -> None:
    report = tmp_path / "r.jsonl"

    def as_nohup_does() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    options = ("--limit-files", "300")
    with scanning(state, report, known, *options, process_group=0, preexec_fn=as_nohup_does) as process:
        os.killpg(process.pid, signal.SIGHUP)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 1, err
    assert ended(report)["files"] == 600


@pytest.mark.parametrize("signalled", [True, False])
def test_a_terminal_that_is_closed(state: Path, tmp_path: Path, known: Path, signalled: bool) -> None:
    """The scan ends in good order if it gets the signal; otherwise, as after `disown`, it goes on."""
    report = tmp_path / "r.jsonl"
    master, slave = pty.openpty()
    rate = "60" if signalled else "300"
    how: dict[str, Any] = {"start_new_session": True, "stderr": slave, "stdin": slave}

    def take_the_terminal() -> None:
        os.close(os.open(os.ttyname(slave), os.O_RDWR))
        if not signalled:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)

    with scanning(
        state, report, known, "--limit-files", rate, preexec_fn=take_the_terminal, **how
    ) as process:
        os.close(slave)
        os.close(master)
        process.wait(60)
        assert process.returncode == (143 if signalled else 1)
    assert ended(report)["files"] < 600 if signalled else ended(report)["files"] == 600
