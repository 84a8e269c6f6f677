"""Measure the rates of one core in a scan of a bucket, for `billion.py`.

    python -m benchmarks.buckets.rates CORPUS [--pictures N] [--plain N] [--large N] [--keys N] [--runs R]
                                      [--json FILE]

Run it with the Python that has hashscan with its extra `s3`, in the source tree: the bucket is served on
loopback by tests/object_server.py. It scans, against 100,000 random entries, each as a command of its own:

- JPEGs of 480x320 made from the corpus of pictures, no content twice;
- objects of 2 kB that are no pictures;
- objects of 8 MB that are no pictures, for what a byte takes;
- keys of which nothing is read, as a shard passes by those of others: for what listing takes.

Beside each of the first three runs a loop that downloads the same objects by obstore and computes md5, sha1
and sha256 of them, and nothing else.

Rates are by processor time, not by the clock: that of hashscan and of all its processes, in user mode and in
the kernel, less what a scan of a single object takes, which is measured just before each run; both are
measured again where load that ended between them leaves hardly a difference. The server's own time is not in
it, since it is no child of what is timed: it shows under others' CPU s. What isn't in it either is what a
real store adds: TLS, and the work of the kernel for a network card.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.buckets.objects import CREDENTIALS, LOOP, served
from benchmarks.lib import measure, results
from benchmarks.lib.build import announce_build
from benchmarks.lib.corpus import CorpusError, FileSet, lay_out_thumbnails, regular_files
from benchmarks.lib.results import Ratio, Result
from benchmarks.lib.scans import ENTRIES, Contender, Hashscan, machine, place_for, run_all

WORKERS, AT_A_TIME = 2, 64
PLAIN_BYTES, LARGE_BYTES, KEY_BYTES = 2_000, 8_000_000, 1_000
NOBODYS = "1/999999"
"""A shard that hardly an object is in."""
LEAST = 1.05
"""Processor time of a run by that of its start-up: what is left of less is chance."""


def work(result: Result, run: int) -> float:
    """CPU seconds without those of the start-up."""
    return result.samples[run].cpu - float(result.notes[run]["start-up"])


RATIOS = tuple(
    Ratio(f"{what}: hashscan CPU / obstore and a loop CPU", f"hashscan {what}", work, f"obstore {what}", work)
    for what in ("pictures", "plain", "large")
)


def contenders(scratch: Path, url: str, sets: dict[str, FileSet]) -> dict[str, Contender]:
    """Everything to be timed, ready to run."""
    scanner = Hashscan(scratch)
    made: dict[str, Contender] = {}
    for what, over in sets.items():
        made[f"hashscan {what}"] = hashscan(scanner, url, what, over)
        if what != "keys":
            made[f"obstore {what}"] = obstore(url, what, over)
    return made


def hashscan(scanner: Hashscan, url: str, what: str, over: FileSet) -> Contender:
    """Return a contender for a scan of a prefix; its start-up is measured with a single object."""
    start_up = 0.0
    read = 0 if what == "keys" else over.files

    def command(prefix: str) -> list[str]:
        arguments = scanner.contender(WORKERS, over).command
        arguments[arguments.index(str(over.folder))] = f"s3://bucket/{prefix}"
        return [*arguments, "--endpoint", url, *(() if read else ("--shard", NOBODYS))]

    def prepare() -> None:
        nonlocal start_up
        scanner.prepare()
        start_up = measure.run("one object", command("single/"), scanner.report.parent, CREDENTIALS).cpu
        scanner.prepare()

    def check(sample: measure.Sample) -> dict[str, Any]:
        last = json.loads(scanner.report.read_text().splitlines()[-1])
        found = last.get("verdicts", {}).get("clean", 0)
        # A few of all keys may well be in the shard.
        if last.get("files") != found or (read and found != read) or (not read and found > 1000):
            raise measure.MeasureError(f"the scan did not check what it was to: {last}")
        if sample.cpu < LEAST * start_up:
            raise measure.DisturbedError(f"{what} took hardly longer than one object: name more objects")
        return {"start-up": start_up, "sandbox": last.get("sandbox", {}).get("level")}

    return Contender(command(f"{what}/"), over, check, CREDENTIALS, prepare)


def obstore(url: str, what: str, over: FileSet) -> Contender:
    """Return a contender that only downloads and computes digests, and says itself what that took."""

    def check(sample: measure.Sample) -> dict[str, Any]:
        said = json.loads(sample.output)
        if said["files"] != over.files:
            raise measure.MeasureError(f"obstore downloaded {said['files']} of {over.files} objects")
        return {"start-up": sample.cpu - said["cpu"]}

    return Contender([sys.executable, LOOP, url, str(AT_A_TIME), f"{what}/"], over, check)


def rates(found: dict[str, Result]) -> dict[str, float]:
    """Return the figures that `billion.py` reads: rates per second of one core, and the sizes of the objects.

    Raises:
        MeasureError: a large object took no longer than a small one.
    """
    seconds = {
        what: found[f"hashscan {what}"].median(work) / found[f"hashscan {what}"].files
        for what in ("pictures", "plain", "large", "keys")
    }
    more = seconds["large"] - seconds["plain"]
    if more <= 0:
        raise measure.MeasureError("large objects took no longer than small ones: name more of them")
    pictures = found["hashscan pictures"]
    return {
        "pictures": 1 / seconds["pictures"],
        "picture_bytes": pictures.bytes / pictures.files,
        "plain": 1 / seconds["plain"],
        "plain_bytes": PLAIN_BYTES,
        "bytes": (LARGE_BYTES - PLAIN_BYTES) / more,
        "listed": 1 / seconds["keys"],
    }


def words(measured: dict[str, float]) -> str:
    """Return the rates as readable text."""
    return "\n".join(
        (
            "in a second, one core:",
            f"  {measured['pictures']:,.0f} pictures of {measured['picture_bytes'] / 1000:.1f} kB",
            f"  {measured['plain']:,.0f} other objects of {PLAIN_BYTES / 1000:.1f} kB",
            f"  {measured['bytes'] / 1e6:,.0f} MB of objects that are no pictures",
            f"  {measured['listed']:,.0f} keys that are only listed",
        )
    )


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Measure what one core does for a scan of a bucket.")
    parser.add_argument("corpus", type=Path, help="folder of pictures that the small ones are made from")
    parser.add_argument("--pictures", type=int, default=5_000, help="how many JPEGs of 480x320")
    parser.add_argument("--plain", type=int, default=50_000, help="how many objects of 2 kB")
    parser.add_argument("--large", type=int, default=300, help="how many objects of 8 MB")
    parser.add_argument("--keys", type=int, default=300_000, help="how many keys that are only listed")
    parser.add_argument("--runs", type=int, default=3, help="how often each command is timed")
    parser.add_argument("--work", type=Path, metavar="DIR", help="where the pictures are put meanwhile")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the rates and every sample there too"
    )
    options = parser.parse_args()
    numbers = (options.pictures, options.plain, options.large, options.keys, options.runs)
    if min(numbers) < 1:
        parser.error("all numbers must be at least 1")
    return options


def main() -> int:
    """Serve, time everything, print the rates."""
    options = arguments()
    corpus = options.corpus.resolve()
    try:
        with tempfile.TemporaryDirectory(
            prefix="hashscan-bench-", dir=place_for(corpus, options.work)
        ) as folder:
            scratch, pictures = Path(folder), Path(folder, "pictures")
            lay_out_thumbnails(corpus, pictures, options.pictures)
            files = regular_files(pictures)
            names = {path: f"pictures/{path.relative_to(pictures)}".encode().hex() for path in files}
            arguments_ = [f"--file={key}:{path}" for path, key in names.items()]
            counts = {"single": (1, KEY_BYTES), "plain": (options.plain, PLAIN_BYTES)}
            counts |= {"large": (options.large, LARGE_BYTES), "keys": (options.keys, KEY_BYTES)}
            arguments_ += [f"--objects={what}/:{count}:{size}" for what, (count, size) in counts.items()]
            with served(0.0, *arguments_) as url:
                measure.adopt_orphans()
                sizes = {"pictures": (len(files), sum(path.stat().st_size for path in files))}
                sizes |= {what: (count, count * size) for what, (count, size) in counts.items()}
                del sizes["single"]
                sets = {
                    what: FileSet(scratch / what, scratch / "none", *size) for what, size in sizes.items()
                }
                found = run_all(contenders(scratch, url, sets), scratch, options.runs)
        measured = rates(found)
    except (measure.MeasureError, CorpusError) as trouble:
        print(f"error: {trouble}", file=sys.stderr)
        return 1
    about = {**machine(), "runs": options.runs, "entries": ENTRIES}
    print(results.table(about, found, RATIOS), words(measured), sep="\n\n")
    if options.json:
        report = {"rates": measured, **results.as_json(about, found, RATIOS)}
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    announce_build()
    sys.exit(main())
