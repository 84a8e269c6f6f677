"""The processes of the service: their memory and descriptors, and what kills them."""

from __future__ import annotations

import os
import random
import signal
import statistics
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.service.running import Service
from tests.service.soak.contents import Versions
from tests.waiting import until

ACTIVATION_SECONDS = 10.0
SAMPLE_SECONDS = 2.0
IDLE_SECONDS = 60.0
ROLES = ("servers", "workers", "zygotes", "decoders")
"""Lists of a `Family`."""


class Family:
    """The processes of the service, by their parents."""

    def __init__(self, main: int) -> None:
        self.main = main
        children: dict[int, list[int]] = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                state, parent = stat.read_text().rpartition(")")[2].split()[:2]
                if state not in "ZX":
                    children.setdefault(int(parent), []).append(int(stat.parent.name))
        self.servers = children.get(main, [])
        """The fork server, and the resource tracker of multiprocessing."""
        self.workers = [pid for server in self.servers for pid in children.get(server, [])]
        self.zygotes = [pid for worker in self.workers for pid in children.get(worker, [])]
        self.decoders = [pid for zygote in self.zygotes for pid in children.get(zygote, [])]

    @property
    def all(self) -> list[int]:
        """All processes."""
        return [self.main, *self.servers, *self.workers, *self.zygotes, *self.decoders]


@dataclass(frozen=True)
class Measured:
    """The memory (kB) and the descriptors of all processes at a time."""

    at: float
    main: int
    """Resident bytes of the main process."""
    pss: dict[str, int]
    """PSS of the processes by their role, without memory files."""
    shared: int
    """PSS in memory files."""
    descriptors: dict[str, list[int]]
    processes: int


def measured(main: int) -> Measured:
    """Measure the processes that there are now."""
    family = Family(main)
    roles = {"main": [main]} | {name: getattr(family, name) for name in ROLES}
    sizes = {role: [memory_of(pid) for pid in pids] for role, pids in roles.items()}
    resident = next(
        int(line.split()[1])
        for line in Path(f"/proc/{main}/status").read_text().splitlines()
        if line.startswith("VmRSS:")
    )
    return Measured(
        time.monotonic(),
        resident,
        {role: sum(own_memory(size) for size in each) for role, each in sizes.items()},
        sum(size.get("Pss_Shmem", 0) for each in sizes.values() for size in each),
        {role: sorted(map(open_files, pids)) for role, pids in roles.items()},
        len(family.all),
    )


def own_memory(size: dict[str, int]) -> int:
    """Return the PSS of a process without memory files."""
    return size.get("Pss", 0) - size.get("Pss_Shmem", 0)


def memory_of(pid: int) -> dict[str, int]:
    """Return the sizes of a process by name, in kB; nothing if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    except OSError:
        return {}
    return {name: int(value.split()[0]) for name, _, value in (line.partition(":") for line in lines)}


def open_files(pid: int) -> int:
    """Return how many descriptors a process has open; 0 if it has ended."""
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return 0


def is_running(pid: int) -> bool:
    """Return True if there is a process that has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def command_of(pid: int) -> str:
    """Return the command line of a process; empty if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def slope(samples: Sequence[Measured], of: Callable[[Measured], int]) -> tuple[float, float]:
    """Return the slope by least squares and its standard error, in kB a minute."""
    if len(samples) < 3:
        return 0.0, 0.0
    minutes, sizes = [each.at / 60 for each in samples], [of(each) for each in samples]
    line = statistics.linear_regression(minutes, sizes)
    rest = [size - line.intercept - line.slope * at for at, size in zip(minutes, sizes, strict=True)]
    spread = statistics.pvariance(minutes) * len(samples)
    error = (sum(each * each for each in rest) / (len(samples) - 2) / spread) ** 0.5
    return round(line.slope, 1), round(error, 1)


class Disturbance:
    """All that is done to the service meanwhile."""

    def __init__(self, main: int, versions: Versions) -> None:
        self.killed = Counter[str]()
        self.samples: list[Measured] = []
        self.failures: list[str] = []
        """Tracebacks of versions that could not be made, or were not used."""
        self._main = main
        self._versions = versions
        self._chosen = random.Random(3)

    def run(self, seconds: float, *, kill: bool) -> None:
        """Disturb it for so long; return then, when a version that is made is in use."""
        begun = time.monotonic()
        works = [(SAMPLE_SECONDS, self._measure)]
        if kill:
            works += [(5.0, self._kill_worker), (1.0, self._kill_decoder)]
        due = [begun + every for every, _ in works]
        stop = threading.Event()
        activating = threading.Thread(target=self._activate, args=(stop,))
        activating.start()
        while (now := time.monotonic()) < begun + seconds:
            for place, (every, work) in enumerate(works):
                if now >= due[place]:
                    due[place] += every
                    work()
            time.sleep(max(0.0, min(*due, begun + seconds) - time.monotonic()))
        stop.set()
        activating.join()

    def _activate(self, stop: threading.Event) -> None:
        due = time.monotonic()
        try:
            while not stop.wait(max(0.0, (due := due + ACTIVATION_SECONDS) - time.monotonic())):
                self._versions.import_next()
                number = len(self._versions.begun)
                until(lambda number=number: len(self._versions.known) >= number)  # type: ignore[misc]
        except Exception:
            self.failures.append(traceback.format_exc())

    def _kill_worker(self) -> None:
        self._kill("worker", Family(self._main).workers)

    def _kill_decoder(self) -> None:
        self._kill("decoder", Family(self._main).decoders)

    def _kill(self, kind: str, among: Sequence[int]) -> None:
        if among:
            with suppress(ProcessLookupError):
                os.kill(self._chosen.choice(among), signal.SIGKILL)
                self.killed[kind] += 1

    def _measure(self) -> None:
        self.samples.append(measured(self._main))


def idle(running: Service, workers: int, before: Measured | None = None) -> Measured:
    """Wait until all workers are there and nothing is open that belongs to a client, and measure.

    Args:
        before: waited for is that there are as few descriptors again, for some time.
    """
    seen: list[Measured] = []

    def is_idle() -> bool:
        time.sleep(0.5)
        seen.append(measured(running.process.pid))
        last = seen[-3:]
        return (
            len(last) == 3
            and all(each.descriptors["main"] == last[0].descriptors["main"] for each in last)
            and all(len(each.descriptors["zygotes"]) == workers for each in last)
            and (before is None or last[0].descriptors["main"] <= before.descriptors["main"])
        )

    with suppress(AssertionError):
        until(is_idle, IDLE_SECONDS)
    return seen[-1]
