"""What becomes of odd files: a table of how many are hashed, and of each that isn't, why.

python benchmarks/odd.py FOLDER

For folders of broken, rare and hostile pictures, such as the test files of image libraries. `hashscan hash`
reads every file, as a sweep would. Files that it takes for no pictures are shown to Pillow with all its
plug-ins, so that a format which we forgot shows up.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from corpus import regular_files

BATCH = 500
"""Files of one command; a command line has a limit."""


@dataclass(frozen=True, slots=True)
class Looked:
    """What was said of one file."""

    path: Path
    format: str
    """As hashscan names it; what Pillow takes it for where hashscan knows no picture in it."""
    outcome: str
    """`hashed`, `in part`, `not hashed`, `no picture`."""
    why: str = ""


def hashed(files: Iterable[Path]) -> Iterator[dict[str, Any]]:
    """Yield the records of `hashscan hash` for some files.

    Raises:
        RuntimeError: it failed.
    """
    command = [sys.executable, "-m", "hashscan", "hash", "--algorithm", "pdq", *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in {0, 3}:
        raise RuntimeError(done.stderr[-2000:])
    return map(json.loads, done.stdout.splitlines())


def looked(record: dict[str, Any]) -> Looked:
    """One file's record in the words of the table."""
    path = Path(record["path"])
    reason = record.get("reason", "")
    picture = record.get("picture")
    if picture is not None:
        return Looked(path, picture["format"], "in part" if reason else "hashed", reason)
    if reason:
        return Looked(path, record.get("detail", "").partition(";")[0], "not hashed", reason)
    return Looked(path, pillows_name(path), "no picture")


def pillows_name(path: Path) -> str:
    """Return Pillow's name for a file's format, with all its plug-ins; empty if Pillow can't open it."""
    from PIL import Image, UnidentifiedImageError

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(path) as image:
                return image.format or ""
        except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            return ""


def table(head: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> str:
    """Rows in Markdown."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def report(files: list[Looked]) -> str:
    """All tables."""
    outcomes = ("hashed", "in part", "not hashed", "no picture")
    by_format = Counter((one.format or "-", one.outcome) for one in files)
    formats = sorted({one.format or "-" for one in files}, key=str.lower)
    totals = Counter(one.outcome for one in files)
    by_reason = Counter((one.why, one.outcome) for one in files if one.why)
    short = [one for one in files if one.outcome in {"in part", "not hashed"}]
    forgotten = [one for one in files if one.outcome == "no picture" and one.format]
    return "\n\n".join(
        (
            table(
                ("format", *outcomes),
                [
                    *((name, *(by_format[name, outcome] for outcome in outcomes)) for name in formats),
                    (f"all {len(files)}", *(totals[outcome] for outcome in outcomes)),
                ],
            ),
            table(
                ("reason", "in part", "not hashed"),
                (
                    (why, by_reason[why, "in part"], by_reason[why, "not hashed"])
                    for why in sorted({why for why, _ in by_reason})
                ),
            ),
            table(
                ("file", "format", "outcome", "reason"),
                ((one.path.name, one.format, one.outcome, one.why) for one in short),
            ),
            "No pictures to hashscan, but to Pillow: "
            + (", ".join(f"{one.path.name} ({one.format})" for one in forgotten) or "none"),
        )
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    files = regular_files(folder)
    if not files:
        parser.error(f"{folder} holds no files")
    batches = (files[start : start + BATCH] for start in range(0, len(files), BATCH))
    print(report([looked(record) for batch in batches for record in hashed(batch)]))
    return 0


if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    sys.exit(main())
