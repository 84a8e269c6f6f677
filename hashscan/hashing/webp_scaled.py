"""Decode WebP at a smaller scale, by libwebp's own interface, which Pillow links and does not expose.

Pillow decodes every WebP as an animation, which takes 16 bytes for each pixel. Scaled decoding takes 4 bytes
for each pixel of a lossless picture, and next to none for others. The structures are those of
`src/webp/decode.h`; libwebp refuses a caller with another major version of its interface, and then Pillow
decodes the picture.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, Structure, c_int, c_size_t, c_uint8, c_uint32, c_void_p
from typing import Any

import numpy as np
from PIL import Image

from hashscan.hashing.pillow_internals import webp_library

_INTERFACE = 0x0209
_RGB, _RGBA = 0, 1


class _Features(Structure):
    _fields_ = [
        ("width", c_int),
        ("height", c_int),
        ("has_alpha", c_int),
        ("has_animation", c_int),
        ("format", c_int),
        ("pad", c_uint32 * 5),
    ]


class _Pixels(Structure):
    """The first fields of a union; `rest` fills it up to the size of its other member."""

    _fields_ = [("pixels", c_void_p), ("stride", c_int), ("size", c_size_t), ("rest", c_uint8 * 56)]


class _Buffer(Structure):
    _fields_ = [
        ("colour_space", c_int),
        ("width", c_int),
        ("height", c_int),
        ("is_external_memory", c_int),
        ("pixels", _Pixels),
        ("pad", c_uint32 * 4),
        ("private_memory", c_void_p),
    ]


class _Options(Structure):
    _fields_ = [
        *((name, c_int) for name in ("bypass_filtering", "no_fancy_upsampling", "use_cropping")),
        *((name, c_int) for name in ("crop_left", "crop_top", "crop_width", "crop_height")),
        *((name, c_int) for name in ("use_scaling", "scaled_width", "scaled_height", "use_threads")),
        *((name, c_int) for name in ("dithering_strength", "flip", "alpha_dithering_strength")),
        ("pad", c_uint32 * 5),
    ]


class _Config(Structure):
    _fields_ = [("input", _Features), ("output", _Buffer), ("options", _Options)]


def _loaded() -> Any:
    """Return libwebp as Pillow has loaded it; None if it can't be used."""
    file = webp_library()
    if file is None or ctypes.sizeof(c_void_p) != 8:
        return None
    try:
        library = ctypes.CDLL(file)
        library.WebPInitDecoderConfigInternal.argtypes = [POINTER(_Config), c_int]
        library.WebPGetFeaturesInternal.argtypes = [c_void_p, c_size_t, POINTER(_Features), c_int]
        library.WebPDecode.argtypes = [c_void_p, c_size_t, POINTER(_Config)]
    except (OSError, AttributeError):
        return None
    return library if library.WebPInitDecoderConfigInternal(_Config(), _INTERFACE) else None


# Loaded with this module, since the sandbox forbids it later.
_library = _loaded()


def available() -> bool:
    """Return True if libwebp's interface can be used."""
    return _library is not None


def decode_scaled(content: bytes, scale: int) -> tuple[Image.Image, bool] | None:
    """Decode a still WebP; call it only if the interface is available.

    Args:
        content: the whole file.
        scale: factor by which a picture without opacity is reduced.

    Returns:
        The picture (RGB or RGBA), and True if it has been reduced: one with opacity is decoded at its full
        size. None if it is an animation or can't be decoded completely.

    Raises:
        MemoryError: there is not enough memory.
    """
    library = _library
    config, source = _Config(), ctypes.cast(ctypes.c_char_p(content), c_void_p)
    library.WebPInitDecoderConfigInternal(config, _INTERFACE)
    if library.WebPGetFeaturesInternal(source, len(content), config.input, _INTERFACE):
        return None
    width, height = config.input.width, config.input.height
    if config.input.has_animation:
        return None
    if config.input.has_alpha:
        bands, reduced = 4, False
    else:
        bands, reduced = 3, True
        width, height = -(-width // scale), -(-height // scale)
        config.options.use_scaling = 1
        config.options.scaled_width, config.options.scaled_height = width, height
    pixels = np.empty((height, width, bands), np.uint8)
    config.output.colour_space = _RGBA if bands == 4 else _RGB
    config.output.width, config.output.height = width, height
    config.output.is_external_memory = 1
    config.output.pixels.pixels = pixels.ctypes.data
    config.output.pixels.stride = pixels.strides[0]
    config.output.pixels.size = pixels.nbytes
    status = library.WebPDecode(source, len(content), config)
    if status == 1:
        raise MemoryError
    if status:
        return None
    mode = "RGBA" if bands == 4 else "RGB"
    # A picture that uses the array's memory.
    return Image.frombuffer(mode, (width, height), pixels, "raw", mode, 0, 1), reduced
