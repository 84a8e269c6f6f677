"""Count altered videos that a scan finds, and other videos that match, beside the reference of vPDQ.

    python -m benchmarks.video.recall [--videos N] [--corpus DIR] [--reference PYTHON] [--work DIR]

Videos are drawn by code; the first 12 seconds of those in a corpus are added. Their stills (the middle of
each three seconds) are the entries of a picture list, and `publish hash --algorithm vpdq` makes those of a
list of videos. Each is altered in every way of drawn.py; `scan` then checks all altered ones with both lists.
Columns, each with the number of videos found and of false alarms (pairs of an altered video and another
one's entries that match):

- stills: matches of the picture list;
- vPDQ, listed 80: videos of which 80 % of the listed frames were found, the default;
- vPDQ, scanned 80: videos of whose own frames 80 % were found, the default of python-threatexchange;
- as stored: the two kinds of lists without variants (`--skip-variant all`);
- reference: the digests and the comparison of the reference, with both rules.

PYTHON is one that has `vpdq` (built from its sdist, with FFmpeg's libraries and cmake) and `threatexchange`.
It also tells by how many bits hashscan's digests differ from the reference's for the same frames.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.lib.build import announce_build
from benchmarks.video.drawn import ALTERATIONS, H264, RATE, SHOT_SECONDS, frames_of, shots, tenth
from hashscan.hashing.pdq import PDQ
from hashscan.hashing.pread import PreadFile
from hashscan.hashing.video.frames import VideoEnd, VideoFrame, VideoLimits, hash_video
from hashscan.hashing.video.streams import Sampling
from hashscan.model import ALGORITHMS

SHOTS = 4
REFERENCE = Path(__file__).with_name("reference.py")
SHARE = 80.0
RULES = {
    "listed 80": ("--video-listed-share", "80"),
    "scanned 80": ("--video-listed-share", "1", "--video-scanned-share", "80"),
}
AS_STORED = ("--skip-variant", "all")
AGAIN = ("--foreground", "--reread", "100%")

Found = dict[str, set[int]]
"""For each altered video, by name, the numbers of the listed ones that match."""


def sampled(path: Path) -> list[VideoFrame]:
    """Hash the frames of vPDQ."""
    with path.open("rb") as file:
        *frames, end = hash_video(PreadFile(file.fileno()), [PDQ()], Sampling.VPDQ, VideoLimits(seconds=600))
    assert isinstance(end, VideoEnd)
    assert end.fault is None, (path, end)
    return [frame for frame in frames if isinstance(frame, VideoFrame)]


def sources(number: int, corpus: Path | None) -> Iterator[list[Image.Image]]:
    """Yield the frames of each video."""
    for seed in range(number):
        yield list(shots(seed, SHOTS))
    for path in sorted(corpus.iterdir()) if corpus else ():
        yield frames_of(path, SHOTS * SHOT_SECONDS)


def stills(frames: Sequence[Image.Image]) -> Iterator[bytes]:
    """Yield the PDQ of the stills of a video."""
    every = RATE * SHOT_SECONDS
    for frame in frames[every // 2 :: every]:
        value, quality = PDQ().digest(np.asarray(frame.convert("L")))
        if quality >= ALGORITHMS["pdq"].min_quality:
            yield value


class Videos:
    """The listed videos, their alterations, and a state folder with both lists."""

    def __init__(self, folder: Path, number: int, corpus: Path | None) -> None:
        """Write the videos and the lists."""
        self._folder = folder
        self.listed: list[Path] = []
        self.altered: dict[str, list[Path]] = {name: [] for name in ALTERATIONS}
        """By the way, in the order of the listed ones."""
        (folder / "listed").mkdir()
        (folder / "altered").mkdir()
        pictures: list[list[str]] = []
        for seed, frames in enumerate(sources(number, corpus)):
            self._write(seed, frames)
            pictures += [
                [f"{seed}-{place}", "pdq", digest.hex(), "A1"] for place, digest in enumerate(stills(frames))
            ]
        with (folder / "stills.csv").open("w") as file:
            csv.writer(file).writerows([["id", "algorithm", "value", "category"], *pictures])
        made = ("--algorithm", "sha256", "--algorithm", "vpdq", "--category", "A1")
        self._run("publish", "hash", folder / "listed", *made, "--output", folder / "videos.csv")
        for name in ("stills", "videos"):
            self._run("lists", "import", folder / f"{name}.csv", "--name", name)
        self._number_of = {
            hashlib.sha256(path.read_bytes()).hexdigest()[:32]: seed for seed, path in enumerate(self.listed)
        }

    def _write(self, seed: int, frames: list[Image.Image]) -> None:
        path = self._folder / "listed" / f"{seed}.mp4"
        H264.write(path, frames)
        self.listed.append(path)
        for place, (name, alteration) in enumerate(ALTERATIONS.items()):
            encoding = tenth(path) if name == "a tenth of the bits" else alteration.encoding
            self.altered[name].append(self._folder / "altered" / f"{seed}-{place}{encoding.suffix}")
            encoding.write(self.altered[name][-1], alteration.frames(frames))

    def _run(self, *arguments: object, codes: Sequence[int] = (0,)) -> str:
        command = [sys.executable, "-m", "hashscan", *map(str, arguments)]
        if arguments[0] != "publish":
            command += ["--state", str(self._folder / "state")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode in codes, done.stderr
        return done.stdout

    def scan(self, *options: str) -> tuple[Found, Found]:
        """Scan the altered videos; return those found by their stills, and those by vPDQ."""
        target = self._folder / "altered"
        # A match that other options found stays open, and makes the scan incomplete.
        text = self._run("scan", target, *AGAIN, "--report", "-", *options, codes=(0, 1, 3, 4))
        by_list: dict[str, Found] = {"stills": {}, "videos": {}}
        for record in map(json.loads, text.splitlines()):
            if record["type"] == "finding" and record["verdict"] == "match":
                for match in record["matches"]:
                    name = match["entry"].partition("-")[0]
                    listed = int(name) if match["list"] == "stills" else self._number_of[name]
                    by_list[match["list"]].setdefault(Path(record["path"]).name, set()).add(listed)
            elif record["type"] == "summary":
                verdicts = {verdict: count for verdict, count in record["verdicts"].items() if count}
                assert not verdicts.keys() - {"match", "clean"}, verdicts
        return by_list["stills"], by_list["videos"]


def from_reference(python: str, videos: Videos) -> list[Found]:
    """Run the reference, print how digests differ, and return what it finds by each rule."""
    scanned = [path for paths in videos.altered.values() for path in paths]
    order = json.dumps({"listed": list(map(str, videos.listed)), "scanned": list(map(str, scanned))})
    done = subprocess.run([python, str(REFERENCE)], input=order, capture_output=True, text=True, check=True)
    result = json.loads(done.stdout)
    bits, qualities = [], []
    for path in (*videos.listed, *scanned):
        own, theirs = sampled(path), result["frames"][str(path)]
        assert [frame.number for frame in own] == [number for number, _, _ in theirs], path
        for frame, (_, quality, digest) in zip(own, theirs, strict=True):
            bits.append((int.from_bytes(frame.runs[0].values[:32]) ^ int(digest, 16)).bit_count())
            qualities.append(abs(frame.runs[0].quality - quality))
    print(
        f"{len(bits)} frames, the same as the reference's: digests differ by {np.mean(bits):.2f} bits, ",
        end="",
    )
    print(
        f"{max(bits)} at most; {sum(b > 4 for b in bits)} by more than 4; quality by {max(qualities)} at most"
    )
    return [
        {
            Path(path).name: {
                number for number, entry in enumerate(videos.listed) if shares[str(entry)][which] >= SHARE
            }
            for path, shares in result["shares"].items()
        }
        for which in (0, 1)
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Recall of altered videos.")
    parser.add_argument("--videos", type=int, default=12)
    parser.add_argument("--corpus", type=Path, help="a folder of further videos")
    parser.add_argument("--reference", help="a Python with vpdq and threatexchange")
    parser.add_argument("--work", type=Path)
    given = parser.parse_args()
    columns: dict[str, Found] = {}
    with tempfile.TemporaryDirectory(dir=given.work) as folder:
        videos = Videos(Path(folder), given.videos, given.corpus)
        for rule, options in RULES.items():
            columns["stills"], columns[f"vPDQ, {rule}"] = videos.scan(*options)
        plain = videos.scan(*RULES["listed 80"], *AS_STORED)
        columns["stills, as stored"], columns["vPDQ, listed 80, as stored"] = plain
        if given.reference:
            for rule, found in zip(RULES, from_reference(given.reference, videos), strict=True):
                columns[f"reference, {rule}"] = found
    number = len(videos.listed)
    print("| " + " | ".join([f"{number} videos: found, false alarms", *columns]) + " |")
    print("| " + " | ".join("---" for _ in ["", *columns]) + " |")
    for way, paths in videos.altered.items():
        cells = []
        for found in columns.values():
            hits = [found.get(path.name, set()) for path in paths]
            own = sum(seed in matched for seed, matched in enumerate(hits))
            cells.append(f"{own}, {sum(map(len, hits)) - own}")
        print("| " + " | ".join([way, *cells]) + " |")


if __name__ == "__main__":
    announce_build()
    main()
