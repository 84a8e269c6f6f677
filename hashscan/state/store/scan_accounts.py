"""Store how each scan began and ended, for programs that count scans."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

from hashscan.reports.record_lines import Record


def begin_account(database: sqlite3.Connection, scan: int, begun: Record) -> None:
    """Store how a scan began.

    Args:
        database: of the state.
        scan: number of the scan.
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
            scan,
        ),
    )


_OF_LISTS = ("name", "state", "version", "entries", "expires")


def conclude_account(
    database: sqlite3.Connection, scan: int, summary: Record, exit_code: int, incomplete: Sequence[str]
) -> None:
    """Store how a scan ended.

    Args:
        database: of the state.
        scan: number of the scan.
        summary: the counts of its report.
        exit_code: of its command.
        incomplete: reasons why it is incomplete, as text.
    """
    database.execute(
        "UPDATE sweeps SET exit_code=?, verdicts=?, incomplete=?, files=?, bytes=? WHERE id=?",
        (
            exit_code,
            json.dumps(summary["verdicts"]),
            json.dumps(list(incomplete)),
            summary["files"],
            summary["bytes"],
            scan,
        ),
    )
