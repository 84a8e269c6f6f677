"""Find the inode flags (immutable, append-only) that keep even root from moving a file."""

from __future__ import annotations

import fcntl
import os
import shlex
import struct
from contextlib import suppress

from hashscan.sources.beneath import reopen_for_reading

_GETFLAGS = 0x80086601 if struct.calcsize("l") == 8 else 0x80046601
_FLAGS = {0x10: ("immutable", "i"), 0x20: ("append-only", "a")}  # linux/fs.h


def immutable_reason(file: int, path: bytes, folder: int, folder_path: bytes) -> str:
    """Return why a file can't be taken out of its folder, with the remedy; empty if no flag forbids it.

    Args:
        file: descriptor of the file, open for reading.
        path: path of the file, for the message.
        folder: descriptor of its folder, which may be opened with `O_PATH` only.
        folder_path: path of the folder, for the message.
    """
    if words := _flag_message("it", file, path):
        return words
    # If the folder can't be opened for reading, its flags can't be read; the move then reports the system's
    # error.
    with suppress(OSError):
        again = reopen_for_reading(folder)
        try:
            return _flag_message("its folder", again, folder_path)
        finally:
            os.close(again)
    return ""


def _flag_message(what: str, descriptor: int, path: bytes) -> str:
    answer = bytearray(struct.calcsize("l"))
    try:
        fcntl.ioctl(descriptor, _GETFLAGS, answer)
    except OSError:  # a filesystem without such flags
        return ""
    (flags,) = struct.unpack_from("i", answer)
    for flag, (word, letter) in _FLAGS.items():
        if flags & flag:
            return f"{what} is {word}: say `chattr -{letter} -- {shlex.quote(os.fsdecode(path))}` first"
    return ""
