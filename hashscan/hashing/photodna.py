"""Compute PhotoDNA by the shared library of a licensee, inside the sandbox; hashscan has none of its own.

Decoders load the library when they can neither open files nor connect nor start programs any more (see
`sandbox.libraries`). It may still crash, hang or answer nonsense, as any decoding library: each call is
checked, and a call that fails leaves the picture undecoded.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hashscan.hashing.hash_algorithms import PictureHash, RenderingDigests
from hashscan.hashing.variants import DIHEDRAL, MIRRORED, PLAIN, TRIMMED
from hashscan.model import ALGORITHMS, HashLibrary

NAME = "photodna"

Pixels = NDArray[np.uint8]

MAX_PIXELS = 4_000_000
"""Pixels of the pictures that the library gets at most; it gets larger ones reduced by a whole number."""

_GUARD = b"\xa5\x5a\x3c\xc3" * 32
"""Bytes before and behind the digest in memory, which the library must leave as they are."""
_UNSET = b"\x5a\xc3" * 4
"""The end of a digest that the library has not written."""


class PhotoDNA(PictureHash):
    """PhotoDNA: 144 bytes, a vector whose squared Euclidean distance to another says how alike they are.

    Pictures are hashed as they are stored, as shown, mirrored, and without their borders.
    """

    name = NAME
    has_variants = True
    of_colours = True

    def __init__(self) -> None:
        self._library: HashLibrary | None = None
        self._functions: dict[str, Any] = {}
        self._instance: int | None = None

    def attach(self, found: ctypes.CDLL, library: HashLibrary) -> None:
        """Use a loaded library; until then, every digest fails.

        Raises:
            OSError: it lacks a function, or its initialisation fails.
        """
        names = filter(None, (library.hash, library.border, library.flip))
        self._functions = {name: _function(found, name) for name in names}
        if library.init:
            self._instance = _initialised(found, library)
        self._library, self.failed = library, False
        if library.border:
            # Its own way to leave out borders replaces ours.
            self.has_variants = False

    def digest(self, luma: Pixels, stored: tuple[int, int] | None = None) -> tuple[bytes, int]:
        """Hash one picture: brightness, shape (height, width), or colours, shape (height, width, 3)."""
        found = next(self.runs(luma, stored))
        return found.values, found.quality

    def runs(
        self,
        luma: Pixels,
        stored: tuple[int, int] | None = None,
        turns: tuple[int, ...] = (0,),
        wanted: Collection[str] = (),
    ) -> Iterator[RenderingDigests]:
        """Hash one picture in the given turns, and without borders if the library does that.

        Quality is 0 where there is no digest, and 100 otherwise.
        """
        pixels = _reduced(luma)
        value, quality = self._hashed(pixels, 0)
        values, kept = [value], [0]
        for turn in turns if quality else ():
            if 0 < turn < DIHEDRAL:
                value, sure = self._hashed(pixels, turn)
                if sure:
                    values.append(value)
                    kept.append(turn)
        yield RenderingDigests(PLAIN, tuple(kept), b"".join(values), quality)
        border = "" if self._library is None else self._library.border
        if border and quality and "trimmed" in wanted:
            inner, sure = self._called(border, pixels)
            if sure and inner != values[0]:
                yield RenderingDigests(TRIMMED, (0,), inner, sure)

    def _hashed(self, pixels: Pixels, turn: int) -> tuple[bytes, int]:
        """Return the digest of the picture from which these pixels were made by a turn, and its quality."""
        library = self._library
        if library is None:
            self.failed = True
            return bytes(ALGORITHMS[NAME].size), 0
        if turn == MIRRORED and library.flip:
            return self._called(library.flip, pixels)
        straight = np.rot90(pixels, turn % 4)
        return self._called(library.hash, straight[:, ::-1] if turn >= MIRRORED else straight)

    def _called(self, name: str, pixels: Pixels) -> tuple[bytes, int]:
        """Have a function of the library hash pixels; return the digest, and its quality.

        If the library has written outside of the digest, this process ends: nothing in it can be trusted.
        """
        library, size = self._library, ALGORITHMS[NAME].size
        assert library is not None
        none = bytes(size)
        height, width = pixels.shape[:2]
        if min(height, width) < library.least_side:
            return none, 0
        # A copy, which the library may change.
        copy = np.array(pixels if pixels.ndim == 3 else np.repeat(pixels[:, :, None], 3, axis=2), order="C")
        unset = _UNSET * (size // len(_UNSET))
        memory = ctypes.create_string_buffer(_GUARD + unset + _GUARD, 2 * len(_GUARD) + size)
        length = ctypes.c_int(size)
        values = {
            "pixels": copy.ctypes.data_as(ctypes.c_void_p),
            "width": ctypes.c_int(width),
            "height": ctypes.c_int(height),
            "stride": ctypes.c_int(3 * width),
            "digest": ctypes.c_void_p(ctypes.addressof(memory) + len(_GUARD)),
            "length": ctypes.byref(length),
            "instance": ctypes.c_void_p(self._instance),
        }
        arguments = [ctypes.c_int(one) if isinstance(one, int) else values[one] for one in library.arguments]
        result = self._functions[name](*arguments)
        digest = memory.raw[len(_GUARD) : len(_GUARD) + size]
        if memory.raw != _GUARD + digest + _GUARD:
            os.abort()
        if result in library.no_digest:
            return none, 0
        if result != library.success or length.value != size or digest.endswith(_UNSET):
            self.failed = True
            return none, 0
        # All flat pictures have the same digest, and it says nothing.
        return (none, 0) if len(set(digest)) == 1 else (digest, 100)


def _function(found: ctypes.CDLL, name: str) -> Any:
    try:
        function = found[name]
    except AttributeError:
        raise OSError(f"it has no function {name}") from None
    function.restype = ctypes.c_int
    return function


def _initialised(found: ctypes.CDLL, library: HashLibrary) -> int | None:
    """Call the initialisation; return its pointer if it has one.

    Raises:
        OSError: it is missing, or failed.
    """
    function = _function(found, library.init)
    by_pointer = "instance" in library.arguments
    if by_pointer:
        function.restype = ctypes.c_void_p
    result = function(
        *(
            ctypes.c_int(one) if isinstance(one, int) else ctypes.c_char_p(os.fsencode(one))
            for one in library.init_arguments
        )
    )
    if by_pointer:
        if result is None:
            raise OSError(f"its function {library.init} returned no pointer")
        return int(result)
    if result != library.success:
        raise OSError(f"its function {library.init} returned {result}, not {library.success}")
    return None


def _reduced(pixels: Pixels) -> Pixels:
    """Return the means of square blocks of a picture over `MAX_PIXELS`, or the picture."""
    height, width = pixels.shape[:2]
    factor = 1
    while height * width > MAX_PIXELS * factor**2:
        factor += 1
    if factor == 1 or min(height, width) < factor:
        return pixels
    rows, columns = height // factor, width // factor
    cut = pixels[: rows * factor, : columns * factor]
    total = np.zeros((rows, columns, *pixels.shape[2:]), np.uint32)
    for down in range(factor):
        for right in range(factor):
            total += cut[down::factor, right::factor]
    return np.asarray((total + factor**2 // 2) // factor**2, np.uint8)
