"""Ledgers with cases and scans as tests want them."""

from __future__ import annotations

import json
from typing import Any

from hashscan.cases.deadlines import DeadlineCalculator
from hashscan.cases.ledger import Ledger
from hashscan.settings.cases_and_alerts import CaseSettings

DAY = 86_400
DEADLINES = DeadlineCalculator(CaseSettings())


def add_case(ledger: Ledger, path: str, found: int, **values: Any) -> int:
    """A match of category A1, unless `values` say otherwise."""
    columns = {
        "path": path.encode(), "verdict": "match", "categories": "A1", "found": found, "seen": found,
        **values,
    }  # fmt: skip
    names, marks = ", ".join(columns), ", ".join("?" * len(columns))
    with ledger.transaction() as database:
        number = database.execute(
            f"INSERT INTO cases ({names}) VALUES ({marks})", tuple(columns.values())
        ).lastrowid
        assert number is not None
        database.execute("INSERT INTO matches VALUES (?, 'ours', 'n-1', 'sha256', '', 'A1', 0)", (number,))
    return number


def change_case(ledger: Ledger, number: int, **values: Any) -> None:
    names = ", ".join(f"{name} = ?" for name in values)
    with ledger.transaction() as database:
        database.execute(f"UPDATE cases SET {names} WHERE id = ?", (*values.values(), number))


def add_event(ledger: Ledger, number: int, at: int, kind: str) -> None:
    with ledger.transaction() as database:
        database.execute("INSERT INTO events (id, at, kind) VALUES (?, ?, ?)", (number, at, kind))


def add_scan(ledger: Ledger, uuid: str, started: int, **values: Any) -> None:
    """One that went well and has found nothing, unless `values` say otherwise."""
    incomplete = values.pop("incomplete", ())
    columns = {
        "uuid": uuid, "known": 0, "shard": "", "started": started, "ended": started + 60, "exit_code": 0,
        "whole": int(not incomplete), "files": 100, "bytes": 5000, "verdicts": '{"clean": 100}',
        "lists": "[]", "targets": "[]", "incomplete": json.dumps(incomplete), **values,
    }  # fmt: skip
    names, marks = ", ".join(columns), ", ".join("?" * len(columns))
    with ledger.transaction() as database:
        database.execute(f"INSERT INTO scans ({names}) VALUES ({marks})", tuple(columns.values()))
