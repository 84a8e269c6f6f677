"""Swaps folders and files of one tree as fast as it can, until it is killed."""

from __future__ import annotations

import ctypes
import os
import random
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

EXCHANGE = 2  # linux/fs.h
libc = ctypes.CDLL(None, use_errno=True)


def exchange(one: Path, other: Path) -> None:
    libc.renameat2(-100, os.fsencode(one), -100, os.fsencode(other), EXCHANGE)


def main(tree: Path, outside: Path, *names: str) -> None:
    chance = random.Random(1)
    (tree / "link").symlink_to(outside)
    (tree / "folder").mkdir()

    def linked(name: str) -> None:
        (tree / "hard").unlink(missing_ok=True)
        (tree / "hard").hardlink_to(outside / name)
        exchange(tree / "d" / name, tree / "hard")

    def soft(name: str) -> None:
        (tree / "soft").unlink(missing_ok=True)
        (tree / "soft").symlink_to(outside / name)
        exchange(tree / "d" / name, tree / "soft")

    def swapped(name: str) -> None:
        exchange(tree / "d", tree / "link")
        exchange(tree / "d", tree / "link")

    def moved(name: str) -> None:
        (tree / "d" / name).rename(tree / "aside")
        (tree / "aside").rename(tree / "d" / name)

    def filled(name: str) -> None:
        exchange(tree / "d" / name, tree / "folder")

    tricks: list[Callable[[str], None]] = [linked, soft, swapped, moved, filled]
    if names:
        tricks = [trick for trick in tricks if trick.__name__ in names]
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while True:
        with suppress(OSError):
            chance.choice(tricks)(str(chance.randrange(8)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
