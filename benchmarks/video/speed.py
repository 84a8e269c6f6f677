"""Measure the processor time of an hour of video, beside FFmpeg's own program.

    python -m benchmarks.video.speed [--minutes N] [--runs N] [--work DIR]

The video is drawn by code: 1920x1080, 25 frames a second, H.264 by x264 (veryfast, crf 23, a key frame every
two seconds at least), 12 seconds of it again and again. Each way runs in a process of its own with one
thread: `ffmpeg` decodes to nothing, only key frames or all; hashscan hashes key frames in all variants, and
the frames of vPDQ. Times are those of the whole processes, user and system.
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

from benchmarks.video.drawn import H264, RATE, shots
from hashscan.hashing.video.frames import Sampling

SIZE = (1920, 1080)
SHOTS = 4

NOWHERE = ["-an", "-fps_mode", "passthrough", "-f", "null", "-"]

HASH = """
import sys
from hashscan.hashing.pread import PreadFile
from hashscan.hashing.pdq import PDQ
from hashscan.hashing.video.frames import Sampling, VideoLimits, hash_video
with open(sys.argv[1], "rb") as file:
    limits = VideoLimits(seconds=1e6, frames=10**6)
    *_, end = hash_video(PreadFile(file.fileno()), [PDQ()], Sampling(sys.argv[2]), limits)
assert end.fault is None, end
print(end.hashed)
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


def processor_seconds(command: list[str]) -> float:
    """Run a command, and return its processor time in seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def compared(folder: Path, short: Path, minutes: float, runs: int, *, every: bool) -> None:
    """Measure both programs with one video, in turn, and print their times."""
    video = folder / "video.mp4"
    repeat(short, video, minutes * 60)
    rate = video.stat().st_size * 8 / minutes / 60 / 1e6
    print(f"{minutes:g} minutes, {rate:.1f} Mbit/s, {RATE} frames/s; processor seconds for an hour")
    ffmpeg = ["ffmpeg", "-v", "error", "-nostdin", "-threads", "1"]
    skip = [] if every else ["-skip_frame", "nokey"]
    sampling = Sampling.VPDQ if every else Sampling.KEY_FRAMES
    ways = {
        " ".join(["ffmpeg", *skip]): [*ffmpeg, *skip, "-i", str(video), *NOWHERE],
        f"hashscan, {sampling}": [sys.executable, "-c", HASH, str(video), sampling],
    }
    times: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(runs):
        for way, command in ways.items():
            times[way].append(processor_seconds(command) * 60 / minutes)
    theirs, ours = map(statistics.median, times.values())
    for way, of in times.items():
        print(f"{way:26} {statistics.median(of):8.1f}  ({min(of):.1f} to {max(of):.1f})")
    print(f"{'':26} {ours / theirs:8.2f} times")


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
    main()
