"""Hold an index of one make in a process of its own and answer timed queries; `queries.py` drives it.

    python -m benchmarks.index.asker MAKE SOURCE

SOURCE is the state folder of hashscan for our makes, and a `.npy` file of PDQ hashes for the others, which
this process builds an index from. It prints a JSON line when it is ready, and one for each request, which it
reads as JSON lines from standard input.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from abc import ABC, abstractmethod
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

CHUNKS = 16
"""Hash tables of faiss' multi-hash index, as python-threatexchange sets it; a row's least distance in one of
them is at most the threshold divided by their number, so that many flips find every neighbour."""

WARM = 2
BATCH_SECONDS = 4.0
BATCHES_MAX = 1000


class Make(ABC):
    """An index of one make, ready to be asked; one thread."""

    notes: dict[str, Any]

    @abstractmethod
    def __init__(self, source: Path) -> None:
        """Open or build it."""

    @abstractmethod
    def prepare(self, values: np.ndarray) -> Any:
        """Convert a batch of digests, shape (n, bytes), to the form that `ask` takes; not timed."""

    @abstractmethod
    def ask(self, prepared: Any, threshold: int) -> Any:
        """Everything within the threshold; this is what's timed."""

    @abstractmethod
    def pairs(self, answer: Any) -> list[tuple[int, int]]:
        """Convert an answer to pairs of query row and entry number."""

    def plan(self, threshold: int) -> str:
        """Return the strategy for unrelated digests, if it has a choice and says so."""
        return ""


class Ours(Make):
    """hashscan's index, through the loop that is named."""

    kernel = "numpy"

    def __init__(self, source: Path) -> None:
        from benchmarks.index import ours

        ours.choose_kernel(self.kernel)
        self._handles = ours.handles(source)
        start = time.perf_counter()
        self._index = ours.open_index(self._handles)
        self.notes = {"open": time.perf_counter() - start}
        self._algorithm = next(iter(self._index.algorithms), "pdq")
        self._plan = partial(ours.plan, self._handles)

    def prepare(self, values: np.ndarray) -> Any:
        """Return the digests unchanged."""
        return values

    def ask(self, prepared: Any, threshold: int) -> Any:
        """One call for the batch."""
        return self._index.query(self._algorithm, prepared, np.full(len(prepared), threshold))

    def pairs(self, answer: Any) -> list[tuple[int, int]]:
        """Entry numbers from the entries' ids, since the index orders entries as it likes."""
        queries, rows, _distances = (column.tolist() for column in answer)
        names = (self._index.entry(self._algorithm, row)[1] for row in rows)
        return [(query, int(name.rpartition("-")[2])) for query, name in zip(queries, names, strict=True)]

    def plan(self, threshold: int) -> str:
        """Return the strategy of the search."""
        return self._plan(threshold)


class OursInC(Ours):
    """These queries through the C extension."""

    kernel = "C"


class Flat(Make):
    """faiss IndexBinaryFlat: compares with every entry."""

    def __init__(self, source: Path) -> None:
        import faiss

        faiss.omp_set_num_threads(1)
        entries = np.load(source)
        start = time.perf_counter()
        self._index = self._make(faiss, entries.shape[1] * 8)
        self._index.add(entries)
        self.notes = {"build": time.perf_counter() - start}

    def _make(self, faiss: Any, bits: int) -> Any:
        return faiss.IndexBinaryFlat(bits)

    def prepare(self, values: np.ndarray) -> Any:
        """Return the digests unchanged."""
        return values

    def ask(self, prepared: Any, threshold: int) -> Any:
        """One call for the batch."""
        # faiss leaves out what lies exactly on the radius.
        return self._index.range_search(prepared, threshold + 1)

    def pairs(self, answer: Any) -> list[tuple[int, int]]:
        """Its rows are the numbers of the entries."""
        limits, _distances, rows = answer
        queries = np.repeat(np.arange(len(limits) - 1), np.diff(limits.astype(np.int64)))
        return list(zip(queries.tolist(), rows.tolist(), strict=True))


class MultiHash(Flat):
    """faiss IndexBinaryMultiHash: hash tables of parts of the bits, asked with some of them flipped."""

    def _make(self, faiss: Any, bits: int) -> Any:
        return faiss.IndexBinaryMultiHash(bits, CHUNKS, bits // CHUNKS)

    def ask(self, prepared: Any, threshold: int) -> Any:
        """One call for the batch, with as many flips as find every neighbour."""
        self._index.nflip = threshold // CHUNKS
        return super().ask(prepared, threshold)


class ThreatExchange(Make):
    """python-threatexchange's PDQ index, which takes one hash in hex at a time and has a fixed threshold."""

    def __init__(self, source: Path) -> None:
        import faiss
        from threatexchange.signal_type.pdq.pdq_index import PDQIndex

        faiss.omp_set_num_threads(1)
        entries = np.load(source)
        start = time.perf_counter()
        self._index = PDQIndex((row.tobytes().hex(), number) for number, row in enumerate(entries))
        self.notes = {"build": time.perf_counter() - start, "threshold": self._index.get_match_threshold()}

    def prepare(self, values: np.ndarray) -> Any:
        """In hex, as it wants them."""
        return [row.tobytes().hex() for row in values]

    def ask(self, prepared: Any, threshold: int) -> Any:
        """One call for each digest: it offers no other."""
        if threshold != self.notes["threshold"]:
            raise ValueError("this index has one threshold")
        return [self._index.query(value) for value in prepared]

    def pairs(self, answer: Any) -> list[tuple[int, int]]:
        """Return pairs of query row and entry number; the number is stored as the entry's metadata."""
        return [(query, match.metadata) for query, matches in enumerate(answer) for match in matches]


MAKES: dict[str, type[Make]] = {
    "hashscan C": OursInC,
    "hashscan numpy": Ours,
    "faiss flat": Flat,
    "faiss multi-hash": MultiHash,
    "threatexchange": ThreatExchange,
}


class Asker:
    """Answers requests to one index, with the same digests going around."""

    def __init__(self, make: Make) -> None:
        self._make = make
        self._next = 0

    def timed(self, request: dict[str, Any]) -> dict[str, Any]:
        """Ask in batches until the time is over, once at least; seconds for each batch.

        A few digests are asked first without being timed: the processes that had their turn before have left
        nothing in the caches. When a batch would take very long by that, it is made smaller.
        """
        values, size, threshold = np.load(request["values"]), request["batch"], request["threshold"]
        begin = time.perf_counter()
        self._make.ask(self._make.prepare(values[:WARM]), threshold)
        each = (time.perf_counter() - begin) / WARM
        if each * size > BATCH_SECONDS:
            size = min(size, max(1, int(BATCH_SECONDS / each)))
        seconds: list[float] = []
        until = time.perf_counter() + request["seconds"]
        while not seconds or (time.perf_counter() < until and len(seconds) < BATCHES_MAX):
            start = self._next % (len(values) - size + 1)
            self._next = start + size
            prepared = self._make.prepare(values[start : start + size])
            begin = time.perf_counter()
            self._make.ask(prepared, threshold)
            seconds.append(time.perf_counter() - begin)
        return {"seconds": seconds, "batch": size, "plan": self._make.plan(threshold)}

    def found(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return the pairs of query and entry for the first digests of a file."""
        prepared = self._make.prepare(np.load(request["values"])[: request["first"]])
        return {"pairs": self._make.pairs(self._make.ask(prepared, request["threshold"]))}


def main() -> None:
    """Open, say so, answer until standard input ends."""
    make = MAKES[sys.argv[1]](Path(sys.argv[2]))
    asker = Asker(make)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"peak": peak, **make.notes}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        answer: dict[str, Any]
        if "plans" in request:
            answer = {"plans": [make.plan(threshold) for threshold in request["plans"]]}
        else:
            answer = asker.timed(request) if "seconds" in request else asker.found(request)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
