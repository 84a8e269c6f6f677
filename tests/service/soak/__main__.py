"""Run `hashscan serve` at full load while its lists change and its processes are killed.

    python -m tests.service.soak --seconds 600

The real command has a clamd door at a Unix socket and at a port, an ICAP door, and an HTTP door with a key.
Clients of PyPI (clamd, pyClamd, python-icap, urllib3) and sessions of our own send drawn pictures over
several connections of each door, as fast as they are answered. Meanwhile `hashscan lists import` makes
another version of the list every ten seconds, a worker is killed every five seconds, and a decoder every
second.

Each answer must be that of a version that may have been in use at some time of the request; what the HTTP
door says of digests and entries must be of one version. A request without an answer is lost. An answer that
asks the client to try again is none of the two, and is counted apart.

Printed are the counts, the memory of the main process, the proportional set size (PSS) of all processes, and
the slope of both by least squares after a warm-up, with its standard error. Memory files are left out of the
PSS: that of the decode cache fills up to a fixed size. The exit code is 1 if anything was lost, wrong or
leaked.
"""

from __future__ import annotations

import argparse
import json
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.service.doors.http.serving import add_key
from tests.service.running import Service, activated, service
from tests.service.soak.clients import Load, Places
from tests.service.soak.contents import Pictures, Tally, Versions
from tests.service.soak.processes import (
    ROLES,
    Disturbance,
    Family,
    Measured,
    command_of,
    idle,
    is_running,
    slope,
)
from tests.waiting import until

WARM_UP, LONG_WARM_UP_SECONDS = 0.2, 60.0
"""Share of the time that does not count for the slopes, and its least seconds in a long run."""
JUDGED_SECONDS = 300.0
"""A shorter run has too few samples to judge a slope."""
MAIN_SLOPE_MAX, ALL_SLOPE_MAX = 100.0, 1000.0
"""Kilobytes a minute that the main process and all of them may grow."""
DECODERS_MAX = 12
"""Descriptors of a worker for its decoders, of which it may have had none at the start."""
END_SECONDS = 10.0
"""Time in which the other processes must have ended after the main one."""


def grows(found: tuple[float, float], allowed: float) -> bool:
    """Return True if a slope is larger than allowed by more than twice its standard error."""
    return found[0] - 2 * found[1] > allowed


def trouble(found: dict[str, Any], seconds: float) -> list[str]:
    """Return the reasons why a run is not good."""
    before, after = found["descriptors at the start"], found["descriptors at the end"]
    judged = seconds >= JUDGED_SECONDS
    checks = {
        "lost": found["lost"],
        "wrong": found["wrong"],
        "versions": found["version failures"],
        "descriptors of the main process": after["main"] > before["main"],
        "descriptors of the fork server": after["servers"] > before["servers"],
        "descriptors of workers": max(after["workers"]) > max(before["workers"]) + DECODERS_MAX,
        "the main process grows": judged and grows(found["main kB per minute"], MAIN_SLOPE_MAX),
        "all processes grow": judged and grows(found["PSS kB per minute"], ALL_SLOPE_MAX),
        "exit code": found["exit code"],
        "processes are left": found["processes left"],
        "defects": found["defects"],
    }
    return [name for name, bad in checks.items() if bad]


@contextmanager
def started(folder: Path, workers: int) -> Iterator[tuple[Service, Places]]:
    """Run the service with all doors."""
    unix = folder / "clamd.sock"
    key = add_key(folder / "keys", "scan", "check")
    with ExitStack() as stack:
        ports = [stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=100)) for _ in range(3)]
        tcp, icap, http = (port.getsockname()[1] for port in ports)
        prefix, inherited = stack.enter_context(activated(*ports))
        doors = [
            *("--clamd", f"unix:{unix}", "--clamd", f"tcp:127.0.0.1:{tcp}"),
            *("--icap", f"tcp:127.0.0.1:{icap}", "--trust-owner", "icap=X-Client-Username"),
            *("--http", f"tcp:127.0.0.1:{http}", "--trust-owner", "http=X-Upload-Owner"),
            *("--http-keys", folder / "keys", "--show-entries", "http"),
        ]
        running = stack.enter_context(
            service(
                folder / "state", doors=doors, prefix=prefix, env={"HASHSCAN_WORKERS": str(workers)},
                **inherited,
            )
        )  # fmt: skip
        for port in ports:
            port.close()
        yield running, Places(unix, tcp, icap, http, key)


@dataclass
class Run:
    """All that was seen of one run."""

    seconds: float
    taken: float
    tally: Tally
    versions: Versions
    disturbance: Disturbance
    before: Measured
    after: Measured
    exit_code: int
    left: list[str]
    """Commands of processes that have not ended."""
    log: str

    def samples(self) -> list[Measured]:
        """Return the samples of memory after the warm-up."""
        warm_up = WARM_UP * self.seconds
        if self.seconds >= JUDGED_SECONDS:
            warm_up = max(warm_up, LONG_WARM_UP_SECONDS)
        return [
            each for each in self.disturbance.samples if each.at >= self.disturbance.samples[0].at + warm_up
        ]

    def figures(self) -> dict[str, Any]:
        """Return all figures by name."""
        tally, samples, log = self.tally, self.samples(), self.log
        times = sorted(tally.seconds)
        found = {
            "seconds": round(self.taken, 1),
            "requests": dict(tally.requests),
            "by kind": dict(tally.by_kind),
            "per second": round(sum(tally.requests.values()) / self.taken),
            "median ms": round(1000 * statistics.median(times), 1),
            "p99 ms": round(1000 * times[len(times) * 99 // 100], 1),
            "longest ms": round(1000 * times[-1]),
            "lost": len(tally.lost),
            "wrong": len(tally.wrong),
            "try again": dict(tally.again),
            "versions": len(self.versions.known) - 1,
            "version failures": self.disturbance.failures,
            "killed": dict(self.disturbance.killed),
            "main kB": [samples[0].main, samples[-1].main],
            "main kB per minute": slope(samples, lambda each: each.main),
            "PSS kB": [samples[0].pss, samples[-1].pss],
            "PSS kB per minute": slope(samples, lambda each: sum(each.pss.values())),
            "PSS kB per minute by role": {
                role: slope(samples, lambda each, role=role: each.pss[role])  # type: ignore[misc]
                for role in ("main", *ROLES)
            },
            "PSS in memory files kB": [samples[0].shared, samples[-1].shared],
            "descriptors at the start": self.before.descriptors,
            "descriptors at the end": self.after.descriptors,
            "exit code": self.exit_code,
            "processes left": self.left,
            "defects": log.count("defect") + log.count("Traceback"),
            "log": [line for line in log.splitlines() if "refused" not in line and "in use" not in line][-9:],
            "examples": [*tally.lost[:5], *tally.wrong[:5]],
        }
        return found | {"trouble": trouble(found, self.seconds)}


def soak(folder: Path, seconds: float, workers: int, *, kill: bool) -> Run:
    """Run the service and its clients for so long."""
    pictures = Pictures()
    versions = Versions(folder, folder / "state", pictures)
    versions.import_next()
    versions.known.append(time.monotonic())
    with started(folder, workers) as (running, places):
        # Threads, modules and pages that the first requests need are there before the start is measured.
        load = Load(places, pictures, versions)
        load.start()
        time.sleep(min(5.0, seconds / 5))
        load.stop()
        before = idle(running, workers)
        tally = Tally(lost=load.tally.lost, wrong=load.tally.wrong)
        load = Load(places, pictures, versions, tally)
        disturbance = Disturbance(running.process.pid, versions)
        begun = time.monotonic()
        load.start()
        disturbance.run(seconds, kill=kill)
        load.stop()
        taken = time.monotonic() - begun
        after = idle(running, workers, before)
        family = Family(running.process.pid).all
        exit_code = running.stop()
        with suppress(AssertionError):
            until(lambda: not any(map(is_running, family)), END_SECONDS)
        left = [command_of(pid) for pid in family if is_running(pid)]
        return Run(seconds, taken, tally, versions, disturbance, before, after, exit_code, left, running.log)


def main() -> int:
    """Run it, and print the figures; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kill-nothing", action="store_true", help="so that leaks of workers are seen, too")
    parser.add_argument("--samples", type=Path, help="write all samples of memory to this file, as CSV")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = soak(Path(folder), arguments.seconds, arguments.workers, kill=not arguments.kill_nothing)
    if arguments.samples:
        samples = run.disturbance.samples
        lines = [
            f"{each.at},{each.main},{sum(each.pss.values())},{each.shared},{each.processes}\n"
            for each in samples
        ]
        arguments.samples.write_text("at,main,pss,shared,processes\n" + "".join(lines))
    found = run.figures()
    for name, value in found.items():
        sys.stdout.write(f"{name}: {json.dumps(value)}\n")
    return int(bool(found["trouble"]))


if __name__ == "__main__":
    sys.exit(main())
