"""Findings put into a state as a scan would."""

from __future__ import annotations

import sqlite3


def put_finding(
    database: sqlite3.Connection,
    path: bytes,
    content: int | None,
    *,
    version: str = "",
    because: str = "so",
    first: int = 1,
    last: int = 2,
    gone: int | None = None,
) -> None:
    """Put in a match of scan 1."""
    database.execute(
        "INSERT INTO findings (path, version, content, verdict, because, first, last, scan, touched, gone) "
        "VALUES (?, ?, ?, 'match', ?, ?, ?, 1, 1, ?)",
        (path, version, content, because, first, last, gone),
    )
