"""Count altered copies of photos that are matched, for review, or missed, beside plain PDQ and pHash.

    python -m benchmarks.recall.near_copies CORPUS [--half held-out|tuning] [--photos N] [--structured N]
                                            [--only NAME]... [--augment] [--second ALGORITHM]
                                            [--review-threshold BITS] [--longest PIXELS] [--processes N]
                                            [--json FILE]

Each photo of one half of the folder is altered in the 108 ways of reposts.py, after it was made `--longest`
pixels long if it is longer. The halves are by the first bit of the sha256 of a photo's file: 0 tuning, 1
held-out. Limits of matching are chosen on the tuning half. The list has the PDQ of the photos as they are,
with `--augment` also of those parts of them that `publish hash` adds, and their quadrants; with `--second
phash` or `dhash` another hash of each, which confirms reviews. A photo that shows what another shows, by its
PDQ, is left out, and so is one with a quality below 50.

- match, review, missed: the verdict of hashscan that follows from the photo's own entries;
- PDQ: the PDQ of the altered picture lies within 31 of 256 bits of the photo's, and its quality is 50;
- pHash: ImageHash's pHash lies within 10 of 64 bits of the photo's.

Below the table stands how many files got a verdict from another photo's entries. Collages are made with
photos of the other half, which are not listed. With `--structured`, so many drawn tables, codes, charts and
screens (see structured.py) are listed and compared with each other, too.
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
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import imagehash
import numpy as np
import pillow_heif
from PIL import Image

from benchmarks.lib.build import announce_build
from benchmarks.recall import structured
from benchmarks.recall.reposts import REPOSTS
from hashscan.hashing.formats import sniff
from hashscan.hashing.media import decoder
from hashscan.hashing.records import pack_request
from hashscan.hashing.variants import MADE_FOR_LISTS
from hashscan.lists.index.quadrants import has_enough
from hashscan.lists.store import ListStore
from hashscan.matching.evaluation import FileTask, Matcher, match_files, store_reply
from hashscan.matching.policy import judge
from hashscan.model import ALGORITHMS, QUADRANTS, Entry, FileStat, Item, Match
from hashscan.registry import PICTURE_HASHES

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


class Listed(NamedTuple):
    """The hashes of one listed picture."""

    pdq: int
    phash: int
    parts: list[bytes]
    """PDQ of its parts."""
    second: bytes
    """Another hash that is listed, too; or empty."""
    quadrants: bytes
    """PDQ of its quadrants; empty if they can't be compared."""

    def entries(self, place: int, second: str | None) -> Iterator[Entry]:
        """Yield what a list has of it; `place` begins the ids, and `second` names the other hash."""
        for number, value in enumerate((self.pdq.to_bytes(ALGORITHM.size), *self.parts)):
            yield Entry(f"{place}:{ALGORITHM.name}-{number}", ALGORITHM.name, value, "A1")
        if second and self.second:
            yield Entry(f"{place}:{second}", second, self.second, "A1")
        if self.quadrants:
            yield Entry(f"{place}:{QUADRANTS}", QUADRANTS, self.quadrants, "A1")


class Counts(NamedTuple):
    """The verdicts of the three ways on one file: for the picture it shows, and the number of others."""

    own: tuple[str, bool, bool]
    """Verdict; found by PDQ; found by pHash."""
    others: tuple[Counter[str], int, int]
    """Other pictures by the verdict that follows from the entries of each; those within the threshold of PDQ,
    and of pHash."""


class Checker:
    """Hashes pictures and compares them with a list; each process has its own."""

    def __init__(
        self,
        folder: Path | None = None,
        entries: Sequence[Listed] = (),
        *,
        augment: bool = False,
        second: str | None = None,
        review_threshold: int | None = None,
        quadrants: bool = False,
    ) -> None:
        """Load the decoder.

        Args:
            folder: of the lists; None to hash only.
            entries: hashes of the listed pictures; the ids of their entries begin with their places.
            augment: True to hash parts of pictures, too.
            second: name of another algorithm to hash pictures with.
            review_threshold: as of `Matcher`.
            quadrants: True to hash their quadrants, too.
        """
        pillow_heif.register_heif_opener()
        parts = (f"augment={','.join(kind.name for kind in MADE_FOR_LISTS)}",) if augment else ()
        self._names = [ALGORITHM.name, *([second] if second else []), *([QUADRANTS] if quadrants else [])]
        self._decode = decoder.load(*(PICTURE_HASHES.rows[name].target for name in self._names), *parts)
        self._entries = entries
        if folder is not None:
            self._opened = ListStore(folder).open(None, datetime.now(UTC))
            self._matcher = Matcher(self._opened.handles, review_threshold)

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
        store_reply(file, reply, self._names)
        stored = file.decoded.stored(self._names) if file.decoded else {}
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
        match_files(self._matcher, self._names, [found.file])
        by_entry: dict[int, list[Match]] = {}
        for match in found.file.matches:
            by_entry.setdefault(int(match.entry_id.partition(":")[0]), []).append(match)
        verdicts = {place: judge(matches, None).verdict.value for place, matches in by_entry.items()}
        pdq = {
            place
            for place, entry in enumerate(self._entries)
            if found.pdq is not None and (entry.pdq ^ found.pdq).bit_count() <= ALGORITHM.threshold
        }
        phash = {
            place
            for place, entry in enumerate(self._entries)
            if (entry.phash ^ found.phash).bit_count() <= PHASH_THRESHOLD
        }
        return Counts(
            (verdicts.pop(own, "missed"), own in pdq, own in phash),
            (Counter(verdicts.values()), len(pdq - {own}), len(phash - {own})),
        )


def _number(bits: Any) -> int:
    return int.from_bytes(np.packbits(bits).tobytes())


CHECKERS: list[Checker] = []
"""That of this process."""


def begin(*arguments: Any, **options: Any) -> None:
    """Make the checker of this process."""
    CHECKERS.append(Checker(*arguments, **options))


def hash_picture(content: Path | tuple[str, int]) -> Listed | None:
    """Return the hashes of a file, or of a drawn picture; None if its quality is too low."""
    data = content.read_bytes() if isinstance(content, Path) else structured.drawn(*content)
    found = CHECKERS[0].hashes(data)
    if found.pdq is None or found.file.decoded is None:
        return None
    parts = [
        run.values
        for run in found.file.decoded.runs
        if run.part.kind in MADE_FOR_LISTS and run.quality >= ALGORITHM.min_quality
    ]
    others = [
        run.values for run in found.file.decoded.runs[:2] if run.algorithm not in {ALGORITHM.name, QUADRANTS}
    ]
    quadrants = b"".join(query.values for query in found.file.queries(QUADRANTS))
    quadrants = quadrants if quadrants and has_enough(quadrants) else b""
    return Listed(found.pdq, found.phash, parts, b"".join(others), quadrants)


def open_photo(photo: Path, longest: int) -> Image.Image:
    """Return a photo in colours, made `longest` pixels long if it is longer."""
    with Image.open(photo) as opened:
        opened.draft("RGB", (2 * longest, 2 * longest))
        image = opened.convert("RGB")
    image.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return image


def _altered(task: tuple[int, Path, Sequence[Path], int, Sequence[str]]) -> dict[str, Counts]:
    """Alter one photo in some ways, and compare all with the list."""
    own, photo, others, longest, names = task
    image, beside = open_photo(photo, longest), [open_photo(other, longest) for other in others]
    checker = CHECKERS[0]
    found = {UNALTERED: checker.counts(photo.read_bytes(), own)}
    for name in names:
        chance = Random(f"{photo.name} {name}")
        found[name] = checker.counts(REPOSTS[name](image, chance, beside), own)
    return found


def compare_unaltered(task: tuple[int, Path]) -> dict[str, Counts]:
    """Compare a photo with the list."""
    own, photo = task
    return {UNALTERED: CHECKERS[0].counts(photo.read_bytes(), own)}


def compare_drawn(task: tuple[int, tuple[str, int]]) -> dict[str, Counts]:
    """Compare a drawn picture with the list."""
    own, name = task
    return {UNALTERED: CHECKERS[0].counts(structured.drawn(*name), own)}


class Subjects(NamedTuple):
    """Listed pictures with their digests."""

    pictures: list[Any]
    """Paths of photos, or kinds and numbers of drawn pictures."""
    entries: list[Listed]


def listed(hashed: Sequence[tuple[Any, Listed | None]], *, apart: bool) -> Subjects:
    """Return the pictures to be listed: those of good quality; if `apart`, none that shows an earlier one."""
    kept = Subjects([], [])
    for picture, digests in hashed:
        if digests is None:
            continue
        if apart and any(
            (digests.pdq ^ entry.pdq).bit_count() <= ALGORITHM.threshold for entry in kept.entries
        ):
            continue
        kept.pictures.append(picture)
        kept.entries.append(digests)
    return kept


def compare(
    subjects: Subjects,
    tasks: Sequence[Any],
    function: Callable[[Any], dict[str, Counts]],
    options: argparse.Namespace,
) -> list[dict[str, Counts]]:
    """Make a list of pictures, and have all tasks compared with it."""
    # Not forked: the libraries of decoders start threads when they are imported.
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="hashscan-recall-") as folder:
        entries = [
            one
            for place, entry in enumerate(subjects.entries)
            for one in entry.entries(place, options.second)
        ]
        ListStore(Path(folder)).import_entries("photos", entries, "benchmark")
        initializer = partial(
            begin,
            second=options.second,
            review_threshold=options.review_threshold,
            quadrants=any(entry.quadrants for entry in subjects.entries),
        )
        with context.Pool(options.processes, initializer, (Path(folder), subjects.entries)) as pool:
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
    parser.add_argument("--augment", action="store_true", help="list parts of the photos, too")
    parser.add_argument("--second", choices=("phash", "dhash"), help="list this hash of each, too")
    parser.add_argument("--review-threshold", type=int, metavar="BITS", help="as of `hashscan scan`")
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
    initializer = partial(begin, augment=options.augment, second=options.second, quadrants=options.augment)
    with context.Pool(options.processes, initializer) as pool:
        subjects = listed(list(zip(photos, pool.map(hash_picture, photos), strict=True)), apart=True)
        drawn = listed(list(zip(named, pool.map(hash_picture, named), strict=True)), apart=False)
    tasks = [
        (place, photo, Random(photo.name).sample(others, 3), options.longest, names)
        for place, photo in enumerate(subjects.pictures)
    ]
    results = compare(subjects, tasks, _altered, options)
    print(f"{len(results)} photos of the {options.half} half, {len(photos) - len(results)} left out")
    if options.augment:
        parts = sum(len(entry.parts) for entry in subjects.entries)
        quadrants = sum(1 for entry in subjects.entries if entry.quadrants)
        print(f"{parts} parts of them are listed, too, and the quadrants of {quadrants}")
    print(table(results))
    print(f"photos: {alarms(results, [UNALTERED])}")
    print(f"altered photos: {alarms(results, names)}")
    if drawn.pictures:
        tasks_drawn = list(enumerate(drawn.pictures))
        results_drawn = compare(drawn, tasks_drawn, compare_drawn, options)
        print(f"structured: {alarms(results_drawn, [UNALTERED])}")
    print(f"{time.monotonic() - begun:.0f} s")
    if options.json:
        found = {
            photo.name: {name: counts.own for name, counts in result.items()}
            for photo, result in zip(subjects.pictures, results, strict=True)
        }
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    announce_build()
    sys.exit(main())
