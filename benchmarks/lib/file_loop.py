"""Process files in one way, one after another, in one process; `photographs.py` times it.

    python benchmarks/lib/file_loop.py WAY NAMES

NAMES is a file of paths with a NUL after each. Prints a JSON line: how many files there were, how many gave
no picture, and the seconds the loop took; what the process took beyond that is its start-up. imgdd takes a
folder, and goes about its files as it likes.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

Way = Callable[[str], None]
Ways = Callable[[list[str]], int]

DRAFT = 512
"""Side in pixels that the floor asks the JPEG decoder for, as hashscan does."""


def floor() -> Way:
    """Return a loop with the minimum work of a scan: read once, three digests, decode."""
    from PIL import Image

    def handle(path: str) -> None:
        content = Path(path).read_bytes()
        hashlib.md5(content, usedforsecurity=False).digest()
        hashlib.sha1(content, usedforsecurity=False).digest()
        hashlib.sha256(content).digest()
        with Image.open(io.BytesIO(content)) as picture:
            picture.draft("L", (DRAFT, DRAFT))
            picture.load()

    return handle


def threatexchange() -> Way:
    """PDQ by python-threatexchange: picture hash only, no exact digest."""
    from threatexchange.signal_type.pdq.pdq_hasher import pdq_from_file

    def handle(path: str) -> None:
        pdq_from_file(Path(path))

    return handle


def imagehash() -> Way:
    """Return a loop with the pHash of ImageHash: picture hash only, no exact digest."""
    import imagehash as library
    from PIL import Image

    def handle(path: str) -> None:
        with Image.open(path) as picture:
            library.phash(picture)

    return handle


def one_by_one(start: Callable[[], Way]) -> Ways:
    """Return a loop that handles one file at a time; files that are no picture are counted and skipped."""
    handle = start()

    def handle_all(paths: list[str]) -> int:
        undecoded = 0
        for path in paths:
            try:
                handle(path)
            except (OSError, ValueError, SyntaxError):
                undecoded += 1
        return undecoded

    return handle_all


def imgdd() -> Ways:
    """Return a loop with the pHash of imgdd over the folder of all files: no exact digest."""
    import imgdd as library

    def handle_all(paths: list[str]) -> int:
        found = library.hash(path=os.path.commonpath(paths), algo="phash", filter="triangle")
        return sum(1 for path in paths if path not in found)

    return handle_all


WAYS: dict[str, Callable[[], Ways]] = {
    "floor": lambda: one_by_one(floor),
    "threatexchange": lambda: one_by_one(threatexchange),
    "imagehash": lambda: one_by_one(imagehash),
    "imgdd": imgdd,
}


def main() -> None:
    """Handle every named file."""
    parser = argparse.ArgumentParser()
    parser.add_argument("way", choices=sorted(WAYS))
    parser.add_argument("names", type=Path)
    options = parser.parse_args()
    paths = [os.fsdecode(name) for name in options.names.read_bytes().split(b"\0") if name]
    handle_all = WAYS[options.way]()
    start = time.monotonic()
    undecoded = handle_all(paths)
    seconds = time.monotonic() - start
    print(json.dumps({"files": len(paths), "undecoded": undecoded, "seconds": seconds}))


if __name__ == "__main__":
    main()
