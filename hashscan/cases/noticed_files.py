"""After a complete scan, find out whether the files of notices in its folders are there; end the cases of
those that are gone."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import groupby
from typing import NamedTuple

from hashscan.cases.ledger import Ledger
from hashscan.cases.tracker import NOTICE, CaseTracker, Sighting, Witness
from hashscan.quarantine.items import State
from hashscan.quarantine.restored import quarantine_states
from hashscan.quarantine.store import quarantined_items
from hashscan.scan.target_sources import path_targets
from hashscan.settings.scan import ScanSettings
from hashscan.sources.filesystem.mounts import is_pseudo
from hashscan.sources.filesystem.safe_open import (
    LIST_FLAGS,
    closing_descriptor,
    open_absolute,
    open_child,
    stat_child,
)
from hashscan.sources.filesystem.targets import real_path
from hashscan.sources.patterns import Patterns, PatternState
from hashscan.sources.shards import shard_of
from hashscan.state.findings.findings import GONE
from hashscan.state.store.listings import wrapped
from hashscan.state_dir import StateDir


class _NoticedFile(NamedTuple):
    """An open case that only notices have, of a file of this machine."""

    id: int
    path: bytes
    device: int | None
    witness: str
    sha256: bytes | None


_QUERY = (
    "SELECT id, path, device, witness, sha256 FROM cases WHERE verdict=? AND host='' AND removed IS NULL "
    "AND closed IS NULL AND substr(path, 1, 1)=x'2f'"
)


def check_files(ledger: Ledger, settings: ScanSettings, state: StateDir, now: int) -> int:
    """Look by name for the files of notices in the folders that a complete scan has covered.

    A file is gone only if it was seen earlier in this folder, on the same device, and the folder can be
    listed. A file that is there is recorded as seen, unless a notice names its content.

    Args:
        settings: of the scan.
        state: its state folder.
        now: seconds since 1970.

    Returns:
        Number of cases that ended.

    Raises:
        UsageError: the file of patterns can't be read any more.
        OutputError: the ledger can't be written, or the log of a quarantine can't be read.
    """
    if settings.known or settings.files_from is not None or settings.cluster is not None:
        return 0
    cases = sorted(map(_NoticedFile._make, ledger.rows(_QUERY, NOTICE)), key=lambda case: case.path)
    covered = _CoveredFolders(settings)
    there, gone = list[tuple[int, Sighting]](), list[_NoticedFile]()
    for folder, some in groupby(cases, lambda case: os.path.dirname(case.path)):
        with covered.opened(folder) as found:
            for case in some if found is not None else ():
                assert found is not None
                name = os.path.basename(case.path)
                if not covered.has_file(found, case.path, name):
                    continue
                presence = _is_file(found.descriptor, name)
                if presence and case.sha256 is None:
                    there.append((case.id, Sighting(Witness.SCAN, now, found.device)))
                elif presence is None and case.witness and case.device == found.device:
                    gone.append(case)
    # Moves that were interrupted are completed, or undone, by the quarantine; its log ends the cases.
    moving = _moving(state) if gone else frozenset()
    with ledger.transaction() as database:
        tracker = CaseTracker(database)
        for number, sighting in there:
            tracker.see(number, sighting)
        ended = [case.id for case in gone if case.path not in moving]
        return sum(tracker.end_by_absence(number, GONE, now, "found by a scan") for number in ended)


def _moving(state: StateDir) -> frozenset[bytes]:
    """Return the paths of files whose move into quarantine has begun and not ended."""
    return frozenset(
        item.path
        for one in quarantine_states(state)
        for item in quarantined_items(one)
        if item.state is State.MOVING
    )


def _is_file(folder: int, name: bytes) -> bool | None:
    """Return whether a name in a folder is a file; None if there is nothing by this name."""
    try:
        return stat.S_ISREG(stat_child(folder, name).st_mode)
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return False


class _Folder(NamedTuple):
    descriptor: int
    device: int
    places: list[PatternState]
    """States of the patterns, one for each target that reaches the folder."""


class _CoveredFolders:
    """The folders that a scan with some settings enters, found again as it finds them."""

    def __init__(self, settings: ScanSettings) -> None:
        self._patterns = Patterns.compile(settings.exclude, settings.ignore_file)
        self._one_file_system = settings.one_file_system
        self._shard = settings.shard
        self._targets: set[bytes] = set()
        for target in path_targets(settings.targets):
            with suppress(OSError, ValueError):
                self._targets.add(real_path(target))

    @contextmanager
    def opened(self, path: bytes) -> Iterator[_Folder | None]:
        """Open a folder for listing; None if the scan does not enter it, or it can't be listed."""
        places = [place for target in self._targets for place in self._reach(target, path)]
        try:
            descriptor = open_absolute(path, LIST_FLAGS) if places else -1
        except (OSError, ValueError):
            descriptor = -1
        if descriptor < 0:
            yield None
            return
        with closing_descriptor(descriptor):
            yield _Folder(descriptor, wrapped(os.fstat(descriptor).st_dev), places)

    def has_file(self, folder: _Folder, path: bytes, name: bytes) -> bool:
        """Return True if the scan does not leave out a file of this name."""
        if self._shard is not None and shard_of(path, self._shard.count) != self._shard.index:
            return False
        return not all(self._patterns.excludes(place, name, is_folder=False) for place in folder.places)

    def _reach(self, target: bytes, path: bytes) -> Iterator[PatternState]:
        """Yield the state of the patterns in a folder, if walking a target enters it."""
        start = target.rstrip(b"/") + b"/"
        if not (path.rstrip(b"/") + b"/").startswith(start):
            return
        place = self._patterns.start
        with ExitStack() as stack, suppress(OSError, ValueError):
            current = stack.enter_context(closing_descriptor(open_absolute(target, LIST_FLAGS)))
            device = first = os.fstat(current).st_dev
            for name in filter(None, path[len(start) :].split(b"/")):
                if self._patterns.excludes(place, name, is_folder=True):
                    return
                current = stack.enter_context(closing_descriptor(open_child(current, name, LIST_FLAGS)))
                crossed, device = os.fstat(current).st_dev != device, os.fstat(current).st_dev
                if crossed and (is_pseudo(current) or (self._one_file_system and device != first)):
                    return
                place = self._patterns.descend(place, name)
            yield place
