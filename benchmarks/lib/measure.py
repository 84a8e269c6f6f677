"""Measure the wall and processor time of a command with all its processes."""

from __future__ import annotations

import ctypes
import os
import resource
import subprocess
import sys
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
STRAY_SECONDS = 60.0
"""Seconds that processes may outlive the command that started them."""

PINNED = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
"""Taken out of every command's environment: code chosen for another processor falsifies."""


class MeasureError(Exception):
    """A command did not do what was to be timed."""


class DisturbedError(MeasureError):
    """A run was falsified by whatever else ran on the machine."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One timed command; all in seconds."""

    wall: float
    cpu: float
    """User and system time, its descendants' included."""
    others: float
    """CPU time of everything else on the machine meanwhile: high when the run was disturbed."""
    output: str
    """Its standard output, at most the last 100,000 characters."""


def adopt_orphans() -> None:
    """Make this process the parent of processes whose own parent ends, so that their CPU time is counted."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise MeasureError(f"prctl: {os.strerror(ctypes.get_errno())}")


def environment(extra: dict[str, str]) -> dict[str, str]:
    """Return this process's environment, without variables that select OpenBLAS code or disable bytecode.

    Peers are installed with their bytecode; a source tree that may not keep its own would be compiled in each
    run, for a fifth of a second.
    """
    left_out = {*PINNED, "PYTHONDONTWRITEBYTECODE"}
    return {key: value for key, value in os.environ.items() if key not in left_out} | extra


def _children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def machine_cpu() -> float:
    """CPU seconds that all processors together have worked since boot."""
    user, nice, system, _idle, _wait, irq, softirq = map(
        int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:8]
    )
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def _reap_strays(name: str) -> None:
    """Wait for every descendant that outlived the command, since only those waited for are counted."""
    deadline = time.monotonic() + STRAY_SECONDS
    while time.monotonic() < deadline:
        try:
            pid, _status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            time.sleep(0.01)
    raise MeasureError(f"{name}: processes it started still run {STRAY_SECONDS:.0f} s after its end")


def run(
    name: str, command: list[str], scratch: Path, extra: dict[str, str], expected: int | Collection[int] = 0
) -> Sample:
    """Time one command; any of the expected exit codes will do.

    Raises:
        MeasureError: its exit code was not the expected one, or it left processes behind.
    """
    out, err = scratch / "stdout", scratch / "stderr"
    with out.open("wb") as stdout, err.open("wb") as stderr:
        machine, children, start = machine_cpu(), _children(), time.monotonic()
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            env=environment(extra),
            check=False,
        )
        wall = time.monotonic() - start
        _reap_strays(name)
        cpu = _children() - children
        others = max(0.0, machine_cpu() - machine - cpu)
    if done.returncode not in ({expected} if isinstance(expected, int) else expected):
        sys.stderr.write(err.read_text(errors="replace")[-4000:])
        raise MeasureError(f"{name}: exit code {done.returncode}: {' '.join(command[:6])} ...")
    return Sample(wall, cpu, others, out.read_text(errors="replace")[-100_000:])
