"""Read archives by libarchive, member by member, in the sandbox.

Formats and filters are enabled one by one. Never enabled are those that start programs (`program`, and lrzip,
grzip, lzop where the library was built without them), that read other files (mtree) or that parse XML (xar).
Nothing is written: the library hands over the bytes of one member after another.

The library is loaded before the sandbox is closed: it and the functions that it calls back need executable
memory.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

from hashscan.hashing.member_records import ContainerError
from hashscan.model import Reason

if TYPE_CHECKING:
    from hashscan.hashing.pread import PreadFile

LIBRARY = "libarchive.so.13"
FORMATS = ("zip", "tar", "7zip", "rar", "rar5", "cpio", "iso9660", "cab", "lha", "ar", "warc")
FILTERS = ("gzip", "bzip2", "xz", "lzma", "zstd", "lz4", "lzip", "compress", "rpm", "uu")
PIECE_SIZE = 256 * 1024
"""Bytes of a member that are read at once."""

_EOF, _WARN, _FAILED, _FATAL = 1, -20, -25, -30
_TYPE_MASK, _REGULAR = 0o170000, 0o100000
_RAW = 0x90000
"""The library's number of the format of a compressed file that is no archive."""


class MemberError(Exception):
    """The error that the rest of a member can't be read; the next member perhaps can."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


class ArchiveMember(NamedTuple):
    """One member of an archive, until the next one is asked for."""

    name: bytes
    """Its name in the archive: of any bytes, and perhaps empty or a path that leads elsewhere."""
    regular: bool
    """False for a folder, a link or a device, which has no bytes."""
    pieces: Iterator[bytes]
    """Its bytes. Iterating raises MemberError, or ContainerError where no other member can be read."""


class ArchiveLibrary:
    """The loaded library."""

    def __init__(self) -> None:
        """Load the library; do it once, before the sandbox is closed.

        Raises:
            ImportError, OSError: it is not installed.
        """
        # Otherwise its search would start other programs.
        os.environ.setdefault("LIBARCHIVE", LIBRARY)
        from libarchive import ffi

        for name, argument in (
            ("format", ffi.c_archive_p),
            ("read_has_encrypted_entries", ffi.c_archive_p),
            ("entry_is_encrypted", ffi.c_archive_entry_p),
        ):
            ffi.ffi(name, [argument], ctypes.c_int)
        self._ffi: Any = ffi
        self._error: type[Exception] = ffi.ArchiveError
        self._files: dict[int, PreadFile] = {}
        self._blocks: dict[int, bytes] = {}
        self._numbers = count(1)
        # Made only once: they need executable memory.
        self._read, self._seek = ffi.READ_CALLBACK(self._read_block), ffi.SEEK_CALLBACK(self._move)
        self._formats = [ffi.get_read_format_function(name) for name in FORMATS]
        self._raw = ffi.get_read_format_function("raw")
        self._filters = [ffi.get_read_filter_function(name) for name in FILTERS]

    @property
    def version(self) -> str:
        """The version of the library, such as 3.7.4."""
        number: int = self._ffi.version_number()
        return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"

    def members(self, file: PreadFile, *, compressed: bool = False) -> Iterator[ArchiveMember]:
        """Yield the members of an archive, or the one content of a compressed file.

        Args:
            compressed: True if it need not be an archive when it is unpacked.

        Raises:
            ContainerError: the rest can't be read.
        """
        try:
            with self._opened(file, compressed=compressed) as archive:
                entry = self._ffi.entry_new()
                try:
                    while self._next(archive, entry):
                        yield self._member(archive, entry)
                finally:
                    self._ffi.entry_free(entry)
        except self._error as error:
            raise ContainerError(_reason(error)) from None

    def _read_block(self, archive: int, number: int, place: Any) -> int:
        try:
            block = self._blocks[number] = self._files[number].read(PIECE_SIZE)
        except (OSError, MemoryError):
            return _FATAL
        pointer = ctypes.cast(place, ctypes.POINTER(ctypes.c_void_p))
        pointer[0] = ctypes.cast(ctypes.c_char_p(block), ctypes.c_void_p)
        return len(block)

    def _move(self, archive: int, number: int, offset: int, whence: int) -> int:
        try:
            return self._files[number].seek(offset, whence)
        except (OSError, ValueError):
            return _FATAL

    @contextmanager
    def _opened(self, file: PreadFile, *, compressed: bool) -> Iterator[int]:
        number, archive = next(self._numbers), self._ffi.read_new()
        self._files[number] = file
        try:
            for enable in self._formats:
                enable(archive)
            if compressed:
                self._raw(archive)
            for enable in self._filters:
                # A warning means that the library would start a program for it.
                if enable(archive) == _WARN:
                    raise ContainerError(Reason.METHOD)
            self._ffi.read_set_seek_callback(archive, self._seek)
            self._ffi.read_open(archive, number, self._ffi.NO_OPEN_CB, self._read, self._ffi.NO_CLOSE_CB)
            yield archive
        finally:
            self._ffi.read_free(archive)
            del self._files[number]
            self._blocks.pop(number, None)

    def _next(self, archive: int, entry: int) -> bool:
        """Go to the next member; return False at the end.

        Raises:
            ArchiveError: the rest can't be read.
            ContainerError: the headers are encrypted, or it is no archive.
        """
        try:
            result: int = self._ffi.read_next_header2(archive, entry)
        except self._error:
            if self._ffi.read_has_encrypted_entries(archive) == 1:
                raise ContainerError(Reason.ENCRYPTED) from None
            raise
        if result != _EOF and self._ffi.format(archive) == _RAW and self._ffi.filter_count(archive) == 1:
            # Neither an archive nor compressed.
            raise ContainerError(Reason.CONTAINER_BROKEN)
        return result != _EOF

    def _member(self, archive: int, entry: int) -> ArchiveMember:
        name = self._ffi.entry_pathname(entry)
        if name is None:
            # In characters that the locale does not have.
            name = (self._ffi.entry_pathname_w(entry) or "").encode("utf-8", "surrogatepass")
        mode = self._ffi.entry_filetype(entry) & _TYPE_MASK
        regular = mode in {0, _REGULAR} and self._ffi.entry_hardlink(entry) is None
        return ArchiveMember(name, regular, self._pieces(archive, entry))

    def _pieces(self, archive: int, entry: int) -> Iterator[bytes]:
        if self._ffi.entry_is_encrypted(entry):
            raise MemberError(Reason.ENCRYPTED)
        buffer = ctypes.create_string_buffer(PIECE_SIZE)
        try:
            while length := self._ffi.read_data(archive, buffer, PIECE_SIZE):
                if length < 0:
                    # The bytes that could be read have a wrong checksum, for example.
                    raise MemberError(Reason.CONTAINER_BROKEN)
                yield ctypes.string_at(buffer, length)
        except self._error as error:
            if getattr(error, "retcode", None) == _FAILED:
                raise MemberError(_reason(error)) from None
            raise ContainerError(_reason(error)) from None


def _reason(error: Exception) -> Reason:
    """Return the reason for an error of the library, whose numbers say little."""
    text = str(error).lower()
    if "encrypt" in text or "passphrase" in text:
        return Reason.ENCRYPTED
    if "unsupported" in text or "not supported" in text:
        return Reason.METHOD
    return Reason.CONTAINER_BROKEN


def installed_version() -> str:
    """Return the name and version of the library; empty if it can't be loaded."""
    try:
        return f"libarchive {ArchiveLibrary().version}"
    except (ImportError, OSError, MemoryError):
        return ""
