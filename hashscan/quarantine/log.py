"""A log in a file whose lines form a hash chain, so that changes are detected."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from hashscan.atomic_files import output_errors
from hashscan.errors import OutputError, UsageError
from hashscan.hash_chain import EMPTY, BrokenChainError, Line, LogHead, chained, parse_head, parse_line
from hashscan.locking import ClosedOnExit
from hashscan.quarantine import system

_MODE = 0o600
_FLAGS = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class BrokenLogError(OutputError):
    """An error for a line of the log that was changed or is missing."""

    advice = "Keep the folder as it is: compare the log with a copy, or with heads that are kept elsewhere."

    def __init__(self, path: Path, line: int, why: str) -> None:
        super().__init__(f"{path}, line {line}: {why}")
        self.line = line
        """Number of the first bad line, from 1."""


class LostLogError(OutputError):
    """There is no log any more where there was one."""

    def __init__(self, path: Path, lines: int, where: str) -> None:
        super().__init__(
            f"the log {path} is gone; it had {lines} lines or more, says {where}",
            advice=f"Put it back from a backup of {path.parent.parent}. Without one, move {path.parent} and "
            f"{path.parent}-head elsewhere, with all that is kept there: a new log is begun then.",
        )


def read_log(folder: Path, known: Mapping[str, LogHead] | None = None) -> Iterator[tuple[Line, LogHead]]:
    """Yield the lines of a log from the first, each with the head up to it; none if there never was a log.
    The log must contain the known heads: BrokenLogError if a line was changed or lines are missing,
    LostLogError if it is gone. Behind the head that is kept beside the log, the last line may be torn. It is
    left out: its writer was killed before anything was done that the line announces."""
    path = folder / "log.jsonl"
    # A command that was refused or killed early may leave the folder without both.
    if not path.exists() and not (folder / "head").exists():
        _refuse_lost(path, known or {})
        return
    kept = _kept_head(folder)
    expected = {**(known or {}), str(folder / "head"): kept}
    try:
        with open(os.open(path, os.O_RDONLY | _FLAGS), "rb") as stream:
            head = EMPTY
            _compare(path, head, expected)
            for raw in stream:
                number = head.count + 1
                if not raw.endswith(b"\n") and number > kept.count:
                    break
                line, head = _parse(path, raw, head)
                _compare(path, head, expected)
                yield line, head
    except FileNotFoundError:
        _refuse_lost(path, expected)
        return
    except OSError as error:
        raise OutputError(f"can't read the log {path}: {error.strerror}") from error
    _require_length(path, head, expected)


def _compare(path: Path, head: LogHead, expected: Mapping[str, LogHead]) -> None:
    """Check the head after a line against the expected heads with the same line count."""
    if odd := [where for where, kept in expected.items() if kept.count == head.count and kept != head]:
        raise BrokenLogError(
            path, head.count, f"it is not the line that was written, says {' and '.join(odd)}"
        )


def _require_length(path: Path, head: LogHead, expected: Mapping[str, LogHead]) -> None:
    """Raise `BrokenLogError` if a log ends before one of the expected heads."""
    if odd := {where: kept.count for where, kept in expected.items() if kept.count > head.count}:
        number = max(odd.values())
        raise BrokenLogError(
            path,
            head.count + 1,
            f"it is missing; the log had {number} lines or more, says {' and '.join(odd)}",
        )


def _refuse_lost(path: Path, expected: Mapping[str, LogHead]) -> None:
    """Raise `LostLogError` if one of the expected heads says that there was a log at a path without one."""
    if counts := {where: kept.count for where, kept in expected.items() if kept.count}:
        raise LostLogError(path, max(counts.values()), " and ".join(counts))


def _kept_head(folder: Path) -> LogHead:
    path = folder / "head"
    try:
        with open(os.open(path, os.O_RDONLY | _FLAGS), "rb") as stream:
            text = stream.read(200).decode("ascii", errors="replace")
    except FileNotFoundError as error:
        raise OutputError(
            f"{path} is gone, which says how far the log beside it goes",
            advice=f"Put it back from a backup, or write the head there that {folder}-head or the newest "
            "report has: a number, a colon and 64 hex digits.",
        ) from error
    except OSError as error:
        raise OutputError(f"can't read {path}: {error.strerror}") from error
    try:
        return parse_head(text)
    except UsageError as error:
        raise OutputError(
            f"{path} is malformed", advice="Verify the log against a head that is kept elsewhere."
        ) from error


def _parse(path: Path, raw: bytes, before: LogHead) -> tuple[Line, LogHead]:
    """Return the content of a line, after checking that it is complete and follows the line before."""
    try:
        return parse_line(raw, before)
    except BrokenChainError as error:
        raise BrokenLogError(path, before.count + 1, str(error)) from None


class LogWriter(ClosedOnExit):
    """A writer that appends lines to a log; only for the holder of its lock.

    Raises:
        OutputError: the log can't be written, or is damaged.
    """

    def __init__(
        self,
        folder: Path,
        known: Mapping[str, LogHead] | None = None,
        seen: Callable[[Line], object] | None = None,
    ) -> None:
        """Open a log, and create it if it never existed; it must contain the known heads."""
        self._path = folder / "log.jsonl"
        with self._errors():
            self._folder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                self._begin(folder, known or {})
                self.head = EMPTY
                for line, self.head in read_log(folder, known):
                    if seen is not None:
                        seen(line)
                self._descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | _FLAGS)
                self._cut_torn_line()
            except BaseException:
                os.close(self._folder)
                raise
        self._kept = EMPTY

    def _begin(self, folder: Path, known: Mapping[str, LogHead]) -> None:
        if self._path.exists():
            return
        _refuse_lost(self._path, known)
        # The head first: a log without a head is one that somebody took the head from.
        if not (folder / "head").exists():
            self._keep_head(EMPTY)
        if _kept_head(folder) == EMPTY:
            os.close(system.create(self._folder, b"log.jsonl", _MODE))
            system.sync(self._folder)

    def append(self, line: Line) -> None:
        """Append a line; it is on the disk only after `sync`."""
        raw, head = chained(line, self.head)
        with self._errors():
            try:
                system.write(self._descriptor, raw)
            except OSError:
                # The next line must not be written behind a partial line.
                with suppress(OSError):
                    self._cut_torn_line()
                raise
        self.head = head

    def sync(self) -> None:
        """Sync the log, so that all lines survive a power cut."""
        with self._errors():
            system.sync(self._descriptor)

    def write_head(self) -> None:
        """Write the current head beside the log, so that a cut at the log's end is detected."""
        if self._kept != self.head:
            with self._errors():
                self._keep_head(self.head)
            self._kept = self.head

    def close(self) -> None:
        os.close(self._descriptor)
        os.close(self._folder)

    def _keep_head(self, head: LogHead) -> None:
        system.replace_content(self._folder, b".tmp-head", b"head", f"{head}\n".encode())
        system.sync(self._folder)

    def _cut_torn_line(self) -> None:
        """Remove a partial last line that a killed writer left; nothing that it announces was done."""
        size = os.fstat(self._descriptor).st_size
        end = size
        while end and b"\n" not in (block := os.pread(self._descriptor, min(end, 4096), max(0, end - 4096))):
            end = max(0, end - 4096)
        if end:
            end = max(0, end - 4096) + block.rfind(b"\n") + 1
        if end != size:
            system.truncate(self._descriptor, end)
            system.sync(self._descriptor)

    def _errors(self) -> AbstractContextManager[None]:
        return output_errors(f"can't write the log {self._path}")
