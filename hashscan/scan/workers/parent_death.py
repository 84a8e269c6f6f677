"""Has a process killed when its parent is gone."""

from __future__ import annotations

import os
import signal

from hashscan.sandbox.libc import prctl

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Be killed as soon as the parent's thread that made this process ends, even while stopped."""
    parent = os.getppid()
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
