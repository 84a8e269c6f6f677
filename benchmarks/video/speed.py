"""Measure the processor time of an hour of video, beside FFmpeg's own program.

    python -m benchmarks.video.speed [--minutes N] [--runs N] [--work DIR]

The video is drawn by code: 1920x1080, 25 frames a second, H.264 by x264 (veryfast, crf 23, a key frame every
two seconds at least), 12 seconds of it again and again. Each way runs in a process of its own with one
thread: `ffmpeg` decodes to nothing, only key frames or all; hashscan opens the video as the decoder of a scan
does, which hashes key frames in all variants and, if a list has videos, the frames of vPDQ. Times are user
and system; a decoder is forked from a process that has loaded all, so that its start is not counted.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import av

from benchmarks.lib.build import announce_build
from benchmarks.video.drawn import H264, RATE, shots

SIZE = (1920, 1080)
SHOTS = 4

NOWHERE = ["-an", "-fps_mode", "passthrough", "-f", "null", "-"]

OPEN = """
import sys, time
from hashscan.hashing.formats import sniff
from hashscan.hashing.pdq import PDQ
from hashscan.hashing.pread import PreadFile
from hashscan.hashing.variants import VARIANTS
from hashscan.hashing.video.opening import VideoOpener
from hashscan.model import MemberLimits
opener = VideoOpener([PDQ()], VARIANTS, 1 << 26, samples=sys.argv[2] == "True")
with open(sys.argv[1], "rb") as stream:
    file = PreadFile(stream.fileno())
    kind = sniff(file.read(1 << 18))
    before = time.process_time()
    for _ in opener.frames(file, kind, MemberLimits(members=10**6, seconds=1e6)):
        pass
    print(time.process_time() - before)
"""


def repeat(source: Path, target: Path, seconds: float) -> None:
    """Write a video that shows another again and again for some seconds, without encoding it again."""
    with av.open(str(target), "w") as output:
        stream = None
        offset = shown = 0
        while True:
            with av.open(str(source)) as container:
                original = container.streams.video[0]
                stream = stream or output.add_stream_from_template(original)
                for packet in container.demux(original):
                    if packet.dts is None or packet.pts is None:
                        continue
                    packet.pts += offset
                    packet.dts += offset
                    packet.stream = stream
                    output.mux(packet)
                assert original.duration is not None
                assert original.time_base is not None
                offset += original.duration
                shown += 1
                if offset * original.time_base >= seconds:
                    return


def decoding_seconds(command: list[str]) -> float:
    """Run FFmpeg's program, and return its processor time in seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def opening_seconds(video: Path, *, samples: bool) -> float:
    """Open a video as a scan's decoder does, and return the processor time of that in seconds."""
    command = [sys.executable, "-c", OPEN, str(video), str(samples)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def compared(folder: Path, short: Path, minutes: float, runs: int, *, every: bool) -> None:
    """Measure both programs with one video, in turn, and print their times."""
    video = folder / "video.mp4"
    repeat(short, video, minutes * 60)
    rate = video.stat().st_size * 8 / minutes / 60 / 1e6
    print(f"{minutes:g} minutes, {rate:.1f} Mbit/s, {RATE} frames/s; processor seconds for an hour")
    skip = [] if every else ["-skip_frame", "nokey"]
    ffmpeg = ["ffmpeg", "-v", "error", "-nostdin", "-threads", "1", *skip, "-i", str(video), *NOWHERE]
    theirs, ours = [], []
    for _ in range(runs):
        theirs.append(decoding_seconds(ffmpeg) * 60 / minutes)
        ours.append(opening_seconds(video, samples=every) * 60 / minutes)
    ways = {" ".join(["ffmpeg", *skip]): theirs, "hashscan, vPDQ" if every else "hashscan": ours}
    for way, times in ways.items():
        print(f"{way:26} {statistics.median(times):8.1f}  ({min(times):.1f} to {max(times):.1f})")
    print(f"{'':26} {statistics.median(ours) / statistics.median(theirs):8.2f} times", flush=True)


def main() -> None:
    """Print the times."""
    parser = argparse.ArgumentParser(description="Processor time of an hour of video.")
    parser.add_argument("--minutes", type=float, default=30.0, help="length of the video for key frames")
    parser.add_argument("--full-minutes", type=float, default=3.0, help="length of that for all frames")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--work", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.work) as name:
        folder = Path(name)
        short = folder / "short.mp4"
        H264.write(short, shots(1, SHOTS, SIZE))
        compared(folder, short, given.minutes, given.runs, every=False)
        compared(folder, short, given.full_minutes, given.runs, every=True)


if __name__ == "__main__":
    announce_build()
    main()
