"""The harmless test picture that proves that decoding and matching work.

It is computed in integers, so that its bytes are the same on every machine, and written as a portable graymap
(PGM), which needs no library. The demonstration list contains its digests.
"""

from __future__ import annotations

SIDE = 256
"""Width and height in pixels."""

_WAVES = ((3, 5, 0), (7, -2, 60), (-4, 9, 130), (11, 6, 200), (1, 13, 20))
"""Cycles across, cycles down and phase of each wave that the picture is the sum of."""


def _triangle(angle: int) -> int:
    """Return a triangle wave between -128 and 128 with a period of 256, computed in integers."""
    place = angle % 256
    return 2 * place - 128 if place < 128 else 384 - 2 * place


def make_test_picture(comment: str = "") -> bytes:
    """Return the test picture as the content of a file.

    Args:
        comment: written into the file's header; it changes the bytes, but not the picture.
    """
    pixels = bytearray()
    for y in range(SIDE):
        for x in range(SIDE):
            light = sum(_triangle(across * x + down * y + phase) for across, down, phase in _WAVES)
            pixels.append(128 + light * 127 // (128 * len(_WAVES)))
    note = f"# {comment}\n" if comment else ""
    return f"P5\n{note}{SIDE} {SIDE}\n255\n".encode("ascii") + bytes(pixels)
