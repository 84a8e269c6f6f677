"""What is taken from the machine where nobody says."""

from __future__ import annotations

import grp
import os
from pathlib import Path

SERVICE_GROUP = "hashscan"
"""Of the user as whom units run; see examples/systemd."""


def service_group() -> int | None:
    """Return the gid of the group as which units run; None where there is none."""
    try:
        return grp.getgrnam(SERVICE_GROUP).gr_gid
    except KeyError:
        return None


def default_state() -> Path:
    """The state folder where none is named: the system's for root, else the user's own (XDG)."""
    if os.geteuid() == 0:
        return Path("/var/lib/hashscan")
    base = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return Path(base) / "hashscan"


def default_workers() -> int:
    """As many workers as this process may use processors."""
    return len(os.sched_getaffinity(0))
