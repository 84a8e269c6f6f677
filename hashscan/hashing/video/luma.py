"""Extract the brightness of a decoded video frame, as a player shows it.

Nearly every video has a plane of brightness of its own, which is read as it is: to convert a frame to RGB and
back takes longer than to hash it. Video levels (16 black to 235 white) are stretched to 0 to 255, as a player
does; PDQ's bits hardly depend on that, but its quality does.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:
    from av import VideoFrame

_PLANE = re.compile(
    r"(?P<grey>gray)?(?P<full>yuvj)?(?(grey)|(?(full)4\d\dp|(?:yuva?4\d\dp|nv12|nv21|nv16|nv24|nv42)))"
    r"(?:(?P<bits>9|1\d)le)?"
)
"""Pixel formats whose first plane is brightness, in the low bits of one or two bytes."""
_HIGH = re.compile(r"p[024]1[0246]le")
"""Pixel formats whose first plane is brightness, in the high bits of two bytes."""

_FULL_RANGE = 2
"""AVCOL_RANGE_JPEG: 0 black to 255 white."""
_BLACK, _WHITE = 16, 235
_STRETCHED = bytes(
    min(255, max(0, round((level - _BLACK) * 255 / (_WHITE - _BLACK)))) for level in range(256)
)


def luma_of(frame: VideoFrame) -> NDArray[np.uint8]:
    """Return the brightness of a frame, shape (height, width), 0 black to 255 white. The frame's own numbers
    say which: matrix and range as its stream declares them; nothing is turned."""
    name = frame.format.name
    known = _PLANE.fullmatch(name)
    shift = int(known["bits"] or 8) - 8 if known else 8
    if known is None and not _HIGH.fullmatch(name):
        return luma_by_colours(frame)
    plane = frame.planes[0]
    size = 1 + bool(shift)
    if plane.line_size < size * frame.width:
        # Stored from the last line to the first.
        return luma_by_colours(frame)
    stored = bytes(plane)
    if shift:
        stored = (np.frombuffer(stored, "<u2") >> shift).astype(np.uint8).tobytes()
    if frame.color_range != _FULL_RANGE and not (known and (known["grey"] or known["full"])):
        stored = stored.translate(_STRETCHED)
    lines = np.frombuffer(stored, np.uint8).reshape(-1, plane.line_size // size)
    return lines[: frame.height, : frame.width]


def luma_by_colours(frame: VideoFrame) -> NDArray[np.uint8]:
    """Return the brightness of a frame's colours, shape (height, width), as the reference of vPDQ does. It
    differs from `luma_of` where a colour's brightness and hue don't fit into RGB together. The matrix is that
    of ITU-R BT.601, whatever the stream declares."""
    return np.asarray(Image.fromarray(colours_of(frame)).convert("L"))


def opacity_of(frame: VideoFrame) -> NDArray[np.uint8] | None:
    """Return the opacity of a frame, shape (height, width), 255 for opaque; None if no pixel's differs."""
    if not (frame.format.has_palette or any(component.is_alpha for component in frame.format.components)):
        return None
    alpha = frame.reformat(format="rgba", threads=1).to_ndarray()[..., 3]
    return None if alpha.min() == alpha.max() else np.ascontiguousarray(alpha, np.uint8)


def colours_of(frame: VideoFrame) -> NDArray[np.uint8]:
    """Return the colours of a frame, shape (height, width, 3), by the matrix of ITU-R BT.601."""
    converted = frame.reformat(format="rgb24", src_colorspace="itu601", dst_colorspace="itu601", threads=1)
    return np.asarray(converted.to_ndarray(), np.uint8)
