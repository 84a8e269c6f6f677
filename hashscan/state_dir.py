"""The state folder: the paths of everything that hashscan keeps on this machine."""

from __future__ import annotations

import os
from pathlib import Path


class StateDir:
    """The folder with everything that hashscan keeps on a machine; only this class knows its layout.

    The folder need not exist. `os` and text take the object for a path.
    """

    __slots__ = ("path",)

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

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

    @property
    def lists(self) -> Path:
        """The folder of the hash lists."""
        return self.path / "lists"

    @property
    def exceptions(self) -> Path:
        """The folder of the excepted entries."""
        return self.path / "exceptions"

    @property
    def scans(self) -> Path:
        """The folder of the database and the columns in which scans store results."""
        return self.path / "sweep"

    @property
    def reports(self) -> Path:
        """The folder of the reports for which no other file was named."""
        return self.path / "reports"

    @property
    def ledger(self) -> Path:
        """The database of cases."""
        return self.path / "ledger.sqlite"

    @property
    def quarantine(self) -> Path:
        """The folder of the quarantine's log and of what is kept on this filesystem."""
        return self.path / "quarantine"

    @property
    def quarantine_head(self) -> Path:
        """The checkpoint of the quarantine's log."""
        return self.path / "quarantine-head"

    @property
    def scan_lock(self) -> Path:
        """The file that a running scan locks."""
        return self.path / "scan.lock"

    @property
    def delivery_lock(self) -> Path:
        """The file that a process locks while it delivers alerts."""
        return self.path / "alerts.lock"
