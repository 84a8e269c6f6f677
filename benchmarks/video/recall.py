"""Count altered videos that are found, and other videos that match, beside the reference of vPDQ.

    python -m benchmarks.video.recall [--videos N] [--reference PYTHON] [--work DIR]

Videos are drawn by code. Stills of them (the middle of each shot) are the entries of a picture list, and the
videos those of a vPDQ list. Each is altered in every way of drawn.py. Columns:

- stills: altered videos with a key frame near one of their own stills (31 bits; 21 if turned or trimmed);
- vPDQ, listed 80: videos of which 80 % of the listed frames were found, the rule of the reference's page;
- vPDQ, scanned 80: videos of whose own frames 80 % were found, the default of python-threatexchange;
- variants: the same two, where the video is compared mirrored, turned and without borders, too;
- reference: the same two with the digests and the comparison of the reference.

PYTHON is one that has `vpdq` (built from its sdist, with FFmpeg's libraries and cmake) and `threatexchange`.
It also tells by how many bits hashscan's digests differ from the reference's for the same frames.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.video.drawn import ALTERATIONS, H264, RATE, SHOT_SECONDS, shots, tenth
from hashscan.hashing.pdq import PDQ
from hashscan.hashing.pread import PreadFile
from hashscan.hashing.variants import is_trimmed
from hashscan.hashing.video.frames import Sampling, VideoEnd, VideoFrame, VideoLimits, hash_video, sequences
from hashscan.lists.formats.vpdq import VpdqFormat
from hashscan.lists.index.compiled_index import CompiledIndex
from hashscan.lists.index.video_matching import VideoIndex, VideoMatch, VideoRule
from hashscan.lists.store import ListStore
from hashscan.matching.evaluation import TIGHT_THRESHOLD
from hashscan.model import ALGORITHMS

SHOTS = 4
REFERENCE = Path(__file__).with_name("reference.py")
SHARE = 80.0

Shares = dict[Path, dict[Path, tuple[float, float]]]
"""For each scanned and each listed video, the percentages of the listed and of the scanned frames."""


def records(path: Path, sampling: Sampling) -> list[VideoFrame]:
    """Hash a video."""
    with path.open("rb") as file:
        *frames, end = hash_video(PreadFile(file.fileno()), [PDQ()], sampling, VideoLimits(seconds=600))
    assert isinstance(end, VideoEnd)
    assert end.fault is None, (path, end)
    return [frame for frame in frames if isinstance(frame, VideoFrame)]


def write(folder: Path, number: int) -> tuple[list[Path], dict[str, list[Path]]]:
    """Write videos and their alterations."""
    listed: list[Path] = []
    altered: dict[str, list[Path]] = {name: [] for name in ALTERATIONS}
    for seed in range(number):
        frames = list(shots(seed, SHOTS))
        listed.append(folder / f"{seed}.mp4")
        H264.write(listed[-1], frames)
        for place, (name, alteration) in enumerate(ALTERATIONS.items()):
            encoding = tenth(listed[-1]) if name == "a tenth of the bits" else alteration.encoding
            path = folder / f"{seed}-{place}{encoding.suffix}"
            encoding.write(path, alteration.frames(frames))
            altered[name].append(path)
    return listed, altered


def stills(seed: int) -> list[int]:
    """Return the PDQ of the stills of a video."""
    frames: list[Image.Image] = list(shots(seed, SHOTS))
    every = RATE * SHOT_SECONDS
    digests = (PDQ().digest(np.asarray(frame.convert("L"))) for frame in frames[every // 2 :: every])
    return [int.from_bytes(value) for value, quality in digests if quality >= ALGORITHMS["pdq"].min_quality]


def still_hits(frames: list[VideoFrame], entries: Mapping[int, list[int]]) -> set[int]:
    """Return the videos one of whose stills is near one of the frames."""
    found = set()
    for frame in frames:
        for run in frame.runs:
            if run.quality < ALGORITHMS["pdq"].min_quality:
                continue
            for digest in run.digests():
                tight = digest.turn or is_trimmed(digest.rendering)
                limit = TIGHT_THRESHOLD if tight else ALGORITHMS["pdq"].threshold
                value = int.from_bytes(digest.value)
                for video, stills_of in entries.items():
                    if any((value ^ still).bit_count() <= limit for still in stills_of):
                        found.add(video)
    return found


def shares_of(
    folder: Path, listed: list[Path], scanned: list[Path], ours: Mapping[Path, list[VideoFrame]]
) -> list[Shares]:
    """Import the listed videos, and compare the scanned ones with them by the project's index.

    Returns:
        The shares of the videos as they are stored, and the largest of those in all variants.
    """
    lines = [
        f"{frame.number},{frame.runs[0].quality},{frame.runs[0].values[:32].hex()},{frame.seconds:.3f}\n"
        for path in listed
        for frame in ours[path]
    ]
    store = ListStore(folder / "lists")
    store.import_entries(
        "videos", VpdqFormat("A1").blocks(io.BytesIO("".join(lines).encode()), "drawn"), "drawn"
    )
    both: list[Shares] = [{path: dict.fromkeys(listed, (0.0, 0.0)) for path in scanned} for _ in range(2)]
    with store.open(["videos"], datetime.now(UTC)) as opened:
        index = VideoIndex(CompiledIndex.open(opened.handles, algorithms=["vpdq"]))
        # The id of each listed video in the index: that of its best match.
        path_of = {matches(index, *next(sequences(ours[path])))[0].video: path for path in listed}
        for path in scanned:
            for sequence in sequences(ours[path]):
                for match in matches(index, *sequence):
                    for shares in both[bool(sequence[0]) :]:
                        entry = path_of[match.video]
                        most = shares[path][entry]
                        shares[path][entry] = (
                            max(match.listed_percent, most[0]),
                            max(match.scanned_percent, most[1]),
                        )
    return both


def matches(index: VideoIndex, name: str, digests: bytes, qualities: list[int]) -> list[VideoMatch]:
    """Return all listed videos of which the scanned one has a frame."""
    frames = np.frombuffer(digests, np.uint8).reshape(-1, 32)
    return index.matches(frames, np.array(qualities), VideoRule(listed_percent=0))


def counted(shares: Shares, listed: list[Path], paths: list[Path], which: int) -> tuple[int, int]:
    """Count the videos found, and the false alarms, at `SHARE` of the listed (0) or scanned (1) frames."""
    hits = [
        (own == number)
        for own, path in enumerate(paths)
        for number, entry in enumerate(listed)
        if shares[path][entry][which] >= SHARE
    ]
    return sum(hits), len(hits) - sum(hits)


def from_reference(
    python: str, listed: list[Path], scanned: list[Path], ours: Mapping[Path, list[VideoFrame]]
) -> Shares:
    """Run the reference, print how digests differ, and return its shares."""
    order = json.dumps({"listed": list(map(str, listed)), "scanned": list(map(str, scanned))})
    done = subprocess.run([python, str(REFERENCE)], input=order, capture_output=True, text=True, check=True)
    result = json.loads(done.stdout)
    bits, qualities, frames = [], [], 0
    for path, own in ours.items():
        theirs = result["frames"][str(path)]
        assert [frame.number for frame in own] == [number for number, _, _ in theirs], path
        for frame, (_, quality, digest) in zip(own, theirs, strict=True):
            bits.append((int.from_bytes(frame.runs[0].values[:32]) ^ int(digest, 16)).bit_count())
            qualities.append(abs(frame.runs[0].quality - quality))
            frames += 1
    print(
        f"{frames} frames, the same as the reference's: digests differ by {np.mean(bits):.2f} bits, ", end=""
    )
    print(
        f"{max(bits)} at most; {sum(b > 4 for b in bits)} by more than 4; quality by {max(qualities)} at most"
    )
    return {
        Path(path): {Path(entry): (a, b) for entry, (a, b) in of.items()}
        for path, of in result["shares"].items()
    }


def rows(folder: Path, number: int, reference: str | None) -> Iterator[list[str]]:
    """Yield the rows of the table."""
    listed, altered = write(folder, number)
    entries = {seed: stills(seed) for seed in range(number)}
    scanned = [path for paths in altered.values() for path in paths]
    ours = {path: records(path, Sampling.VPDQ) for path in (*listed, *scanned)}
    every = shares_of(folder, listed, scanned, ours)
    if reference:
        every.append(from_reference(reference, listed, scanned, ours))
        differ = sum(
            np.abs(np.subtract(every[0][p][e], every[2][p][e])).max() > 1e-9 for p in scanned for e in listed
        )
        print(f"{differ} of {len(scanned) * len(listed)} pairs have other shares than the reference's")
    for name, paths in altered.items():
        hits = [still_hits(records(path, Sampling.KEY_FRAMES), entries) for path in paths]
        found = sum(own in videos for own, videos in enumerate(hits))
        cells = [(found, sum(map(len, hits)) - found)]
        cells += [counted(shares, listed, paths, which) for shares in every for which in (0, 1)]
        yield [name, *(f"{found}/{number}, {false}" for found, false in cells)]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Recall of altered videos.")
    parser.add_argument("--videos", type=int, default=12)
    parser.add_argument("--reference", help="a Python with vpdq and threatexchange")
    parser.add_argument("--work", type=Path)
    given = parser.parse_args()
    head = ["altered (found, false alarms)", "stills", "vPDQ, listed 80", "vPDQ, scanned 80"]
    head += ["variants, listed 80", "variants, scanned 80"]
    head += ["reference, listed 80", "reference, scanned 80"] if given.reference else []
    with tempfile.TemporaryDirectory(dir=given.work) as folder:
        table = list(rows(Path(folder), given.videos, given.reference))
    print("| " + " | ".join(head) + " |")
    print("| " + " | ".join("---" for _ in head) + " |")
    for row in table:
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
