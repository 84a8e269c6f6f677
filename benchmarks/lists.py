"""What a signed list of many entries costs its owner and a subscriber: time, bytes and memory.

    python benchmarks/lists.py [--entries 10000000]

Makes random PDQ entries with ids of eight bytes, publishes them, pulls them over a web server on loopback,
then publishes and pulls an increment, kills a first pull half-way and resumes it, and compacts the list and
pulls that. Every step is a process of its own. The server runs in this one, and takes some of the machine's
time.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import measure
from children import ONE_THREAD
from owner import INCREMENT, WITHDRAWN
from server import CountingServer

HERE = Path(__file__).resolve().parent
NAME = "bench"
MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class Step:
    """One process."""

    name: str
    wall: float
    """Seconds."""
    cpu: float
    """Seconds, user and system."""
    peak: int
    """Bytes resident at most, mapped files included: ru_maxrss."""
    sent: int
    """Bytes that the web server sent meanwhile, headers included."""
    killed: bool = False


class Bench:
    """The steps, with the folders they work in."""

    def __init__(self, scratch: Path, entries: int, server: CountingServer) -> None:
        self._scratch = scratch
        self._entries = entries
        self._server = server
        self.steps: list[Step] = []

    def owner(self, action: str) -> None:
        """Have the owner do something."""
        command = [sys.executable, str(HERE / "owner.py"), action, str(self._scratch), str(self._entries)]
        self._run(f"owner: {action}", command)

    def lists(self, label: str, state: str, *arguments: str, kill_after: int = 0) -> Step:
        """Run a command of `hashscan lists` with a state folder; killed once the server has sent so much."""
        folder = str(self._scratch / state)
        command = [sys.executable, "-m", "hashscan", "lists", *arguments, "--state", folder]
        return self._run(f"subscriber: {label}", command, kill_after)

    def add(self, state: str) -> None:
        """Have a new subscriber add the list."""
        root = str(self._scratch / "work" / "root.json")
        self.lists("add", state, "add", NAME, self._server.url, "--root", root)

    def stored_entries(self, state: str) -> int:
        """How many entries a subscriber has in use, by a process that only looks at the sizes of files."""
        code = (
            "import sys; from datetime import datetime, UTC; from pathlib import Path;"
            "from hashscan.lists.store import ListStore; from hashscan.lists.record import VerificationLevel;"
            "store = ListStore(Path(sys.argv[1]) / 'lists');"
            "print(store.open(None, datetime.now(UTC), VerificationLevel.SIZES).infos[0].entries)"
        )
        command = [sys.executable, "-c", code, str(self._scratch / state)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return int(done.stdout)

    def _run(self, name: str, command: list[str], kill_after: int = 0) -> Step:
        errors = self._scratch / "stderr"
        self._server.sent = 0
        start = time.monotonic()
        with errors.open("wb") as stderr:
            process = subprocess.Popen(
                command, stdout=subprocess.DEVNULL, stderr=stderr, env=measure.environment(ONE_THREAD)
            )
        killed = bool(kill_after) and self._killed(process, kill_after)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != (-signal.SIGKILL if killed else 0):
            raise measure.MeasureError(f"{name}: {errors.read_text(errors='replace')[-2000:]}")
        cpu = usage.ru_utime + usage.ru_stime
        step = Step(name, wall, cpu, usage.ru_maxrss * 1024, self._server.sent, killed)
        self.steps.append(step)
        show(step)
        return step

    def _killed(self, process: subprocess.Popen[bytes], kill_after: int) -> bool:
        while self._server.sent < kill_after:
            if os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                return False
            time.sleep(0.001)
        process.kill()
        return True


def show(step: Step) -> None:
    """Print a step as soon as it is done."""
    print(
        f"{step.name:42} {step.wall:8.1f} s {step.cpu:8.1f} s CPU {step.peak / MEGABYTE:8.0f} MB"
        f" {step.sent / MEGABYTE:10.3f} MB sent{', then killed' if step.killed else ''}",
        flush=True,
    )


def run(bench: Bench, entries: int) -> dict[str, float]:
    """All steps; gives the figures that matter.

    Raises:
        MeasureError: a step failed, or a subscriber has not the entries it should have.
    """

    def expect(state: str, count: int) -> None:
        found = bench.stored_entries(state)
        if found != count + canaries:
            raise measure.MeasureError(f"{state} has {found} entries, not {count + canaries}")

    canaries = 0
    bench.owner("init and add")
    bench.owner("release")
    bench.add("one")
    first = bench.lists("first pull", "one", "pull", NAME)
    canaries = bench.stored_entries("one") - entries
    bench.lists("pull, nothing new", "one", "pull", NAME)
    bench.add("two")
    bench.lists("first pull, cut at half", "two", "pull", NAME, kill_after=first.sent // 2)
    resumed = bench.lists("the same, resumed", "two", "pull", NAME)
    expect("two", entries)
    bench.owner("add more")
    bench.owner("withdraw some")
    bench.owner("release")
    increment = bench.lists("pull of the increment", "one", "pull", NAME)
    expect("one", entries + INCREMENT - WITHDRAWN)
    bench.owner("compact")
    bench.lists("pull of the new base", "one", "pull", NAME)
    expect("one", entries + INCREMENT - WITHDRAWN)
    return {
        "peak memory of any process, MB": max(step.peak for step in bench.steps) / MEGABYTE,
        "increment, MB transferred": increment.sent / MEGABYTE,
        "increment, seconds to pull and put in use": increment.wall,
        "resumed pull, share of the first transferred": resumed.sent / first.sent,
    }


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--entries", type=int, default=10_000_000)
    parser.add_argument(
        "--work", type=Path, help="where to make a scratch folder: 5 kB an entry while it runs"
    )
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    scratch = Path(tempfile.mkdtemp(prefix="lists-", dir=options.work))
    try:
        with CountingServer(scratch / "published") as server:
            bench = Bench(scratch, options.entries, server)
            figures = run(bench, options.entries)
        print()
        for label, value in figures.items():
            print(f"{label:48} {value:10.3f}")
        if options.json:
            report = {"steps": [asdict(step) for step in bench.steps], "figures": figures}
            options.json.write_text(json.dumps(report, indent=1))
    finally:
        shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
