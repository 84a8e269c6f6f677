"""Reads a list of names, of any length, from a file or from whoever makes it as we go."""

from __future__ import annotations

import errno
import os
import select
import stat
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from hashscan.errors import OutputError, UsageError

LONGEST = 1 << 20
"""Bytes of one name at most; no file can be opened by a path nearly as long."""

PAUSE = b""
"""Stands among the names for a time in which none came, so that whoever waits for them gets a turn."""

STANDARD_INPUT = Path("-")

_PAUSE_MILLISECONDS = 200
_BLOCK = 1 << 16
_FLAGS = os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC


class NameList:
    """Names that are separated by NUL or by newlines.

    NUL separates them if there is one in the first MiB, which holds the whole first name; then names may hold
    newlines. Else newlines do. So a list is read that far before its first name is known, unless it begins
    with NUL. (A newline there decides nothing: a stranger's name may begin so.) What follows the last
    separator is a name, too. Empty names say nothing.
    """

    def __init__(self, path: Path) -> None:
        """Open a list.

        Args:
            path: of the list; `-` is standard input.

        Raises:
            UsageError: it can't be opened.
        """
        self.count = 0
        """Names read so far."""
        self._shown = "on standard input" if path == STANDARD_INPUT else str(path)
        try:
            # Standard input by a descriptor of its own, so that closing it leaves that alone.
            self._descriptor = os.dup(0) if path == STANDARD_INPUT else os.open(path, _FLAGS)
            if stat.S_ISDIR(os.fstat(self._descriptor).st_mode):
                self.close()
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        except OSError as error:
            raise UsageError(
                f"can't open the list of names {self._shown}: {error.strerror}",
                advice="Name a file that this user may read.",
            ) from error

    def names(self) -> Iterator[bytes]:
        """The names in their order, and `PAUSE` now and then while none comes.

        Raises:
            UsageError: a name is too long to be one.
            OutputError: the list can't be read to its end.
        """
        blocks = self._blocks()
        rest = bytearray()
        for block in blocks:
            rest += block
            if len(rest) >= LONGEST or rest[:1] == b"\0":
                break
            if not block:
                yield PAUSE
        separator = b"\0" if b"\0" in rest else b"\n"
        while True:
            *whole, last = rest.split(separator)
            for name in whole:
                if name:
                    yield self._counted(name)
            if len(last) > LONGEST:
                self._counted(last)
            rest = last
            more = next(blocks, None)
            if more is None:
                break
            if not more:
                yield PAUSE
            rest += more
        if rest:
            yield self._counted(rest)

    def _counted(self, name: bytearray) -> bytes:
        self.count += 1
        if len(name) > LONGEST:
            raise UsageError(
                f"name {self.count} of the list {self._shown} is longer than {LONGEST} bytes",
                advice="Give a list of paths or URLs, separated by newlines or NUL.",
            )
        return bytes(name)

    def _blocks(self) -> Iterator[bytes]:
        """What there is to read, in pieces; an empty one where nothing came for a while."""
        waiting = select.poll()
        waiting.register(self._descriptor, select.POLLIN)
        try:
            while True:
                if not waiting.poll(_PAUSE_MILLISECONDS):
                    yield b""
                    continue
                try:
                    block = os.read(self._descriptor, _BLOCK)
                except BlockingIOError:
                    # Somebody else who has the same pipe was faster.
                    continue
                if not block:
                    return
                yield block
        except OSError as error:
            raise OutputError(
                f"can't read the list of names {self._shown}: {error.strerror}",
                advice="Give the list again; nothing is known of the names that are missing.",
            ) from error

    def close(self) -> None:
        """Let it go."""
        os.close(self._descriptor)

    def __enter__(self) -> NameList:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
