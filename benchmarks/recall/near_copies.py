"""Count altered copies of photos that are matched, for review, or missed, beside plain PDQ and pHash.

    python -m benchmarks.recall.near_copies CORPUS [--half held-out|tuning] [--photos N] [--structured N]
                                            [--only NAME]... [--longest PIXELS] [--processes N] [--json FILE]

Each photo of one half of the folder is altered in the 108 ways of reposts.py, after it was made `--longest`
pixels long if it is longer. The halves are by the first bit of the sha256 of a photo's file: 0 tuning, 1
held-out. Limits of matching are chosen on the tuning half. The list has the PDQ of the photos as they are; a
photo that shows what another shows, by its PDQ, is left out, and so is one with a quality below 50.

- match, review, missed: the verdict of hashscan that follows from the photo's own entry;
- PDQ: the PDQ of the altered picture lies within 31 of 256 bits of the photo's, and its quality is 50;
- pHash: ImageHash's pHash lies within 10 of 64 bits of the photo's.

Below the table stands how many files got a verdict from another photo's entry. Collages are made with photos
of the other half, which are not listed. With `--structured`, so many drawn tables, codes, charts and screens
(see structured.py) are listed and compared with each other, too.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import imagehash
import numpy as np
import pillow_heif
from PIL import Image

from benchmarks.recall import structured
from benchmarks.recall.reposts import REPOSTS
from hashscan.hashing.formats import sniff
from hashscan.hashing.media import decoder
from hashscan.hashing.records import pack_request
from hashscan.lists.store import ListStore
from hashscan.matching.evaluation import FileTask, Matcher, match_files, store_reply
from hashscan.matching.policy import judge
from hashscan.model import ALGORITHMS, Entry, FileStat, Item, Match

PHASH_THRESHOLD = 10
ALGORITHM = ALGORITHMS["pdq"]
HALVES = ("tuning", "held-out")
UNALTERED = "unaltered"


class Hashes(NamedTuple):
    """The digests of one picture by all three ways."""

    file: FileTask
    pdq: int | None
    """None if its quality is too low."""
    phash: int


class Counts(NamedTuple):
    """The verdicts of the three ways on one file: for its own entry, and the number of other entries."""

    own: tuple[str, bool, bool]
    """Verdict; found by PDQ; found by pHash."""
    others: tuple[Counter[str], int, int]
    """Other entries by the verdict that follows from each; within the threshold of PDQ and of pHash."""


class Checker:
    """Hashes pictures and compares them with a list; each process has its own."""

    def __init__(self, folder: Path | None = None, entries: Sequence[tuple[int, int]] = ()) -> None:
        """Load the decoder.

        Args:
            folder: of the lists; None to hash only.
            entries: PDQ and pHash of the listed pictures; their places are the ids of their entries.
        """
        pillow_heif.register_heif_opener()
        self._decode = decoder.load("hashscan.hashing.pdq:PDQ")
        self._entries = entries
        if folder is not None:
            self._opened = ListStore(folder).open(None, datetime.now(UTC))
            self._matcher = Matcher(self._opened.handles)

    def hashes(self, content: bytes) -> Hashes:
        """Hash the content of a picture file."""
        file = FileTask(Item(b"picture", FileStat(1, 1, len(content), 1, 1, 1, 1)), kind=sniff(content))
        assert file.kind is not None
        descriptor = os.memfd_create("picture")
        try:
            os.write(descriptor, content)
            reply = self._decode(descriptor, pack_request(file.kind))
        finally:
            os.close(descriptor)
        assert isinstance(reply, bytes)
        store_reply(file, reply, [ALGORITHM.name])
        stored = file.decoded.stored([ALGORITHM.name]) if file.decoded else {}
        plain = stored.get(ALGORITHM.name)
        good = plain is not None and (plain.quality or 0) >= ALGORITHM.min_quality
        with Image.open(BytesIO(content)) as image:
            bits = imagehash.phash(image).hash
        return Hashes(file, int.from_bytes(plain.value) if plain and good else None, _number(bits))

    def counts(self, content: bytes, own: int) -> Counts:
        """Compare a picture file with the list.

        Args:
            own: the place of the entry of the picture from which it was made.
        """
        found = self.hashes(content)
        match_files(self._matcher, [ALGORITHM.name], [found.file])
        by_entry: dict[int, list[Match]] = {}
        for match in found.file.matches:
            by_entry.setdefault(int(match.entry_id), []).append(match)
        verdicts = {place: judge(matches, None).verdict.value for place, matches in by_entry.items()}
        pdq = {
            place
            for place, (entry, _) in enumerate(self._entries)
            if found.pdq is not None and (entry ^ found.pdq).bit_count() <= ALGORITHM.threshold
        }
        phash = {
            place
            for place, (_, entry) in enumerate(self._entries)
            if (entry ^ found.phash).bit_count() <= PHASH_THRESHOLD
        }
        return Counts(
            (verdicts.pop(own, "missed"), own in pdq, own in phash),
            (Counter(verdicts.values()), len(pdq - {own}), len(phash - {own})),
        )


def _number(bits: Any) -> int:
    return int.from_bytes(np.packbits(bits).tobytes())


_checkers: list[Checker] = []


def _begin(*arguments: Any) -> None:
    _checkers.append(Checker(*arguments))


def _hashed(content: Path | tuple[str, int]) -> tuple[int, int] | None:
    """Return PDQ and pHash of a file, or of a drawn picture; None if its quality is too low."""
    data = content.read_bytes() if isinstance(content, Path) else structured.drawn(*content)
    found = _checkers[0].hashes(data)
    return None if found.pdq is None else (found.pdq, found.phash)


def _opened(photo: Path, longest: int) -> Image.Image:
    with Image.open(photo) as opened:
        opened.draft("RGB", (2 * longest, 2 * longest))
        image = opened.convert("RGB")
    image.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return image


def _altered(task: tuple[int, Path, Sequence[Path], int, Sequence[str]]) -> dict[str, Counts]:
    """Alter one photo in some ways, and compare all with the list."""
    own, photo, others, longest, names = task
    image, beside = _opened(photo, longest), [_opened(other, longest) for other in others]
    checker = _checkers[0]
    found = {UNALTERED: checker.counts(photo.read_bytes(), own)}
    for name in names:
        chance = Random(f"{photo.name} {name}")
        found[name] = checker.counts(REPOSTS[name](image, chance, beside), own)
    return found


def _drawn(task: tuple[int, tuple[str, int]]) -> dict[str, Counts]:
    own, name = task
    return {UNALTERED: _checkers[0].counts(structured.drawn(*name), own)}


class Subjects(NamedTuple):
    """Listed pictures with their digests."""

    pictures: list[Any]
    """Paths of photos, or kinds and numbers of drawn pictures."""
    entries: list[tuple[int, int]]


def listed(hashed: Sequence[tuple[Any, tuple[int, int] | None]], *, apart: bool) -> Subjects:
    """Return the pictures to be listed: those of good quality; if `apart`, none that shows an earlier one."""
    kept = Subjects([], [])
    for picture, digests in hashed:
        if digests is None:
            continue
        if apart and any(
            (digests[0] ^ entry).bit_count() <= ALGORITHM.threshold for entry, _ in kept.entries
        ):
            continue
        kept.pictures.append(picture)
        kept.entries.append(digests)
    return kept


def compare(
    subjects: Subjects, tasks: Sequence[Any], function: Callable[[Any], dict[str, Counts]], processes: int
) -> list[dict[str, Counts]]:
    """Make a list of pictures, and have all tasks compared with it."""
    # Not forked: the libraries of decoders start threads when they are imported.
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="hashscan-recall-") as folder:
        entries = [
            Entry(str(place), ALGORITHM.name, pdq.to_bytes(ALGORITHM.size), "A1")
            for place, (pdq, _) in enumerate(subjects.entries)
        ]
        ListStore(Path(folder)).import_entries("photos", entries, "benchmark")
        with context.Pool(processes, _begin, (Path(folder), subjects.entries)) as pool:
            return pool.map(function, tasks, chunksize=1)


def table(results: Sequence[dict[str, Counts]]) -> str:
    """Return the rows of the alterations, in percent of the photos."""
    lines = [f"{'%':28}{'match':>8}{'review':>8}{'missed':>8}{'PDQ':>8}{'pHash':>8}"]
    for name in results[0]:
        own = [result[name].own for result in results]
        verdicts = Counter(verdict for verdict, _, _ in own)
        shares = [verdicts["match"], verdicts["review"], verdicts["missed"]]
        shares += [sum(one[1] for one in own), sum(one[2] for one in own)]
        lines.append(f"{name:28}" + "".join(f"{100 * share / len(own):8.1f}" for share in shares))
    return "\n".join(lines)


def alarms(results: Sequence[dict[str, Counts]], names: Sequence[str]) -> str:
    """Return how many pairs of a file and another picture's entry got a verdict."""
    counts = [result[name] for result in results for name in names]
    verdicts = sum((count.others[0] for count in counts), Counter[str]())
    pdq, phash = sum(count.others[1] for count in counts), sum(count.others[2] for count in counts)
    pairs = len(counts) * (len(results) - 1)
    return (
        f"of {pairs:,} pairs {verdicts['match']} match, {verdicts['review']} are for review; "
        f"PDQ alone {pdq}, pHash {phash}"
    )


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Count near copies that are found.")
    parser.add_argument("corpus", type=Path, help="folder of photos")
    parser.add_argument("--half", choices=HALVES, default="held-out")
    parser.add_argument("--photos", type=int, default=60, metavar="N", help="at most so many (default 60)")
    parser.add_argument("--structured", type=int, default=0, metavar="N", help="pictures to draw")
    parser.add_argument(
        "--only", action="append", metavar="NAME", help="alterations that begin so (default all)"
    )
    parser.add_argument("--longest", type=int, default=640, metavar="PIXELS")
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)), metavar="N")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was found of each file there")
    return parser.parse_args()


def main() -> int:
    """Alter, hash, compare, print."""
    options = arguments()
    begun = time.monotonic()
    by_half: dict[str, list[Path]] = {half: [] for half in HALVES}
    for path in sorted(path for path in options.corpus.rglob("*") if path.is_file()):
        first_bit = hashlib.sha256(path.read_bytes()).digest()[0] >> 7
        by_half[HALVES[first_bit]].append(path)
    photos, others = by_half.pop(options.half)[: options.photos], next(iter(by_half.values()))
    if len(others) < 3 or not photos:
        print(f"error: {options.corpus} has too few photos, each half needs three", file=sys.stderr)
        return 2
    names = [name for name in REPOSTS if name.startswith(tuple(options.only or [""]))]
    named = list(structured.names(options.structured))
    context = multiprocessing.get_context("spawn")
    with context.Pool(options.processes, _begin) as pool:
        subjects = listed(list(zip(photos, pool.map(_hashed, photos), strict=True)), apart=True)
        drawn = listed(list(zip(named, pool.map(_hashed, named), strict=True)), apart=False)
    tasks = [
        (place, photo, Random(photo.name).sample(others, 3), options.longest, names)
        for place, photo in enumerate(subjects.pictures)
    ]
    results = compare(subjects, tasks, _altered, options.processes)
    print(f"{len(results)} photos of the {options.half} half, {len(photos) - len(results)} left out")
    print(table(results))
    print(f"photos: {alarms(results, [UNALTERED])}")
    print(f"altered photos: {alarms(results, names)}")
    if drawn.pictures:
        tasks_drawn = list(enumerate(drawn.pictures))
        print(f"structured: {alarms(compare(drawn, tasks_drawn, _drawn, options.processes), [UNALTERED])}")
    print(f"{time.monotonic() - begun:.0f} s")
    if options.json:
        found = {
            photo.name: {name: counts.own for name, counts in result.items()}
            for photo, result in zip(subjects.pictures, results, strict=True)
        }
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
