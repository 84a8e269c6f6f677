"""Draw drawings (SVG) by resvg as browsers show them, as PNG files that are decoded further.

Letters are not drawn: the sandbox can't open fonts. The renderer has no limit of time: the worker ends a
decoder that takes longer than a drawing may.
"""

from __future__ import annotations

from functools import cache
from io import BytesIO
from typing import NamedTuple

from PIL import Image

from hashscan.hashing.pread import PreadFile
from hashscan.hashing.svg.source import Drawing, read_drawing
from hashscan.hashing.svg.values import RefusedError

_DPI = 96.0
"""Pixels of CSS in an inch."""
LIBRARY = "resvg_py"
BYTES_MAX = 16 << 20
SIDE_MIN, SIDE_MAX = 64, 512
"""Least and greatest length in pixels of the longer side."""


class Drawn(NamedTuple):
    """A drawing as drawn."""

    contents: tuple[bytes, ...]
    """PNG files of it: in light colours, and in dark ones if it has others for these."""
    broken: bool
    """True if browsers may show more of it."""


def draw(file: PreadFile) -> Drawn:
    """Draw a file; RefusedError if it can't be drawn, or browsers may show something else."""
    if file.size > BYTES_MAX:
        raise RefusedError("length")
    file.seek(0)
    content = file.read(file.size)
    drawing = read_drawing(content)
    drawings = [drawing, read_drawing(content, dark=True)] if drawing.has_dark else [drawing]
    if not drawing.source:
        return Drawn((_nothing(),), False)
    return Drawn(tuple(map(_rendered, drawings)), drawing.broken)


def _rendered(drawing: Drawing) -> bytes:
    """Return a drawing as a PNG file, in the size in which browsers show it, within limits."""
    longer = max(drawing.size)
    side = min(max(longer, SIDE_MIN), SIDE_MAX)
    width, height = (max(1, round(length * side / longer)) for length in drawing.size)
    # It may not be installed.
    import resvg_py

    try:
        return bytes(
            resvg_py.svg_to_bytes(svg_string=drawing.sized(width, height), skip_system_fonts=True, dpi=_DPI)
        )
    except MemoryError:
        raise
    except BaseException as error:
        # A panic of Rust is no Exception.
        raise RefusedError(str(error)) from error


@cache
def _nothing() -> bytes:
    """Return a PNG file that shows nothing, for what browsers show nothing of."""
    file = BytesIO()
    Image.new("L", (SIDE_MIN, SIDE_MIN), 255).save(file, "PNG")
    return file.getvalue()
