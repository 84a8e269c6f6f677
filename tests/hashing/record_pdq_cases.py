"""Writes pdq_cases.csv: hashes and qualities of drawn pictures by the C++ reference.

Run it as `python -m tests.hashing.record_pdq_cases` where pdqhash 0.2.8 is installed, which binds the
reference and has no wheel for every Python. It needs numpy beside that, and nothing of hashscan.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from tests.hashing.drawings import DRAWINGS

CASES = Path(__file__).with_name("pdq_cases.csv")

# Sides under 64 repeat rows, up to 128 have a window of one pixel; 64x64 is not blurred; under 5 is refused.
SIZES = ((4, 100), (5, 5), (7, 300), (63, 65), (64, 64), (128, 129), (300, 7), (513, 511), (512, 512))
LARGE_SIZES = ((100, 3000), (768, 1024), (2000, 1500))
DRAWN_LARGE = ("flat", "slanted", "disc", "rings", "mirrored", "clouds", "mist", "scene")


def main() -> None:
    """Write the file."""
    import pdqhash

    cases = [(name, *size) for size in SIZES for name in DRAWINGS]
    cases += [(name, *size) for size in LARGE_SIZES for name in DRAWN_LARGE]
    with CASES.open("w", newline="", encoding="ascii") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("drawing", "height", "width", "pdq", "quality"))
        for name, height, width in cases:
            luma = DRAWINGS[name](height, width)
            # The binding wants colours, and weighs them; rounded to float32 the sum is the grey again.
            bits, quality = pdqhash.compute(np.repeat(luma[:, :, None], 3, axis=2))
            writer.writerow((name, height, width, np.packbits(bits.astype(bool)).tobytes().hex(), quality))


if __name__ == "__main__":
    main()
