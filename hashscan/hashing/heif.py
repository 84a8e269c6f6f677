"""HEIF by the extra `heif`: pillow-heif, held to one thread."""

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
    """Whether the extra is installed, and what it needs to run in the sandbox was built."""
    return importlib.util.find_spec("pillow_heif") is not None and importlib.util.find_spec(_HOLD) is not None


def load() -> None:
    """Make HEIF known to Pillow; to be called where it is available, before anything else loads libheif."""
    flags = sys.getdlopenflags()
    sys.setdlopenflags(flags | os.RTLD_GLOBAL)
    try:
        importlib.import_module(_HOLD)
    finally:
        sys.setdlopenflags(flags)
    import pillow_heif

    # No threads of libheif's own. Depth maps and gain maps show nothing by themselves.
    pillow_heif.register_heif_opener(decode_threads=0, depth_images=False, aux_images=False)


def open_heif(stream: IO[bytes]) -> Image.Image:
    """Open a file at its main picture; by Image.open the reason of a failure would be lost.

    Raises:
        Exception: as Pillow's plug-ins do.
    """
    import pillow_heif

    # Its code has no annotations, and may be missing.
    opener: Callable[[IO[bytes]], Image.Image] = pillow_heif.HeifImageFile
    return opener(stream)
