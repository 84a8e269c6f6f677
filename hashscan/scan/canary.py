"""The harmless test picture that proves the chain from decoding to matching.

It is drawn in whole numbers, so that it is the same bytes everywhere, and as a portable graymap, which needs
no library to write. The demonstration list holds its digests.
"""

from __future__ import annotations

SIDE = 256
"""Width and height in pixels."""

_WAVES = ((3, 5, 0), (7, -2, 60), (-4, 9, 130), (11, 6, 200), (1, 13, 20))
"""Cycles across, cycles down, and phase of each wave that the picture is made of."""


def _triangle(angle: int) -> int:
    """A wave between -128 and 128 with a period of 256, in whole numbers."""
    place = angle % 256
    return 2 * place - 128 if place < 128 else 384 - 2 * place


def canary(comment: str = "") -> bytes:
    """The test picture as a file.

    Args:
        comment: stands in the file's header, and so changes its bytes but not the picture.
    """
    pixels = bytearray()
    for y in range(SIDE):
        for x in range(SIDE):
            light = sum(_triangle(across * x + down * y + phase) for across, down, phase in _WAVES)
            pixels.append(128 + light * 127 // (128 * len(_WAVES)))
    note = f"# {comment}\n" if comment else ""
    return f"P5\n{note}{SIDE} {SIDE}\n255\n".encode("ascii") + bytes(pixels)
