"""What is swept as one: targets, each with the shard and with what is left out, in turns.

A turn ends with a sweep that reaches its end. What an interrupted one has checked stands; the next sweep goes
on with the same turn, and takes what was checked in it last.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from hashscan.scan.state.folder_rows import FolderRows

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Scopes:
    """Those of one sweep."""

    def __init__(
        self,
        targets: Sequence[bytes],
        shard: str,
        options: Mapping[str, Any],
        *,
        lone: Collection[bytes] = (),
        named: bool = False,
    ) -> None:
        """Describe a sweep.

        Args:
            targets: paths of folders.
            shard: '' or INDEX/COUNT.
            options: what is left out.
            lone: folders of which only a single file is a target.
            named: whether only files are looked at that somebody has named.
        """
        self.shard = shard
        self._lone = frozenset(lone)
        self._named = named
        self.rebooted = False
        """Whether the machine has started anew since the state was last used."""
        # The longest first, so that what lies beneath two is the inner one's.
        self._targets = sorted(set(targets) - self._lone, key=len, reverse=True)
        self._options = json.dumps(options, sort_keys=True)
        self._numbers: dict[bytes, tuple[int, int]] = {}
        self._goes_on: set[bytes] = set()
        self._sweep = 0
        self._database: sqlite3.Connection | None = None

    def begin(self, database: sqlite3.Connection) -> None:
        """Open a sweep in the database."""
        self._database = database
        started = int(time.time())
        cursor = database.execute("INSERT INTO sweeps (started) VALUES (?)", (started,))
        assert cursor.lastrowid is not None
        self._sweep = cursor.lastrowid
        for target in self._targets:
            key = target, self.shard, self._options
            found = database.execute(
                "SELECT id, turn, sweep FROM scopes WHERE target=? AND shard=? AND options=?", key
            ).fetchone()
            if found is None:
                cursor = database.execute(
                    "INSERT INTO scopes (target, shard, options, turn, sweep) VALUES (?, ?, ?, 1, 0)", key
                )
                assert cursor.lastrowid is not None
                number, turn = cursor.lastrowid, 1
            else:
                number, turn, ended = found
                if ended:
                    turn += 1
                    database.execute("UPDATE scopes SET turn=?, sweep=0 WHERE id=?", (turn, number))
                else:
                    self._goes_on.add(target)
            self._numbers[target] = number, turn
        boot = _BOOT_ID.read_text(encoding="ascii") if _BOOT_ID.exists() else ""
        before = database.execute("SELECT value FROM meta WHERE key='boot'").fetchone()
        self.rebooted = before is not None and before[0] != boot
        database.execute("INSERT OR REPLACE INTO meta VALUES ('boot', ?)", (boot,))

    def _target(self, path: bytes) -> bytes | None:
        for target in self._targets:
            if path == target or path.startswith(target if target.endswith(b"/") else target + b"/"):
                return target
        return None

    def only_some_of(self, path: bytes) -> bool:
        """Whether some files of a folder are not looked at, so that nothing can be said of them."""
        return self._named or path in self._lone

    def mark(self, path: bytes) -> tuple[int, int, int]:
        """Scope, sweep and turn in which a folder is checked now."""
        target = self._target(path)
        number, turn = (0, 0) if target is None else self._numbers[target]
        return number, self._sweep, turn

    def checked(self, before: tuple[int, int] | None, path: bytes) -> bool:
        """Whether a folder was checked in a turn that goes on.

        Args:
            before: scope and turn in which it was checked last.
            path: of the folder.
        """
        target = self._target(path)
        return target in self._goes_on and target is not None and before == self._numbers[target]

    def finish(self, rows: FolderRows, *, complete: bool) -> None:
        """End the sweep, and forget what is gone."""
        assert self._database is not None
        self._database.execute("UPDATE sweeps SET ended=? WHERE id=?", (int(time.time()), self._sweep))
        if not complete or self._named:
            return
        for number, _ in self._numbers.values():
            rows.forget(number, self._sweep)
            self._database.execute("UPDATE scopes SET sweep=? WHERE id=?", (self._sweep, number))
