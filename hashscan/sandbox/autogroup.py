"""Makes niceness count between sessions.

With autogrouping, which most distributions switch on, the kernel shares processors out between sessions, and
niceness decides only within each. A decoder is a session of its own; however nice, it would get as much as a
whole web server.
"""

from __future__ import annotations

import os
import time

_GROUP = "/proc/self/autogroup"
_TRIES = 20
_PAUSE_SECONDS = 0.05
"""Unless for root, the kernel lets only one process of the whole machine do this in a tenth of a second."""


def carry_niceness() -> None:
    """Give the group that this process's session is its niceness, where that is above 0.

    Where the kernel has no such groups, or too many want the same, nothing is done.
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
