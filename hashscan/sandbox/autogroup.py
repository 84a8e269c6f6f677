"""Apply a decoder's niceness to its scheduling group, so that it counts between sessions.

With autogrouping, which most distributions switch on, the kernel distributes processor time between sessions,
and niceness decides only within each session. A decoder is a session of its own; however nice, it would get
as much as a whole web server.
"""

from __future__ import annotations

import os
import time

_GROUP = "/proc/self/autogroup"
_TRIES = 20
_PAUSE_SECONDS = 0.05
"""Pause between tries. Except for root, the kernel allows this only once in a tenth of a second on the whole
machine."""


def set_autogroup_niceness() -> None:
    """Set the niceness of this process's autogroup to that of the process, if it is above 0.

    If the kernel has no autogroups, or all tries fail because other processes do the same, nothing is done.
    """
    niceness = os.getpriority(os.PRIO_PROCESS, 0)
    if niceness <= 0:
        return
    for _ in range(_TRIES):
        try:
            group = os.open(_GROUP, os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(group, b"%d" % niceness)
            finally:
                os.close(group)
        except BlockingIOError:
            time.sleep(_PAUSE_SECONDS)
        except OSError:
            return
        else:
            return
