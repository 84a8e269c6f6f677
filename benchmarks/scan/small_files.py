"""Time scans of many small files beside the minimum work.

    python -m benchmarks.scan.small_files CORPUS [--texts N] [--pictures N] [--runs R]
                                         [--work DIR] [--json FILE]

Run it with the Python that has hashscan. It makes 100,000 files of 2 kB that are no pictures, and 20,000
JPEGs of 480x320 from the corpus of pictures, and times, each as a command of its own, start-up included:

- hashscan with two workers over each of both sets, against 100,000 random entries;
- `find FOLDER -type f -exec sha256sum {} +` over the texts;
- the floor over the pictures: one process that reads each file once, computes md5, sha1 and sha256 and
  decodes with Pillow.

No content comes twice, and all files are read once before the first run. The runs are interleaved; medians
are printed, with the least and the most, and the ratios with their targets.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from benchmarks.lib import measure, results
from benchmarks.lib.build import announce_build
from benchmarks.lib.corpus import CorpusError, FileSet, file_set, lay_out_texts, lay_out_thumbnails
from benchmarks.lib.results import Ratio
from benchmarks.lib.scans import (
    ENTRIES,
    Contender,
    Hashscan,
    loop,
    machine,
    parse_small_files,
    place_for,
    run_all,
)

RATIOS = (
    Ratio(
        "texts: hashscan(2) wall / find -exec sha256sum wall",
        *("hashscan-2 texts", results.wall, "find sha256sum texts", results.wall),
        most=6,
    ),
    Ratio(
        "texts: hashscan(2) CPU / find -exec sha256sum CPU",
        *("hashscan-2 texts", results.cpu, "find sha256sum texts", results.cpu),
    ),
    Ratio(
        "pictures: hashscan(2) wall / (floor wall / 2)",
        *("hashscan-2 pictures", results.wall, "floor pictures", results.half_wall),
        most=1.5,
    ),
    Ratio(
        "pictures: hashscan(2) CPU / floor CPU",
        *("hashscan-2 pictures", results.cpu, "floor pictures", results.cpu),
    ),
)


def find_sha256sum(over: FileSet) -> Contender:
    """Return a contender that only computes digests, with find and sha256sum."""

    def check(sample: measure.Sample) -> dict[str, str]:
        del sample
        return {}

    command = ["find", str(over.folder), "-type", "f", "-exec", "sha256sum", "{}", "+"]
    return Contender(command, over, check)


def contenders(scratch: Path, texts: Path, pictures: Path) -> dict[str, Contender]:
    """Everything to be timed, ready to run."""
    scanner = Hashscan(scratch)
    made: dict[str, Contender] = {}
    if texts.exists():
        over = file_set(texts, scratch / "text-names")
        made["hashscan-2 texts"] = scanner.contender(2, over)
        made["find sha256sum texts"] = find_sha256sum(over)
    if pictures.exists():
        over = file_set(pictures, scratch / "picture-names")
        made["hashscan-2 pictures"] = scanner.contender(2, over)
        made["floor pictures"] = loop(sys.executable, "floor", over)
    return made


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Time scans of many small files.")
    parser.add_argument("corpus", type=Path, help="folder of pictures that the small ones are made from")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample there too")
    return parse_small_files(parser, texts=100_000, pictures=20_000, runs=3)


def main() -> int:
    """Lay out the files, time everything, print the table."""
    options = arguments()
    corpus = options.corpus.resolve()
    try:
        measure.adopt_orphans()
        with tempfile.TemporaryDirectory(
            prefix="hashscan-bench-", dir=place_for(corpus, options.work)
        ) as folder:
            scratch = Path(folder)
            texts, pictures = scratch / "texts", scratch / "pictures"
            lay_out_texts(texts, options.texts)
            lay_out_thumbnails(corpus, pictures, options.pictures)
            found = run_all(contenders(scratch, texts, pictures), scratch, options.runs)
    except (measure.MeasureError, CorpusError) as trouble:
        print(f"error: {trouble}", file=sys.stderr)
        return 1
    about = {**machine(), "runs": options.runs, "entries": ENTRIES}
    print(results.table(about, found, RATIOS))
    if options.json:
        options.json.write_text(json.dumps(results.as_json(about, found, RATIOS), indent=2) + "\n")
    return 0


if __name__ == "__main__":
    announce_build()
    sys.exit(main())
