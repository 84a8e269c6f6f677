"""Pictures of our own in the formats that decoders are tried with."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from typing import Any

from PIL import Image, features

from hashscan.hashing.samples import samples

_ENCODINGS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 100},
    "JPEG in several scans": {"quality": 100, "progressive": True},
    "PNG": {},
    "GIF": {},
    "WebP": {"lossless": True},
    "AVIF": {"quality": 100, "max_threads": 1},
}
_FEATURES = {"JPEG": "jpg", "PNG": "zlib", "WebP": "webp", "AVIF": "avif"}


def own_pictures() -> list[tuple[str, bytes]]:
    """Small pictures by Pillow's names of their formats, as far as its libraries are there; of JPEG two."""
    drawn = samples()
    several = dict(encodings(drawn["PPM"]))["JPEG in several scans"]
    return [*drawn.items(), ("JPEG", several)]


def encodings(content: bytes) -> Iterator[tuple[str, bytes]]:
    """A picture of ours in the formats that nearly all pictures have, each with its name for people."""
    with Image.open(BytesIO(content)) as picture:
        for name, options in _ENCODINGS.items():
            form = name.partition(" ")[0]
            if form in _FEATURES and not features.check(_FEATURES[form]):
                continue
            file = BytesIO()
            picture.convert("RGB").save(file, form, **options)
            yield name, file.getvalue()
