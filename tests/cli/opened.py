"""Counts how often files beneath a folder are opened, as the kernel tells it (inotify(7))."""

from __future__ import annotations

import ctypes
import os
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_OPEN, _ONLY_FOLDERS, _OF_A_FOLDER, _TOO_MANY = 0x20, 0x01000000, 0x40000000, 0x4000
_EVENT = struct.Struct("iIII")
_BUFFER = 1 << 20
_libc = ctypes.CDLL(None, use_errno=True)


class Opened:
    """The files opened since the last call.

    The kernel keeps 16,384 events; a thread takes them out, so that any number of files can be counted.
    """

    def __init__(self, top: Path) -> None:
        """Watch all folders that there are now."""
        self._inotify = _libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        assert self._inotify >= 0, os.strerror(ctypes.get_errno())
        self._folders: dict[int, bytes] = {}
        self._counts: Counter[str] = Counter()
        self._missed = False
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self.watch(top)
        self._thread = threading.Thread(target=self._drain, daemon=True)
        self._thread.start()

    def watch(self, top: Path) -> None:
        """Watch folders that are new."""
        with self._lock:
            for folder, _, _ in os.walk(os.fsencode(top)):
                number = _libc.inotify_add_watch(self._inotify, folder, _OPEN | _ONLY_FOLDERS)
                assert number >= 0, os.strerror(ctypes.get_errno())
                self._folders[number] = folder

    def look(self) -> Counter[str]:
        """Return the number of times that each file was opened so far, by its path."""
        with self._lock:
            self._take_out()
            assert not self._missed, "the kernel had more to tell than it keeps"
            return self._counts.copy()

    def take(self) -> Counter[str]:
        """Return these numbers, and count from 0 again."""
        found = self.look()
        with self._lock:
            self._counts -= found
        return found

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        os.close(self._inotify)

    def _drain(self) -> None:
        while not self._ended.wait(0.02):
            with self._lock:
                self._take_out()

    def _take_out(self) -> None:
        while True:
            try:
                data = os.read(self._inotify, _BUFFER)
            except BlockingIOError:
                return
            at = 0
            while at < len(data):
                number, mask, _, length = _EVENT.unpack_from(data, at)
                name = data[at + _EVENT.size : at + _EVENT.size + length].rstrip(b"\0")
                at += _EVENT.size + length
                self._missed |= bool(mask & _TOO_MANY)
                if name and mask & _OPEN and not mask & _OF_A_FOLDER:
                    self._counts[os.fsdecode(self._folders[number] + b"/" + name)] += 1


@contextmanager
def opened(top: Path) -> Iterator[Opened]:
    """Count for a while."""
    counter = Opened(top)
    try:
        yield counter
    finally:
        counter.close()
