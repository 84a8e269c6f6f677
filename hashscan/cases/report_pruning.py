"""Remove old reports, but none that names a file of an open case.

The age of a report is that of the end in its last record. A file whose age can't be told so is left: its
times may have been set by anybody.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from hashscan.cases.ledger import Ledger, LedgerError
from hashscan.errors import HashscanError, OutputError
from hashscan.reports.records import path_bytes
from hashscan.reports.report import last_record, read_report
from hashscan.reports.report_file import PARTIAL
from hashscan.sources.filesystem.safe_open import closing_descriptor, open_absolute, open_child
from hashscan.timefmt import parse_zoned

_SUFFIX = ".jsonl"
_NAMING = frozenset({"finding", "standing"})
"""Types of records whose files may have a case."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_OPEN_CASE = "SELECT 1 FROM cases WHERE path=? AND removed IS NULL AND closed IS NULL"


class Decision(StrEnum):
    """The decision on a report."""

    REMOVED = "removed"
    RECENT = "recent"
    CASE = "open case"
    """It names the file of an open case."""
    REFUSED = "refused"
    """It is no report, has no end, or can't be read or removed."""


@dataclass(frozen=True, slots=True)
class PruneResult:
    """The decision on one file."""

    path: Path
    decision: Decision
    reason: str = ""
    """Reason why it was refused."""


class _Refusal(Exception):
    pass


def prune_reports(
    ledger: Ledger, reports: Path, named: Iterable[Path], before: datetime, *, dry_run: bool
) -> Iterator[PruneResult]:
    """Remove reports that ended before a time; yield the decision on each when it is done.

    A kill leaves each report whole or removed. No scan may write into the folder `reports`: the caller holds
    the lock of its state. In a folder, files named `*.jsonl` and what killed scans left are considered.

    Args:
        ledger: the ledger of all cases, up to date.
        reports: the state's folder of reports, used if no path is named; it need not exist.
        named: reports, and folders of them; a path that is or contains a symlink is refused.
        before: reports that ended at this time or later are kept.
        dry_run: remove nothing.

    Raises:
        LedgerError: the ledger can't be read.
        OutputError: the folder of reports can't be read.
    """
    paths = list(named)
    if not paths:
        try:
            folder = os.open(reports, _FOLDER)
        except FileNotFoundError:
            return
        except OSError as error:
            raise OutputError(f"can't read the folder {reports}: {error.strerror}") from error
        with closing_descriptor(folder):
            yield from _prune_folder(ledger, folder, reports, before, dry_run=dry_run)
    for path in paths:
        whole = os.fsencode(os.path.abspath(path))
        parent, _, name = whole.rpartition(b"/")
        try:
            with closing_descriptor(open_absolute(parent or b"/", _FOLDER)) as above:
                if stat.S_ISDIR(os.stat(name or b".", dir_fd=above, follow_symlinks=False).st_mode):
                    with closing_descriptor(open_child(above, name or b".", _FOLDER)) as folder:
                        yield from _prune_folder(ledger, folder, path, before, dry_run=dry_run)
                else:
                    yield _prune_file(ledger, above, name, path, before, dry_run=dry_run)
        except (OSError, ValueError) as error:
            yield PruneResult(path, Decision.REFUSED, getattr(error, "strerror", None) or str(error))


def _prune_folder(
    ledger: Ledger, folder: int, path: Path, before: datetime, *, dry_run: bool
) -> Iterator[PruneResult]:
    for name in sorted(map(os.fsencode, os.listdir(folder))):
        text = os.fsdecode(name)
        if text.endswith(_SUFFIX) or f"{_SUFFIX}{PARTIAL}" in text:
            yield _prune_file(ledger, folder, name, path / text, before, dry_run=dry_run)
    if not dry_run:
        os.fsync(folder)


def _prune_file(
    ledger: Ledger, folder: int, name: bytes, path: Path, before: datetime, *, dry_run: bool
) -> PruneResult:
    try:
        with _opened(folder, name) as descriptor:
            # The file that is open, whatever its name leads to meanwhile.
            opened = Path(f"/proc/self/fd/{descriptor}")
            if _end_of(opened) >= before:
                return PruneResult(path, Decision.RECENT)
            if _has_open_case(ledger, opened):
                return PruneResult(path, Decision.CASE)
            if not dry_run:
                _remove(folder, name, descriptor)
    except OSError as error:
        return PruneResult(path, Decision.REFUSED, error.strerror or str(error))
    except _Refusal as refusal:
        return PruneResult(path, Decision.REFUSED, str(refusal))
    return PruneResult(path, Decision.REMOVED)


@contextmanager
def _opened(folder: int, name: bytes) -> Iterator[int]:
    if stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
        raise _Refusal("it is a symlink")
    with closing_descriptor(os.open(name, _FILE, dir_fd=folder)) as descriptor:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise _Refusal("it is no regular file")
        yield descriptor


def _end_of(report: Path) -> datetime:
    try:
        next(read_report(report))
        last = last_record(report)
    except HashscanError as error:
        raise _Refusal("it is no report that this version can read") from error
    ended = parse_zoned(str(last.get("ended"))) if last is not None and last["type"] == "summary" else None
    if ended is None:
        raise _Refusal("it has no end: its scan was killed or still runs")
    return ended


def _has_open_case(ledger: Ledger, report: Path) -> bool:
    try:
        for record in read_report(report):
            if record["type"] in _NAMING and ledger.one(_OPEN_CASE, path_bytes(record)) is not None:
                return True
    except LedgerError:
        raise
    except HashscanError as error:
        raise _Refusal("it is damaged") from error
    return False


def _remove(folder: int, name: bytes, descriptor: int) -> None:
    opened, named = os.fstat(descriptor), os.stat(name, dir_fd=folder, follow_symlinks=False)
    if (opened.st_dev, opened.st_ino) != (named.st_dev, named.st_ino):
        raise _Refusal("another file took its place")
    os.unlink(name, dir_fd=folder)
