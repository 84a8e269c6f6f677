"""One step of the owner of a list of random PDQ entries; `lists.py` measures it.

python benchmarks/owner.py ACTION FOLDER ENTRIES
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from hashscan.lists.blocks import EntryBlock
from hashscan.lists.publishing.publisher import Publisher
from hashscan.model import CATEGORIES

INCREMENT = 10_000
WITHDRAWN = 100
_BLOCK = 1 << 16
_LIKELY = [CATEGORIES.index(name) for name in ("baseline", "A1", "A2", "B1", "B2")]


def random_entries(first: int, count: int) -> Iterator[EntryBlock]:
    """Entries numbered from `first` on; the same numbers give other digests in another call's blocks."""
    rng = np.random.default_rng(first)
    for start in range(first, first + count, _BLOCK):
        some = min(_BLOCK, first + count - start)
        yield EntryBlock(
            "pdq",
            ids_of(np.arange(start, start + some)),
            rng.choice(_LIKELY, some).astype(np.uint8),
            rng.integers(0, 256, (some, 32), dtype=np.uint8),
        )


def ids_of(numbers: np.ndarray) -> np.ndarray:
    """Ids of eight bytes: the number in hexadecimal."""
    digits = numbers[:, None] >> np.arange(28, -4, -4) & 15
    letters = np.frombuffer(b"0123456789abcdef", dtype=np.uint8)[digits]
    return np.ascontiguousarray(letters).view("S8")[:, 0]


def main() -> None:
    """Do it."""
    action, folder, entries = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    work = folder / "work"
    if action == "init and add":
        publisher = Publisher.init(work, folder / "published", folder / "keys", "bench")
        publisher.add(random_entries(0, entries), "random entries")
    elif action == "add more":
        Publisher(work).add(random_entries(entries, INCREMENT), "more entries")
    elif action == "withdraw some":
        numbers = np.random.default_rng(1).choice(entries, WITHDRAWN, replace=False)
        Publisher(work).withdraw(entry_id.decode("ascii") for entry_id in ids_of(numbers).tolist())
    elif action == "release":
        Publisher(work).release()
    elif action == "compact":
        Publisher(work).compact()
    else:
        raise ValueError(action)


if __name__ == "__main__":
    main()
