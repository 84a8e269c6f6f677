"""What is taken from the machine where nobody says."""

from __future__ import annotations

import os
from pathlib import Path


def default_state() -> Path:
    """The state folder where none is named: the system's for root, else the user's own (XDG)."""
    if os.geteuid() == 0:
        return Path("/var/lib/hashscan")
    base = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return Path(base) / "hashscan"


def default_workers() -> int:
    """As many workers as this process may use processors."""
    return len(os.sched_getaffinity(0))
