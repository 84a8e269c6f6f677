"""Time the loops in C beside their twins in Python or numpy.

    python -m benchmarks.scan.c_twins --runs 9

Both get the same input in turn, in one thread, and must return the same. Printed are the medians for one item
(a picture, file, digest or record), and the ratio of the medians with the minimum and maximum within one run.
The loops of the index are timed by `benchmarks.index.queries`. Files are made in the folder for temporary
files; `--work` names another.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.lib.build import announce_build
from hashscan.hashing import _text, formats
from hashscan.hashing.kernel import CKernel, Kernel, NumpyKernel
from hashscan.hashing.pdq import PDQ
from hashscan.hashing.variants import DIHEDRAL
from hashscan.sources import _folder_listing, _kernel_calls
from hashscan.sources.filesystem import ctime, regular_files, safe_open
from hashscan.sources.filesystem.folder_listing import looks, looks_in_python
from hashscan.state.store.packing import steps_of
from hashscan.state.store.unpacking import CLoops, Loops, NumpyLoops

FILES = 2000
RECORDS = 4096
"""As many as are unpacked at a time."""
PICTURES = ((300, 400), (1200, 1600))
"""Height and width: of a thumbnail, and of a photograph as it is decoded."""
SIZE, DIFFERING = 32, 6


class Twins(NamedTuple):
    """One task done by C and by its twin: both return the same, for a number of items."""

    name: str
    items: int
    in_c: Callable[[], object]
    other: Callable[[], object]


def pictures() -> Iterator[Twins]:
    """Yield PDQ of pictures, with all turns, as a scan asks for it."""
    rng = np.random.default_rng(1)
    for height, width in PICTURES:
        coarse = rng.integers(0, 256, (height // 20, width // 20), np.uint8)
        luma = np.repeat(np.repeat(coarse, 20, axis=0), 20, axis=1)

        def hashed(kernel: Callable[[], Kernel], luma: NDArray[np.uint8] = luma) -> list[bytes]:
            return [run.values for run in PDQ(kernel()).runs(luma, None, tuple(range(DIHEDRAL)), ())]

        yield Twins(
            f"PDQ of a picture of {width}x{height}, 8 turns",
            1,
            partial(hashed, CKernel),
            partial(hashed, NumpyKernel),
        )


def listing(folder: Path) -> Twins:
    """Return the listing of a folder with the lstat results of its files."""
    for number in range(FILES):
        (folder / f"file-{number:06}.jpg").touch()

    def listed(way: Callable[[int, int], Iterator[object]]) -> object:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            # All names at once: how many come in a part depends on the way.
            return list(way(descriptor, 10 * FILES))
        finally:
            os.close(descriptor)

    return Twins(f"listing of {FILES} files", FILES, lambda: listed(looks), lambda: listed(looks_in_python))


def lease(folder: Path, stack: contextlib.ExitStack) -> Twins:
    """Return the test whether somebody may write to a file."""
    file = folder / "leased"
    file.touch()
    descriptor = os.open(file, os.O_RDONLY)
    stack.callback(os.close, descriptor)
    return Twins(
        "lease on a file",
        1000,
        lambda: [_kernel_calls.lease(descriptor) for _ in range(1000)],
        lambda: [ctime._lease_in_python(descriptor) for _ in range(1000)],
    )


def opening(folder: Path, stack: contextlib.ExitStack) -> Twins:
    """Return the opening of a listed file with its fstat, the comparison at its end, and its closing."""
    (folder / "listed").touch()
    status = (folder / "listed").stat()
    place = os.open(folder, os.O_RDONLY)
    stack.callback(os.close, place)
    own = safe_open.own_descriptors()

    def in_c() -> None:
        for _ in range(1000):
            found = _folder_listing.open_listed(place, b"listed", own, status.st_dev, status.st_ino)
            assert found is not None
            _folder_listing.unchanged(found[0], *found[1][:5])
            os.close(found[0])

    def in_python() -> None:
        for _ in range(1000):
            descriptor, seen = regular_files.open_regular(place, b"listed", status.st_dev, status.st_ino)
            regular_files._unchanged_in_python(descriptor, *regular_files.file_stat(seen)[:5])
            os.close(descriptor)

    return Twins("opening of a listed file", 1000, in_c, in_python)


def texts() -> Twins:
    """Return the search for `data:` URLs in a page of 2 kB without any."""
    page = (b'<p class="note">A day at the sea: sand, wind, and a lighthouse.</p>\n' * 40)[:2048]

    def found(search: Callable[[bytes, bool], bool]) -> bool:
        return any(search(page, True) for _ in range(1000))

    return Twins(
        "search for data URLs in a page of 2 kB",
        1000,
        lambda: found(_text.has_data_url),
        lambda: found(formats.search_in_python),
    )


def unpacking() -> Iterator[Twins]:
    """Yield the loops over what the state keeps of pictures: their digests as differences, and checksums."""
    rng = np.random.default_rng(2)
    firsts = rng.integers(0, 256, (RECORDS, SIZE), np.uint8)
    bits = np.sort(rng.permuted(np.tile(np.arange(256, dtype=np.uint8), (RECORDS, 1)), axis=1)[:, :DIFFERING])
    marks = np.full((RECORDS, 1), DIFFERING, np.uint8)
    data = np.ascontiguousarray(np.hstack((marks, bits))).reshape(-1)
    at = np.arange(RECORDS, dtype=np.int64) * (1 + DIFFERING)
    guess = steps_of(bytes(10) + b"\x03\0", ("pdq",))[1].guess([firsts])

    def step(loops: Loops) -> bytes:
        return loops.step(data, at.copy(), guess, SIZE).tobytes()

    records = rng.integers(0, 256, 300 * RECORDS, np.uint8)
    begins = np.arange(RECORDS, dtype=np.int64) * 300
    lengths, apart = np.full(RECORDS, 300, np.int64), np.ones(RECORDS, np.bool_)

    def sums(loops: Loops) -> bytes:
        return loops.sums(records, begins, lengths, firsts, apart).tobytes()

    yield Twins("digests unpacked", RECORDS, lambda: step(CLoops()), lambda: step(NumpyLoops()))
    yield Twins(
        "checksums of records of 300 bytes", RECORDS, lambda: sums(CLoops()), lambda: sums(NumpyLoops())
    )


def seconds(call: Callable[[], object]) -> float:
    """Return the processor time of one call."""
    begun = time.process_time()
    call()
    return time.process_time() - begun


def timed(twins: Twins, runs: int) -> str:
    """Return one line of the table."""
    if twins.in_c() != twins.other():
        raise SystemExit(f"{twins.name}: C and its twin return different results")
    least = max(1, round(0.02 / max(seconds(twins.in_c), 1e-6)))
    pairs = []
    for _ in range(runs):
        in_c = sum(seconds(twins.in_c) for _ in range(least)) / least
        pairs.append((in_c, seconds(twins.other)))
    in_c, other = (statistics.median(column) / twins.items * 1e6 for column in zip(*pairs, strict=True))
    spread = [after / before for before, after in pairs]
    figures = f"{in_c:10.3f} {other:10.3f} {other / in_c:8.1f}"
    return f"{twins.name:44} {figures}  ({min(spread):.1f}-{max(spread):.1f})"


def main() -> None:
    """Time all pairs and print a table."""
    parser = argparse.ArgumentParser(description="Time C beside its twins.")
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--work", type=Path, help="folder for files")
    given = parser.parse_args()
    print(f"{'microseconds of processor time an item':44} {'C':>10} {'without':>10} {'ratio':>8}")
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=given.work)))
        for twins in (
            *pictures(),
            listing(folder),
            lease(folder, stack),
            opening(folder, stack),
            texts(),
            *unpacking(),
        ):
            print(timed(twins, given.runs), flush=True)


if __name__ == "__main__":
    announce_build()
    main()
