"""Tells the flags by which a file system keeps even root from moving a file."""

from __future__ import annotations

import fcntl
import os
import shlex
import struct
from contextlib import suppress

from hashscan.sources.beneath import open_again

_GETFLAGS = 0x80086601 if struct.calcsize("l") == 8 else 0x80046601
_FLAGS = {0x10: ("immutable", "i"), 0x20: ("append-only", "a")}  # linux/fs.h


def why_fixed(file: int, path: bytes, folder: int, folder_path: bytes) -> str:
    """Why a file can't be taken out of its folder, with the remedy; empty where no flag forbids it.

    Args:
        file: descriptor, open for reading.
        path: of the file, for words.
        folder: descriptor of its folder, which may only pass through.
        folder_path: for words.
    """
    if words := _words("it", file, path):
        return words
    # Whoever may only pass through the folder can't ask, and will see what the system says.
    with suppress(OSError):
        again = open_again(folder)
        try:
            return _words("its folder", again, folder_path)
        finally:
            os.close(again)
    return ""


def _words(what: str, descriptor: int, path: bytes) -> str:
    answer = bytearray(struct.calcsize("l"))
    try:
        fcntl.ioctl(descriptor, _GETFLAGS, answer)
    except OSError:  # a file system without such flags
        return ""
    (flags,) = struct.unpack_from("i", answer)
    for flag, (word, letter) in _FLAGS.items():
        if flags & flag:
            return f"{what} is {word}: say `chattr -{letter} -- {shlex.quote(os.fsdecode(path))}` first"
    return ""
