"""A stack of the folders still to be walked, which moves entries to a temporary file when it grows long."""

from __future__ import annotations

import os
import struct
import tempfile
from types import TracebackType
from typing import IO, Self

from hashscan.errors import OutputError

_RECORD = struct.Struct("<IH")  # depth, length of the name


class PendingFolders:
    """A stack of folder names with the depth of their parents.

    The depth refers to the walk's current path, so an entry needs only the space of its own name. The newest
    entries are kept in memory. The older ones are in blocks of an anonymous temporary file, which is
    truncated as they are read back.
    """

    def __init__(self, limit: int) -> None:
        """Create an empty stack.

        Args:
            limit: maximum number of entries kept in memory; two or more.
        """
        if limit < 2:
            raise ValueError("the stack needs room for two entries")
        self._limit = limit
        self._recent: list[tuple[int, bytes]] = []
        self._blocks: list[int] = []
        self._end = 0
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def push(self, depth: int, name: bytes) -> None:
        """Push a folder.

        Raises:
            OutputError: the temporary file can't be written.
        """
        if len(self._recent) >= self._limit:
            self._spill()
        self._recent.append((depth, name))

    def pop(self) -> tuple[int, bytes] | None:
        """Pop the top folder: its parent's depth and its name; return None if the stack is empty.

        Raises:
            OutputError: the temporary file can't be read.
        """
        if not self._recent and self._blocks:
            self._fetch()
        return self._recent.pop() if self._recent else None

    def close(self) -> None:
        """Drop all entries and close the temporary file."""
        self._recent.clear()
        self._blocks.clear()
        if self._file is not None:
            self._file.close()
            self._file = None

    def _spill(self) -> None:
        # Keep half in memory, so that a walk around this limit doesn't write and read at every step.
        half = len(self._recent) // 2
        block = b"".join(_RECORD.pack(depth, len(name)) + name for depth, name in self._recent[:half])
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="hashscan-", buffering=0)  # noqa: SIM115
            written = 0
            while written < len(block):
                written += os.pwrite(self._file.fileno(), block[written:], self._end + written)
        except OSError as error:
            raise _output_error(error.strerror or str(error)) from error
        self._blocks.append(self._end)
        self._end += len(block)
        del self._recent[:half]

    def _fetch(self) -> None:
        assert self._file is not None  # there are blocks, so there is a file
        start = self._blocks.pop()
        block = b""
        try:
            while len(block) < self._end - start:
                more = os.pread(self._file.fileno(), self._end - start - len(block), start + len(block))
                if not more:
                    raise _output_error("it is shorter than was written")
                block += more
            os.ftruncate(self._file.fileno(), start)
        except OSError as error:
            raise _output_error(error.strerror or str(error)) from error
        self._end = start
        position = 0
        while position < len(block):
            depth, length = _RECORD.unpack_from(block, position)
            position += _RECORD.size
            self._recent.append((depth, block[position : position + length]))
            position += length


def _output_error(why: str) -> OutputError:
    return OutputError(
        f"the list of folders still to be walked, a temporary file in {tempfile.gettempdir()}, failed: {why}",
        advice="Free some space there, or name another folder in TMPDIR.",
    )
