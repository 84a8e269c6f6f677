"""Who is told of a sweep as it goes on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from hashscan.lists.exceptions import Exceptions
from hashscan.model import ListInfo
from hashscan.reports.record_lines import Record
from hashscan.reports.summary import Summary


class Run(Protocol):
    """What an observer may ask of a sweep, or of what stands in for one, while it goes on."""

    summary: Summary

    def stop(self) -> None:
        """End soon; safe to call from a signal handler."""

    def processes(self) -> list[int]:
        """Those of this machine that read files for it."""


class Observer:
    """Told of a sweep's progress; this one does nothing with it."""

    def opened(self, lists: Sequence[ListInfo]) -> None:
        """The lists were looked at; some may not be usable."""

    def excepted(self, exceptions: Exceptions) -> None:
        """Which of the lists' entries are withheld, and which no longer are."""

    def set_aside(self, path: Path) -> None:
        """An earlier, killed sweep left an unfinished report, which is kept here."""

    def told(self, message: str) -> None:
        """Something about the workers that a person should know."""

    def beginning(self) -> None:
        """The sweep is about to leave a report and a record in the state; it is not to be cut off from now
        on."""

    def begun(self, run: Run) -> None:
        """The sweep is about to read; it may be stopped from now on."""

    def tick(self) -> None:
        """Called often while the sweep runs."""

    def record(self, record: Record) -> None:
        """Called with every record of the report."""

    def stopped_with(self) -> int | None:
        """The exit code to end with where the sweep was stopped from outside."""
        return None
