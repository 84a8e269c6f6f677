"""Make the built-in pictures, in several formats, with which a scan checks its decoders (self-test)."""

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


def builtin_pictures() -> list[tuple[str, bytes]]:
    """Return small pictures with Pillow's names of their formats, as far as supported here; two JPEGs."""
    drawn = samples()
    several = dict(encodings(drawn["PPM"]))["JPEG in several scans"]
    return [*drawn.items(), ("JPEG", several)]


def encodings(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield a built-in picture in the most common formats, each with a readable name of the format."""
    with Image.open(BytesIO(content)) as picture:
        for name, options in _ENCODINGS.items():
            form = name.partition(" ")[0]
            if form in _FEATURES and not features.check(_FEATURES[form]):
                continue
            file = BytesIO()
            picture.convert("RGB").save(file, form, **options)
            yield name, file.getvalue()
