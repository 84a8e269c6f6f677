"""Write a report to `FILE.partial` and rename it after the summary, or convert it to another format."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from hashscan.atomic_files import replacing
from hashscan.errors import LockedError, OutputError, UsageError
from hashscan.locking import lock_record
from hashscan.reports.records import Record, RecordLines, is_accusing
from hashscan.reports.report import Report, ReportFormat


def require_destination(path: Path) -> None:
    """Refuse a destination at which no file can be created.

    Raises:
        UsageError: it is a device or other special file; root could replace it.
        OutputError: it is a folder, or its folder does not exist or can't be written to.
    """
    # Not the methods of `Path`: they raise for names that are too long.
    if os.path.isdir(path):
        raise _unwritable(path, errno.EISDIR)
    if os.path.exists(path) and not os.path.isfile(path):
        raise UsageError(
            f"{path} is no regular file, and a report would take its place",
            advice="Name a file, or - for standard output.",
        )
    folder = path.parent
    if not os.path.isdir(folder):
        raise _unwritable(path, errno.ENOTDIR if os.path.exists(folder) else errno.ENOENT)
    if not os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
        raise _unwritable(path, errno.EACCES)


def _unwritable(path: Path, number: int) -> OutputError:
    error = OutputError(f"can't write {path}: {os.strerror(number)}")
    error.__cause__ = OSError(number, os.strerror(number))
    return error


PARTIAL = ".partial"
FINAL = ".final"
"""Suffix of a partial report with all final records, before it is renamed. It has this name for longer on
filesystems without unnamed files (O_TMPFILE)."""


class ReportFile:
    """A writer of one report, to a file or to standard output.

    Only its owner can read the file, since findings are sensitive. Every record is flushed, so that a killed
    scan leaves all lines complete but the last.

    Raises:
        UsageError: the destination is a device.
        OutputError: the report can't be written.
        LockedError: another scan is writing the same report.
    """

    def __init__(self, destination: Path | None) -> None:
        self.destination = destination
        self.set_aside: Path | None = None
        """Path to which the unfinished report of an earlier, killed scan was moved, if there was one."""
        with self._explained():
            if destination is None:
                # A separate stream, so that closing it does not close sys.stdout.
                self._stream: BinaryIO = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
            else:
                require_destination(destination)
                self._partial = destination.with_name(destination.name + PARTIAL)
                self._final = destination.with_name(destination.name + FINAL)
                self._stream = self._open_partial()
                self._remove_final()
        self._lines = RecordLines(self._stream)

    def _open_partial(self) -> BinaryIO:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self._partial, flags, 0o600)
        stream = os.fdopen(descriptor, "r+b")
        try:
            self._lock(descriptor)
        except BaseException:
            stream.close()
            raise
        if os.fstat(descriptor).st_size == 0:
            os.fchmod(descriptor, 0o600)
            return stream
        # The findings of a killed scan must not be lost because the next one starts.
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        self.set_aside = self._partial.with_name(f"{self._partial.name}.{stamp}")
        os.rename(self._partial, self.set_aside)
        stream.close()
        return self._open_partial()

    def _lock(self, descriptor: int) -> None:
        lock_record(descriptor, f"another scan is writing {self._partial}", advice=LockedError.advice)

    @property
    def identity(self) -> tuple[int, int]:
        """Device and inode of the partial file."""
        status = os.fstat(self._stream.fileno())
        return status.st_dev, status.st_ino

    def write(self, record: Record) -> None:
        """Write one record and flush it."""
        with self._explained():
            self._lines.write(record)
            self._stream.flush()

    def replace_matches(self, final_records: Iterable[Record]) -> None:
        """Replace the records of matches by their final ones.

        The file is written again beside itself and then renamed, so that a killed scan leaves either version
        complete. Standard output can't be replaced, so there no record of these files may have been written
        yet. There is one final record for each that `is_accusing`, in their order.
        """
        with self._explained():
            if self.destination is not None:
                self._rewrite(iter(final_records))
                return
            for record in final_records:
                self._lines.write(record)
            self._stream.flush()

    def _rewrite(self, final_records: Iterator[Record]) -> None:
        folder = os.open(self._partial.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            stream, named = self._open_final(folder)
            try:
                fresh = RecordLines(stream)
                for record in self._lines.written():
                    fresh.write(next(final_records) if is_accusing(record) else record)
                stream.flush()
                os.fsync(stream.fileno())
                self._lock(stream.fileno())
                if not named:
                    os.link(f"/proc/self/fd/{stream.fileno()}", self._final.name, dst_dir_fd=folder)
                os.rename(self._final, self._partial)
            except BaseException:
                stream.close()
                self._remove_final()
                raise
        finally:
            os.close(folder)
        self._stream.close()
        self._stream, self._lines = stream, fresh

    def _open_final(self, folder: int) -> tuple[BinaryIO, bool]:
        """Create a file beside the report; return it, and True if it has its name already."""
        try:
            descriptor = os.open(".", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600, dir_fd=folder)
            named = False
        except OSError:
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(self._final, flags, 0o600)
            named = True
        os.fchmod(descriptor, 0o600)
        return os.fdopen(descriptor, "r+b"), named

    def _remove_final(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._final)

    def finish(self, before: Callable[[Path, BinaryIO], None] | None = None) -> None:
        """Sync the report and rename it to its final name; call this after writing the summary.

        Args:
            before: gets the path of the whole report, and its open file, before it is renamed; not called for
                standard output.
        """
        with self._explained():
            if self.destination is None:
                self._stream.close()
                return
            os.fsync(self._stream.fileno())
            if before is not None:
                before(self._partial, self._stream)
            os.rename(self._partial, self.destination)
            self._stream.close()
            folder = os.open(self.destination.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def abandon(self) -> None:
        """Close the report without a summary; the partial file stays."""
        # An error is being handled already; a full disk must not hide it.
        with contextlib.suppress(OSError):
            self._stream.close()

    def discard(self) -> None:
        """Close the report and delete it, if it can be made again at any time."""
        self.abandon()
        if self.destination is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._partial)

    def __enter__(self) -> ReportFile:
        return self

    def __exit__(self, *error: object) -> None:
        if not self._stream.closed:
            self.abandon()

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            where = self.destination or "standard output"
            raise OutputError(f"can't write the report {where}: {error.strerror}") from error


def convert(report: Report, form: type[ReportFormat], destination: Path | None) -> Mapping[str, int]:
    """Write a report in another format; return the number of findings that are left out, by reason.

    The file appears complete or not at all, and only its owner can read it. If the process is killed, nothing
    is left. Without a destination, the report goes to standard output.

    Raises:
        UsageError: it is not a report, can't be written in this format, or can't replace what is at the
        destination.
        OutputError: the report can't be read, or the document can't be written.
    """
    if destination is not None:
        require_destination(destination)
    where = "standard output" if destination is None else destination
    writer = form()
    try:
        if destination is None:
            # A separate stream, so that closing it does not close sys.stdout.
            with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as stream:
                writer.write(report, stream)
        else:
            with replacing(destination) as stream:
                writer.write(report, stream)
    except OSError as error:
        raise OutputError(f"can't write the report {where}: {error.strerror}") from error
    return writer.left_out
