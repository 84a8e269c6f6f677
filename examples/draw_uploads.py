"""Draw the sample uploads: harmless scenes in folders like those of a hoster's customers.

    python examples/draw_uploads.py                        draw them into the folder uploads beside this file
    python examples/draw_uploads.py FOLDER                 draw them there
    python examples/draw_uploads.py FOLDER --entries FILE  also write list entries for the listed ones, as CSV

Everything comes from fixed seeds, so the same Pillow draws the same bytes.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
from pathlib import Path

from drawing import scenes
from PIL import Image

from hashscan.hashing.formats import PREFIX_SIZE, sniff
from hashscan.hashing.media.picture import decode_frames
from hashscan.hashing.pdq import PDQ
from hashscan.hashing.pread import PreadFile

LISTED = ("alice/holiday/lighthouse.jpg", "bob/shop/mug.png", "carol/blog/village.webp")
"""The uploads that the demonstration list knows."""

MIN_QUALITY = 80
"""Least PDQ quality of a listed picture, well above what matching asks for."""


def encode(picture: Image.Image, kind: str, **options: object) -> bytes:
    """Return a picture as the bytes of a file."""
    target = io.BytesIO()
    picture.save(target, kind, **options)
    return target.getvalue()


def small_png(picture: Image.Image) -> bytes:
    """Return a picture as a PNG with a palette, a third the size of one without."""
    return encode(picture.quantize(48, dither=Image.Dither.NONE), "PNG", optimize=True)


def sixteen_bit(picture: Image.Image) -> bytes:
    """Return a picture as a greyscale PNG with 16 bits a pixel."""
    wide = bytearray(2 * picture.width * picture.height)
    wide[1::2] = picture.convert("L").tobytes()
    return encode(Image.frombytes("I;16", picture.size, bytes(wide)), "PNG", optimize=True)


def draw() -> dict[str, bytes]:
    """Every upload by its path in the folder."""
    original = scenes.lighthouse()
    mug_png = small_png(scenes.mug())
    lake_webp = encode(scenes.lake(), "WEBP", quality=70)
    frames = [scenes.balloons(step * 0.02).resize((240, 180)).quantize(32) for step in range(3)]
    night = scenes.night_town()
    return {
        "alice/holiday/hills.jpg": encode(scenes.hills(), "JPEG", quality=78),
        "alice/holiday/lake.jpg": encode(scenes.lake(), "JPEG", quality=78, progressive=True),
        "alice/holiday/lighthouse.jpg": encode(original, "JPEG", quality=82),
        "alice/holiday/unfinished.webp": lake_webp[: len(lake_webp) // 3],
        "alice/notes.txt": b"Ferry at 9.40, back at six.\nAsk for the key of the cottage.\n",
        "bob/shop/mug.png": mug_png,
        "bob/shop/plant.png": small_png(scenes.plant()),
        "bob/shop/poster-16-bit.png": sixteen_bit(night.reduce(2)),
        "bob/shop/banner.jpg": encode(original.resize((400, 300)), "JPEG", quality=45),
        "bob/shop/prices.csv": b"article,price\nmug,9.50\nplant,14.00\nposter,7.00\n",
        "carol/blog/village.webp": encode(scenes.village(), "WEBP", quality=76),
        "carol/blog/night.webp": encode(night, "WEBP", quality=70),
        "carol/blog/market.gif": encode(scenes.market().quantize(48, dither=Image.Dither.NONE), "GIF"),
        "carol/blog/balloons.gif": encode(
            frames[0], "GIF", save_all=True, append_images=frames[1:], duration=400, loop=0
        ),
        "carol/blog/favourite-mug.png": mug_png,
    }


def pdq(file: Path) -> str:
    """Return the PDQ of a picture as a scan computes it, in hexadecimal digits."""
    with file.open("rb") as stream:
        form = sniff(stream.read(PREFIX_SIZE))
        if form is None:
            raise ValueError(f"{file} is no picture")
        value, quality = PDQ().digest(next(decode_frames(PreadFile(stream.fileno()), form)).luma)
    if quality < MIN_QUALITY:
        raise ValueError(f"{file} has too little detail: quality {quality}")
    return value.hex()


def entries(folder: Path) -> list[tuple[str, str, str, str]]:
    """Return the listed uploads as rows of a list: id, algorithm, value in hexadecimal digits, category."""
    values: list[tuple[str, str]] = []
    for path in LISTED:
        content = (folder / path).read_bytes()
        values.append(("md5", hashlib.md5(content, usedforsecurity=False).hexdigest()))
        values.append(("sha256", hashlib.sha256(content).hexdigest()))
        values.append(("pdq", pdq(folder / path)))
    return [(f"demo-{number:04}", *value, "test") for number, value in enumerate(values, 1)]


def main() -> None:
    """Draw the uploads, then write the entries if they are asked for."""
    parser = argparse.ArgumentParser(description="Draw the harmless sample uploads.")
    parser.add_argument("folder", type=Path, nargs="?", default=Path(__file__).parent / "uploads")
    parser.add_argument("--entries", type=Path, metavar="FILE", help="write list entries for the listed ones")
    options = parser.parse_args()
    for path, content in draw().items():
        file = options.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    if options.entries:
        with options.entries.open("w", newline="", encoding="ascii") as table:
            rows = csv.writer(table, lineterminator="\n")
            rows.writerow(("id", "algorithm", "value", "category"))
            rows.writerows(entries(options.folder))


if __name__ == "__main__":
    main()
