"""Divide a scan into scopes: a target with its shard and its exclusions, checked in turns.

A turn ends with a scan that completes. Folders that an interrupted scan has checked stay checked. A scan that
had not reached all folders leaves the others to the next scan, which begins a turn with them. A scan that had
reached all folders, but had not read every file, is continued in the same turn, and folders that were checked
in it come last.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from hashscan.errors import OutputError
from hashscan.quarantine.items import KEPT, State
from hashscan.quarantine.store import quarantined_items
from hashscan.sources.shards import shard_of
from hashscan.state.findings.findings import Findings, OpenFinding
from hashscan.state.store.folder_rows import FolderRows, is_file_gone
from hashscan.state.store.object_rows import ObjectRows
from hashscan.state_dir import StateDir

_AWAY = KEPT | {State.MOVING, State.RELEASING, State.RELEASED}


class QuarantinedFiles:
    """The files that were moved to quarantine; the quarantine's log is read at the first query."""

    def __init__(self, state: StateDir, notify: Callable[[str], None]) -> None:
        """Set the state folder."""
        self._state = state
        self._notify = notify

    @cached_property
    def _moved(self) -> dict[tuple[bytes, str], float]:
        """Time of the last move in seconds since 1970, by original path and version."""
        try:
            items = quarantined_items(self._state)
        except OutputError as error:
            # The scan's own findings must be reported all the same, and so must missing files.
            self._notify(f"what is in quarantine counts as gone: {error}")
            return {}
        return {
            (item.path, item.version): datetime.fromisoformat(item.record["time"]).timestamp()
            for item in items
            if item.state in _AWAY and not item.of_another
        }

    def has(self, path: bytes) -> bool:
        return (path, "") in self._moved

    def number(self, is_of: Callable[[bytes], bool], since: float) -> int:
        """Return the number of files in quarantine that were moved from `since` on, in seconds since 1970."""
        return sum(moved >= since and is_of(path) for (path, _), moved in self._moved.items())


_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

_BELIEVED = 0.8
"""A target with a smaller fraction of its earlier files is probably incomplete."""
_FEW = 10
"""Number of files that a small target may lose at once, unless none is left."""


@dataclass(frozen=True, slots=True)
class Container:
    """The scanned part of a container of objects."""

    paths: tuple[bytes, ...]
    all_versions: bool
    endpoint: str | None = None
    """URL of the service; the same name at another service is another container."""

    def fields(self) -> dict[str, Any]:
        prefixes = [path.decode(errors="backslashreplace") for path in self.paths]
        return {"prefixes": prefixes, "all_versions": self.all_versions, "endpoint": self.endpoint}


class Shrunken(NamedTuple):
    """A target with far fewer files than in the last scan."""

    target: bytes
    before: int
    found: int


class Scopes:
    """The scopes of one scan."""

    def __init__(
        self,
        targets: Sequence[bytes],
        shard: str,
        options: Mapping[str, Any],
        *,
        lone: Collection[bytes] = (),
        named: bool = False,
        containers: Mapping[bytes, Container] = MappingProxyType({}),
        taken: QuarantinedFiles | None = None,
    ) -> None:
        """Describe a scan. The shard is '' or INDEX/COUNT; `lone` are folders of which only a single file is
        a target; `named` is True if only explicitly named files are examined."""
        self._taken = taken
        self.shard = shard
        self._lone = frozenset(lone)
        self._named = named
        self.rebooted = False
        """True if the machine was rebooted since the state was last used."""
        # The longest first, so that what lies beneath two belongs to the inner one.
        self._targets = sorted((set(targets) - self._lone) | set(containers), key=len, reverse=True)
        self._containers = dict(containers)
        self._options = {
            target: json.dumps(
                {**options, **(containers[target].fields() if target in containers else {})}, sort_keys=True
            )
            for target in self._targets
        }
        self._numbers: dict[bytes, tuple[int, int]] = {}
        self._goes_on: set[bytes] = set()
        self.scan = 0
        self._database: sqlite3.Connection | None = None

    def begin(self, database: sqlite3.Connection) -> None:
        self._database = database
        started = int(time.time())
        cursor = database.execute("INSERT INTO scans (started) VALUES (?)", (started,))
        assert cursor.lastrowid is not None
        self.scan = cursor.lastrowid
        for target in self._targets:
            key = target, self.shard, self._options[target]
            found = database.execute(
                "SELECT id, turn, scan FROM scopes WHERE target=? AND shard=? AND options=?", key
            ).fetchone()
            if found is None:
                cursor = database.execute(
                    "INSERT INTO scopes (target, shard, options, turn, scan) VALUES (?, ?, ?, 1, 0)", key
                )
                assert cursor.lastrowid is not None
                number, turn = cursor.lastrowid, 1
            else:
                number, turn, ended = found
                left = database.execute("SELECT 1 FROM left_over WHERE scope=?", (number,)).fetchone()
                # Folders that the last scan had not reached are walked first; then no other folder need be
                # postponed.
                if ended or left:
                    turn += 1
                    database.execute("UPDATE scopes SET turn=?, scan=0 WHERE id=?", (turn, number))
                else:
                    self._goes_on.add(target)
            self._numbers[target] = number, turn
        boot = _BOOT_ID.read_text(encoding="ascii") if _BOOT_ID.exists() else ""
        before = database.execute("SELECT value FROM meta WHERE key='boot'").fetchone()
        self.rebooted = before is not None and before[0] != boot
        database.execute("INSERT OR REPLACE INTO meta VALUES ('boot', ?)", (boot,))

    def files_before(self) -> int | None:
        """Return the number of files in all targets by their last complete scans; None if it is not known."""
        assert self._database is not None
        if self._named or self._lone or not self._numbers:
            return None
        counts = [
            self._database.execute("SELECT files FROM scopes WHERE id=?", (number,)).fetchone()[0]
            for number, _ in self._numbers.values()
        ]
        return None if None in counts else sum(counts)

    def left(self) -> dict[bytes, list[bytes]]:
        """Return by target the folders beneath it that the last scan did not reach."""
        assert self._database is not None
        targets = {number: target for target, (number, _) in self._numbers.items()}
        found: dict[bytes, list[bytes]] = {}
        for scope, folder in self._database.execute("SELECT scope, folder FROM left_over ORDER BY place"):
            if scope in targets:
                found.setdefault(targets[scope], []).append(folder)
        return found

    def store_unreached(self, left: Mapping[bytes, Sequence[bytes]]) -> None:
        """Store by target the folders beneath it that this scan did not reach."""
        assert self._database is not None
        for number, _ in self._numbers.values():
            self._database.execute("DELETE FROM left_over WHERE scope=?", (number,))
        pairs = ((target, folder) for target, folders in left.items() for folder in folders)
        self._database.executemany(
            "INSERT INTO left_over VALUES (?, ?, ?)",
            (
                (self._numbers[target][0], place, folder)
                for place, (target, folder) in enumerate(pairs)
                if target in self._numbers
            ),
        )

    def _target(self, path: bytes) -> bytes | None:
        for target in self._targets:
            if path == target or path.startswith(target if target.endswith(b"/") else target + b"/"):
                return target
        return None

    def only_some_of(self, path: bytes) -> bool:
        """Return True if some files of a folder are not examined, so that their absence proves nothing."""
        return self._named or path in self._lone

    def mark(self, path: bytes) -> tuple[int, int, int]:
        """Return the scope, scan and turn in which a folder is checked now."""
        target = self._target(path)
        number, turn = (0, 0) if target is None else self._numbers[target]
        return number, self.scan, turn

    def knows(self, container: bytes) -> bool:
        return container in self._containers

    def checked(self, rows: FolderRows, row: int, path: bytes) -> bool:
        """Return True if a folder was already checked in a turn that continues."""
        target = self._target(path) if self._goes_on else None
        return target in self._goes_on and target is not None and rows.last_turn(row) == self._numbers[target]

    def finish(
        self,
        rows: FolderRows,
        objects: ObjectRows,
        findings: Findings,
        files: Mapping[bytes, int],
        *,
        whole: bool,
        closed: bool,
        accept_shrink: bool,
    ) -> tuple[list[Shrunken], list[OpenFinding]]:
        """End the scan, and delete what is gone: `whole` if everything that was listed has been checked,
        `closed` if some folders could not be listed; `accept_shrink` treats whatever is missing as gone.
        Return the targets that have shrunk too much to be believed, and the findings that stay open although
        the scan did not meet their files."""
        assert self._database is not None
        shrunken: list[Shrunken] = []
        standing: list[OpenFinding] = []
        now = int(time.time())
        self._database.execute("UPDATE scans SET ended=? WHERE id=?", (now, self.scan))
        for target, (number, _) in self._numbers.items():
            if self._named:
                continue
            before = self._database.execute("SELECT files FROM scopes WHERE id=?", (number,)).fetchone()[0]
            found = files.get(target, 0)
            earlier = [one for one in findings.open_findings(self.scan) if self._covers(target, one)]
            earlier = [
                one for one in earlier if not (self._was_taken(one) and findings.end_as_gone(one, self.scan))
            ]
            if whole and not accept_shrink and self._has_shrunk(target, number, before, found):
                shrunken.append(Shrunken(target, before, found))
            elif whole and not (closed and target in self._containers):
                self._database.execute("UPDATE scopes SET scan=? WHERE id=?", (self.scan, number))
                rows.delete_gone(
                    number, self.scan, partial(self._is_of, target), closed=closed, everywhere=accept_shrink
                )
                if not closed:
                    objects.forget(number, self.scan)
                    self._database.execute("UPDATE scopes SET files=? WHERE id=?", (found, number))
                    # Nanoseconds, not whole seconds: a file moved a moment before is gone already, and is
                    # counted once.
                    counted = _counted(number), int(time.time() * 1e9)
                    self._database.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", counted)
                unmet, earlier = earlier, []
                for one in unmet:
                    if not (
                        self._is_gone(one, target, rows, closed=closed)
                        and findings.end_as_gone(one, self.scan)
                    ):
                        earlier.append(one)
                    elif target in self._containers:
                        objects.lose(target, one.path, one.version)
            standing.extend(earlier)
        return shrunken, standing

    def _has_shrunk(self, target: bytes, number: int, before: int | None, found: int) -> bool:
        """Return True if a target has too few files to be complete, counting those that were quarantined."""
        if before is None or not _has_shrunk(before, found):
            return False
        assert self._database is not None
        query = "SELECT value FROM meta WHERE key=?"
        since = self._database.execute(query, (_counted(number),)).fetchone()
        if self._taken is None or since is None:
            return True
        moved = self._taken.number(partial(self._is_of, target), since[0] / 1e9)
        return _has_shrunk(before - moved, found)

    def _was_taken(self, found: OpenFinding) -> bool:
        """Return True if the file of a finding is gone because it was moved into quarantine.

        Always False for objects: that would need a request for each, since there may be other versions.
        """
        if self._taken is None or not found.path.startswith(b"/"):
            return False
        return self._taken.has(found.path) and is_file_gone(found.path)

    def _covers(self, target: bytes, found: OpenFinding) -> bool:
        """Return True if a finding lies in the scanned part of a target, whichever scan found it."""
        if self._target(found.path) != target:
            return False
        if self.shard:
            index, _, count = self.shard.partition("/")
            if shard_of(found.path, int(count)) != int(index):
                return False
        container = self._containers.get(target)
        return container is None or (
            found.endpoint == (container.endpoint or "") and found.path.startswith(container.paths)
        )

    def _is_of(self, target: bytes, path: bytes) -> bool:
        return self._target(path) == target

    def _is_gone(self, found: OpenFinding, target: bytes, rows: FolderRows, *, closed: bool) -> bool:
        """Return True if a complete scan that did not meet a finding shows its file to be gone."""
        container = self._containers.get(target)
        if container is not None:
            return container.all_versions or not found.version
        checked = rows.checked_in(os.path.dirname(found.path), self.scan)
        if checked is not None or closed:
            return bool(checked)
        # The folder may be gone, or may only be excluded now.
        return is_file_gone(found.path)


def _counted(number: int) -> str:
    """Return the key under which a scope's last count of files is dated, in nanoseconds since 1970."""
    return f"counted {number}"


def _has_shrunk(before: int, found: int) -> bool:
    """Return True if a target has so few files that it is probably incomplete."""
    return found < before * _BELIEVED and (before - found >= _FEW or not found)
