"""Keep the content of refused uploads, encrypted to the operator's recipients (age); it is off by default.

The files lie in a folder of the state, one for each reference. The service can't decrypt them. Each is
written under another name, and renamed when it is whole and on disk.
"""

from __future__ import annotations

import hashlib
import io
import os
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from hashscan.atomic_files import sync_folder
from hashscan.errors import HashscanError, UsageError
from hashscan.quarantine.export import encrypt_to, recipient_keys
from hashscan.settings.service import ServeSettings

SUFFIX = ".age"
_PARTIAL = ".partial"


class NotKept(HashscanError):
    """The error that content can't be kept; the upload stays refused."""


class KeptContents:
    """The encrypted contents, and their bytes in all."""

    def __init__(self, settings: ServeSettings) -> None:
        """Read the recipients, and count what is kept."""
        assert settings.keep_refused is not None
        self._keys = recipient_keys(_recipients(settings.keep_refused))
        self._folder = settings.state.refused
        self._most = settings.keep_refused_bytes
        settings.state.make()
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self.bytes = 0
        for entry in os.scandir(self._folder):
            if entry.name.endswith(_PARTIAL):
                os.unlink(entry.path)
            else:
                self.bytes += entry.stat(follow_symlinks=False).st_size

    def keep(self, reference: str, descriptor: int, size: int, sha256: bytes) -> str:
        """Encrypt the content behind a descriptor, whose offset is not used, unless it is kept already;
        return the name of its file. NotKept: there is no room, or the content is no longer that which was
        checked."""
        path = self._folder / f"{reference}{SUFFIX}"
        if path.exists():
            return path.name
        if self.bytes + size > self._most:
            raise NotKept(f"{self.bytes} bytes are kept already", advice="Move files elsewhere.")
        partial = path.with_suffix(_PARTIAL)
        try:
            with open(
                os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "r+b"
            ) as output:
                clear = _Positioned(descriptor, size)
                encrypt_to(self._keys, cast("Any", io.BufferedReader(clear, 1 << 20)), output)
                if clear.digest.digest() != sha256:
                    raise NotKept("the content has changed since it was checked")
                output.flush()
                os.fsync(output.fileno())
                written = output.tell()
            partial.rename(path)
            sync_folder(self._folder)
        except BaseException:
            with suppress(FileNotFoundError):
                partial.unlink()
            raise
        self.bytes += written
        return path.name


class _Positioned(io.RawIOBase):
    """A descriptor's bytes, read by position and digested."""

    def __init__(self, descriptor: int, size: int) -> None:
        self._descriptor = descriptor
        self._left = size
        self._offset = 0
        self.digest = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")[: self._left]
        read = os.preadv(self._descriptor, [view], self._offset) if view else 0
        self.digest.update(view[:read])
        self._left -= read
        self._offset += read
        return read


def _recipients(path: Path) -> list[str]:
    """Return the recipients that a file names, one on each line; they are no secret."""
    try:
        lines = [line.strip() for line in path.read_text("utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"--keep-refused: {path} can't be read: {error}", advice="Name a text file."
        ) from error
    found = [line for line in lines if line and not line.startswith("#")]
    if not found:
        raise UsageError(f"--keep-refused: {path} names no recipient", advice="Write age1... on a line.")
    return found
