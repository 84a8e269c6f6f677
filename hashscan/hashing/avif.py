"""Get at the second picture of an AVIF file that holds both a still picture and an image sequence.

Pillow shows the still picture if the major brand is `avif`. Browsers and other viewers use other rules.
"""

from __future__ import annotations

from hashscan.hashing.opening import PictureFile

_LONGEST = 64 << 20
"""Maximum length in bytes of a file that is read again with another brand."""
_BOXES_MAX = 1000


def swap_avif_brand(file: PictureFile) -> bytes | None:
    """Return the file with the other major brand, so that Pillow shows its other picture; None if it has one.

    Raises:
        NotImplementedError: the file is too long, or has more boxes than are examined.
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
            # Length 0: the box extends to the end of the file.
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
