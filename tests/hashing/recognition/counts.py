"""Count the altered files by kind, those that another program shows, and of these the clean ones.

`python -m tests.hashing.recognition.counts` prints a line for each kind; with names of `GROUPS`, of these.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hashscan.hashing.archives.library import ArchiveLibrary
from hashscan.hashing.archives.standard_library import StandardLibrary
from hashscan.hashing.pdq import PDQ
from hashscan.model import Entry, Verdict
from tests.hashing.recognition import test_disguised_archives as of_archives
from tests.hashing.recognition import test_disguised_documents as of_documents
from tests.hashing.recognition import test_disguised_pictures as of_pictures
from tests.hashing.recognition import test_disguised_texts as of_texts
from tests.hashing.recognition import videos as of_videos
from tests.hashing.recognition.disguises import disguised
from tests.scan.workers.test_worker import check, worker_with


class Counted(NamedTuple):
    """One altered file."""

    kind: str
    is_shown: bool
    is_clean: bool


def videos(folder: Path) -> Iterator[Counted]:
    """Yield the videos; FFmpeg shows them."""
    reader = of_videos.Reader()
    for form in of_videos.FORMS:
        for _, content in of_videos.altered(form, of_videos.encoded(form)):
            is_clean = reader.outcome(content, form.size) == of_videos.CLEAN
            yield Counted(f"{form.muxer} {form.codec}", of_videos.is_shown(content, form.size), is_clean)


def archives(folder: Path) -> Iterator[Counted]:
    """Yield the archives; 7z, unzip, tar, gzip and Python's standard library unpack them."""
    library = ArchiveLibrary(StandardLibrary())
    for kind in of_archives.MADE:
        for _, content in disguised(of_archives.content_of(kind)):
            (folder / "file").write_bytes(content)
            is_shown = any(of_archives.programs(folder / "file", folder / "unpacked"))
            yield Counted(kind, is_shown, of_archives.seen(content, library) == (False, None))


def documents(folder: Path) -> Iterator[Counted]:
    """Yield the documents; PDFium, zipfile, olefile and the rules of LibreOffice show them."""
    shown, files = {}, {}
    for kind, (content, is_shown) in of_documents.DOCUMENTS.items():
        for how, altered in disguised(content):
            for ending in (f".{kind}", ".bin", ""):
                name = f"{kind} {how}{ending}"
                files[name], shown[name] = altered, is_shown(altered)
    for name, result in of_documents.checked(folder, files).items():
        yield Counted(name.split()[0], shown[name], result.verdict is Verdict.CLEAN)


def pictures(folder: Path) -> Iterator[Counted]:
    """Yield the pictures; FFmpeg and Pillow show them."""
    files = folder / "files"
    files.mkdir()
    for form, content in of_pictures.pictures():
        for number, altered in enumerate(disguised(content)):
            (files / f"{form}-{number:02}").write_bytes(altered.content)
    value, _ = PDQ().digest(np.asarray(of_pictures.SHOWN.convert("L")))
    with worker_with(folder, Entry("a", "pdq", value, "A1"), containers=of_pictures.LIMITS) as worker:
        found = check(worker, files)
    for name, result in found.items():
        by = of_pictures.is_shown((files / name).read_bytes(), int.from_bytes(value))
        yield Counted(name.split("-")[0], bool(by), result.verdict is Verdict.CLEAN)


def texts(folder: Path) -> Iterator[Counted]:
    """Yield texts and mails; munpack, ripmime and Python save the pictures of the latter."""
    for kind, content in of_texts.KINDS.items():
        for number, (_, altered) in enumerate(disguised(content)):
            is_shown = kind in of_texts.MAILS and any(
                of_texts.saved_by(program, altered, folder / f"{kind} {number} {program}")
                for program in ("email", "munpack", "ripmime")
            )
            yield Counted(kind, is_shown, of_texts.is_clean(altered))


GROUPS: Mapping[str, Callable[[Path], Iterator[Counted]]] = {
    each.__name__: each for each in (videos, archives, documents, pictures, texts)
}


def main(*names: str) -> None:
    """Print the counts of some groups; of all without names."""
    totals = Counter[str]()
    for name in names or GROUPS:
        by_kind: dict[str, Counter[str]] = {}
        with tempfile.TemporaryDirectory() as folder:
            for kind, is_shown, is_clean in GROUPS[name](Path(folder)):
                counts = {"files": 1, "shown": is_shown, "clean": is_shown and is_clean}
                by_kind.setdefault(kind, Counter()).update(counts)
        for kind, found in by_kind.items():
            totals.update(found)
            sys.stdout.write(f"{name}: {kind}: {dict(found)}\n")
            sys.stdout.flush()
    sys.stdout.write(f"all: {dict(totals)}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
