"""A customer who meddles with its own files while they are scanned and moved, until it is killed.

Each kind of attack has a folder of its own, with the files that it is given there.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.cli.published import BAD
from tests.quarantine.racing import exchange

USER = 65534
MOST = 0.3
"""Seconds between two changes: without any, a scan finds each file changed while it reads."""

_libc = ctypes.CDLL(None, use_errno=True)


def pause() -> None:
    """Wait, mostly for a short time."""
    time.sleep(random.random() ** 3 * MOST)


def still(path: Path) -> None:
    """Leave it alone."""


def chmod(path: Path) -> None:
    path.chmod(random.choice((0o600, 0o644, 0o777, 0o000)))


def touch(path: Path) -> None:
    os.utime(path, (random.randrange(10**9), random.randrange(10**9)))


def link(path: Path) -> None:
    other = path.with_name(path.name + ".link")
    other.unlink(missing_ok=True)
    other.hardlink_to(path)
    other.unlink()


def attribute(path: Path) -> None:
    name = f"user.{random.randrange(9)}"
    with suppress(OSError):
        os.setxattr(path, name, b"x" * random.randrange(300))
    with suppress(OSError):
        os.removexattr(path, f"user.{random.randrange(9)}")


def rename(path: Path) -> None:
    path.rename(path.with_name(path.name + ".aside"))
    pause()
    path.with_name(path.name + ".aside").rename(path)


def elsewhere(path: Path) -> None:
    aside = path.parent / "deeper" / path.name
    aside.parent.mkdir(exist_ok=True)
    path.rename(aside)
    pause()
    aside.rename(path)


def folder(path: Path) -> None:
    aside = path.parent.with_name("folder.aside")
    path.parent.rename(aside)
    pause()
    aside.rename(path.parent)


def linked(path: Path) -> None:
    """Exchange the folder with a link to one that is not the customer's."""
    soft = path.parents[1] / "soft"
    with suppress(FileExistsError):
        soft.symlink_to(path.parents[2] / "outside")
    exchange(path.parent, soft)
    pause()
    exchange(path.parent, soft)


def rewrite(path: Path) -> None:
    path.write_bytes(b"innocent")
    path.write_bytes(BAD)


def replace(path: Path) -> None:
    other = path.with_name(path.name + ".other")
    other.write_bytes(BAD)
    other.replace(path)


_held: list[object] = []


def mapped(path: Path) -> None:
    if len(_held) < 100:
        descriptor = os.open(path, os.O_RDWR)
        _held.append(mmap.mmap(descriptor, 0))
        os.close(descriptor)


_leased: set[Path] = set()


def lease(path: Path) -> None:
    """Hold a lease until the kernel breaks it."""
    if path not in _leased:
        descriptor = os.open(path, os.O_RDWR)
        _held.append(descriptor)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        _leased.add(path)


KINDS: dict[str, Callable[[Path], None]] = {
    "still": still,
    ".hashscan-quarantine": still,
    "chmod": chmod,
    "touch": touch,
    "link": link,
    "attribute": attribute,
    "rename": rename,
    "elsewhere": elsewhere,
    "folder": folder,
    "linked": linked,
    "rewrite": rewrite,
    "replace": replace,
    "mapped": mapped,
    "lease": lease,
}


def attack(folder: Path, do: Callable[[Path], None]) -> None:
    """Repeat one change of the files of a folder."""
    while True:
        with suppress(OSError):
            for name in os.listdir(folder):
                if "." not in name and name != "deeper":
                    with suppress(OSError):
                        do(folder / name)
        pause()


def main(tree: Path, *kinds: str) -> None:
    signal.signal(signal.SIGIO, signal.SIG_IGN)
    os.setgroups([])
    os.setgid(USER)
    os.setuid(USER)
    for kind in kinds:
        threading.Thread(target=attack, args=(tree / kind, KINDS[kind]), daemon=True).start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    signal.pause()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
