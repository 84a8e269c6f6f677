"""How often one of our hashes of a picture is that of what a browser shows.

python benchmarks/viewers.py FOLDER [--limit N] [--json FILE]

Each picture of the folder that Chromium shows is opened in it on a white and on a black page, and
photographed. The PDQ of that is compared with all digests that a sweep would match for the file: it is found
if one is within its threshold. What is shown with a quality below 50 is counted and not compared, since no
list has it. Needs Chromium and Playwright. `python -m tests.viewer_attacks FOLDER` draws pictures made to be
shown otherwise than they are stored.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from corpus import regular_files

SHOWN = frozenset({"JPEG", "PNG", "GIF", "WebP", "AVIF", "BMP", "ICO", "CUR"})
BACKGROUNDS = ("white", "black")
SIDE = 1024
THRESHOLD, TIGHT, QUALITY = 31, 21, 50
ARGUMENTS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--force-color-profile=srgb"),
)
PAGE = """<!doctype html><style>*{margin:0}body{background:%s}
img{max-width:%dpx;max-height:%dpx;display:block}</style><img src="%s">"""


@dataclass(frozen=True, slots=True)
class Compared:
    """One picture on one background."""

    name: str
    background: str
    quality: int
    """Quality of the picture that is shown."""
    stored: int | None
    """Distance in bits to the picture as it is stored."""
    nearest: int | None
    """Distance in bits to the nearest digest that may match."""
    variant: str
    found: bool


@contextmanager
def browser_page() -> Iterator[Any]:
    """Open a page in Chromium, and close the browser at the end of the context."""
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(ARGUMENTS))
        try:
            yield browser.new_page(viewport={"width": SIDE, "height": SIDE})
        finally:
            browser.close()


def photographed(page: Any, file: Path, background: str, work: Path) -> bytes | None:
    """Return a screenshot of the picture as a PNG; None where the browser shows nothing."""
    html = work / "page.html"
    html.write_text(PAGE % (background, SIDE, SIDE, file.resolve().as_uri()), encoding="utf-8")
    page.goto(html.as_uri())
    box = page.evaluate(
        "async () => { const i = document.images[0]; await i.decode().catch(() => 0);"
        " return [i.naturalWidth, i.width, i.height] }"
    )
    if not all(box):
        return None
    clip = {"x": 0, "y": 0, "width": box[1], "height": box[2]}
    found: bytes = page.screenshot(clip=clip)
    return found


def compared(files: Sequence[Path], work: Path) -> Iterator[Compared]:
    """Each file on each background."""
    import numpy as np
    from PIL import Image

    from hashscan.hashing import decoder
    from hashscan.hashing.formats import sniff
    from hashscan.hashing.pdq import PDQ
    from hashscan.hashing.records import DecodedPicture, pack_request, unpack_reply
    from hashscan.matching.matcher import has_tight_threshold

    decode = decoder.load("hashscan.hashing.pdq:PDQ")
    pdq = PDQ()
    with browser_page() as page:
        for file in files:
            with file.open("rb") as opened:
                kind = sniff(opened.read(64))
                if kind is None or kind.name not in SHOWN:
                    continue
                answer = unpack_reply(decode(opened.fileno(), pack_request(kind)), kind, ["pdq"])
            digests = answer.digests if isinstance(answer, DecodedPicture) else ()
            undecoded = not isinstance(answer, DecodedPicture) or answer.damage is not None
            for background in BACKGROUNDS:
                picture = photographed(page, file, background, work)
                if picture is None:
                    continue
                with Image.open(io.BytesIO(picture)) as image:
                    value, quality = pdq.digest(np.asarray(image.convert("L")))
                shown = int.from_bytes(value)
                near, stored = [], None
                for digest in digests:
                    distance = (int.from_bytes(digest.value) ^ shown).bit_count()
                    if digest.plain:
                        stored = distance
                    if digest.quality >= QUALITY:
                        tight = has_tight_threshold(
                            digest.rendering, digest.turn, digest.turn if digest.shown else 0
                        )
                        near.append((distance - (TIGHT if tight else THRESHOLD), distance, digest.variant))
                over, nearest, variant = min(near, default=(None, None, ""))
                found = undecoded or (over is not None and over <= 0)
                yield Compared(file.name, background, quality, stored, nearest, variant, found)


def report(found: Sequence[Compared]) -> str:
    """Shares, and what is not found."""
    lines = []
    for background in BACKGROUNDS:
        here = [one for one in found if one.background == background]
        seen = [one for one in here if one.quality >= QUALITY]
        plain = sum(one.stored is not None and one.stored <= THRESHOLD for one in seen)
        some = sum(one.found for one in seen)
        share = f"{some} of {len(seen)} ({100 * some / max(1, len(seen)):.1f} %)"
        lines.append(
            f"over {background}: {len(here)} shown, {len(seen)} of a quality of {QUALITY} or more; "
            f"as stored {plain}, found or undecoded {share}"
        )
    lines += [
        f"not found: {one.name} over {one.background}, {one.nearest} bits to {one.variant}"
        for one in found
        if one.quality >= QUALITY and not one.found
    ]
    return "\n".join(lines)


def main() -> int:
    import tempfile

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--limit", type=int, help="look at so many files at most")
    parser.add_argument("--json", type=Path, help="write all distances to this file")
    given = parser.parse_args()
    files = regular_files(given.folder)[: given.limit]
    if not files:
        parser.error(f"{given.folder} holds no files")
    with tempfile.TemporaryDirectory() as work, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = list(compared(files, Path(work)))
    print(report(found))
    if given.json:
        given.json.write_text(json.dumps([asdict(one) for one in found], indent=1))
    return 0


if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    sys.exit(main())
