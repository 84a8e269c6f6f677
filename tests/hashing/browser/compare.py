"""Compare what Chromium draws of files with the PDQ that a scan computes of them.

    python -m tests.hashing.browser.compare FOLDER

writes a table of the files beneath a folder that Chromium shows otherwise than they were hashed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from msgspec import structs

from hashscan.hashing.formats import FORMATS
from hashscan.hashing.pdq import PDQ
from hashscan.hashing.records import DecodedPicture, unpack_reply
from hashscan.matching.worker_setup import WorkerSetup
from hashscan.model import ALGORITHMS, Batch, FileResult, MemberLimits, StoredContentData, Verdict
from hashscan.sandbox.client import SandboxOptions
from hashscan.scan.workers.worker import Worker
from hashscan.sources.base import ListingOptions
from hashscan.sources.filesystem.source import FilesystemSource
from hashscan.sources.patterns import Patterns
from hashscan.state.store.packing import Packed, unpack
from tests.hashing.browser.chromium import draw_all

PICTURES = ("pdq",)
BATCH_FILES = 64
ALL_BITS = 256


class Hashed(NamedTuple):
    """A file as a scan hashes it."""

    verdict: Verdict
    why: str
    """Reason and detail of the verdict."""
    digests: tuple[int, ...]
    """PDQ of all its variants that are good enough to be matched."""


class Comparison(NamedTuple):
    """A file that Chromium shows."""

    path: Path
    shown: str
    """The layer that Chromium draws and that is farthest from the digests."""
    hashed: Hashed
    distance: int | None
    """Least distance in bits of this from a digest; None where the file has none, or shows little."""
    visible: bool
    """True if what Chromium draws is of a quality that is matched."""
    fault: str
    """`not hashed`, or `hashed otherwise`; empty if it is hashed as it is shown, or undecoded."""


def hash_all(folder: Path) -> dict[Path, Hashed]:
    """Return the digests of all files beneath a folder, as a scan computes them."""
    setup = WorkerSetup(
        lists=(),
        sandbox=SandboxOptions("auto", seconds=30.0),
        algorithms=("sha256", *PICTURES),
        max_pixels=10**8,
        keep=True,
        containers=MemberLimits(),
    )
    found = {}
    options = ListingOptions(exclude=Patterns.compile((), None))
    with Worker(setup) as worker:
        for listing in FilesystemSource([os.fsencode(folder.resolve())], options).listings():
            if not isinstance(listing, Batch):
                continue
            items = tuple(listing.items)
            for start in range(0, len(items), BATCH_FILES):
                batch = structs.replace(listing, items=items[start : start + BATCH_FILES])
                checked = worker.check(batch)
                for result, kept in zip(checked.results, checked.kept, strict=True):
                    path = folder / os.fsdecode(batch.folder) / os.fsdecode(result.name)
                    found[path] = _hashed(result, kept)
    return found


def _hashed(result: FileResult, kept: StoredContentData | None) -> Hashed:
    why = " ".join(filter(None, (result.reason and result.reason.value, result.detail)))
    digests: tuple[int, ...] = ()
    if kept is not None and kept.packed is not None:
        reply = unpack_reply(unpack(Packed(*kept.packed), PICTURES), FORMATS[kept.kind], PICTURES)
        if isinstance(reply, DecodedPicture):
            least = ALGORITHMS["pdq"].min_quality
            digests = tuple(int.from_bytes(each.value) for each in reply.digests if each.quality >= least)
    return Hashed(result.verdict, why, digests)


def compare(folder: Path) -> Iterator[Comparison]:
    """Yield a comparison of each file beneath a folder that Chromium shows."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    pdq = PDQ()
    with ThreadPoolExecutor(1) as executor:
        hashing = executor.submit(hash_all, folder)
        # Each is hashed before the next is drawn, as the pixels of all would fill the memory.
        drawn = [
            _Drawn(
                path,
                f"{shown.width}x{shown.height}",
                [(each.what, *pdq.digest(each.luma)) for each in shown.layers],
            )
            for path, shown in zip(paths, draw_all(paths), strict=True)
            if shown.width
        ]
        hashed = hashing.result()
    for each in drawn:
        yield _compared(each, hashed[each.path])


class _Drawn(NamedTuple):
    """A file that Chromium shows."""

    path: Path
    size: str
    layers: list[tuple[str, bytes, int]]
    """The name, PDQ and quality of each layer that Chromium draws."""


def _compared(drawn: _Drawn, hashed: Hashed) -> Comparison:
    algorithm = ALGORITHMS["pdq"]
    worst, where, any_good = -1, "little", False
    for what, value, quality in drawn.layers:
        if quality < algorithm.min_quality:
            continue
        any_good = True
        number = int.from_bytes(value)
        distance = min(((number ^ digest).bit_count() for digest in hashed.digests), default=ALL_BITS)
        if distance > worst:
            worst, where = distance, what
    fault = ""
    unlike = worst > algorithm.threshold or (not drawn.layers and not hashed.digests)
    if unlike and hashed.verdict is Verdict.CLEAN:
        fault = "hashed otherwise" if hashed.digests else "not hashed"
    distance_known = any_good and bool(hashed.digests)
    return Comparison(
        drawn.path, f"{where}, {drawn.size}", hashed, worst if distance_known else None, any_good, fault
    )


def table(compared: Sequence[Comparison], folder: Path) -> str:
    """Return a table of the files with faults and of those that are not decoded, and the numbers of all."""
    lines = ["| file | shown | verdict | distance | fault |", "| --- | --- | --- | --- | --- |"]
    for path, shown, hashed, distance, _, fault in sorted(compared, key=lambda each: not each.fault):
        if fault or hashed.verdict is not Verdict.CLEAN:
            cells = (str(path.relative_to(folder)), shown, f"{hashed.verdict.value} {hashed.why}".strip())
            lines.append(f"| {' | '.join(cells)} | {'' if distance is None else distance} | {fault} |")
    faulty = sum(bool(each.fault) for each in compared)
    undecoded = sum(each.visible and each.hashed.verdict is Verdict.UNDECODED for each in compared)
    lines += [
        "",
        f"Chromium shows {len(compared)} files; {faulty} faults, {undecoded} visible ones undecoded.",
    ]
    return "\n".join(lines)


def main() -> None:
    """Write the table of a folder."""
    folder = Path(sys.argv[1])
    sys.stdout.write(table(list(compare(folder)), folder) + "\n")


if __name__ == "__main__":
    main()
