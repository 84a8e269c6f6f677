"""A report as formats see it: its record, to be gone through as often as they like, and what explains it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from hashscan.errors import UsageError
from hashscan.model import Reporter
from hashscan.reports.reading import last_record, read_report
from hashscan.reports.record_lines import Record
from hashscan.reports.shapes import require_shape


def _no_digests(record: Record) -> Mapping[str, str]:
    return {}


def _no_url(record: Record) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Context:
    """What a record does not say and some formats need."""

    digests: Callable[[Record], Mapping[str, str]] = _no_digests
    """Digests in hex by algorithm of what a record is about; empty where they are not known."""
    url_of: Callable[[Record], str] = _no_url
    """Where the world sees what a record is about; empty where nobody said."""
    reporter: Reporter | None = None
    """Who speaks."""


BARE = Context()


def speaker(context: Context) -> Reporter:
    """Who speaks.

    Raises:
        UsageError: nobody said.
    """
    reporter = context.reporter
    if reporter is None or not reporter.organisation or "@" not in reporter.email:
        raise UsageError(
            "nobody is named who reports",
            advice="Add a table [reporter] with organisation and email to the settings file.",
        )
    return reporter


class Report:
    """The record of one sweep in a file, whole or as a killed sweep left it."""

    def __init__(self, path: Path, context: Context = BARE) -> None:
        """Name a report.

        Args:
            path: of a file in JSON Lines that does not change any more.
            context: what explains it.
        """
        self.path = path
        self.context = context

    def records(self) -> Iterator[Record]:
        """All records from the first on, read anew each time this is asked.

        Each has what `shapes` asks of it, so that documents need not ask again.

        Raises:
            UsageError: there is no such file, it is no report, it is damaged, or a newer hashscan wrote it.
            OutputError: it can't be read to its end.
        """
        for number, record in enumerate(read_report(self.path), 1):
            yield self._understood(record, f"line {number}")

    @cached_property
    def sweep(self) -> Record:
        """The first record: what was asked for, and with what."""
        return next(self.records())

    @cached_property
    def summary(self) -> Record | None:
        """The last record; None where the sweep was killed."""
        last = last_record(self.path)
        if last is None or last["type"] != "summary":
            return None
        return self._understood(last, "last line")

    def _understood(self, record: Record, where: str) -> Record:
        try:
            require_shape(record)
        except ValueError as error:
            raise UsageError(
                f"{self.path}, {where}: this record can't be understood: {error}",
                advice="Name reports as sweeps write them; sweep again if this one is damaged.",
            ) from error
        return record

    @property
    def reporter(self) -> Reporter:
        """Who speaks.

        Raises:
            UsageError: nobody said.
        """
        return speaker(self.context)

    def digests(self, record: Record) -> Mapping[str, str]:
        """Digests in hex by algorithm of what a record is about, as far as they are known."""
        found: Mapping[str, str] = record.get("digests") or self.context.digests(record)
        return found

    @staticmethod
    def customer(record: Record) -> str:
        """Whose it is; empty where no rule says."""
        return str(record.get("customer", ""))

    @property
    def name(self) -> str:
        """Of its file, for people; it may hold any characters."""
        return os.fspath(self.path)
