"""Measure the Euclidean index beside faiss: drawn descriptors, compiled, searched by one thread.

    python -m benchmarks.index.euclidean FOLDER --entries 1000000 --kind pictures --json FILE

The descriptors have the form of PhotoDNA's, 144 bytes, and no more of it: of each cell of 6 by 6, how
strongly brightness rises and falls to the right and downwards. The pictures are drawn: half of them random
cosines as strong as in photos, half of them rectangles over such cosines. Of `series`, 19 in 20 entries are
within some steps of one of the others. `bytes` are uniform random bytes, which have no axis along which they
spread.

faiss is not needed by hashscan: without it the comparison is left out, with a message. Its results must
agree with the index, at a threshold with hits.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.lib.build import announce_build
from hashscan.lists.index.base import Segment
from hashscan.lists.index.segments import compile_segment, open_segment
from hashscan.model import ALGORITHMS

ALGORITHM = "photodna"
SIZE = 144
CELLS, CELL = 6, 2
SIDE = CELLS * CELL + 2
LABEL = "benchmark"
KINDS = ("pictures", "series", "bytes")
QUERIES = 300
FAISS_QUERIES = 3
_BLOCK = 20_000
_NORM = 600.0
"""Length of a descriptor before it is rounded to bytes; unrelated ones are then some 230,000 apart."""


def _cosines(keep: int = 8) -> NDArray[np.float32]:
    """Return patterns of a drawn picture, shape (patterns, SIDE * SIDE), weaker the finer they are."""
    place = (np.arange(SIDE) + 0.5) / SIDE
    waves = np.cos(np.pi * np.outer(place, np.arange(keep)))
    strength = np.maximum(1, np.hypot(*np.indices((keep, keep)))) ** -1.2
    patterns = np.einsum("yi,xj,ij->ijyx", waves, waves, strength)
    but_constant: NDArray[np.float32] = patterns.reshape(-1, SIDE * SIDE)[1:].astype(np.float32)
    return but_constant


def _rectangles(rng: np.random.Generator, count: int) -> NDArray[np.float32]:
    drawn = np.zeros((count, SIDE, SIDE), dtype=np.float32)
    for _ in range(3):
        inside = []
        for _ in range(2):
            ends = np.sort(rng.integers(0, SIDE + 1, (count, 2, 1)), axis=1)
            inside.append((np.arange(SIDE) >= ends[:, 0]) & (np.arange(SIDE) < ends[:, 1]))
        drawn += rng.normal(size=(count, 1, 1)).astype(np.float32) * (
            inside[0][:, :, None] & inside[1][:, None, :]
        )
    return drawn


def _descriptors(pictures: NDArray[np.float32]) -> NDArray[np.uint8]:
    count = len(pictures)
    right = pictures[:, 1:-1, 2:] - pictures[:, 1:-1, :-2]
    down = pictures[:, 2:, 1:-1] - pictures[:, :-2, 1:-1]
    cell = np.arange(CELLS * CELL) // CELL
    places = (cell[:, None] * CELLS + cell).ravel()
    sums_of_cells = (places[:, None] == np.arange(CELLS * CELLS)).astype(np.float32)
    by_cell = np.empty((count, CELLS * CELLS, 4), dtype=np.float32)
    for number, part in enumerate((right, -right, down, -down)):
        by_cell[:, :, number] = np.maximum(part, 0).reshape(count, -1) @ sums_of_cells
    vectors: NDArray[np.float32] = by_cell.reshape(count, SIZE)
    for most in (0.25, 1.0):
        vectors = np.minimum(vectors, most)
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)
    rounded: NDArray[np.uint8] = np.clip(vectors * _NORM, 0, 255).astype(np.uint8)
    return rounded


def draw(rng: np.random.Generator, count: int, kind: str) -> NDArray[np.uint8]:
    """Return descriptors of one kind, shape (count, SIZE)."""
    if kind == "bytes":
        return rng.integers(0, 256, (count, SIZE), dtype=np.uint8)
    patterns = _cosines()
    pictures = (rng.standard_normal((count, len(patterns)), dtype=np.float32) @ patterns).reshape(
        count, SIDE, SIDE
    )
    half = count // 2
    pictures[:half] = pictures[:half] * 0.3 + _rectangles(rng, half) * 2
    return _descriptors(pictures)


def _write(path: Path, entries: int, kind: str) -> None:
    """Write the vectors of all entries."""
    rng = np.random.default_rng(20)
    partial = path.with_suffix(".partial")
    stored = np.lib.format.open_memmap(partial, "w+", np.uint8, (entries, SIZE))
    originals = -(-entries // 20) if kind == "series" else entries
    for begin in range(0, originals, _BLOCK):
        count = min(_BLOCK, originals - begin)
        stored[begin : begin + count] = draw(rng, count, kind)
    for begin in range(originals, entries, _BLOCK):
        count = min(_BLOCK, entries - begin)
        stored[begin : begin + count] = _altered(rng, stored[rng.integers(0, originals, count)])
    stored.flush()
    partial.rename(path)


def _altered(rng: np.random.Generator, vectors: NDArray[np.uint8]) -> NDArray[np.uint8]:
    steps = rng.standard_normal(vectors.shape, dtype=np.float32) * rng.exponential(4, (len(vectors), 1))
    return np.clip(vectors + np.rint(steps), 0, 255).astype(np.uint8)


def _compile(folder: Path, queue: Any) -> None:
    values = np.load(folder / "values.npy", mmap_mode="r")
    before, processor = time.perf_counter(), time.process_time()
    compile_segment(folder / "index", ALGORITHM, values, LABEL)
    seconds, used = time.perf_counter() - before, time.process_time() - processor
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    queue.put({"seconds": seconds, "processor": used, "peak bytes": peak})


def _timed(ask: Callable[[NDArray[np.uint8]], int], queries: NDArray[np.uint8]) -> dict[str, Any]:
    """Return processor milliseconds of single queries, each asked before to have its memory in place."""
    hits = 0
    each = []
    for row in range(len(queries)):
        ask(queries[row : row + 1])
    for row in range(len(queries)):
        before = time.process_time()
        hits += ask(queries[row : row + 1])
        each.append((time.process_time() - before) * 1e3)
    shares = {f"p{share}": float(np.percentile(each, share)) for share in (90, 99)}
    return {"median": float(np.median(each)), **shares, "most": max(each), "hits": hits / len(queries)}


def _ours(segment: Segment, threshold: int) -> Callable[[NDArray[np.uint8]], int]:
    limit = np.array([threshold])
    return lambda query: len(segment.query(query, limit)[0])


def _with_faiss(
    values: NDArray[np.uint8], asked: dict[str, NDArray[np.uint8]], threshold: int
) -> dict[str, Any]:
    """Measure flat searches of faiss, over bytes and over floats, by one thread."""
    try:
        import faiss
    except ImportError:
        print("faiss is not installed (pip install faiss-cpu): the comparison is left out")
        return {}
    faiss.omp_set_num_threads(1)
    found: dict[str, Any] = {}
    for name, make in (
        (
            "int8",
            lambda: faiss.IndexScalarQuantizer(SIZE, faiss.ScalarQuantizer.QT_8bit_direct, faiss.METRIC_L2),
        ),
        ("float", lambda: faiss.IndexFlatL2(SIZE)),
    ):
        index = make()
        for begin in range(0, len(values), 10 * _BLOCK):
            index.add(np.asarray(values[begin : begin + 10 * _BLOCK], dtype=np.float32))

        def ask(query: NDArray[np.uint8], index: Any = index) -> int:
            # range_search finds what is nearer than the radius.
            return len(index.range_search(query.astype(np.float32), threshold + 0.5)[1])

        found[f"faiss {name}"] = {
            kind: _timed(ask, queries[:FAISS_QUERIES]) for kind, queries in asked.items()
        }
    return found


def main() -> None:
    """Measure, and print the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="for vectors and index; drawn vectors are used again")
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--kind", choices=KINDS, default="pictures")
    parser.add_argument("--threshold", type=int, default=ALGORITHMS[ALGORITHM].threshold)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    os.makedirs(given.folder, exist_ok=True)
    if not (given.folder / "values.npy").exists():
        _write(given.folder / "values.npy", given.entries, given.kind)
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    compiling = context.Process(target=_compile, args=(given.folder, queue))
    compiling.start()
    result: dict[str, Any] = {"entries": given.entries, "kind": given.kind, "compile": queue.get()}
    compiling.join()
    values = np.load(given.folder / "values.npy", mmap_mode="r")
    rng = np.random.default_rng(21)
    asked = {
        "unrelated": draw(rng, QUERIES, "pictures" if given.kind == "series" else given.kind),
        "near": _altered(rng, values[rng.integers(0, len(values), QUERIES)]),
    }
    segment = open_segment(given.folder / "index", ALGORITHM, values, LABEL)
    # Two unrelated descriptors are this far apart.
    apart = (draw(rng, 2000, given.kind if given.kind != "series" else "pictures").astype(np.int64)).reshape(
        2, 1000, SIZE
    )
    result["unrelated distance"] = float(np.median(((apart[0] - apart[1]) ** 2).sum(axis=1)))
    result["threshold"] = given.threshold
    result["hashscan"] = {kind: _timed(_ours(segment, given.threshold), q) for kind, q in asked.items()}
    _show(result, given.json)
    result |= _with_faiss(values, asked, given.threshold)
    _show(result, given.json)


def _show(result: dict[str, Any], path: Path | None) -> None:
    text = json.dumps(result, indent=1)
    print(text, flush=True)
    if path is not None:
        path.write_text(text)


if __name__ == "__main__":
    announce_build()
    main()
