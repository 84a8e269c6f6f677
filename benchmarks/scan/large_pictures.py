"""Measure the scan of pictures of 50, 108 and 200 megapixels, in each format that phones write.

    python -m benchmarks.scan.large_pictures [--work DIR] [--formats JPEG,PNG,...] [--megapixels 50,108,200]

Run it with the Python that has hashscan. It draws smooth pictures (those in HEIF in cells of one colour, in a
grid of tiles of 512x512 as phones write them; encoding takes minutes), hashes each by `hashscan hash`, and
prints the result, the most memory that its largest process, the decoder, had resident, the seconds of the
whole command, and the distance of the PDQ from that of a copy of 510x382 pixels. The last column is for
ImageHash and Pillow with its default limits: seconds and memory of their process, or the error.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.lib.build import announce_build
from benchmarks.lib.memory import descendants

SIZES = {50: (8160, 6120), 108: (12000, 9000), 200: (16320, 12240)}
OPTIONS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 60},
    "JPEG progressive": {"quality": 60, "progressive": True, "subsampling": 0},
    "HEIF": {"quality": 30, "tile_size": 512, "enc_params": {"preset": "ultrafast"}},
    "WEBP": {"quality": 20, "method": 2},
    "WEBP lossless": {"lossless": True, "quality": 0, "method": 0},
    "WEBP opacity": {"quality": 20, "method": 2},
    "AVIF": {"quality": 50, "speed": 10, "max_threads": 1},
    "PNG": {"compress_level": 1},
    "TIFF": {"compression": "tiff_lzw"},
    "GIF": {},
    "BMP": {},
}
FIELD = """
import imagehash, sys
from PIL import Image
try:
    import pillow_heif
    pillow_heif.register_heif_opener()
except ImportError:
    pass
print(imagehash.phash(Image.open(sys.argv[1])))
"""


def drawn(name: str, size: tuple[int, int]) -> Image.Image:
    """Return the picture: cells of one colour, or a smooth one."""
    rows, columns = (12, 16) if name == "HEIF" else (9, 12)
    cells = Image.fromarray(np.random.default_rng(5).integers(0, 256, (rows, columns, 3), np.uint8))
    if name == "HEIF":
        return cells.resize(size, Image.Resampling.NEAREST)
    picture = cells.resize((512, 384), Image.Resampling.BICUBIC).resize(size, Image.Resampling.BICUBIC)
    if "opacity" in name:
        picture.putalpha(Image.linear_gradient("L").resize(size))
    return picture


def make(name: str, megapixels: int, folder: Path) -> Path:
    """Write a picture and its small copy, unless they exist; return the picture's path."""
    path = folder / f"{name.replace(' ', '-')}-{megapixels}"
    if not path.exists():
        if name == "HEIF":
            import pillow_heif

            pillow_heif.register_heif_opener()
        picture = drawn(name, SIZES[megapixels])
        picture.save(path.with_suffix(".part"), name.split(maxsplit=1)[0], **OPTIONS[name])
        os.replace(path.with_suffix(".part"), path)
    drawn(name, (510, 382)).save(path.with_suffix(".small"), "PNG")
    return path


def resident(pid: int) -> int:
    """Return the most bytes that a process had resident so far."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:")), 0)


def hashed(path: Path) -> tuple[dict[str, Any], float, int]:
    """Hash a file by hashscan; return its line, seconds, and the memory of the largest process."""
    command = [sys.executable, "-m", "hashscan", "hash", "--algorithm", "pdq", str(path)]
    peak, started = 0, time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            peak = max([peak, *map(resident, descendants(process.pid))])
            time.sleep(0.01)
        assert process.stdout is not None
        return json.loads(process.stdout.readline()), time.monotonic() - started, peak


def pdq_of(line: dict[str, Any]) -> int | None:
    """Return the PDQ in a line of `hashscan hash`."""
    value = line.get("digests", {}).get("pdq")
    return None if value is None else int(value["value"] if isinstance(value, dict) else value, 16)


def by_others(path: Path) -> str:
    """Return seconds and memory of Pillow and ImageHash, or why they can't hash the file."""
    before = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-c", FIELD, str(path)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    errors = process.stderr.read().decode(errors="replace").strip().splitlines()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        return errors[-1].partition(":")[0] if errors else f"status {status}"
    return f"{time.monotonic() - before:.1f} s, {usage.ru_maxrss >> 10} MiB"


def main() -> None:
    """Draw what is missing, measure, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "large-pictures")
    parser.add_argument("--formats", default=",".join(OPTIONS))
    parser.add_argument("--megapixels", default="50,108,200")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    Image.MAX_IMAGE_PIXELS = None
    print("| format | MP | file, MB | result | peak, MiB | seconds | PDQ bits from small copy | others |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name in given.formats.split(","):
        for megapixels in map(int, given.megapixels.split(",")):
            path = make(name, megapixels, given.work)
            line, seconds, peak = hashed(path)
            mine, small = pdq_of(line), pdq_of(hashed(path.with_suffix(".small"))[0])
            bits = "" if mine is None or small is None else str((mine ^ small).bit_count())
            result = line.get("reason") or "hashed"
            size = f"{path.stat().st_size / 1e6:.1f}"
            row = (
                name,
                str(megapixels),
                size,
                result,
                str(peak >> 20),
                f"{seconds:.1f}",
                bits,
                by_others(path),
            )
            print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    announce_build()
    main()
