"""Compare the cost of scans between two installed versions of hashscan.

    python -m benchmarks.scan.versions CORPUS --before PYTHON [--after PYTHON] [--copies N] [--texts N]
                                  [--pictures N] [--runs R] [--work DIR] [--entries N] [--only-pdq]
                                  [--skip-variant NAME]...

PYTHON is the interpreter of an environment that has hashscan; --after is the running one unless another is
named. Each version scans the same files with one worker, its own fresh state and the same random entries,
100,000 unless told otherwise:

- photographs: the corpus, in copies that differ by some bytes at their end;
- texts: files of 2 kB;
- thumbnails: JPEGs of 480x320 made from the corpus;
- unchanged: a second scan of the photographs, and of the texts, with `--reread 0%`.

With --skip-variant, photographs and thumbnails are timed once more, with the later version leaving these
variants of pictures out.

The two versions take turns (before, after, before, after ...), after one round that is not counted. Medians
of processor time of all processes, start-up included, are printed, the median, least and most of the ratio
within a round, and the ratio of the least times, which other work on the machine disturbs least.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.lib import measure
from benchmarks.lib.build import announce_build
from benchmarks.lib.corpus import CorpusError, FileSet, file_set, lay_out, lay_out_texts, lay_out_thumbnails
from benchmarks.lib.scans import ALGORITHMS, ENTRIES, Hashscan, machine, parse_small_files, place_for
from benchmarks.scan.unchanged import YOUNG_SECONDS

Run = Callable[[], measure.Sample]


def first_scan(scanner: Hashscan, over: FileSet, scratch: Path, *options: str) -> Run:
    """Return a function that scans with a fresh state and checks that no file was left out.

    Args:
        options: further ones of `hashscan scan`.
    """
    contender = scanner.contender(1, over, *options)

    def run() -> measure.Sample:
        contender.prepare()
        sample = measure.run("scan", contender.command, scratch, {})
        contender.check(sample)
        return sample

    return run


def second_scan(scanner: Hashscan, over: FileSet, scratch: Path) -> Run:
    """Scan once, and return a function that scans again and checks that no file was read."""
    contender = scanner.contender(1, over, "--reread", "0%")
    contender.prepare()
    time.sleep(YOUNG_SECONDS)  # files that were changed so shortly before would be read again
    measure.run("first scan", contender.command, scratch, {})

    def run() -> measure.Sample:
        scanner.report.unlink(missing_ok=True)
        sample = measure.run("second scan", contender.command, scratch, {})
        last = json.loads(scanner.report.read_text().splitlines()[-1])
        if last["unchanged"] != over.files:
            raise measure.MeasureError(f"{last['unchanged']} of {over.files} files counted as unchanged")
        return sample

    return run


def compare(name: str, files: int, versions: dict[str, Run], rounds: int) -> None:
    """Time both versions in turn and print one line."""
    samples: dict[str, list[measure.Sample]] = {version: [] for version in versions}
    for number in range(rounds + 1):
        for version, run in versions.items():
            sample = run()
            if number:
                samples[version].append(sample)
    before, after = ([sample.cpu for sample in samples[version]] for version in ("before", "after"))
    ratios = [b / a for a, b in zip(before, after, strict=True)]
    print(
        f"{name:12} {files:8} files  CPU s before {statistics.median(before):8.3f}"
        f"  after {statistics.median(after):8.3f}  ratio {statistics.median(ratios):.3f}"
        f" ({min(ratios):.3f}-{max(ratios):.3f}), of the least {min(after) / min(before):.3f}",
        flush=True,
    )


def compare_all(options: argparse.Namespace, corpus: Path, scratch: Path) -> None:
    """Lay out the files and compare the versions over each kind.

    Raises:
        CorpusError: the corpus can't be used.
        MeasureError: a command failed or did not do what was to be timed.
    """
    scanners: dict[str, Hashscan] = {}
    for version in ("before", "after"):
        (scratch / version).mkdir()
        # -P: or the current folder, which may hold another version, would come first.
        program = [str(getattr(options, version)), "-P", "-m", "hashscan"]
        algorithms = ("pdq",) if options.only_pdq else ALGORITHMS
        scanners[version] = Hashscan(scratch / version, options.entries, algorithms, program)
    kinds: list[tuple[str, Callable[[Path], None], tuple[tuple[str, Callable[..., Run]], ...]]] = []
    both = ("", first_scan), (", unchanged", second_scan)
    if options.copies:
        kinds.append(("photographs", lambda at: lay_out(corpus, at, options.copies), both))
    if options.texts:
        kinds.append(("texts", lambda at: lay_out_texts(at, options.texts), both))
    if options.pictures:
        thumbnails = lambda at: lay_out_thumbnails(corpus, at, options.pictures)  # noqa: E731
        kinds.append(("thumbnails", thumbnails, (("", first_scan),)))
    for kind, place, ways in kinds:
        folder = scratch / kind
        place(folder)
        over = file_set(folder, scratch / f"{kind}-names")
        for suffix, way in ways:
            runs = {version: way(scanner, over, scratch) for version, scanner in scanners.items()}
            compare(kind + suffix, over.files, runs, options.runs)
            if options.skip_variant and kind != "texts" and way is first_scan:
                skipped = [word for name in options.skip_variant for word in ("--skip-variant", name)]
                runs["after"] = first_scan(scanners["after"], over, scratch, *skipped)
                compare(f"{kind}, without {', '.join(options.skip_variant)}", over.files, runs, options.runs)


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Compare the cost of scans between two installed versions.")
    parser.add_argument("corpus", type=Path, help="folder of photographs")
    parser.add_argument("--before", type=Path, required=True, metavar="PYTHON")
    parser.add_argument("--after", type=Path, default=Path(sys.executable), metavar="PYTHON")
    parser.add_argument("--copies", type=int, default=4, help="copies of the corpus")
    parser.add_argument("--entries", type=int, default=ENTRIES, help="number of entries of the list")
    parser.add_argument("--only-pdq", action="store_true", help="make all of them PDQ hashes")
    parser.add_argument(
        "--skip-variant", action="append", metavar="NAME", help="see above; may be repeated", default=[]
    )
    return parse_small_files(parser, texts=20_000, pictures=5_000, runs=5)


def main() -> int:
    """Compare, print, remove the files."""
    options = arguments()
    corpus = options.corpus.resolve()
    try:
        measure.adopt_orphans()
        with tempfile.TemporaryDirectory(
            prefix="hashscan-bench-", dir=place_for(corpus, options.work)
        ) as folder:
            print(", ".join(f"{key} {value}" for key, value in machine().items()))
            compare_all(options, corpus, Path(folder))
    except (measure.MeasureError, CorpusError) as trouble:
        print(f"error: {trouble}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    announce_build()
    sys.exit(main())
