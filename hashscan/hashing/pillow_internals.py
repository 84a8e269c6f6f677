"""All that is used of Pillow beyond what its documentation describes; no other module may.

Another release of Pillow may lack these functions and attributes, or give them another meaning. Each function
here says what is done without: the result is the same or slower, or the picture counts as undecoded; nothing
is taken as checked that was not. `tests/hashing/test_pillow_internals.py` removes them one by one, and
fails for a major version of Pillow that it does not know.

The JPEG decoder writes into the target array, and is tested with a built-in sample before the first untrusted
picture. It is the only part of Pillow that the scan's own process loads, in order to state the result in the
report; therefore all else of Pillow is imported within the functions.
"""

from __future__ import annotations

import base64
import importlib.util
import io
import struct
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from typing import IO, TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

try:
    from PIL import _imaging
except ImportError:
    _imaging = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from PIL import Image, JpegImagePlugin

_SAMPLE = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDABALDA4MChAODQ4SERATGCgaGBYWGDEjJR0oOjM9PDkzODdASFxOQERXRTc4UG1RV19iZ2hnPk1x"
    "eXBkeFxlZ2P/wAALCAAQABABAREA/8QAFgABAQEAAAAAAAAAAAAAAAAAAAYH/8QAFhAAAwAAAAAAAAAAAAAAAAAAABVi/9oACAEBAAA/AJ9P"
    "ITyaAnkJ5P/Z"
)
_SAMPLE_SIZE = 16, 16
_SAMPLE_ROWS = [1, 3, 5, 7, 9, 11, 13, 15]
"""Brightness of the sample's rows at half size, in sixteenths of the range."""


def decode_jpeg(content: bytes, size: tuple[int, int], scale: int) -> NDArray[np.uint8] | None:
    """Decode the brightness of a JPEG.

    Args:
        content: the whole file.
        size: its width and height in pixels.
        scale: 1, 2, 4 or 8: the factor by which it is reduced while it is decoded.

    Returns:
        Shape (height, width); None if the file is incomplete or faulty, or this Pillow lacks the functions.
    """
    return _tried(content, size, scale) if private_decoder_works() else None


@cache
def private_decoder_works() -> bool:
    """Return True if Pillow's private functions decode the sample; if not, its public ones are used."""
    luma = _tried(_SAMPLE, _SAMPLE_SIZE, 2)
    return luma is not None and np.rint(luma.mean(axis=1) / 16).tolist() == _SAMPLE_ROWS


def _tried(content: bytes, size: tuple[int, int], scale: int) -> NDArray[np.uint8] | None:
    try:
        return _decode(content, size, scale)
    except MemoryError:
        raise
    except Exception:
        # Another version of Pillow may raise any exception for these arguments.
        return None


def _decode(content: bytes, size: tuple[int, int], scale: int) -> NDArray[np.uint8] | None:
    width, height = -(-size[0] // scale), -(-size[1] // scale)
    luma = np.empty((height, width), np.uint8)
    # A picture that uses the array's memory.
    picture = _imaging.map_buffer(luma, (width, height), "raw", 0, ("L", 0, 1))
    decoder = _imaging.jpeg_decoder("L", "L", "", scale, 0)
    try:
        decoder.setimage(picture, (0, 0, width, height))
        state, error = decoder.decode(content)
    finally:
        decoder.cleanup()
    # A state below 0 means done, one above means that more bytes are needed.
    return luma if state < 0 <= error else None


def webp_library() -> str | None:
    """Return the file with Pillow's libwebp; without, Pillow decodes each WebP as an animation."""
    spec = importlib.util.find_spec("PIL._webp")
    return spec.origin if spec is not None else None


def free_webp_decoder(image: Image.Image) -> None:
    """Free two whole pictures that Pillow keeps for an opened WebP; without, more memory is needed."""
    image._decoder = None  # type: ignore[attr-defined]


def uses_libtiff(image: Image.Image) -> bool:
    """Return True if libtiff will decode an opened TIFF; without, each counts as such, which needs memory."""
    tiles = getattr(image, "tile", None)
    return image.format == "TIFF" and (tiles is None or any(tile[0] == "libtiff" for tile in tiles))


def jpeg_sampling(image: JpegImagePlugin.JpegImageFile) -> list[tuple[int, int]]:
    """Return how often each component of an opened JPEG is sampled, across and down.

    Without, the coefficients of a progressive JPEG count as if no component had fewer samples.
    """
    try:
        return [(layer[1], layer[2]) for layer in image.layer]
    except (AttributeError, IndexError, TypeError):
        return [(1, 1)] * len(image.getbands())


def jpeg_application_data(image: Image.Image) -> list[bytes]:
    """Return the contents of an opened JPEG's segments APP2; without, of one that holds Pillow's profile."""
    try:
        return [data for name, data in image.applist if name == "APP2"]  # type: ignore[attr-defined]
    except (AttributeError, TypeError, ValueError):
        profile = image.info.get("icc_profile")
        return [b"ICC_PROFILE\0\1\1" + profile] if profile else []


def note_end(image: Image.Image) -> list[int]:
    """Return a list, to which loading an opened picture adds the offset up to which its data were read.

    Without, the list stays empty, and the caller examines the file itself.
    """
    places: list[int] = []
    # A strong reference would keep the pixels in memory until the next garbage collection.
    opened = weakref.ref(image)

    def load_end() -> None:
        loaded: Any = opened()
        if loaded is not None and loaded.fp is not None:
            places.append(loaded.fp.tell())
            type(loaded).load_end(loaded)

    if hasattr(image, "load_end") and hasattr(image, "fp"):
        image.load_end = load_end
    return places


def load_over(image: Image.Image, filling: int) -> bool:
    """Load an opened picture as far as it can be decoded, over pixels of one value.

    Without, nothing is loaded, and the result is False: it is not known what was decoded.

    Raises:
        MemoryError: there is not enough memory.
    """
    if not _fills_pixels():
        return False
    _load_over(image, filling)
    return True


_HALF_BITMAP = struct.pack("<2sI4xIIiiHHIIiiII4s", b"BM", 62, 54, 40, 1, 2, 1, 24, 0, 8, *bytes(4), b"\7\7\7")
"""A bitmap of one column and two rows, whose upper row is missing."""


@cache
def _fills_pixels() -> bool:
    """Return True if the pixels that Pillow can't decode keep the values that they had before."""
    from PIL import Image

    found = []
    for filling in (0, 255):
        with suppress(Exception):
            image = Image.open(io.BytesIO(_HALF_BITMAP), formats=["BMP"])
            _load_over(image, filling)
            found.append(np.asarray(image)[:, 0, 0].tolist())
    return found == [[0, 7], [255, 7]]


def _load_over(image: Any, filling: int) -> None:
    from PIL import Image

    bands = len(image.getbands())
    image.im = Image.new(image.mode, image.size, (filling,) * bands if bands > 1 else filling).im
    try:
        image.load()
    except MemoryError:
        raise
    except Exception:
        # Or the next access would try again.
        image.tile = []


class IconEntry(NamedTuple):
    """A picture of an icon."""

    offset: int
    """Offset in the file."""
    open_as: Callable[[int, int], Image.Image]
    """Opens it as a bitmap with this depth in bits per pixel and length in bytes, whatever its entry says."""


def icon_entries(directory: bytes, file: IO[bytes]) -> Iterator[IconEntry]:
    """Yield the pictures of an icon, the largest and deepest first.

    Without, no picture of an icon is decoded.

    Args:
        directory: header and directory of an icon.
        file: the file, for the pictures themselves.

    Raises:
        NotImplementedError: this Pillow has another reader of icons.
        Exception: any exception of Pillow, as by `open_as`.
    """
    from PIL import IcoImagePlugin

    icons: Any = IcoImagePlugin.IcoFile(io.BytesIO(directory))
    entries = icons.entry
    if not hasattr(icons, "buf"):
        raise NotImplementedError
    icons.buf = file
    # The depth of a cursor's entry is the vertical position of its hot spot.
    entries.sort(key=lambda entry: (entry.square, entry.bpp), reverse=True)

    def opener(place: int) -> Callable[[int, int], Image.Image]:
        def open_as(depth: int, length: int) -> Image.Image:
            entries[place] = entries[place]._replace(bpp=depth, size=length)
            return cast("Image.Image", icons.frame(place))

        return open_as

    for place, entry in enumerate(entries):
        yield IconEntry(entry.offset, opener(place))


def bitmap_pixels(file: IO[bytes]) -> int:
    """Return where the pixels of an icon's bitmap begin, whose header is read from here.

    Raises:
        Exception: any exception of Pillow; without, one that counts as a broken picture.
    """
    from PIL import BmpImagePlugin

    return BmpImagePlugin.DibImageFile(file).tile[0].offset
