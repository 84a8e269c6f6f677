"""The observer interface: progress and messages of a running scan."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from hashscan.lists.exceptions import Exceptions
from hashscan.model import ListInfo
from hashscan.reports.records import Record
from hashscan.reports.summary import Summary


class RunningScan(Protocol):
    """The interface of a running scan, or of a substitute for one, that an observer may use."""

    summary: Summary
    expected: int | None
    """The number of files that it will probably check; None if it is not known."""

    @property
    def folder(self) -> bytes:
        """The folder that it reads; empty if it is not known."""

    def stop(self) -> None:
        """End soon; safe to call from a signal handler."""

    def processes(self) -> list[int]:
        """Return the ids of the processes on this machine that read files for the scan."""


class Observer:
    """An observer of a scan's progress; this base class ignores all events."""

    def lists_opened(self, lists: Sequence[ListInfo]) -> None:
        """Handle that the lists were opened; some may not be usable."""

    def exceptions_loaded(self, exceptions: Exceptions) -> None:
        """Handle the entries that exceptions withhold, and those whose exceptions have expired."""

    def unfinished_report_renamed(self, path: Path) -> None:
        """Handle that an earlier, killed scan left an unfinished report, which was renamed to this path."""

    def message(self, message: str) -> None:
        """Handle a message for the operator."""

    def request(self, text: str) -> None:
        """Handle a request to a matching service, without its key; called by several threads."""

    def beginning(self) -> None:
        """Handle that the scan is about to write a report and a state record.

        A signal must not kill the scan from now on.
        """

    def started(self, run: RunningScan) -> None:
        """Handle that the scan is about to read; it may be stopped from now on."""

    def tick(self) -> None:
        """Handle a tick; called often while the scan runs."""

    def record(self, record: Record) -> None:
        """Handle a record; called with every record of the report."""

    def stop_exit_code(self) -> int | None:
        """Return the exit code to use if the scan was stopped from outside."""
        return None
