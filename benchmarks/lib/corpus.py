"""Prepare the input: distinct copies of a corpus, and a list of random entries."""

from __future__ import annotations

import io
import os
import random
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

SEED = 20261124
PER_FOLDER = 500
BITS = {"md5": 128, "sha1": 160, "sha256": 256, "pdq": 256}


class CorpusError(Exception):
    """The corpus can't be used."""


@dataclass(frozen=True, slots=True)
class FileSet:
    """The files that a contender handles."""

    folder: Path
    names: Path
    """A file of their paths, with a NUL after each."""
    files: int
    bytes: int


def regular_files(folder: Path) -> list[Path]:
    """Every regular file beneath a folder, in a fixed order."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def lay_out(corpus: Path, work: Path, copies: int) -> None:
    """Copy the corpus into folders copy-000001 and so on, each with other bytes at the end of its files.

    Decoders pass over what follows a picture, so the work stays the same, but no digest comes twice.

    Raises:
        CorpusError: there are no files, or no room for the copies.
    """
    files = regular_files(corpus)
    if not files:
        raise CorpusError(f"{corpus} holds no files")
    need = copies * sum(path.stat().st_size for path in files)
    work.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(work).free < need * 1.1:
        raise CorpusError(f"{need / 1e9:.1f} GB of copies don't fit on the disk of {work}")
    for number in range(1, copies + 1):
        for index, path in enumerate(files):
            tail = f"\nhashscan benchmark, copy {number:06} of file {index:06}\n".encode()
            copy = work / f"copy-{number:06}" / path.relative_to(corpus)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes() + tail)


def lay_out_texts(work: Path, number: int) -> None:
    """Write files of 2 kB, each of other hexadecimal digits, into folders of `PER_FOLDER`."""
    rng = random.Random(SEED)
    for index in range(number):
        folder = work / f"{index // PER_FOLDER:05}"
        if index % PER_FOLDER == 0:
            folder.mkdir(parents=True)
        (folder / f"{index:06}.txt").write_text(rng.randbytes(1024).hex(), encoding="ascii")


def lay_out_thumbnails(corpus: Path, work: Path, number: int) -> None:
    """Write JPEGs of about 480x320 made from a corpus, each with other bytes at its end, into such folders.

    Raises:
        CorpusError: there is no picture.
    """
    from PIL import Image

    made = []
    for path in regular_files(corpus):
        stream = io.BytesIO()
        try:
            with Image.open(path) as picture:
                picture.draft("RGB", (960, 640))
                picture.convert("RGB").resize((480, 320)).save(stream, "JPEG", quality=80)
        except OSError:
            continue
        made.append(stream.getvalue())
        if len(made) == number:
            break
    if not made:
        raise CorpusError(f"{corpus} holds no pictures")
    for index in range(number):
        folder = work / f"{index // PER_FOLDER:05}"
        if index % PER_FOLDER == 0:
            folder.mkdir(parents=True)
        tail = f"\nhashscan benchmark, copy {index:06}\n".encode()
        (folder / f"{index:06}.jpg").write_bytes(made[index % len(made)] + tail)


def file_set(folder: Path, names: Path) -> FileSet:
    """Return the files below a folder; each is read once, which warms the page cache."""
    files = regular_files(folder)
    size = sum(len(path.read_bytes()) for path in files)
    names.write_bytes(b"".join(os.fsencode(path) + b"\0" for path in files))
    return FileSet(folder, names, len(files), size)


def random_list(number: int, algorithms: Sequence[str] = tuple(BITS)) -> Iterator[str]:
    """Yield a list of random entries as lines of CSV, spread evenly over the algorithms."""
    rng = random.Random(SEED)
    yield "id,algorithm,value,category\n"
    for index, algorithm in zip(range(number), cycle(algorithms), strict=False):
        yield f"bench-{index:07},{algorithm},{rng.randbytes(BITS[algorithm] // 8).hex()},baseline\n"
