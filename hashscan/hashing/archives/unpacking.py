"""Unpack compressed bytes by the modules of Python's standard library, a bounded piece at a time."""

from __future__ import annotations

import bz2
import importlib
import lzma
import re
import struct
import zlib
from collections.abc import Callable, Generator, Iterator
from typing import Any, Protocol

from hashscan.hashing.archives.library import PIECE_SIZE
from hashscan.hashing.member_records import ContainerError
from hashscan.hashing.pread import PreadFile
from hashscan.model import Reason

_DEFLATE64_INPUT = 512
_ZIP_HEADER = re.compile(rb"PK(?:\x01\x02|\x03\x04|\x07\x08)")
_LZMA_MEMORY = 256 << 20
"""Most memory in bytes for the dictionary of LZMA, whose header may ask for 4 GiB."""


class Unpacker(Protocol):
    """An object that unpacks one compressed stream, as `bz2.BZ2Decompressor` does."""

    @property
    def eof(self) -> bool:
        """True behind the end of the stream."""

    @property
    def needs_input(self) -> bool:
        """True if nothing more can be unpacked without further bytes."""

    @property
    def unused_data(self) -> bytes:
        """The bytes that were given behind the end of the stream."""

    def decompress(self, data: bytes, /, max_length: int = -1) -> bytes:
        """Return the next unpacked bytes, `max_length` at most."""


class _Inflater:
    """Unpack Deflate, with the methods of the other unpackers."""

    def __init__(self, wbits: int) -> None:
        self._unpacker = zlib.decompressobj(wbits)
        self._needs_input = True

    def decompress(self, data: bytes, /, max_length: int = -1) -> bytes:
        unpacked = self._unpacker.decompress(self._unpacker.unconsumed_tail + data, max_length)
        self._needs_input = not self._unpacker.unconsumed_tail and len(unpacked) < max_length
        return unpacked

    @property
    def eof(self) -> bool:
        return self._unpacker.eof

    @property
    def needs_input(self) -> bool:
        return self._needs_input

    @property
    def unused_data(self) -> bytes:
        return self._unpacker.unused_data


class _Inflater64:
    """Unpack Deflate64, with the methods of the other unpackers.

    The library has no bound of what it returns: a byte of input gives up to 29 KiB, so it gets few at once.
    It does not say either where in its input a stream has ended. What programs would take for a header of a
    ZIP archive is never part of the stream then.
    """

    def __init__(self, inflater: Any) -> None:
        self._inflater = inflater
        self._packed = self._unpacked = b""
        self.eof, self.unused_data = False, b""

    @property
    def needs_input(self) -> bool:
        return not self._packed and not self._unpacked

    def decompress(self, data: bytes, /, max_length: int = -1) -> bytes:
        self._packed += data
        if self._packed and not self._unpacked:
            given, self._packed = self._packed[:_DEFLATE64_INPUT], self._packed[_DEFLATE64_INPUT:]
            self._unpacked = self._inflater.inflate(given)
            if self._inflater.eof:
                header = _ZIP_HEADER.search(given)
                self.unused_data = (b"" if header is None else given[header.start() :]) + self._packed
                self._packed = b""
        end = len(self._unpacked) if max_length < 0 else max_length
        found, self._unpacked = self._unpacked[:end], self._unpacked[end:]
        self.eof = self._inflater.eof and not self._unpacked
        return found


def load_deflate64() -> None:
    """Add what unpacks Deflate64, whose library is written in C; call it before the sandbox is closed."""
    from inflate64 import Inflater

    UNPACKERS["Deflate64"] = lambda: _Inflater64(Inflater())


def raw_deflate() -> Unpacker:
    """Return what unpacks Deflate without a header, as in a ZIP archive."""
    return _Inflater(-zlib.MAX_WBITS)


def xz_or_lzma(form: int = lzma.FORMAT_AUTO) -> Unpacker:
    """Return what unpacks xz, or LZMA with a header."""
    return lzma.LZMADecompressor(form, _LZMA_MEMORY)


def lzma_of_zip(header: bytes, size: int | None) -> tuple[Unpacker, bytes]:
    """Return what unpacks LZMA in a ZIP archive, and its first input. The header is the properties of
    LZMA, without the version and the length that precede them; a size of None means that a mark stands at
    the end."""
    return xz_or_lzma(lzma.FORMAT_ALONE), header + struct.pack("<q", -1 if size is None else size)


def _zstandard() -> tuple[Callable[[], Unpacker], type[Exception]] | None:
    """Return what unpacks Zstandard, and its error; None before Python 3.14."""
    try:
        module: Any = importlib.import_module("compression.zstd")
    except ImportError:
        return None
    return module.ZstdDecompressor, module.ZstdError


_ZSTANDARD = _zstandard()
_ERRORS: tuple[type[Exception], ...] = (
    *(zlib.error, OSError, EOFError, ValueError, lzma.LZMAError),
    *(() if _ZSTANDARD is None else _ZSTANDARD[1:]),
)

UNPACKERS: dict[str, Callable[[], Unpacker]] = {
    "gzip": lambda: _Inflater(zlib.MAX_WBITS + 16),
    "bzip2": bz2.BZ2Decompressor,
    "xz": xz_or_lzma,
    "LZMA": xz_or_lzma,
    **({} if _ZSTANDARD is None else {"Zstandard": _ZSTANDARD[0]}),
}
"""By the names of the kinds of compressed files."""


def unpacked(
    blocks: Iterator[bytes], unpacker: Unpacker, first: bytes = b""
) -> Generator[bytes, None, bytes | None]:
    """Yield unpacked bytes in pieces of bounded length; `first` is input before the blocks. Return the bytes
    that follow the stream in its last block; None if the stream does not end. Broken bytes raise
    ContainerError, those that need too much memory MemoryError."""
    try:
        piece = unpacker.decompress(first, PIECE_SIZE)
        while True:
            if piece:
                yield piece
            if unpacker.eof:
                return unpacker.unused_data
            block = next(blocks, b"") if unpacker.needs_input else b""
            if unpacker.needs_input and not block:
                return None
            piece = unpacker.decompress(block, PIECE_SIZE)
    except _ERRORS as error:
        if isinstance(error, lzma.LZMAError) and "memory" in str(error).lower():
            raise MemoryError from None
        raise ContainerError(Reason.CONTAINER_BROKEN) from None


def blocks_of(file: PreadFile, at: int = 0, length: int | None = None) -> Iterator[bytes]:
    """Yield bytes of a file, up to its end if no length is given; fewer where it ends before.

    Others may read from the file in between.
    """
    end = file.size if length is None else min(file.size, at + length)
    while at < end:
        file.seek(at)
        block = file.read(min(PIECE_SIZE, end - at))
        if not block:
            return
        yield block
        at += len(block)
