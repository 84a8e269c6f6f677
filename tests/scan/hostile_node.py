"""`hashscan worker`, but that its workers and decoders fail on purpose; see hostile.py."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial

from hashscan.scan.answers import Answers
from hashscan.scan.cluster import host
from hashscan.scan.setup import WorkerSetup
from hashscan.scan.worker import Worker
from tests.scan.hostile import MortalWorker


def mortal(setup: WorkerSetup, answers: Answers) -> Worker:
    """Makes a worker in a node's process, whose decoder is hostile, too."""
    return MortalWorker(replace(setup, decoder="tests.scan.hostile:load"), answers)


if __name__ == "__main__":
    from hashscan.cli.main import run

    host.run_host = partial(host.run_host, make=mortal)
    sys.exit(run(["worker", *sys.argv[1:]]))
