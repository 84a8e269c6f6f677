"""`hashscan worker`, but that its workers and decoders fail on purpose; see hostile.py."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

from hashscan.matching.worker_setup import WorkerSetup
from hashscan.model import Batch, BatchResult
from hashscan.scan.cluster import host
from hashscan.scan.workers.decode_cache import DecodeCache
from hashscan.scan.workers.worker import Worker
from tests.scan.hostile import MortalWorker

MACHINE = b"MARK:machine"
"""Over a file that ends with this, two whole nodes are lost, and the third reads it."""
MACHINES = 2


class Machine(MortalWorker):
    """A worker that takes its node with it."""

    def check(self, batch: Batch) -> BatchResult:
        for item in batch.items:
            path = Path(os.fsdecode(os.path.join(batch.target, batch.folder, item.name)))
            lost = Path(os.fsdecode(batch.target)).with_name("machines-lost")
            if path.read_bytes().endswith(MACHINE) and (not lost.exists() or lost.stat().st_size < MACHINES):
                with lost.open("a") as stream:
                    stream.write("x")
                os.kill(os.getppid(), signal.SIGKILL)
                os.kill(os.getpid(), signal.SIGKILL)
        return super().check(batch)


class Trap:
    """Whoever unpickles this makes a folder."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (self._folder,)


def hinder() -> None:
    """Whatever the environment asks for besides."""
    from hashscan.scan.cluster import node

    if kept := os.environ.get("SCANS_KEPT"):
        node.SCANS_MAX = int(kept)
    if idle := os.environ.get("IDLE_SECONDS"):
        node.IDLE_SECONDS = float(idle)
    if (deadly := os.environ.get("DIE_PREPARING")) and os.path.exists(deadly):
        with open(deadly, "a") as stream:
            stream.write("x")
        os.kill(os.getpid(), signal.SIGKILL)


def mortal(setup: WorkerSetup, decode_cache: DecodeCache) -> Worker:
    """Makes a worker in a node's process, whose decoder is hostile, too."""
    hinder()
    if folder := os.environ.get("TRAP"):
        from hashscan.scan.cluster import node

        node.check = lambda token, packed: Trap(folder)  # type: ignore[assignment,return-value]
    return Machine(replace(setup, decoder=os.environ.get("DECODER", "tests.scan.hostile:load")), decode_cache)


if __name__ == "__main__":
    from hashscan.cli.main import run

    # By its importable name, since processes of nodes look it up again.
    from tests.scan.hostile_node import mortal as make

    host.run_host = partial(host.run_host, make=make)
    sys.exit(run(["worker", *sys.argv[1:]]))
