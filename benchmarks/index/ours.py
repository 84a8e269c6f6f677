"""Store, compile, open and query a list of hashscan; all access of this benchmark to hashscan."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from hashscan.lists.index import kernel as index_kernel
from hashscan.lists.index.compiled_index import CompiledIndex
from hashscan.lists.index.multi_index import Chunks
from hashscan.lists.index.segments import compile_list, compiled_columns, open_list
from hashscan.lists.storage.columns import ListHandle
from hashscan.lists.store import ListStore
from hashscan.model import ALGORITHMS, Entry

LIST = "bench"
HANDLES = "handles"
"""A file of the state folder, for the benchmark alone."""


def keep(state: Path, algorithm: str, digests: np.ndarray) -> None:
    """Store digests as a local list, with their numbers as ids."""
    store = ListStore(state / "lists")
    store.import_entries(LIST, _entries(algorithm, digests), "benchmark")
    with store.open(None, datetime.now(UTC)) as opened:
        (state / HANDLES).write_bytes(pickle.dumps(opened.handles))


def handles(state: Path) -> Sequence[ListHandle]:
    """Return the handles of the lists in a state folder, as a worker gets them; none if it has no lists.

    They come as workers get them, so that no worker verifies the lists.
    """
    try:
        kept = (state / HANDLES).read_bytes()
    except FileNotFoundError:
        return ()
    opened: Sequence[ListHandle] = pickle.loads(kept)
    return opened


def choose_kernel(kernel: str) -> None:
    """Use the loop in C (`C`) or the one in numpy (`numpy`) in this process, before anything is opened."""
    if kernel != "C":
        index_kernel.CKernel = index_kernel.NumpyKernel  # type: ignore[assignment, misc]


def compile_again(state: Path) -> None:
    """Compile the index of a state folder anew."""
    for handle in handles(state):
        for files in compiled_columns(handle):
            compile_list(handle, files)


def open_index(opened: Sequence[ListHandle]) -> CompiledIndex:
    """Open the index over some lists."""
    return CompiledIndex.open(opened)


def plan(opened: Sequence[ListHandle], threshold: int) -> str:
    """Return the index's strategy for unrelated digests at a threshold; empty when it has no choice."""
    for handle in opened:
        for files in compiled_columns(handle):
            by_chunks = getattr(open_list(handle, files, thorough=False), "searches_by_chunks", None)
            if by_chunks is not None:
                if not by_chunks(threshold):
                    return "scan"
                radii = Chunks.of(ALGORITHMS[files.algorithm].bits, files.entries).radii(threshold)
                return f"{len(radii)} chunks, radius {max(radii)}"
    return ""


def _entries(algorithm: str, digests: np.ndarray) -> Iterable[Entry]:
    for number, row in enumerate(digests):
        yield Entry(f"bench-{number:08}", algorithm, row.tobytes(), "baseline")


if __name__ == "__main__":
    compile_again(Path(sys.argv[1]))
