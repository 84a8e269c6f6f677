"""Run the worker processes of one cluster node under Dask; each is restarted when it dies."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from hashscan import __version__
from hashscan.errors import EXIT_INTERRUPTED, EXIT_TERMINATED, OutputError, UnreachableError
from hashscan.lists.store import ListStore
from hashscan.locking import try_flock
from hashscan.matching.worker_setup import WorkerSetup
from hashscan.plugins import versioned
from hashscan.sandbox.client import SandboxOptions
from hashscan.scan.cluster.dask import require_dask, security_of
from hashscan.scan.workers.decode_cache import DecodeCache
from hashscan.scan.workers.pool import MakeWorker
from hashscan.scan.workers.throttle import LoadGate, RateLimiter
from hashscan.scan.workers.worker import Worker
from hashscan.settings.resources import ClusterSettings, PrioritySettings
from hashscan.state_dir import StateDir

if TYPE_CHECKING:
    from distributed import Security

    from hashscan.scan.cluster.node import Membership


_SCRATCH_PREFIX = "hashscan-worker-"
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Create a folder for this user alone, and remove it at the end.

    A process that is killed can't remove its folder, so later processes remove it. They recognise it by its
    lock, which is released when the process ends, however it ends.
    """
    place = Path(tempfile.gettempdir())
    try:
        _remove_abandoned(place)
        folder, lock = _create_scratch(place)
    except OSError as error:
        raise OutputError(f"can't make a folder in {place}: {error.strerror}") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _create_scratch(place: Path) -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_SCRATCH_PREFIX, dir=place))
        # Until it is locked, other processes may take it for abandoned.
        with suppress(FileNotFoundError):
            # Not inherited, otherwise the lock would last as long as the last process that was started from
            # here.
            lock = os.open(folder, _FOLDER_FLAGS)
            if try_flock(lock) and os.fstat(lock).st_nlink:
                return folder, lock
            os.close(lock)


def _remove_abandoned(place: Path) -> None:
    """Remove the folders of this user that no process has locked."""
    for folder in place.glob(f"{_SCRATCH_PREFIX}*"):
        # Other users' folders, symlinks, and folders that another process removes meanwhile are ignored.
        with suppress(OSError):
            lock = os.open(folder, _FOLDER_FLAGS)
            try:
                if os.fstat(lock).st_uid == os.geteuid() and try_flock(lock):
                    shutil.rmtree(folder)
            finally:
                os.close(lock)


START_SECONDS = 60.0
_LOOK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class HostSettings:
    """The settings of `hashscan worker`."""

    cluster: ClusterSettings
    state: StateDir
    processes: int
    host: str | None = None
    """The address under which other machines reach this one; None is the address used to reach the
    scheduler."""
    neighbour: PrioritySettings = field(default_factory=PrioritySettings)


def check_node(settings: HostSettings) -> str:
    """Check that this machine can take part; return its lists and sandbox as text for people.

    Raises:
        OutputError: the lists can't be read.
        ZygoteError: no decoder can be started.
    """
    with ListStore(settings.state.lists).open(None, datetime.now(UTC)) as opened:
        lists = [
            f"{info.name} {info.version} ({info.state.value})"
            if info.problem is None
            else f"{info.name} ({info.state.value}: {info.problem})"
            for info in opened.infos
        ]
    trial = WorkerSetup(
        lists=(), sandbox=SandboxOptions("auto"), algorithms=("sha256", "pdq"), max_pixels=64_000_000
    )
    with DecodeCache() as decode_cache, Worker(trial, decode_cache) as worker:
        level = worker.sandbox.start()
    return f"lists: {', '.join(lists) or 'none but demo'}; sandbox: {level.summary}"


def run_host(settings: HostSettings, say: Callable[[str], None], make: MakeWorker = Worker) -> int:
    """Take part in a cluster until a signal arrives; return the exit code.

    Args:
        make: makes a worker in its own process; must be importable there.

    Raises:
        UsageError: the certificates can't be used, or Dask is not installed.
        UnreachableError: the scheduler can't be reached, or was lost.
        OutputError: there is no space for a file of a few bytes.
    """
    require_dask("error")
    security = security_of(settings.cluster)
    # The files that Dask keeps on disk are private.
    with scratch_folder() as scratch:
        return asyncio.run(_run(settings, security, scratch, say, make))


async def _run(
    settings: HostSettings, security: Security, scratch: Path, say: Callable[[str], None], make: MakeWorker
) -> int:
    stopped: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def stop(code: int) -> None:
        if not stopped.done():
            stopped.set_result(code)

    for number, code in ((signal.SIGTERM, EXIT_TERMINATED), (signal.SIGINT, EXIT_INTERRUPTED)):
        asyncio.get_running_loop().add_signal_handler(number, stop, code)
    neighbour = settings.neighbour
    limits = scratch / "rate-limits", neighbour.limit_rate, neighbour.limit_files
    memberships = _memberships(
        settings, security, scratch, say, make, limits if neighbour.rate_limited else None
    )
    tasks: list[asyncio.Future[Any]] = [
        asyncio.ensure_future(membership.join()) for membership in memberships
    ]
    joining = asyncio.gather(*tasks)
    if neighbour.max_load is not None:
        # It is closed when the process ends.
        gate = LoadGate(neighbour.max_load, RateLimiter.from_file(*limits))
        tasks.append(asyncio.ensure_future(_look(gate, say)))
    try:
        await asyncio.wait((joining, stopped), return_when=asyncio.FIRST_COMPLETED)
        if stopped.done():
            return stopped.result()
        await joining
        say(f"{len(memberships)} workers are ready at {settings.cluster.scheduler}")
        staying: list[asyncio.Future[Any]] = [
            asyncio.ensure_future(membership.stay()) for membership in memberships
        ]
        tasks += staying
        await asyncio.wait((stopped, *staying), return_when=asyncio.FIRST_COMPLETED)
        if stopped.done():
            return stopped.result()
        for left in staying:
            if left.done():
                await left
        raise UnreachableError(
            f"the scheduler {settings.cluster.scheduler} has gone, or sent the workers away",
            advice="Start this again when it is back.",
        )
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, joining, return_exceptions=True)
        await asyncio.gather(*(membership.close() for membership in memberships))


async def _look(gate: LoadGate, say: Callable[[str], None]) -> None:
    while True:
        if message := gate.check():
            say(message)
        await asyncio.sleep(_LOOK_SECONDS)


def _memberships(
    settings: HostSettings,
    security: Security,
    scratch: Path,
    say: Callable[[str], None],
    make: MakeWorker,
    rate_limits: tuple[Path, float | None, float | None] | None,
) -> list[Membership]:
    from hashscan.scan.cluster.node import Membership, NodeNanny, NodePlugin, NodeSettings

    # Dask would listen on all addresses; an unencrypted cluster is for this machine alone.
    host = settings.host if settings.cluster.encrypted else urlsplit(settings.cluster.scheduler).hostname

    def nanny() -> NodeNanny:
        # A worker that joins again belongs to no earlier one: no file is the cause of a broken connection.
        identity = uuid.uuid4().hex
        state = StateDir(settings.state.path.absolute())
        node = NodeSettings(identity, state, make, versioned(__version__), rate_limits)
        return NodeNanny(
            settings.cluster.scheduler,
            nthreads=1,
            name=f"hashscan-{socket.gethostname()}-{identity[:16]}",
            memory_limit=0,
            security=security,
            local_directory=str(scratch),
            death_timeout=START_SECONDS,
            host=host,
            # The HTTP server has no pages to serve, and is for this machine alone.
            dashboard_address="127.0.0.1:0",
            plugins=(NodePlugin(node),),
        )

    return [Membership(nanny, settings.cluster.scheduler, say) for _ in range(settings.processes)]
