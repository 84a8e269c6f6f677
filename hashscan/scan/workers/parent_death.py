"""Have the kernel kill a process when its parent has died."""

from __future__ import annotations

import os
import signal

from hashscan.sandbox.libc import prctl

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Ask the kernel to kill this process, even if stopped, when the parent's thread that forked it ends."""
    parent = os.getppid()
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
