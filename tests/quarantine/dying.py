"""Repeats one operation of a quarantine, and dies before a later system call each time."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hashscan.quarantine import system
from hashscan.quarantine.folder import QuarantineFolders
from hashscan.quarantine.moving import move
from hashscan.quarantine.restoring import restore_all
from hashscan.quarantine.store import Quarantine
from hashscan.state_dir import StateDir
from tests.quarantine.rooms import NOTE, TERMS, Room, request

NAMES = ("a", "folder/b")

CALLS = [
    name for name, value in vars(system).items() if callable(value) and value.__module__ == system.__name__
]


def main(what: str, base: Path, files: Path, across: bool) -> None:
    if across:
        QuarantineFolders._at_mount_point = lambda self, mount: None  # type: ignore[method-assign]
    number = 0
    while True:
        room = Room(base / f"{number}", files / f"{number}")
        paths = [room.file(name) for name in NAMES]
        if what == "restore":
            room.take(*paths, note=NOTE)
        if child := os.fork():
            _, status = os.waitpid(child, 0)
            if os.WIFEXITED(status):
                sys.exit(os.WEXITSTATUS(status))
            number += 1
            continue
        code = 1
        try:
            die_at(number)
            with Quarantine(StateDir(room.state)) as quarantine:
                if what == "move":
                    list(move(quarantine, [request(path) for path in paths], TERMS, NOTE))
                else:
                    list(restore_all(quarantine, quarantine.items().values()))
            code = 0
        finally:
            os._exit(code)


def die_at(number: int) -> None:
    left = [number]

    def dying(call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*arguments: Any) -> Any:
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1
            return call(*arguments)

        return called

    for name in CALLS:
        setattr(system, name, dying(getattr(system, name)))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4] == "across")
