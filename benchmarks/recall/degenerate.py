"""Count the photos of a folder, and crops of them, whose PDQ would be a degenerate entry, and time the check.

    python -m benchmarks.recall.degenerate CORPUS [--crops N] [--entries N]

Crops are of a third to all of each side, at random. Those of the quality that a match needs are counted
apart. The time is processor time, for random entries.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from random import Random

import numpy as np

from benchmarks.lib.build import announce_build
from benchmarks.lib.corpus import regular_files
from benchmarks.recall.near_copies import open_photo
from hashscan.hashing.pdq import PDQ
from hashscan.lists.storage.degenerate import are_degenerate
from hashscan.model import ALGORITHMS

_LONGEST = 1024


def counted(name: str, digests: list[tuple[bytes, int]]) -> str:
    """Return a line about the digests and qualities of some pictures."""
    values = np.frombuffer(b"".join(value for value, _ in digests), np.uint8).reshape(len(digests), -1)
    good = np.array([quality for _, quality in digests]) >= ALGORITHMS["pdq"].min_quality
    found = are_degenerate("pdq", values)
    return f"{name}: {found.sum()} of {len(found)} degenerate; {found[good].sum()} of {good.sum()} of quality"


def main(arguments: list[str]) -> None:
    """Print the counts and the time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("corpus", type=Path, metavar="CORPUS")
    parser.add_argument("--crops", type=int, default=25, help="of each photo")
    parser.add_argument("--entries", type=int, default=1_000_000, help="that are checked")
    chosen = parser.parse_args(arguments)
    hasher, whole, parts = PDQ(), [], []
    for photo in regular_files(chosen.corpus):
        luma = np.asarray(open_photo(photo, _LONGEST).convert("L"))
        whole.append(hasher.digest(luma))
        chance = Random(photo.name)
        for _ in range(chosen.crops):
            height, width = (chance.randint(side // 3, side) for side in luma.shape)
            top, left = chance.randint(0, luma.shape[0] - height), chance.randint(0, luma.shape[1] - width)
            part = np.ascontiguousarray(luma[top : top + height, left : left + width])
            parts.append(hasher.digest(part))
    print(counted("photos", whole))
    if parts:
        print(counted("crops", parts))
    values = np.random.default_rng(1).integers(0, 256, (chosen.entries, 32), dtype=np.uint8)
    began = time.process_time()
    are_degenerate("pdq", values)
    print(f"{chosen.entries} entries: {time.process_time() - began:.2f} s of processor time")


if __name__ == "__main__":
    announce_build()
    main(sys.argv[1:])
