"""What a sweep puts down of itself, for whoever counts sweeps: with what it was begun, and how it ended."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

from hashscan.reports.record_lines import Record


def begin_account(database: sqlite3.Connection, sweep: int, begun: Record) -> None:
    """Put down with what a sweep is begun.

    Args:
        database: of the state.
        sweep: its number.
        begun: the first record of its report.
    """
    part = begun.get("shard")
    database.execute(
        "UPDATE sweeps SET uuid=?, known=?, shard=?, targets=?, lists=? WHERE id=?",
        (
            begun["uuid"],
            int(begun.get("known", False)),
            "" if part is None else f"{part['index']}/{part['count']}",
            json.dumps(begun["targets"]),
            json.dumps([{key: info.get(key) for key in _OF_LISTS} for info in begun["lists"]]),
            sweep,
        ),
    )


_OF_LISTS = ("name", "state", "version", "entries", "expires")


def conclude_account(
    database: sqlite3.Connection, sweep: int, summary: Record, exit_code: int, incomplete: Sequence[str]
) -> None:
    """Put down how a sweep has ended.

    Args:
        database: of the state.
        sweep: its number.
        summary: its counts, as they stand in its report.
        exit_code: of its command.
        incomplete: why it is incomplete, in words.
    """
    database.execute(
        "UPDATE sweeps SET exit_code=?, verdicts=?, incomplete=?, files=?, bytes=? WHERE id=?",
        (
            exit_code,
            json.dumps(summary["verdicts"]),
            json.dumps(list(incomplete)),
            summary["files"],
            summary["bytes"],
            sweep,
        ),
    )
