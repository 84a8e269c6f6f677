"""Time a sweep by a Dask cluster on this machine beside the same sweep without one.

    python benchmarks/cluster.py CORPUS [--copies N] [--runs R] [--workers W] [--work DIR] [--json FILE]

Run it with the Python that has hashscan with the extra `dask`. It starts a scheduler and a node with two
worker processes, joined by TLS over loopback as they would be over a network, and times, each as a command of
its own, start-up included:

- hashscan with as many workers of its own;
- hashscan with `--cluster`.

Scheduler and node run from before the first run until after the last; the processor time they take during a
run counts as the run's. Copies have other bytes at their end, all files are read once before the first run,
and the runs are interleaved; medians are printed, with the least and the most, and ratios with their targets.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import measure
import results
from corpus import CorpusError, file_set, lay_out
from results import Ratio
from sweep import ENTRIES, HASHSCAN, Contender, Hashscan, machine, place_for

START_SECONDS = 60.0
LOCAL, CLUSTER = "hashscan, its own workers", "hashscan, a cluster's workers"

RATIOS = (
    # 85 % of the throughput is 1 / 0.85 of the time.
    Ratio("cluster wall / local wall", CLUSTER, results.wall, LOCAL, results.wall, most=1 / 0.85),
    Ratio("cluster CPU / local CPU", CLUSTER, results.cpu, LOCAL, results.cpu),
)


def children_of(pid: int) -> set[int]:
    """Return the ids of a process's child processes.

    Raises:
        OSError: it has ended.
    """
    return {
        int(child)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text().split()
    }


class Cluster:
    """A scheduler and a node on this machine."""

    def __init__(self, folder: Path, state: Path, workers: int) -> None:
        self._folder = folder
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            self.address = f"tls://127.0.0.1:{one.getsockname()[1]}"
        ca, cert, key = self._certificates()
        self.options = [
            *("--cluster-ca", ca, "--cluster-cert", cert, "--cluster-key", key, "--cluster", self.address)
        ]
        self._programs: list[subprocess.Popen[bytes]] = []
        tls = ["--tls-ca-file", ca, "--tls-cert", cert, "--tls-key", key]
        dask = [sys.executable, "-m", "dask", "scheduler", "--host", self.address, "--no-dashboard"]
        self._start("scheduler", [*dask, *tls], "Scheduler at:")
        node = [*HASHSCAN, "worker", "--scheduler", self.address, *self.options[:6], "--state", str(state)]
        self._start("node", [*node, "--processes", str(workers)], "are ready at")

    def _certificates(self) -> list[str]:
        from distributed import Security

        made = Security.temporary()
        paths = []
        for name in ("tls_ca_file", "tls_worker_cert", "tls_worker_key"):
            path = self._folder / f"{name}.pem"
            path.touch(0o600)
            path.write_text(getattr(made, name))
            paths.append(str(path))
        return paths

    def _start(self, name: str, command: list[str], words: str) -> None:
        log = self._folder / f"{name}.log"
        with log.open("wb") as file:
            self._programs.append(
                subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=measure.environment({})
                )
            )
        deadline = time.monotonic() + START_SECONDS
        while words not in log.read_text(errors="replace"):
            if self._programs[-1].poll() is not None or time.monotonic() > deadline:
                raise measure.MeasureError(f"the {name} does not start:\n{log.read_text(errors='replace')}")
            time.sleep(0.05)

    def cpu(self) -> float:
        """CPU seconds of all its processes so far, those that ended among them."""
        waiting = [program.pid for program in self._programs]
        ticks = 0
        while waiting:
            pid = waiting.pop()
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
                ticks += sum(map(int, fields[11:15]))
                waiting += children_of(pid)
        return ticks / os.sysconf("SC_CLK_TCK")

    def reap_others(self) -> None:
        """Wait for processes that outlived a command, since only those waited for are counted.

        Raises:
            MeasureError: one doesn't end.
        """
        ours = {program.pid for program in self._programs}
        deadline = time.monotonic() + measure.STRAY_SECONDS
        while strays := children_of(os.getpid()) - ours:
            for pid in strays:
                os.waitpid(pid, os.WNOHANG)
            if time.monotonic() > deadline:
                raise measure.MeasureError("processes that a command started still run after its end")
            time.sleep(0.01)

    def close(self) -> None:
        """End it."""
        for program in reversed(self._programs):
            program.terminate()
            program.wait(START_SECONDS)


@contextlib.contextmanager
def started(folder: Path, state: Path, workers: int) -> Iterator[Cluster]:
    """Start a cluster, and close it at the end of the context."""
    cluster = Cluster(folder, state, workers)
    try:
        yield cluster
    finally:
        cluster.close()


def timed(contender: Contender, cluster: Cluster, scratch: Path) -> measure.Sample:
    """Time one command, and what the cluster does meanwhile.

    Raises:
        MeasureError: the command failed.
    """
    err = scratch / "stderr"
    with err.open("wb") as stderr:
        busy, before, children, start = measure.machine_cpu(), cluster.cpu(), os.times(), time.monotonic()
        code = subprocess.run(
            contender.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            env=measure.environment(contender.environment),
            check=False,
        ).returncode
        wall = time.monotonic() - start
    cluster.reap_others()
    after = os.times()
    if code:
        sys.stderr.write(err.read_text(errors="replace")[-4000:])
        raise measure.MeasureError(f"exit code {code}: {' '.join(contender.command[:6])} ...")
    own = after.children_user + after.children_system - children.children_user - children.children_system
    cpu = own + cluster.cpu() - before
    return measure.Sample(wall, cpu, max(0.0, measure.machine_cpu() - busy - cpu), "")


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Time a sweep by a cluster beside one without.")
    parser.add_argument("corpus", type=Path, help="folder of pictures")
    parser.add_argument("--copies", type=int, default=20, help="distinct copies of it to sweep")
    parser.add_argument("--runs", type=int, default=3, help="how often each command is timed")
    parser.add_argument("--workers", type=int, default=2, help="processes that read and digest")
    parser.add_argument("--entries", type=int, default=ENTRIES, help="how many the list has")
    parser.add_argument(
        "--work", type=Path, metavar="DIR", help="where the copies are put for the time being"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample there too")
    options = parser.parse_args()
    if min(options.copies, options.runs, options.workers, options.entries) < 1:
        parser.error("--copies, --runs, --workers and --entries must be at least 1")
    return options


def main() -> int:
    """Lay out the copies, start the cluster, time both, print the table."""
    options = arguments()
    corpus = options.corpus.resolve()
    try:
        measure.adopt_orphans()
        with tempfile.TemporaryDirectory(
            prefix="hashscan-bench-", dir=place_for(corpus, options.work)
        ) as folder:
            scratch, work = Path(folder), Path(folder, "copies")
            lay_out(corpus, work, options.copies)
            over = file_set(work, scratch / "names")
            sweep = Hashscan(scratch, options.entries)
            found = {name: results.Result(name, over.files, over.bytes) for name in (LOCAL, CLUSTER)}
            with started(scratch, sweep.kept, options.workers) as cluster:
                field = {
                    LOCAL: sweep.contender(options.workers, over),
                    CLUSTER: sweep.contender(options.workers, over, *cluster.options),
                }
                for number in range(1, options.runs + 1):
                    for name, contender in field.items():
                        contender.prepare()
                        sample = timed(contender, cluster, scratch)
                        found[name].add(sample, contender.check(sample))
                        print(f"run {number} of {options.runs}: {name} {sample.wall:.2f} s", file=sys.stderr)
    except (measure.MeasureError, CorpusError) as trouble:
        print(f"error: {trouble}", file=sys.stderr)
        return 1
    about = {**machine(), "copies": options.copies, "runs": options.runs, "workers": options.workers}
    print(results.table(about, found, RATIOS))
    if options.json:
        options.json.write_text(json.dumps(results.as_json(about, found, RATIOS), indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
