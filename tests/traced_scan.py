"""A scan in which each process stores the modules of hashscan whose functions it calls.

    python -c 'from tests.traced_scan import main; main()' FOLDER scan [ARGUMENT]...

FOLDER gets a file of the names of modules for each process, one on each line.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import hashscan
from hashscan.cli.main import run
from hashscan.matching.worker_setup import WorkerSetup
from hashscan.model import Batch, BatchResult
from hashscan.scan import runner
from hashscan.scan.workers.decode_cache import DecodeCache
from hashscan.scan.workers.pool import ProcessPool
from hashscan.scan.workers.worker import Worker

PACKAGE = Path(hashscan.__file__).parent


@contextmanager
def traced(folder: Path) -> Iterator[None]:
    """Store the modules whose functions are called within the block; an import alone is no call."""
    files: set[str] = set()

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call" and frame.f_code.co_flags & inspect.CO_OPTIMIZED:
            files.add(frame.f_code.co_filename)

    sys.setprofile(profile)
    try:
        yield
    finally:
        sys.setprofile(None)
        paths = [Path(file) for file in files if file.startswith(f"{PACKAGE}/")]
        lines = sorted(f"{path.relative_to(PACKAGE)}\n" for path in paths)
        (folder / str(os.getpid())).write_text("".join(lines))


class TracedWorker(Worker):
    """A worker that stores the modules called while it checks a batch."""

    def __init__(self, folder: Path, setup: WorkerSetup, decode_cache: DecodeCache) -> None:
        super().__init__(setup, decode_cache)
        self._folder = folder

    def check(self, batch: Batch) -> BatchResult:
        with traced(self._folder):
            return super().check(batch)


def main() -> None:
    """Run the command."""
    folder = Path(sys.argv[1])
    runner.ProcessPool = partial(ProcessPool, make=partial(TracedWorker, folder))  # type: ignore[misc,assignment]
    with traced(folder):
        code = run(sys.argv[2:])
    sys.exit(code)
