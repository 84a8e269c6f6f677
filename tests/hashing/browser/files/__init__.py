"""Harmless picture files of every kind that browsers show, drawn by code; some are broken on purpose."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from tests import container_attacks, sequence_attacks, viewer_attacks
from tests.hashing.browser.files import (
    animated_png,
    avif,
    bitmaps,
    gif,
    icons,
    jpeg,
    png,
    stored,
    vector,
    webp,
)

Files = Iterator[tuple[str, bytes]]


def _attacks() -> Files:
    for module in (viewer_attacks, container_attacks, sequence_attacks):
        for name, draw in module.ATTACKS.items():
            yield f"{module.__name__.rpartition('.')[2]}-{name}".replace("_attacks", ""), draw()


KINDS: dict[str, Callable[[], Files]] = {
    "jpeg": jpeg.files,
    "png": png.files,
    "apng": animated_png.files,
    "gif": gif.files,
    "webp": webp.files,
    "avif": avif.files,
    "bmp": bitmaps.files,
    "icon": icons.files,
    "stored": stored.files,
    "vector": vector.files,
    "attacks": _attacks,
}


def write_all(folder: Path) -> None:
    """Write each file into a folder of its kind."""
    for kind, files in KINDS.items():
        below = folder / kind
        below.mkdir(parents=True)
        for name, content in files():
            with (below / name).open("xb") as file:
                file.write(content)
