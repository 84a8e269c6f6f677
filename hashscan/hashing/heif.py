"""Decode HEIF pictures with the extra `heif`: pillow-heif, restricted to one thread."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable
from typing import IO

from PIL import Image

_HOLD = "hashscan.hashing._heif_threads"


def available() -> bool:
    """Return True if the extra is installed, and the C module that it needs in the sandbox was built."""
    return importlib.util.find_spec("pillow_heif") is not None and importlib.util.find_spec(_HOLD) is not None


def load() -> None:
    """Register HEIF with Pillow; call it only if HEIF is available, before anything else loads libheif."""
    flags = sys.getdlopenflags()
    sys.setdlopenflags(flags | os.RTLD_GLOBAL)
    try:
        importlib.import_module(_HOLD)
    finally:
        sys.setdlopenflags(flags)
    import pillow_heif

    # No threads in libheif. Depth maps and gain maps are not pictures that viewers show.
    pillow_heif.register_heif_opener(decode_threads=0, depth_images=False, aux_images=False)


def open_heif(stream: IO[bytes]) -> Image.Image:
    """Open a file at its main picture; Image.open would lose the reason of a failure.

    Raises:
        Exception: any exception, as from Pillow's plug-ins.
    """
    import pillow_heif

    # pillow-heif has no annotations, and may not be installed.
    opener: Callable[[IO[bytes]], Image.Image] = pillow_heif.HeifImageFile
    return opener(stream)
