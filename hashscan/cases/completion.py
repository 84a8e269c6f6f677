"""Find the open cases for the shell completion of case numbers."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from hashscan.cases.ledger import FILE

_MOST = 100
_PATIENCE = 0.2
"""Timeout in seconds; a user who presses a key does not wait longer."""


def waiting_cases(state: Path) -> list[tuple[int, str, str]]:
    """Return the oldest open cases.

    The ledger is not created, updated or waited for. If it can't be read, the result is empty.

    Returns:
        For each case its number, its customer and its categories.
    """
    address = f"file:{quote(os.fsencode(state / FILE))}?mode=ro"
    query = (
        "SELECT id, customer, categories FROM cases WHERE removed IS NULL AND closed IS NULL "
        "ORDER BY found, id LIMIT ?"
    )
    try:
        with closing(sqlite3.connect(address, timeout=_PATIENCE, uri=True)) as database:
            return [(int(n), str(who), str(what)) for n, who, what in database.execute(query, (_MOST,))]
    except sqlite3.Error:
        return []
