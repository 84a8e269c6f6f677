"""What the sandbox runs: decode one picture and compute its digests."""

from __future__ import annotations

import gc
import importlib
import os
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

from hashscan.hashing.formats import FORMATS
from hashscan.hashing.records import pack_failure, pack_picture, unpack_request
from hashscan.hashing.variants import VARIANTS
from hashscan.model import Reason

# Nothing here may import numpy or Pillow before `load` has set the environment for them.
if TYPE_CHECKING:
    from hashscan.hashing.base import PictureHash

Decode = Callable[[int, bytes], bytes]

_MAX_PIXELS = "max-pixels="
_VARIANTS = "variants="


def load(*arguments: str) -> Decode:
    """Make ready everything that decoding needs, since no file can be opened once the sandbox is closed.

    To be called once in a fresh process, before it forks and before anything is forbidden.

    Args:
        arguments: dotted paths of picture hashes (`hashscan.hashing.pdq:PDQ`) in the order of the reply's
            digests, and perhaps `max-pixels=N` and `variants=NAME,NAME` (some of `VARIANTS`; all without it).

    Returns:
        A function from an open descriptor and a request to a reply (see `records`). It raises nothing over
        whatever is in the file.
    """
    # A second thread of the linear algebra library would not survive the fork, nor be allowed.
    for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = "1"
    from hashscan.hashing.picture import DEFAULT_MAX_PIXELS

    hashes: list[PictureHash] = []
    max_pixels = DEFAULT_MAX_PIXELS
    wanted: Collection[str] = VARIANTS
    for argument in arguments:
        if argument.startswith(_MAX_PIXELS):
            max_pixels = int(argument.removeprefix(_MAX_PIXELS))
        elif argument.startswith(_VARIANTS):
            wanted = argument.removeprefix(_VARIANTS).split(",")
        else:
            module, _, name = argument.partition(":")
            hashes.append(getattr(importlib.import_module(module), name)())
    _warm_up(_decoder(hashes, DEFAULT_MAX_PIXELS, VARIANTS))
    # What lives now lives as long as the process. Not to be looked at again spares each decoder the copying
    # of these pages.
    gc.collect()
    gc.freeze()
    return _decoder(hashes, max_pixels, wanted)


def _decoder(hashes: Sequence[PictureHash], max_pixels: int, wanted: Collection[str]) -> Decode:
    from hashscan.hashing.picture import UndecodedError, decode_luma
    from hashscan.hashing.pread import PreadFile
    from hashscan.hashing.renderings import digests_of

    names = [algorithm.name for algorithm in hashes]

    def decode(descriptor: int, request: bytes) -> bytes:
        picture_format = unpack_request(request)
        try:
            decoded = decode_luma(PreadFile(descriptor), picture_format, max_pixels)
            digests = list(digests_of(decoded, hashes, wanted))
        except UndecodedError as error:
            return pack_failure(error.reason)
        except MemoryError:
            return pack_failure(Reason.MEMORY)
        return pack_picture(picture_format, decoded.width, decoded.height, names, digests, decoded.damage)

    return decode


def _warm_up(decode: Decode) -> None:
    """Decode a whole, a cut and a spoilt picture of every format, since Pillow imports what it needs late."""
    from hashscan.hashing.samples import samples

    drawn = samples()
    for index, picture_format in enumerate(FORMATS):
        whole = drawn.get(picture_format.pillow or "", b"")
        middle = len(whole) // 2
        for content in (whole, whole[:middle], whole[:middle] + bytes(len(whole) - middle)):
            descriptor = os.memfd_create("sample")
            try:
                os.pwrite(descriptor, content, 0)
                decode(descriptor, bytes((index,)))
            finally:
                os.close(descriptor)
