"""Where the bytes of one object gather while they arrive: in memory, or in a file without a name."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Callable
from functools import lru_cache

from hashscan.errors import OutputError
from hashscan.sources.objects.store import Chunk

_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


class Spool:
    """Takes bytes; then gives a descriptor from which they can be read but not changed.

    The descriptor goes to a decoder, which strangers' bytes may take over: it must not be able to change what
    others read through it.
    """

    def __init__(self, *, in_memory: bool, may_grow: Callable[[int], bool]) -> None:
        """Start empty.

        Args:
            in_memory: whether to begin in memory.
            may_grow: asked before more bytes are kept in memory than before, with how many in all; where it
                says no, everything goes to a file.

        Raises:
            OutputError: a temporary file can't be made.
        """
        self._may_grow = may_grow
        self.size = 0
        self._reading = self._writing = -1
        self.in_memory = in_memory and self._start_memory()
        if not self.in_memory:
            self._start_file()

    def write(self, chunk: Chunk) -> None:
        """Add bytes at the end.

        Raises:
            OutputError: the temporary file can't be written.
        """
        if self.in_memory and not self._may_grow(self.size + len(chunk)):
            self._move_to_file()
        try:
            self._append(chunk)
        except OSError as error:
            if not self.in_memory:
                raise _trouble(error) from error
            # The system has no more memory for us.
            self._move_to_file()
            try:
                self._append(chunk)
            except OSError as again:
                raise _trouble(again) from again
        self.size += len(chunk)

    def restart(self) -> None:
        """Forget what was written."""
        os.ftruncate(self._writing, 0)
        self.size = 0

    def finish(self) -> int:
        """End writing.

        Returns:
            The descriptor, which is the caller's from now on; its offset is 0.
        """
        if self.in_memory:
            fcntl.fcntl(self._writing, fcntl.F_ADD_SEALS, _SEALS)
            descriptor, self._writing = self._writing, -1
        else:
            descriptor, self._reading = self._reading, -1
        self.close()
        return descriptor

    def close(self) -> None:
        """Let go of what was not handed over."""
        for descriptor in {self._reading, self._writing} - {-1}:
            os.close(descriptor)
        self._reading = self._writing = -1

    def _append(self, chunk: Chunk) -> None:
        rest = memoryview(chunk)
        offset = self.size
        while rest:
            written = os.pwrite(self._writing, rest, offset)
            rest = rest[written:]
            offset += written

    def _start_memory(self) -> bool:
        try:
            self._writing = os.memfd_create("hashscan-object", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        except OSError:
            return False
        return True

    def _start_file(self) -> None:
        try:
            self._writing, path = tempfile.mkstemp(prefix="hashscan-", dir=temporary_folder())
            try:
                self._reading = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            finally:
                os.unlink(path)
        except OSError as error:
            self.close()
            raise _trouble(error) from error

    def _move_to_file(self) -> None:
        memory = self._writing
        try:
            self._start_file()
            offset = 0
            while offset < self.size:
                try:
                    count = os.sendfile(self._writing, memory, offset, self.size - offset)
                except OSError as error:
                    raise _trouble(error) from error
                offset += count
            self.in_memory = False
        finally:
            os.close(memory)


@lru_cache(maxsize=1)
def temporary_folder() -> str:
    """Where large objects go: TMPDIR, or /var/tmp, since /tmp may itself be memory."""
    named = os.environ.get("TMPDIR")
    if not named and os.access("/var/tmp", os.W_OK | os.X_OK):  # noqa: S108 - files in it have no name
        return "/var/tmp"  # noqa: S108
    return tempfile.gettempdir()


def _trouble(error: OSError) -> OutputError:
    return OutputError(
        f"a temporary file in {temporary_folder()} for an object too large for memory failed: "
        f"{error.strerror or error}",
        advice="Free some space there, or name another folder in TMPDIR.",
    )
