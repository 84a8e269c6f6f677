"""Measure a filter of random digests: its size, the time and memory to build it, and what it lets through.

    python -m benchmarks.index.digest_filter --digests 10000000 --others 10000000

A third of the digests each is of sha256, sha1 and md5. Printed are the size of the file, the processor time
to build it and the most memory that the process had, the share of other digests that it lets through, and the
processor time of a lookup in plain Python and with numpy. It exits 1 if a digest of the list is held back.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time

import numpy as np
from numpy.typing import NDArray

from benchmarks.lib.build import announce_build
from hashscan.lists.filters.arrays import heads_of, let_through
from hashscan.lists.filters.building import build
from hashscan.lists.filters.format import DigestFilter, FilterPart
from hashscan.model import ALGORITHMS
from hashscan.timefmt import utc_now

SEED = 20261129
ONE_BY_ONE = 20_000
"""Lookups that are timed in plain Python."""
NAMES = ("sha256", "sha1", "md5")


def parts(number: int) -> dict[str, int]:
    """Divide a number among the algorithms."""
    return {name: (number + place) // len(NAMES) for place, name in enumerate(NAMES)}


def drawn(number: int, name: str, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw digests of an algorithm, shape (number, size)."""
    return rng.integers(0, 256, (number, ALGORITHMS[name].size), dtype=np.uint8)


def main() -> int:
    """Build, ask, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--digests", type=int, default=10_000_000, help="digests in the list")
    parser.add_argument("--others", type=int, default=10_000_000, help="digests that are not in it")
    options = parser.parse_args()
    rng = np.random.default_rng(SEED)
    heads = {name: heads_of(drawn(count, name, rng)) for name, count in parts(options.digests).items()}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = time.process_time()
    built = build(heads, "benchmark", utc_now())
    seconds = time.process_time() - begun
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = DigestFilter(FilterPart(built.data))
    missing = sum(int((~let_through(found, name, values)).sum()) for name, values in heads.items())
    others = {name: drawn(count, name, rng) for name, count in parts(options.others).items()}
    begun = time.process_time()
    passed = sum(int(let_through(found, name, heads_of(values)).sum()) for name, values in others.items())
    together = time.process_time() - begun
    some = [bytes(value) for value in others["sha256"][:ONE_BY_ONE]]
    begun = time.process_time()
    for value in some:
        found.lets_through("sha256", value)
    each = time.process_time() - begun
    write = sys.stdout.write
    write(f"digests in the list      {options.digests:>12}\n")
    write(f"bytes of the filter      {len(built.data):>12}\n")
    write(f"seconds to build it      {seconds:>12.1f}\n")
    write(f"MB before, and at most   {before / 1024:>12.0f} {most / 1024:.0f}\n")
    write(f"digests held back        {missing:>12}\n")
    write(f"others let through       {passed:>12} of {options.others}, {passed / options.others:.2e}\n")
    write(f"microseconds of a lookup {each / max(1, len(some)) * 1e6:>12.2f} in Python, ")
    write(f"{together / max(1, options.others) * 1e6:.3f} with numpy\n")
    return 1 if missing else 0


if __name__ == "__main__":
    announce_build()
    sys.exit(main())
