"""AVIF files that hold a picture and a film. Pillow shows the picture if the major brand is `avif`.

Browsers and other viewers have rules of their own for that.
"""

from __future__ import annotations

from hashscan.hashing.opening import PictureFile

_LONGEST = 64 << 20
"""Bytes of a file that is read once more to be shown otherwise."""
_BOXES_MAX = 1000


def other_avif(file: PictureFile) -> bytes | None:
    """Return the file with another major brand, so that its other picture is shown; None if it has only one.

    Raises:
        NotImplementedError: it is too long, or has more boxes than are looked at.
    """
    kinds = set()
    place = brand = 0
    for _ in range(_BOXES_MAX):
        file.seek(place)
        head = file.read(16)
        if len(head) < 8:
            break
        kinds.add(head[4:8])
        length, first = int.from_bytes(head[:4]), place + 8
        if length == 1:
            length, first = int.from_bytes(head[8:16]), place + 16
        brand = brand or first
        if length < first - place:
            # 0 for the rest of the file.
            break
        place += length
    else:
        raise NotImplementedError
    if not {b"meta", b"moov"} <= kinds:
        return None
    if file.size > _LONGEST:
        raise NotImplementedError
    file.seek(0)
    content = file.read(file.size)
    other = b"avis" if content[brand : brand + 4] == b"avif" else b"avif"
    return content[:brand] + other + content[brand + 4 :]
