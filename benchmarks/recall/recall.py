"""Count altered copies that are found, and other pictures that match, for hashscan and its peers.

    python -m benchmarks.recall.recall CORPUS [--every N] [--structured N] [--peers-venv DIR] [--skip-peers]
                                       [--review-threshold BITS] [--json FILE] [--plot FILE.svg]

Run it with the Python that has hashscan; the peers get an environment of their own (see peers.py). Each
photo of the corpus is altered in every way of alterations.py; larger ones are made 800 pixels long before, so
that it takes minutes. The list holds the photos as they are, each tool's own digests. Found is what lies
within the threshold of its own photo's entry; a false alarm is what lies within that of another's.

Thresholds are each tool's customary one (PDQ's authors' 31 of 256; for the others, whose authors name none,
10 of 64 and 51 of 256) and the largest at which the whole run had no false alarm. hashscan's smaller
threshold for turned and trimmed pictures is kept. A photo that shows what another shows, by its PDQ, is left
out and named. Only pictures whose PDQ has a quality of 50 are listed and compared, by PDQ's tools.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.lib import measure, peers
from benchmarks.lib.build import announce_build
from benchmarks.recall import figures, structured
from benchmarks.recall.alterations import ALTERATIONS
from hashscan.matching.evaluation import TIGHT_THRESHOLD

CUSTOMARY = {"hashscan": 31, "threatexchange": 31, "imagehash": 10, "perception": 51}
WORDS = {
    "hashscan": "hashscan",
    "threatexchange": "PDQ, python-threatexchange",
    "imagehash": "pHash, ImageHash",
    "perception": "PHash 16x16, perception",
}
BITS = {"hashscan": 256, "threatexchange": 256, "imagehash": 64, "perception": 256}
PACKAGES = (*peers.PACKAGES, "perception")
LONGEST = 800
DIGESTS = str(Path(__file__).with_name("digests.py"))
PLOT = str(Path(__file__).with_name("plot.py"))


@dataclass(frozen=True, slots=True)
class Files:
    """The written files: photos first, then each photo's alterations, then structured pictures."""

    photos: list[Path]
    altered: list[Path]
    """Photo by photo, each in the order of `ALTERATIONS`."""
    structured: list[Path]

    @property
    def all(self) -> list[Path]:
        """In the order of the digests."""
        return [*self.photos, *self.altered, *self.structured]


def alter(task: tuple[Path, Path]) -> list[Path]:
    """Write a photo's alterations into a folder."""
    photo, folder = task
    with Image.open(photo) as opened:
        opened.draft("RGB", (2 * LONGEST, 2 * LONGEST))
        image = opened.convert("RGB")
    image.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS)
    written = []
    for number, alteration in enumerate(ALTERATIONS.values()):
        path = folder / f"{photo.stem}-{number:02}"
        path.write_bytes(alteration(image))
        written.append(path)
    return written


def draw(task: tuple[str, int, Path]) -> Path:
    """Write one structured picture into a folder."""
    kind, number, folder = task
    path = folder / f"{kind.replace(' ', '-')}-{number:04}"
    path.write_bytes(structured.drawn(kind, number))
    return path


def write_files(photos: list[Path], drawn: int, work: Path) -> Files:
    """Write everything that is to be hashed."""
    with multiprocessing.Pool(len(os.sched_getaffinity(0))) as pool:
        altered = pool.map(alter, [(photo, work) for photo in photos], chunksize=1)
        names = [(kind, number, work) for kind, number in structured.names(drawn)]
        pictures = pool.map(draw, names, chunksize=16)
    return Files(photos, [path for paths in altered for path in paths], pictures)


def digests(way: str, python: str, files: Files, work: Path) -> list[figures.Hashed]:
    """Hash everything in one way."""
    names, out = work / "names", work / f"{way}.jsonl"
    names.write_bytes(b"".join(os.fsencode(path) + b"\0" for path in files.all))
    command = [python, DIGESTS, way, str(names), str(out)]
    done = subprocess.run(
        command,
        env=measure.environment({"OPENBLAS_NUM_THREADS": "1"}),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise measure.MeasureError(f"{way}: {done.stderr[-800:]}")
    return figures.read(out)


def copies(hashed: list[figures.Hashed], photos: list[Path]) -> list[tuple[int, int]]:
    """Pairs of photos that show the same: by PDQ as stored they lie within its threshold."""
    entries, chosen = figures.entries_of(hashed[: len(photos)])
    apart = np.bitwise_count(entries[:, None] ^ entries).sum(axis=2)
    first, second = np.nonzero(np.triu(apart <= CUSTOMARY["hashscan"], 1))
    return [(int(chosen[a]), int(chosen[b])) for a, b in zip(first, second, strict=True)]


def recall_of(way: str, hashed: list[figures.Hashed], files: Files, left_out: set[int]) -> dict[str, Any]:
    """All figures of one tool over the photos."""
    kept = [number for number in range(len(files.photos)) if number not in left_out]
    entries, chosen = figures.entries_of([hashed[number] for number in kept])
    of_entry = np.array(kept)[chosen]
    count = len(ALTERATIONS)
    queries = [*kept, *(len(files.photos) + number * count + at for number in kept for at in range(count))]
    photo_of = np.array([*kept, *(number for number in kept for _ in range(count))])
    near = figures.distances([hashed[place] for place in queries], entries)
    unrelated = photo_of[:, None] != of_entry
    threshold = CUSTOMARY[way]
    best = figures.largest_without(unrelated, near, TIGHT_THRESHOLD, BITS[way] // 2)
    listed = np.isin(photo_of, of_entry)
    own = np.searchsorted(of_entry, photo_of).clip(0, len(of_entry) - 1)
    rows = np.arange(len(queries))
    kinds = np.array([-1] * len(kept) + list(range(count)) * len(kept))

    def shares(found: Any) -> dict[str, float]:
        hit = found[rows, own] & listed
        return {name: float(hit[(kinds == kind) & listed].mean()) for kind, name in enumerate(ALTERATIONS)}

    def alarms(found: Any, which: Any) -> int:
        return int((found & unrelated)[which].sum())

    originals = kinds == -1
    now = near.within(threshold, TIGHT_THRESHOLD)
    doubted = near.doubted_within(threshold, TIGHT_THRESHOLD)
    return {
        "photos": len(kept),
        "listed": len(of_entry),
        "threshold": threshold,
        "largest": best,
        "recall": shares(now),
        "recall at the largest": shares(near.within(best, TIGHT_THRESHOLD)),
        "named": shares(now | doubted),
        "pairs of photos": int(unrelated[originals].sum()),
        "false alarms, photos": alarms(now | doubted, originals),
        "pairs": int(unrelated.sum()),
        "false alarms": alarms(now | doubted, slice(None)),
        "upper bound": figures.upper_bound(alarms(now | doubted, slice(None))),
        "closest unrelated": int(np.minimum(near.full, near.doubted)[unrelated].min()),
        "closest unrelated, tight": int(np.minimum(near.tight, near.doubted_tight)[unrelated].min()),
        "found by review threshold": {
            str(bits): {
                "recall": shares(now | doubted | (near.full <= bits)),
                "strangers": alarms(near.full <= bits, slice(None)),
            }
            for bits in range(32, 72, 4)
        },
        "own distances": {
            name: np.quantile(
                np.minimum(near.full, near.doubted)[rows, own][(kinds == kind) & listed], (0.5, 0.8, 0.9)
            ).tolist()
            for kind, name in enumerate(ALTERATIONS)
        },
    }


def structured_of(way: str, hashed: list[figures.Hashed], files: Files, review: int) -> dict[str, Any]:
    """Return the number of matches among structured pictures."""
    pictures = hashed[len(files.photos) + len(files.altered) :]
    entries, chosen = figures.entries_of(pictures)
    if not len(entries):
        return {}
    near = figures.distances([pictures[number] for number in chosen], entries)
    others = ~np.eye(len(chosen), dtype=bool)
    matches = near.within(CUSTOMARY[way], TIGHT_THRESHOLD) & others
    doubted = near.doubted_within(CUSTOMARY[way], TIGHT_THRESHOLD) & others
    misses = (near.full <= review) & others & ~matches & ~doubted
    return {
        "pictures": len(pictures),
        "listed": len(chosen),
        "pairs": int(others.sum()),
        "matches": int(matches.sum()),
        "reviews of the guard": int(doubted.sum()),
        "reviews of the review threshold": int(misses.sum()),
        "pictures with such reviews": int((misses.any(axis=1) & ~matches.any(axis=1)).sum()),
    }


def table(results: dict[str, Any]) -> str:
    """Everything as text."""
    tools = results["tools"]
    lines = [
        f"{results['photos']} photos, {len(results['left out'])} left out, {results['seconds']:.0f} s",
        "",
    ]
    head = f"{'found, %':24}" + "".join(f"{WORDS[way]:>30}" for way in tools)
    lines += [
        head,
        f"{'threshold':24}"
        + "".join(f"{found['threshold']:>15}{found['largest']:>15}" for found in tools.values()),
    ]
    for name in ALTERATIONS:
        lines.append(
            f"{name:24}"
            + "".join(
                f"{found['recall'][name]:>15.1%}{found['recall at the largest'][name]:>15.1%}"
                for found in tools.values()
            )
        )
    lines.append("")
    for way, found in tools.items():
        lines.append(
            f"{WORDS[way]}: {found['false alarms, photos']} false alarms in {found['pairs of photos']:,} "
            f"pairs of photos, {found['false alarms']} in {found['pairs']:,} with altered ones (95 % upper "
            f"bound {found['upper bound']:.1f}); closest unrelated {found['closest unrelated']} bits, "
            f"{found['closest unrelated, tight']} turned or trimmed"
        )
        if found["structured"]:
            lines.append(f"    structured: {found['structured']}")
    ours = tools["hashscan"]
    costs = {name: share - ours["recall"][name] for name, share in ours["named"].items()}
    worst = max(costs, key=lambda name: float(costs[name]))
    lines += [
        "",
        f"hashscan's guard makes {np.mean(list(costs.values())):.2%} of the altered photos reviews instead "
        f"of matches, at most {costs[worst]:.1%}, of {worst}; matches and its reviews together:",
        ", ".join(f"{name} {share:.1%}" for name, share in ours["named"].items()),
    ]
    lines += ["", "review threshold: found in % (own entry), strangers"]
    for bits, found in ours["found by review threshold"].items():
        some = ", ".join(
            f"{name} {found['recall'][name]:.1%}"
            for name in ("caption 15 % over it", "crop 5%", "rotated 1 degree", "logo in the corner")
        )
        lines.append(f"    {bits}: {some}; {found['strangers']} strangers")
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Compare what is found of altered pictures.")
    parser.add_argument("corpus", type=Path, help="folder of photos")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="use every Nth photo only")
    parser.add_argument("--structured", type=int, default=2000, metavar="N", help="pictures to draw")
    parser.add_argument("--review-threshold", type=int, default=52, metavar="BITS")
    parser.add_argument(
        "--peers-venv", type=Path, default=peers.default_folder().with_name("recall-peers"), metavar="DIR"
    )
    parser.add_argument("--skip-peers", action="store_true")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there too")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw them; needs the peers' environment")
    return parser.parse_args()


def main() -> int:
    """Alter, hash, compare, print."""
    options = arguments()
    begun = time.monotonic()
    ways = [way for way in CUSTOMARY if way == "hashscan" or not options.skip_peers]
    photos = sorted(path for path in options.corpus.rglob("*") if path.is_file())[:: options.every]
    try:
        python = peers.ensure(options.peers_venv, PACKAGES) if not options.skip_peers else ""
        with tempfile.TemporaryDirectory(prefix="hashscan-recall-") as folder:
            work = Path(folder)
            files = write_files(photos, options.structured, work)
            hashed = {
                way: digests(way, sys.executable if way == "hashscan" else python, files, work)
                for way in ways
            }
    except (measure.MeasureError, peers.PeersError) as trouble:
        print(f"error: {trouble}", file=sys.stderr)
        return 1
    pairs = copies(hashed["hashscan"], photos)
    left_out = {second for _, second in pairs}
    results: dict[str, Any] = {
        "photos": len(photos) - len(left_out),
        "left out": [[photos[first].name, photos[second].name] for first, second in pairs],
        "tools": {},
    }
    for way in ways:
        results["tools"][way] = {
            **recall_of(way, hashed[way], files, left_out),
            "structured": structured_of(way, hashed[way], files, options.review_threshold),
        }
    results["seconds"] = time.monotonic() - begun
    for first, second in results["left out"]:
        print(f"left out: {second}, which shows the same as {first}")
    print(table(results))
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")
    if options.plot:
        scratch = options.plot.with_suffix(".json")
        scratch.write_text(json.dumps(results))
        subprocess.run([python, PLOT, str(scratch), str(options.plot)], check=True)
    return 0


if __name__ == "__main__":
    announce_build()
    sys.exit(main())
