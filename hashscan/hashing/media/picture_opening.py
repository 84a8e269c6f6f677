"""Open untrusted pictures with Pillow, each as one given format and within limits of memory and time."""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf
from typing import IO, cast

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from PIL import AvifImagePlugin, Image, ImageFile, JpegImagePlugin, PngImagePlugin, features

from hashscan.c_parts import load_globally
from hashscan.hashing.formats import is_installed
from hashscan.hashing.media.jpeg_xl import jxl_available, open_jxl, read_jxl_header
from hashscan.hashing.pillow_internals import jpeg_sampling, uses_libtiff
from hashscan.hashing.pread import PictureFile
from hashscan.hashing.svg import rendering
from hashscan.hashing.variants import WHOLE, Part
from hashscan.model import Reason


def heif_available() -> bool:
    """Return True if the extra is installed, and the C module that it needs in the sandbox was built."""
    return is_installed("heif")


def load_heif() -> None:
    """Register HEIF with Pillow; call it only if HEIF is available, before anything else loads libheif."""
    load_globally("hashscan.hashing._heif_threads")
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


DEFAULT_MAX_PIXELS = 64_000_000
"""Maximum pixels of a colour picture: with their brightness they take 320 MB, which keeps a worker and its
decoder below 400 MB.

The limit represents that memory, and applies to the decoded data: for a JPEG, the picture at the scale at
which it is decoded; for a progressive JPEG also its coefficients, since all are kept until its end. Grey
pictures may be larger; pictures whose library needs more memory at once must be smaller.
"""

BYTES_PER_PIXEL = 5
"""Memory for a pixel of most pictures: four bytes for its colours, one for its brightness."""

_NARROW = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16L": 2, "I;16B": 2, "I;16N": 2}
"""Bytes per pixel, for the modes in which a pixel doesn't take four."""

_LIBRARY_BYTES = {"AVIF": 9, "DDS": 7, "GIF": 3, "HEIF": 8, "JPEG2000": 20, "JXL": 24, "QOI": 7, "WEBP": 16}
"""By Pillow's name, bytes per pixel of the formats whose decoders need more memory at once; measured."""

_WEBP_CANVAS_BYTES = 8
"""Bytes per pixel that Pillow allocates when it opens a WebP."""

_FRAME_BYTES = {"AVIF": 36, "GIF": 18, "PNG": 18, "WEBP": 22}
"""Bytes per pixel of the frames after the first, for which earlier frames are kept in memory."""

_READ_WHOLE = frozenset({"AVIF", "HEIF", "JPEG2000", "JXL", "WEBP"})
"""Formats whose decoders need the whole file in memory; the compression methods of libtiff do, too."""

DRAFT_SIDE = 256
"""Minimum side in pixels of a reduced JPEG. JPEGs are decoded at an eighth, quarter, half or the whole of
their size: the smallest at which both sides are at least this long. Over 225 photos, PDQ differed from the
full size's digest by 0.7 bits on average and 8 at most; with 512 by 0.5 and 8, with 192 by 0.9 and 10."""

# Pillow would import each plugin at the first file of its format, and all plugins at a file of a rare format.
_PLUGINS = (
    *("Avif", "Bmp", "Cur", "Dcx", "Dds", "Fli", "Gif", "Icns", "Ico", "Jpeg", "Jpeg2K", "Pcx", "Png", "Ppm"),
    *("Psd", "Qoi", "Sgi", "Sun", "Tga", "Tiff", "WebP", "Xbm", "Xpm"),
)
for _plugin in _PLUGINS:
    importlib.import_module(f"PIL.{_plugin}ImagePlugin")

# Pillow can be built without these libraries.
_FEATURES = {"AVIF": "avif", "JPEG": "jpg", "JPEG2000": "jpg_2000", "PNG": "zlib", "WEBP": "webp"}
_missing = {name for name, feature in _FEATURES.items() if not features.check(feature)}

# The sandbox forbids threads.
AvifImagePlugin.DEFAULT_MAX_THREADS = 1

# With Pillow's default, a comment of over 1 MiB makes a picture unreadable, though every viewer shows it.
PngImagePlugin.MAX_TEXT_CHUNK = 16 << 20

if heif_available():
    load_heif()
else:
    _missing.add("HEIF")
if jxl_available():
    importlib.import_module("pillow_jxl")
else:
    _missing.add("JXL")
if importlib.util.find_spec(rendering.LIBRARY) is not None:
    importlib.import_module(rendering.LIBRARY)
else:
    _missing.add("SVG")

MISSING = frozenset(_missing)
"""Pillow's names of the formats that this installation can't decode."""

_SCAN_ENDS = 16


class UndecodedError(Exception):
    """Error: a picture, or the rest of one, could not be decoded, so that it cannot be hashed."""

    def __init__(self, reason: Reason, fault: str = "") -> None:
        super().__init__(reason.value)
        self.reason = reason
        self.fault = fault
        """The name of the exception's type, for `Reason.PART_FAILED`."""


@contextmanager
def convert_errors(file: PictureFile, pillow_format: str) -> Iterator[None]:
    """Convert any exception of Pillow for an untrusted picture to an `UndecodedError` with its reason."""
    before = Image.MAX_IMAGE_PIXELS
    try:
        with warnings.catch_warnings():
            # Pillow warns of unusual metadata, and of pictures above half the pixel limit.
            warnings.simplefilter("ignore")
            yield
    except UndecodedError:
        raise
    except MemoryError as error:
        raise UndecodedError(Reason.MEMORY) from error
    except Image.DecompressionBombError as error:
        raise UndecodedError(Reason.TOO_LARGE) from error
    except NotImplementedError as error:
        raise UndecodedError(Reason.UNSUPPORTED) from error
    except Exception as error:
        # Pillow's plugins raise nearly every built-in exception if a file is not as they expect. Any
        # exception of a decoder means that this picture can't be decoded; nothing else here could fail.
        raise UndecodedError(_reason(error, file, pillow_format)) from error
    finally:
        # `open_picture` lowers the limit; restore it when the picture is done.
        Image.MAX_IMAGE_PIXELS = before


def _reason(error: Exception, file: PictureFile, pillow_format: str) -> Reason:
    """Return the reason for an error of Pillow; often only its message contains it."""
    message = str(error).lower()
    if file.ran_out or isinstance(error, EOFError) or "truncated" in message or "not enough" in message:
        return Reason.TRUNCATED
    if pillow_format == "HEIF" and "end of file" in message:
        return Reason.TRUNCATED
    if pillow_format == "WEBP":
        # The library gives no reason. The file's header has the length of the data after its first 8 bytes.
        file.seek(4)
        declared = int.from_bytes(file.read(4), "little")
        if declared > file.size - 8:
            return Reason.TRUNCATED
    return Reason.UNSUPPORTED if "unsupported" in message else Reason.BROKEN


@contextmanager
def allow_truncated() -> Iterator[None]:
    """Make Pillow return the decoded part of a truncated picture."""
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = False


def truncated_allowed() -> bool:
    """Return True within `allow_truncated`."""
    return ImageFile.LOAD_TRUNCATED_IMAGES


class OpenPicture(Struct, frozen=True):
    """A picture whose header has been read; for a JPEG, the decoding scale is already set."""

    image: Image.Image
    stored: tuple[int, int]
    """Width and height in pixels."""
    coefficients: int = 0
    """Memory in bytes for a JPEG's coefficients."""


def open_picture(file: PictureFile, pillow_format: str, max_pixels: int, *, draft: str = "L") -> OpenPicture:
    """Open a picture as one format.

    Args:
        draft: for a JPEG, "L" for its brightness and "YCbCr" for its colours, both at a smaller scale; empty
            for its colours at full size.

    Raises:
        Exception: any exception of Pillow (see `reasons`).
    """
    if pillow_format == "WEBP":
        check_pixels(_WEBP_CANVAS_BYTES * _webp_pixels(file), max_pixels)
    file.seek(0)
    stream = cast("IO[bytes]", file)
    set_pixel_limit(max_pixels)
    if pillow_format == "JPEG":
        # Not by Image.open: it compares the full size with the limit before the decoding scale is set, and
        # returns another object for an MPO file.
        jpeg = JpegImagePlugin.JpegImageFile(stream)
        stored, coefficients = jpeg.size, _coefficients(jpeg, file)
        if draft:
            jpeg.draft(draft, (DRAFT_SIDE, DRAFT_SIDE))
        return OpenPicture(jpeg, stored, coefficients)
    if pillow_format == "HEIF":
        image = open_heif(stream)
    elif pillow_format == "JXL":
        width, height = read_jxl_header(file).size
        check_pixels(_LIBRARY_BYTES["JXL"] * width * height + file.size, max_pixels)
        file.seek(0)
        image = open_jxl(stream)
    elif pillow_format == "AVIF":
        # Image.open requires certain major brands, browsers don't.
        image = AvifImagePlugin.AvifImageFile(stream)
    else:
        image = Image.open(stream, formats=[pillow_format])
    return OpenPicture(image, image.size)


def _webp_pixels(file: PictureFile) -> int:
    """Return the pixels of a WebP by its header (RFC 9649); 0 if it has none."""
    file.seek(0)
    head = file.read(30)
    match head[12:16]:
        case b"VP8 ":
            return (int.from_bytes(head[26:28], "little") & 0x3FFF) * (
                int.from_bytes(head[28:30], "little") & 0x3FFF
            )
        case b"VP8L":
            bits = int.from_bytes(head[21:25], "little")
            return ((bits & 0x3FFF) + 1) * ((bits >> 14 & 0x3FFF) + 1)
        case b"VP8X":
            return (int.from_bytes(head[24:27], "little") + 1) * (int.from_bytes(head[27:30], "little") + 1)
    return 0


def set_pixel_limit(max_pixels: int) -> None:
    """Make Pillow refuse larger pictures, also embedded ones, before it allocates memory for them.

    Call it within `reasons`, which restores the former limit.
    """
    # Pillow refuses twice this number of pixels. No picture takes less than two bytes per pixel.
    Image.MAX_IMAGE_PIXELS = (max_pixels * BYTES_PER_PIXEL // 2 + 1) // 2


def check_size(
    image: Image.Image,
    pillow_format: str,
    file_size: int,
    max_pixels: int,
    *,
    more: int = 0,
    first: bool = True,
) -> None:
    """Check that a picture is not too large to be loaded.

    Args:
        image: the opened picture, positioned at the frame to load.
        file_size: length of its file in bytes.
        more: bytes that it needs besides its pixels.
        first: True if it is the first picture of its file.

    Raises:
        UndecodedError: the picture is too large.
    """
    each = _NARROW.get(image.mode, 4) + 1
    if first:
        each = max(each, _LIBRARY_BYTES.get(pillow_format, 0))
    else:
        each = max(each, _FRAME_BYTES.get(pillow_format, _LIBRARY_BYTES.get(pillow_format, 0)))
    pixels = image.width * image.height * each + more
    whole = pillow_format in _READ_WHOLE or uses_libtiff(image)
    allowed = max_pixels * BYTES_PER_PIXEL
    if pixels > allowed:
        raise UndecodedError(Reason.TOO_LARGE)
    if whole and pixels + file_size > allowed:
        raise UndecodedError(Reason.MEMORY)


def check_pixels(pixels: int, max_pixels: int) -> None:
    """Check that a number of pixels, kept as brightness only, is within the limit.

    Raises:
        UndecodedError: there are too many pixels.
    """
    if pixels > max_pixels * BYTES_PER_PIXEL:
        raise UndecodedError(Reason.TOO_LARGE)


def _coefficients(image: JpegImagePlugin.JpegImageFile, file: PictureFile) -> int:
    """Return the memory in bytes for the coefficients of a JPEG with several scans; 0 for other JPEGs."""
    sampling = jpeg_sampling(image)
    if not image.info.get("progressive") and _components_of_scan(file) == len(sampling):
        return 0
    most_across, most_down = (max(each) for each in zip(*sampling, strict=True))
    # Two bytes for each coefficient; there are as many as samples.
    width, height = image.size
    return sum(2 * width * across * height * down // (most_across * most_down) for across, down in sampling)


def _components_of_scan(file: PictureFile) -> int:
    """Return the number of components in the JPEG scan whose header was just read; 0 if it is not known."""
    here = file.tell()
    file.seek(max(0, here - _SCAN_ENDS))
    before = file.read(min(here, _SCAN_ENDS))
    file.seek(here)
    for components in (1, 2, 3, 4):
        length = 6 + 2 * components
        if before[-length - 2 :].startswith(b"\xff\xda" + length.to_bytes(2, "big") + bytes((components,))):
            return components
    return 0


class Limits(Struct, frozen=True):
    """Limits on how much of one file is decoded."""

    max_pixels: int = DEFAULT_MAX_PIXELS
    """Maximum pixels of one picture (see `DEFAULT_MAX_PIXELS`)."""

    frames: int = 1000
    """Maximum pictures of one file: some 40 seconds of animation."""

    total_pixels: int = 400_000_000
    """Maximum pixels of all pictures together; decoding them took 2 (WebP) to 8 (PNG) seconds."""

    seconds: float = 10.0
    """Maximum processor time for all frames together; it must leave the decoder time to reply."""

    large: bool = False
    """True for a decoder that has more memory than others (see `large_pictures`)."""


class Frame(Struct, frozen=True):
    """One decoded picture of a file, reduced to its brightness."""

    luma: NDArray[np.uint8]
    """Brightness, shape (height, width), 0 black to 255 white; that of a JPEG may be at a smaller scale."""
    width: int
    """Width as stored, in pixels."""
    height: int
    """Height as stored, in pixels."""
    blocks_of: tuple[int, int] | None = None
    """Height and width of the stored picture if `luma` holds the means of its blocks; else None."""
    orientation: int = 1
    """EXIF orientation, 1 to 8: the turn that viewers apply; `luma` is as stored."""
    part: Part = WHOLE
    """Its kind and number among the pictures of the file."""
    seconds: float = inf
    """Display time in one run of an animation; infinite for a still picture or the last frame.

    0 for a preview, which seldom shows anything else than the file's first picture.
    """
    look: int = 0
    """Place in `variants.LOOKS`: how `luma` was made of what is stored."""
    colours: Callable[[], NDArray[np.uint8] | None] | None = None
    """Gives its colours, shape (height, width, 3), perhaps at another scale; None where they are not known.
    Valid until the next frame is asked for."""
    chroma: Callable[[bool, bool], Iterator[Frame]] | None = None
    """Gives its planes of colour, of all of it and of what is even in brightness, each if it is wanted, until
    the next frame is asked for."""
