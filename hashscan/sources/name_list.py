"""Read a list of file names, of any length, from a file or from a process that is still writing it."""

from __future__ import annotations

import errno
import os
import select
import stat
from collections.abc import Iterator
from pathlib import Path

from hashscan.errors import OutputError, UsageError
from hashscan.locking import ClosedOnExit

LONGEST = 1 << 20
"""Maximum length of one name in bytes; no file can be opened by a path nearly as long."""

NO_NAME_YET = b""
"""A marker between the names, yielded when no name has arrived for a while, so that the consumer can do other
work."""

STANDARD_INPUT = Path("-")

_PAUSE_MILLISECONDS = 200
_BLOCK = 1 << 16
_FLAGS = os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC


class NameList(ClosedOnExit):
    """A reader of names that are separated by NUL or by newlines.

    NUL is the separator if one occurs in the first MiB, which contains the whole first name; then names may
    contain newlines. Otherwise newline is the separator. So a list is read that far before its first name is
    known, unless it begins with NUL. (A newline there decides nothing: a name made by an attacker may begin
    so.) The text after the last separator is a name, too. Empty names are ignored.
    """

    def __init__(self, path: Path) -> None:
        """Open a list.

        Args:
            path: of the list; `-` is standard input.

        Raises:
            UsageError: it can't be opened.
        """
        self.count = 0
        """Number of names read so far."""
        self._shown = "on standard input" if path == STANDARD_INPUT else str(path)
        try:
            # Use a copy of the descriptor of standard input, so that closing the copy leaves standard input
            # open.
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
        """Yield the names in order, and `NO_NAME_YET` from time to time while none arrives.

        Raises:
            UsageError: a name is longer than `LONGEST`.
            OutputError: the list can't be read to its end.
        """
        blocks = self._blocks()
        rest = bytearray()
        for block in blocks:
            rest += block
            if len(rest) >= LONGEST or rest[:1] == b"\0":
                break
            if not block:
                yield NO_NAME_YET
        separator = b"\0" if b"\0" in rest else b"\n"
        while True:
            *whole, rest = rest.split(separator)
            yield from (self._counted(name) for name in whole if name)
            if len(rest) > LONGEST:
                self._counted(rest)
            more = next(blocks, None)
            if more is None:
                break
            if not more:
                yield NO_NAME_YET
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
        """Yield the content of the list in blocks; an empty block if nothing has arrived for a while."""
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
                    # Another process that reads the same pipe was faster.
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
        """Close the list."""
        os.close(self._descriptor)
