"""Let tests and the commands that they fork wait for no disk.

Tests kill processes but can't cut the power, and what a killed process has written is there without a sync.
Commands that are started by `subprocess.Popen` sync as always.
"""

from __future__ import annotations

import os
import sqlite3
from typing import Any

from hashscan.quarantine import system
from hashscan.state.store.columns import AppendedColumn

SYNCED_CONNECT = sqlite3.connect
"""Opens a database that syncs."""


def sync_nothing() -> None:
    """Have this process, and those forked from it, sync no file, database or filesystem from now on."""
    os.fsync = system.sync_file_system = _check  # type: ignore[assignment]
    # Not `os.fdatasync`: with an interpreter without our C code, it also brings a file's ctime up to date.
    AppendedColumn.sync = AppendedColumn.flush  # type: ignore[method-assign]
    sqlite3.connect = _connect_unsynced  # type: ignore[assignment]


def _check(descriptor: int) -> None:
    os.fstat(descriptor)


def _connect_unsynced(*arguments: Any, **options: Any) -> sqlite3.Connection:
    return SYNCED_CONNECT(*arguments, **{"factory": _Unsynced} | options)


class _Unsynced(sqlite3.Connection):
    """A connection that syncs nothing, once it is said how much it should."""

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        asked = sql.startswith("PRAGMA synchronous =")
        return super().execute("PRAGMA synchronous = OFF" if asked else sql, *parameters)
