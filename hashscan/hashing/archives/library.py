"""Read archives by libarchive, member by member, in the sandbox.

Only the formats and the filter of the kind of archive are enabled, so that the library does not see another
archive in a file that is two of them, and of several layers of compression unpacks one. Never enabled are
those that start programs (`program`, and lrzip, grzip, lzop where the library was built without them), that
read other files (mtree) or that parse XML (xar). Nothing is written: the library hands over the bytes of one
member after another.

The library is loaded before the sandbox is closed: it and the functions that it calls back need executable
memory.
"""

from __future__ import annotations

import bz2
import ctypes
import lzma
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, count
from typing import Any, NamedTuple, Protocol

from hashscan.hashing.archives.zip_structure import has_deflate64
from hashscan.hashing.container_kinds import ARCHIVES, COMPRESSED
from hashscan.hashing.containers import container_of
from hashscan.hashing.member_records import ContainerError
from hashscan.hashing.pread import PreadFile
from hashscan.model import Reason

LIBRARY = "libarchive.so.13"
STREAMED = ("zip_streamable",)
"""The format of a ZIP archive that is read from its begin on, and not by the directory at its end."""
_RAW = ("raw",)
_FORMATS_WITHIN = ("tar", "cpio", *_RAW)
"""Formats of what is in a compressed file. Other archives are opened as its one content."""
_FILTERS = {"gzip": 1, "bzip2": 2, "LZMA": 5, "xz": 6, "Zstandard": 14}
_OTHER_FILTERS = {b"LZIP": 9, b"\x04\x22\x4d\x18": 13, b"\x02\x21\x4c\x18": 13}
"""The library's numbers of filters, by the name of the kind and by a file's first bytes."""
_RPM_FILTERS = ("rpm", "gzip", "bzip2", "xz", "lzma", "zstd")
_OTHER_STREAMS = {"gzip": (b"\x1f\x9d", b"\x1f\x9e", b"\x1f\xa0", b"\x1f\x1e")}
"""First bytes of streams of other forms that the same program goes on with, by the name of the kind."""
STREAM_START = 16
"""Length in bytes of the longest sign of a compressed stream, at most."""
PIECE_SIZE = 256 * 1024
_COMPLETED_MAX = 64 << 20
"""Bytes of a member up to which those that the library drops are read in another way."""
"""Bytes of a member that are read at once."""

_EOF, _OK, _WARN, _FAILED, _FATAL = 1, 0, -20, -25, -30
_WITH_DATA = (_OK, _WARN, _FAILED)
"""Results with which the library hands bytes over."""
_TYPE_MASK, _REGULAR, _FOLDER = 0o170000, 0o100000, 0o040000


class MemberError(Exception):
    """The error that the rest of a member can't be read; the next member perhaps can."""

    def __init__(self, reason: Reason, fault: str = "") -> None:
        super().__init__(reason.value)
        self.reason = reason
        self.fault = fault
        """The name of the exception's type, for `Reason.PART_FAILED`."""


class ArchiveMember(NamedTuple):
    """One member of an archive, until the next one is asked for."""

    name: bytes
    """Its name in the archive: of any bytes, and perhaps empty or a path that leads elsewhere."""
    regular: bool
    """False for a folder, a link or a device, which usually has no bytes; the last link to a file has them in
    some archives (cpio)."""
    pieces: Iterator[bytes]
    """Its bytes. Iterating raises MemberError, or ContainerError where no other member can be read."""
    behind: bool = True
    """False if no container is looked for behind its begin, since its opener yields what is there."""
    ending: bytes = b""
    """The ending of a name that claims the same as the MIME type of a part of a mail; perhaps empty."""


class ArchiveReader(Protocol):
    """A library that reads archives: `ArchiveLibrary`, or `StandardLibrary` in its place."""

    def opens(self, kind: str) -> bool:
        """Return True for a kind of archive or compressed file that it reads."""

    def members(self, file: PreadFile, kind: str, options: bytes = ...) -> Iterator[ArchiveMember]:
        """Yield the members of an archive, or the one content of a compressed file.

        Raises:
            ContainerError: the rest can't be read.
        """

    def streamed(self, file: PreadFile) -> Iterator[ArchiveMember]:
        """Yield the members of a ZIP archive as programs do that do not read the directory at its end.

        Raises:
            ContainerError: the rest can't be read.
        """


class ArchiveLibrary:
    """The loaded library."""

    def __init__(self, instead: ArchiveReader | None = None) -> None:
        """Load the library; do it once, before the sandbox is closed. `instead` reads compressed files of
        which the library gives nothing."""
        self._instead = instead
        # Otherwise its search would start other programs.
        os.environ.setdefault("LIBARCHIVE", LIBRARY)
        from libarchive import ffi

        for name, argument in (
            ("read_has_encrypted_entries", ffi.c_archive_p),
            ("entry_is_encrypted", ffi.c_archive_entry_p),
        ):
            ffi.ffi(name, [argument], ctypes.c_int)
        ffi.ffi("filter_bytes", [ffi.c_archive_p, ctypes.c_int], ctypes.c_int64)
        ffi.ffi("read_append_filter", [ffi.c_archive_p, ctypes.c_int], ctypes.c_int, ffi.check_int)
        ffi.ffi("read_set_options", [ffi.c_archive_p, ctypes.c_char_p], ctypes.c_int, ffi.check_int)
        self._ffi: Any = ffi
        self._error: type[Exception] = ffi.ArchiveError
        self._files: dict[int, PreadFile] = {}
        self._blocks: dict[int, bytes] = {}
        self._numbers = count(1)
        # Without the check of libarchive-c, which takes longer than most calls. `archive_read_data` loses the
        # bytes of a member with a wrong checksum.
        self._read_data: Any = ffi.libarchive["archive_read_data_block"]
        self._read_data.argtypes = [
            ffi.c_archive_p,
            ctypes.POINTER(ctypes.c_void_p),
            ctypes.POINTER(ctypes.c_size_t),
            ctypes.POINTER(ctypes.c_int64),
        ]
        self._read_data.restype = ctypes.c_int
        # Block, length and offset; once for all members: to make them takes longer than to read a small one.
        self._found = ctypes.c_void_p(), ctypes.c_size_t(), ctypes.c_int64()
        self._found_at = tuple(map(ctypes.byref, self._found))
        # Made only once: they need executable memory.
        self._read, self._seek = ffi.READ_CALLBACK(self._read_block), ffi.SEEK_CALLBACK(self._move)
        names = {*chain(*ARCHIVES.values()), *STREAMED, *_FORMATS_WITHIN}
        self._formats = {name: ffi.get_read_format_function(name) for name in names}
        self._filters = {name: ffi.get_read_filter_function(name) for name in ("compress", *_RPM_FILTERS)}

    @property
    def version(self) -> str:
        number: int = self._ffi.version_number()
        return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"

    def opens(self, kind: str) -> bool:
        return kind in ARCHIVES or kind in COMPRESSED

    def members(self, file: PreadFile, kind: str, options: bytes = b"") -> Iterator[ArchiveMember]:
        """Yield the members of an archive, or the one content of a compressed file; the options are the
        library's, for the format."""
        if kind == "ZIP" and self._instead is not None and has_deflate64(file):
            # The library has not got this method.
            yield from self._instead.members(file, kind)
            return
        if kind not in COMPRESSED:
            yield from self._members(file, kind, ARCHIVES[kind], options)
            return
        found = False
        try:
            for member in self._members(file, kind, _FORMATS_WITHIN, options):
                yield member if found else member._replace(pieces=self._completed(member, file, kind))
                found = True
        except ContainerError:
            if found:
                raise
        if found:
            return
        # The library takes zeros for the end of a tar archive; the image of a disc begins with them. It gives
        # no byte of a small file that is cut or damaged at its end; programs do.
        if self._instead is not None and self._instead.opens(kind):
            yield from self._instead.members(file, kind)
        else:
            yield from self._members(file, kind, _RAW, options)

    def _completed(self, member: ArchiveMember, file: PreadFile, kind: str) -> Iterator[bytes]:
        """Yield the bytes of the first member of a compressed file, also those that the library drops.

        It gives none of the last block of a file that is cut or damaged.
        """
        size = 0
        try:
            for piece in member.pieces:
                size += len(piece)
                yield piece
        except ContainerError:
            if self._instead is not None and self._instead.opens(kind) and size <= _COMPLETED_MAX:
                again = next(self._instead.members(file, kind), None)
                for piece in again.pieces if again is not None and again.name == member.name else ():
                    if len(piece) > size:
                        yield piece[size:]
                    size = max(0, size - len(piece))
            raise

    def streamed(self, file: PreadFile) -> Iterator[ArchiveMember]:
        if self._instead is not None and has_deflate64(file):
            yield from self._instead.streamed(file)
        else:
            yield from self._members(file, "ZIP", STREAMED, b"")

    def _members(
        self, file: PreadFile, kind: str, formats: Sequence[str], options: bytes
    ) -> Iterator[ArchiveMember]:
        try:
            with self._opened(file, kind, formats, options) as archive:
                entry = self._ffi.entry_new()
                try:
                    while self._next(archive, entry):
                        yield self._member(archive, entry, kind)
                    if kind in COMPRESSED and is_other_stream(self._rest(archive, file), kind):
                        raise ContainerError(Reason.CONTAINER_BROKEN)
                finally:
                    self._ffi.entry_free(entry)
        except self._error as error:
            raise ContainerError(_reason(error)) from None

    def _rest(self, archive: int, file: PreadFile) -> bytes:
        """Return bytes that the library has left behind the compressed streams, without zeros before them."""
        file.seek(self._ffi.filter_bytes(archive, -1))
        start = b""
        while len(start) < STREAM_START and (block := file.read(PIECE_SIZE)):
            start = (start + block).lstrip(b"\0")
        return start

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
    def _opened(self, file: PreadFile, kind: str, formats: Sequence[str], options: bytes) -> Iterator[int]:
        number, archive = next(self._numbers), self._ffi.read_new()
        self._files[number] = file
        file.seek(0)
        try:
            for name in formats:
                self._formats[name](archive)
            if kind not in ARCHIVES or kind == "RPM":
                self._unpack(archive, file, kind)
            if "tar" in formats:
                # As programs do that are asked to go on behind the end, or whose tapes have several.
                self._ffi.read_set_options(archive, b"tar:read_concatenated_archives")
            if options:
                self._ffi.read_set_options(archive, options)
            self._ffi.read_set_seek_callback(archive, self._seek)
            self._ffi.read_open(archive, number, self._ffi.NO_OPEN_CB, self._read, self._ffi.NO_CLOSE_CB)
            yield archive
        finally:
            self._ffi.read_free(archive)
            del self._files[number]
            self._blocks.pop(number, None)

    def _unpack(self, archive: int, file: PreadFile, kind: str) -> None:
        """Enable the filter of a compressed file."""
        if kind in {"RPM", "compress"}:
            for name in _RPM_FILTERS if kind == "RPM" else ("compress",):
                self._filters[name](archive)
            return
        filter_number = _FILTERS.get(kind) or _OTHER_FILTERS.get(file.read(4))
        file.seek(0)
        # A warning means that the library would start a program for it.
        if filter_number is None or self._ffi.read_append_filter(archive, filter_number) == _WARN:
            raise ContainerError(Reason.METHOD)

    def _next(self, archive: int, entry: int) -> bool:
        """Go to the next member; return False at the end. Encrypted headers are a ContainerError, other
        faults an ArchiveError."""
        try:
            result: int = self._ffi.read_next_header2(archive, entry)
        except self._error:
            if self._ffi.read_has_encrypted_entries(archive) == 1:
                raise ContainerError(Reason.ENCRYPTED) from None
            raise
        return result != _EOF

    def _member(self, archive: int, entry: int, kind: str) -> ArchiveMember:
        name = self._ffi.entry_pathname(entry)
        if name is None:
            # In characters that the locale does not have.
            name = (self._ffi.entry_pathname_w(entry) or "").encode("utf-8", "surrogatepass")
        mode = self._ffi.entry_filetype(entry) & _TYPE_MASK
        regular = mode in {0, _REGULAR} and self._ffi.entry_hardlink(entry) is None
        # The library refuses to read folders in RAR; no program unpacks bytes from them.
        pieces = iter(()) if kind == "RAR" and mode == _FOLDER else self._pieces(archive, entry)
        return ArchiveMember(name, regular, pieces)

    def _pieces(self, archive: int, entry: int) -> Iterator[bytes]:
        if self._ffi.entry_is_encrypted(entry):
            raise MemberError(Reason.ENCRYPTED)
        block, length, offset = self._found
        end, result = 0, _OK
        while result == _OK:
            block.value, length.value = None, 0
            result = self._read_data(archive, *self._found_at)
            if not length.value or result not in _WITH_DATA:
                continue
            if offset.value < end:
                raise ContainerError(Reason.CONTAINER_BROKEN)
            while end < offset.value:
                # A hole.
                yield bytes(min(PIECE_SIZE, offset.value - end))
                end += min(PIECE_SIZE, offset.value - end)
            end += length.value
            yield ctypes.string_at(block, length.value)
        if result == _WARN:
            # The bytes have a wrong checksum, for example.
            raise MemberError(Reason.CONTAINER_BROKEN)
        if result != _EOF:
            reason = _reason(self._ffi.archive_error(archive, result))
            raise MemberError(reason) if result == _FAILED else ContainerError(reason)


def _reason(error: Exception) -> Reason:
    """Return the reason for an error of the library, whose numbers say little."""
    text = str(error).lower()
    if "encrypt" in text or "passphrase" in text:
        return Reason.ENCRYPTED
    if any(word in text for word in ("unsupported", "not supported", "unavailable", "unknown codec")):
        return Reason.METHOD
    return Reason.CONTAINER_BROKEN


_EMPTY_MAX = 512
"""Length in bytes of an empty file, at most; a header may hold a name."""
_EMPTY = {"ZIP": b"PK\5\6" + bytes(18), "ar": b"!<arch>\n"}
_7Z_SIZE, _7Z_NUMBERS = 32, 12

_UNPACKERS: dict[str, Callable[[], Any]] = {
    "gzip": lambda: zlib.decompressobj(zlib.MAX_WBITS + 16),
    "bzip2": bz2.BZ2Decompressor,
    "xz": lzma.LZMADecompressor,
}


def is_empty(file: PreadFile, kind: str) -> bool:
    """Return True if an archive has no members, or a compressed file no content, and nothing else; the
    library does not tell them from broken ones."""
    if file.size > _EMPTY_MAX:
        return False
    file.seek(0)
    content = file.read()
    if kind in _EMPTY:
        return content == _EMPTY[kind]
    if kind == "7z":
        return len(content) == _7Z_SIZE and not any(content[_7Z_NUMBERS:])
    if kind not in _UNPACKERS:
        return False
    unpacker = _UNPACKERS[kind]()
    try:
        return not unpacker.decompress(content, 1) and unpacker.eof and not unpacker.unused_data
    except (OSError, zlib.error, lzma.LZMAError):
        return False


def is_other_stream(start: bytes, kind: str) -> bool:
    """Return True if bytes behind a compressed stream (without zeros before them, which may fill the last
    block of a tape) begin a stream of another form than `kind`, whose program may go on with some other ones.
    Few programs unpack it."""
    found = container_of(start) if start else None
    return start.startswith(_OTHER_STREAMS.get(kind, ())) or (found is not None and found.name in COMPRESSED)


def installed_version() -> str:
    """Return the name and version of the library; empty if it can't be loaded."""
    try:
        return f"libarchive {ArchiveLibrary().version}"
    except (ImportError, OSError, MemoryError):
        return ""
