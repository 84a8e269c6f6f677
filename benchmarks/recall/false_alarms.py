"""Count matches and reviews between pictures that show different things, and estimate how many to expect.

    python -m benchmarks.recall.false_alarms CORPUS [--structured N] [--uniform N] [--details N] [--altered N]
                                             [--processes N]

1. Photos of the folder: each is compared with the entries of all others, those of whole pictures, then also
   those of parts and quadrants that `publish hash` makes. A photo that shows what another shows, by its PDQ,
   is left out.
2. Drawn tables, codes, charts and screens (see structured.py), in the same way.
3. A large list: uniform digests, and those of random details of the photos whose sha256 begins with a 0 bit;
   as entries of PDQ, and four at a time as entries of quadrants. The photos of the other half, alterations of
   them (reposts.py), and the drawn pictures are compared with it.
4. Expected matches: distances between the digests of these photos that can accuse (as they are stored
   within 31 bits, turned, mirrored and trimmed within 21) and those of details are counted. The logarithm of
   the share of each distance falls ever faster towards small distances, as that of a normal distribution
   does. A line is fitted where shares are below a thousandth, and continued to the thresholds, so that the
   estimate is too high rather than too low. The upper bound follows from the pairs alone, without any
   assumption but that they are independent: where none of n pairs is near, the share is below 3/n with
   95 % confidence.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import multiprocessing
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.lib.build import announce_build
from benchmarks.recall import near_copies, structured
from benchmarks.recall.reposts import REPOSTS
from hashscan.hashing.pdq import PDQ
from hashscan.lists.store import ListStore
from hashscan.matching.evaluation import TIGHT_THRESHOLD, has_tight_threshold
from hashscan.model import ALGORITHMS, QUADRANTS, Entry

Digests = NDArray[np.uint8]
"""Shape (n, 32)."""

SIZE = ALGORITHMS["pdq"].size
THRESHOLD = ALGORITHMS["pdq"].threshold
LONGEST = 640
_SHARES = 0.15, 0.6
"""Shortest and longest side of a detail, as shares of the photo's."""
_AT_ONCE = 512
_SAMPLE = 20_000
"""Digests of details whose distances are counted."""
PICTURES, ENTRIES = 10_000_000, 1_000_000
"""For which matches are expected."""


def details(task: tuple[Path, int]) -> list[bytes]:
    """Return the PDQ of random details of a photo, without those of low quality."""
    photo, count = task
    luma = np.asarray(near_copies.open_photo(photo, 2 * LONGEST).convert("L"))
    chance = Random(photo.name)
    hasher, found = PDQ(), []
    for _ in range(count):
        height, width = (round(side * chance.uniform(*_SHARES)) for side in luma.shape)
        top, left = (
            chance.randrange(side - part) for side, part in zip(luma.shape, (height, width), strict=True)
        )
        value, quality = hasher.digest(luma[top : top + height, left : left + width])
        if quality >= ALGORITHMS["pdq"].min_quality:
            found.append(value)
    return found


def entries_of(digests: Digests) -> Iterator[Entry]:
    """Yield the entries of a large list; ids begin with a number, as near_copies.py expects it."""
    for number, value in enumerate(digests):
        yield Entry(f"{number}:pdq", "pdq", value.tobytes(), "A1")
    for number, values in enumerate(digests[: len(digests) // 4 * 4].reshape(-1, 4 * SIZE)):
        yield Entry(f"{number}:{QUADRANTS}", QUADRANTS, values.tobytes(), "A1")


class Answer(NamedTuple):
    """The verdicts on a picture and its alterations, compared with the large list."""

    verdicts: Counter[str]
    """Entries by the verdict that follows from each."""
    files: int
    accusing: dict[int, bytes]
    """The digests that can accuse, by their threshold."""


def compare_large(task: tuple[Any, Sequence[str], Sequence[Path]]) -> Answer:
    """Compare a picture, or alterations of a photo, with the large list."""
    picture, names, others = task
    if isinstance(picture, Path):
        image, beside = (
            near_copies.open_photo(picture, LONGEST),
            [near_copies.open_photo(o, LONGEST) for o in others],
        )
        contents = [picture.read_bytes()]
        contents += [REPOSTS[name](image, Random(f"{picture.name} {name}"), beside) for name in names]
    else:
        contents = [structured.drawn(*picture)]
    verdicts, accusing = Counter[str](), {THRESHOLD: b"", TIGHT_THRESHOLD: b""}
    shown = picture.name if isinstance(picture, Path) else " ".join(map(str, picture))
    for content, way in zip(contents, ("as it is", *names), strict=True):
        checker = near_copies.CHECKERS[0]
        by_verdict = checker.counts(content, -1).others[0]
        if by_verdict["match"]:
            print(f"matches: {shown}, {way}", flush=True)
        verdicts += by_verdict
        for query in checker.hashes(content).file.queries("pdq"):
            run = query.run
            if run is None or query.doubt:
                continue
            for digest in run.digests():
                tight = has_tight_threshold(run.rendering, digest.turn, run.shown)
                accusing[TIGHT_THRESHOLD if tight else THRESHOLD] += digest.value
    return Answer(verdicts, len(contents), accusing)


def distances(queries: Digests, values: Digests) -> NDArray[np.int64]:
    """Return the number of pairs at each distance, shape (257,)."""
    found = np.zeros(8 * SIZE + 1, np.int64)
    ours, theirs = queries.view(np.uint64), values.view(np.uint64)
    for start in range(0, len(ours), _AT_ONCE):
        apart = np.zeros((len(ours[start : start + _AT_ONCE]), len(theirs)), np.uint16)
        for word in range(ours.shape[1]):
            apart += np.bitwise_count(ours[start : start + _AT_ONCE, word, None] ^ theirs[:, word])
        found += np.bincount(apart.ravel(), minlength=len(found))
    return found


def expected_share(counts: NDArray[np.int64], threshold: int) -> float:
    """Return the share of pairs within the threshold that continues the line of the rare distances.

    Not a number where there are too few pairs for one.
    """
    at = np.arange(len(counts))
    chosen = (counts >= 10) & (np.cumsum(counts) <= counts.sum() / 1000)
    # Nearly all distances are even, since half of the bits are set.
    chosen &= at % 2 == 0
    if chosen.sum() < 4:
        return math.nan
    fitted = np.polyfit(at[chosen], np.log(counts[chosen] / counts.sum()), 1)
    return float(np.exp(np.polyval(fitted, np.arange(0, threshold + 1, 2))).sum())


def said_of(name: str, counts: NDArray[np.int64], threshold: int, per_picture: float) -> float:
    """Print what was counted and what is expected; return the expected matches."""
    pairs, nearest = int(counts.sum()), int(np.flatnonzero(counts)[0])
    all_pairs = PICTURES * per_picture * ENTRIES
    within = int(counts[: threshold + 1].sum())
    share = expected_share(counts, threshold)
    print(
        f"{name}: {per_picture:.1f} digests a picture, {pairs:,} pairs, the nearest {nearest} bits apart, "
        f"{within} within {threshold}; expected share {share:.1e}"
        + (f", below {3 / pairs:.1e} with 95 % confidence" if not within else "")
    )
    return share * all_pairs


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Count false alarms.")
    parser.add_argument("corpus", type=Path, help="folder of photos")
    parser.add_argument("--structured", type=int, default=1000, metavar="N", help="pictures to draw")
    parser.add_argument("--uniform", type=int, default=1_000_000, metavar="N", help="random digests listed")
    parser.add_argument("--details", type=int, default=300_000, metavar="N", help="details of photos listed")
    parser.add_argument("--altered", type=int, default=8, metavar="N", help="alterations of each photo asked")
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)), metavar="N")
    # As near_copies.py has them.
    parser.set_defaults(second=None, review_threshold=None)
    return parser.parse_args()


def main() -> int:
    """Compare, count, print."""
    options = arguments()
    begun = time.monotonic()
    photos = sorted(path for path in options.corpus.rglob("*") if path.is_file())
    context = multiprocessing.get_context("spawn")
    named = list(structured.names(options.structured))
    begin = partial(near_copies.begin, augment=True, quadrants=True)
    with context.Pool(options.processes, begin) as pool:
        hashed = pool.map(near_copies.hash_picture, [*photos, *named], chunksize=1)
        of_photos = near_copies.listed(list(zip(photos, hashed, strict=False)), apart=True)
        halves: tuple[list[Path], list[Path]] = ([], [])
        for photo in of_photos.pictures:
            halves[hashlib.sha256(photo.read_bytes()).digest()[0] >> 7].append(photo)
        if min(map(len, halves)) < 3:
            print(f"error: {options.corpus} has too few photos, each half needs three", file=sys.stderr)
            return 2
        per_photo = -(-options.details // len(halves[0]))
        parts = pool.map(details, [(photo, per_photo) for photo in halves[0]], chunksize=1)
    listed_details = np.frombuffer(b"".join(value for some in parts for value in some), np.uint8)
    of_drawn = near_copies.listed(list(zip(named, hashed[len(photos) :], strict=True)), apart=False)
    print(f"{len(photos) - len(of_photos.pictures)} of {len(photos)} photos left out")
    for name, subjects, function in (
        ("photos", of_photos, near_copies.compare_unaltered),
        ("structured", of_drawn, near_copies.compare_drawn),
    ):
        whole = subjects._replace(entries=[one._replace(parts=[], quadrants=b"") for one in subjects.entries])
        for what, some in (("whole pictures", whole), ("parts and quadrants, too", subjects)):
            if some.pictures:
                tasks = list(enumerate(some.pictures))
                results = near_copies.compare(some, tasks, function, options)
                print(f"{name}, {what}: {near_copies.alarms(results, [near_copies.UNALTERED])}")
    uniform = np.random.default_rng(1).integers(0, 256, (options.uniform, SIZE), np.uint8)
    every = np.concatenate((listed_details.reshape(-1, SIZE), uniform))
    with tempfile.TemporaryDirectory(prefix="hashscan-recall-") as folder:
        ListStore(Path(folder)).import_entries("large", entries_of(every), "benchmark")
        chance = Random(1)
        tasks_large: list[tuple[Any, Sequence[str], Sequence[Path]]] = [
            (photo, chance.sample(list(REPOSTS), options.altered), chance.sample(halves[0], 3))
            for photo in halves[1]
        ]
        tasks_large += [(name, (), ()) for name in named]
        begin = partial(near_copies.begin, Path(folder), quadrants=True)
        with context.Pool(options.processes, begin) as pool:
            answers = pool.map(compare_large, tasks_large, chunksize=1)
    files = sum(answer.files for answer in answers)
    verdicts = sum((answer.verdicts for answer in answers), Counter[str]())
    print(
        f"{files:,} pictures, {options.uniform:,} uniform entries and {len(every) - options.uniform:,} of "
        f"details: {verdicts['match']} matches, {verdicts['review']} reviews"
    )
    expected, of_half = 0.0, answers[: len(halves[1])]
    sample = listed_details.reshape(-1, SIZE)
    sample = sample[np.random.default_rng(2).permutation(len(sample))[:_SAMPLE]]
    for what, threshold in (("as stored", THRESHOLD), ("turned or trimmed", TIGHT_THRESHOLD)):
        together = b"".join(answer.accusing[threshold] for answer in of_half)
        queries = np.frombuffer(together, np.uint8).reshape(-1, SIZE)
        per_picture = len(queries) / sum(answer.files for answer in of_half)
        expected += said_of(what, distances(queries, sample), threshold, per_picture)
    print(f"expected matches of {PICTURES:,} pictures with {ENTRIES:,} entries of photos: {expected:.1e}")
    print(f"{time.monotonic() - begun:.0f} s")
    return 0


if __name__ == "__main__":
    announce_build()
    sys.exit(main())
