"""Damage files whose faults are overlooked, and have them checked by a worker with its real sandbox.

    python -m tests.hashing.fuzz_repairs [NUMBER] [SEED] [KIND]...

makes NUMBER (5,000 by default) files of each kind, and prints their verdicts. It fails if a file has no
verdict, or if decoders die whose files have another reason than that.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from hashscan.matching.worker_setup import WorkerSetup
from hashscan.model import Batch, FileResult
from hashscan.sandbox.client import SandboxOptions
from hashscan.sandbox.decoders import Decoders
from hashscan.scan.workers.worker import Worker
from hashscan.sources.base import ListingOptions
from hashscan.sources.filesystem.source import FilesystemSource
from hashscan.sources.patterns import Patterns
from tests.format_cases import cases
from tests.hashing.browser.files import animated_png, avif, bitmaps, drawing, gif, jpeg, png, stored
from tests.pictures import encoded

KINDS = {
    "JPEG": "3 jpeg",
    "PNG": "3 png",
    "APNG": "2 apng",
    "AVIF": "3 avif",
    "run lengths": "2 bmp",
    "icons": "1 ico",
    "cursors": "1 cur",
    "TIFF previews": "2 tiff",
    "brands": "1 avif",
}
"""By path of the code, how the names of the cases begin that take it."""


def large_webps() -> Iterator[tuple[str, bytes]]:
    """Yield WebPs that are decoded at a smaller scale."""
    image = drawing.drawn().resize((2100, 2000))
    yield "lossy", encoded(image, "WEBP", quality=10)
    yield "lossless", encoded(image.quantize(16).convert("RGB"), "WEBP", lossless=True)
    image.putalpha(image.getchannel(0))
    yield "opacity", encoded(image, "WEBP", quality=10)


_MAX_PIXELS = {"scaled WebP": 10**5}
"""By path, the limit on pixels, so that its files are decoded as large pictures; 10,000,000 for others."""

DRAWN: dict[str, tuple[Callable[[], Iterator[tuple[str, bytes]]], str]] = {
    "JPEG XL": (stored.files, ".jxl"),
    "minimized AVIF": (avif.files, "mini-"),
    "multiplied AVIF": (avif.files, "alpha-multiplied"),
    "cut BMP": (bitmaps.files, "cut-"),
    "GIF": (gif.files, ""),
    "frames of PNG": (animated_png.files, ""),
    "cut PNG": (png.files, "cut-"),
    "damaged PNG": (png.files, "data-"),
    "PQ": (png.files, "coding-"),
    "cut JPEG": (jpeg.files, "cut-"),
    "scaled WebP": (large_webps, ""),
}
"""By path of the code, the files of the comparison with browsers that take it, by a part of their names."""

_SIZE_MAX = 1 << 20
_BATCH = 1000


def _cases() -> Iterator[tuple[str, bytes]]:
    return iter(cases().items())


@cache
def drawn(draw: Callable[[], Iterator[tuple[str, bytes]]]) -> list[tuple[str, bytes]]:
    """Return names and contents of the files that are not too long, drawn once for all kinds."""
    return [(name, content) for name, content in draw() if len(content) < _SIZE_MAX]


def mutants(kind: str, number: int, seed: int) -> Iterator[bytes]:
    """Yield files of one kind, each with some bytes, numbers or pieces changed; three in four in the head."""
    # Long texts are left out: nearly all of their bytes are alike.
    if kind in DRAWN:
        draw, part = DRAWN[kind]
        files = [content for name, content in drawn(draw) if part in name]
    else:
        files = [content for name, content in drawn(_cases) if name.startswith(KINDS[kind])]
    chance = random.Random(f"{kind} {seed}")
    for place in range(number):
        content = bytearray(files[place % len(files)])
        span = min(len(content), 1200) if chance.random() < 0.75 else len(content)
        for _ in range(chance.choice((1, 1, 2, 4, 8))):
            at = chance.randrange(span)
            match chance.randrange(6):
                case 0:
                    content[at : at + 1] = bytes((chance.randrange(256),))
                case 1:
                    content[at : at + 4] = chance.choice(
                        (bytes(4), b"\xff" * 4, b"\0\0\0\1", b"\x7f\xff\xff\xff")
                    )
                case 2:
                    content[at : at + chance.randrange(1, 16)] = b""
                case 3:
                    content[at:at] = content[at : at + chance.randrange(1, 64)]
                case 4:
                    content[at : at + 1] = (
                        bytes((content[at] ^ 1 << chance.randrange(8),)) if at < len(content) else b""
                    )
                case 5:
                    del content[max(1, chance.randrange(len(content) or 1)) :]
            span = max(1, min(span, len(content)))
        yield bytes(content)


def check(files: list[bytes], worker: Worker, folder: Path) -> list[FileResult]:
    """Return the worker's results for files with these contents."""
    for place, content in enumerate(files):
        (folder / f"{place:06}").write_bytes(content)
    options = ListingOptions(exclude=Patterns.compile((), None))
    found = FilesystemSource([os.fsencode(folder)], options).listings()
    batches = [listing for listing in found if isinstance(listing, Batch)]
    return [result for batch in batches for result in worker.check(batch).results]


def verdicts_of(kind: str, number: int, seed: int) -> Counter[str]:
    """Return how many files of one kind have each verdict and reason, after comparing with the deaths.

    Raises:
        AssertionError: a file has no verdict, or a lost decoder is not the reason of a verdict.
    """
    setup = WorkerSetup(
        lists=(),
        sandbox=SandboxOptions("auto", owner_large_seconds=1e6),
        algorithms=("md5", "sha1", "sha256", "pdq"),
        max_pixels=_MAX_PIXELS.get(kind, 10**7),
        with_digests=False,
    )
    lost: list[str] = []
    record = Decoders.lost

    def counted(self: Decoders, reason: object, detail: str, patience: float) -> object:
        loss = record(self, reason, detail, patience)  # type: ignore[arg-type]
        lost.append(loss.reason.value)
        return loss

    found: Counter[str] = Counter()
    Decoders.lost = counted  # type: ignore[method-assign,assignment]
    try:
        with Worker(setup) as worker:
            made = list(mutants(kind, number, seed))
            for start in range(0, len(made), _BATCH):
                with tempfile.TemporaryDirectory() as folder:
                    files = made[start : start + _BATCH]
                    results = check(files, worker, Path(folder))
                    assert len(results) == len(files)
                    found.update(
                        result.verdict.value + (f": {result.reason.value}" if result.reason else "")
                        for result in results
                    )
            level = worker.sandbox.level
    finally:
        Decoders.lost = record  # type: ignore[method-assign]
    found["(decoders lost)"] = len(lost)
    found["(sandbox full)"] = int(level is None or level.full)
    return found


def main() -> None:
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    for kind in sys.argv[3:] or [*KINDS, *DRAWN]:
        sys.stdout.write(f"{kind}: {dict(verdicts_of(kind, number, seed))}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
