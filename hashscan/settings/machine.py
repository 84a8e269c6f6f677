"""Defaults that depend on the machine: state folder, number of workers, service group."""

from __future__ import annotations

import grp
import os
from pathlib import Path

SERVICE_GROUP = "hashscan"
"""The group of the user that runs the systemd units; see examples/systemd."""


def service_group() -> int | None:
    """Return the gid of the group that runs the systemd units; None if there is none."""
    try:
        return grp.getgrnam(SERVICE_GROUP).gr_gid
    except KeyError:
        return None


def default_state() -> Path:
    """Return the default state folder: the system's for root, else the user's own (XDG)."""
    if os.geteuid() == 0:
        return Path("/var/lib/hashscan")
    base = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return Path(base) / "hashscan"


def default_workers() -> int:
    """Return the default number of workers: the number of processors that this process may use."""
    return len(os.sched_getaffinity(0))
