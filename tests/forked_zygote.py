"""Fork zygotes from a process that has loaded the decoder, as loading takes longer than most scans.

`preload` loads it; in its process, and those forked from it, `fork_zygotes` has the sandbox fork its zygotes
where it would start an interpreter, and `zygotes_forked` does both for a while. A forked zygote differs in
that the decoder was loaded before, and in the command line that other processes see.
"""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import SimpleNamespace
from typing import Any, NoReturn

from msgspec import json

from hashscan.hashing.media import decoder
from hashscan.model import ContainerKind, MemberLimits
from hashscan.registry import EXACT_HASHES, PICTURE_HASHES
from hashscan.sandbox import launch, zygote


@cache
def preload() -> None:
    """Import all that the decoder needs, also for containers of all kinds, and use it once."""
    exact = ",".join(row.target for row in EXACT_HASHES.rows.values())
    containers = json.encode(MemberLimits(tuple(ContainerKind))).decode()
    pictures = (row.target for row in PICTURE_HASHES.rows.values())
    decoder.load(*pictures, f"exact={exact}", f"containers={containers}")


def fork_zygotes() -> None:
    """Fork all zygotes of this process from now on."""
    launch.subprocess = SimpleNamespace(**vars(subprocess) | {"Popen": _Forked})  # type: ignore[assignment]


@contextmanager
def zygotes_forked() -> Iterator[None]:
    """Fork all zygotes of this process meanwhile."""
    before = launch.subprocess
    preload()
    fork_zygotes()
    try:
        yield
    finally:
        launch.subprocess = before


class _Forked(subprocess.Popen[bytes]):
    """The process of a zygote, forked from this one; it has only the descriptors that it is given."""

    def _execute_child(self, arguments: list[str], *more: Any) -> None:
        cwd, env = more[4:6]
        read, _, _, write, _, error = more[9:15]
        self.pid = os.fork()
        if self.pid == 0:
            _become(arguments[-2:], (read, write, error), cwd, env)
        self._child_created = True
        os.close(self._devnull)  # type: ignore[attr-defined]


def _become(arguments: list[str], streams: tuple[int, int, int], cwd: str, env: dict[str, str]) -> NoReturn:
    try:
        atexit._clear()
        signal.set_wakeup_fd(-1)
        for number in signal.valid_signals():
            if callable(signal.getsignal(number)):
                signal.signal(number, signal.SIG_DFL)
        os.setsid()
        os.chdir(cwd)
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        os.closerange(3, max(map(int, os.listdir("/proc/self/fd"))) + 1)
        os.environ.clear()
        os.environ.update(env)
        decoder._warm_up = lambda *_: None
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
        zygote.main(int(arguments[0]), arguments[1])
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(1)
