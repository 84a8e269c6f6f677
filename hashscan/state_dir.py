"""The state folder: the paths of everything that hashscan keeps on this machine."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

SYSTEM_STATE = Path("/var/lib/hashscan")
"""The state folder of root and of the service user."""
SERVICE_USER = "hashscan"
"""The user of the systemd units and of the packages, who scans with the right to read all files."""


class StateDir:
    """The folder with everything that hashscan keeps on a machine; only this class knows its layout.

    The folder need not exist. `os` and text take the object for a path.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.lists = self.path / "lists"
        """The folder of the hash lists."""
        self.exceptions = self.path / "exceptions"
        """The folder of the excepted entries."""
        self.feedback = self.path / "feedback"
        """The folder of feedback that waits to be sent to the lists' owners."""
        self.care = self.path / "care"
        """The folder of the key that signs proofs of care."""
        self.stay_down = self.path / "stay-down"
        """The folder of the records of contents that stay down."""
        self.scans = self.path / "scans"
        """The folder of the database and the columns in which scans store results."""
        self.reports = self.path / "reports"
        """The folder of the reports for which no other file was named."""
        self.to_push = self.path / "to-push"
        """The folder of the reports that a hub has not received yet."""
        self.ledger = self.path / "ledger.sqlite"
        """The database of cases."""
        self.hub = self.path / "hub.sqlite"
        """The database of a hub, unless that is PostgreSQL."""
        self.uploads = self.path / "uploads"
        """The folder of the journals in which `hashscan serve` records refused uploads and counts."""
        self.form = self.path / "form"
        """The folder of the public form's notices that the ledger has not taken yet."""
        self.refused = self.path / "refused"
        """The folder of the encrypted contents of refused uploads."""
        self.quarantine = self.path / "quarantine"
        """The folder of the quarantine's log and of what is kept on this filesystem."""
        self.quarantine_head = self.path / "quarantine-head"
        """The checkpoint of the quarantine's log."""
        self.quarantine_states = self.path / "quarantine-states"
        """The file with the state folders of other quarantines whose logs say what was restored."""
        self.scan_lock = self.path / "scan.lock"
        """The file that a running scan locks."""
        self.delivery_lock = self.path / "alerts.lock"
        """The file that a process locks while it delivers alerts."""

    def __fspath__(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        return f"StateDir({str(self.path)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StateDir) and self.path == other.path

    def __hash__(self) -> int:
        return hash(self.path)

    def make(self) -> None:
        """Create the folder, for its owner alone, unless it exists.

        Raises:
            OSError: it can't be created.
        """
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)


def service_uid() -> int | None:
    """Return the uid of the service user; None if there is no such user."""
    try:
        return pwd.getpwnam(SERVICE_USER).pw_uid
    except KeyError:
        return None


def default_state() -> StateDir:
    """Return the default state folder: the system's for root and the service user, else a user's own."""
    if os.geteuid() in (0, service_uid()):
        return StateDir(SYSTEM_STATE)
    base = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return StateDir(Path(base) / "hashscan")
