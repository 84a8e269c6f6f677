"""Defer matches until the end of the scan, when the circuit breaker can decide on them."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from hashscan.matching.circuit_breaker import CircuitBreaker, owner_of
from hashscan.model import Verdict
from hashscan.reports.records import Record, is_accusing, public
from hashscan.settings.matching import BreakerLimits
from hashscan.sources.filesystem.walk_stack import temporary_file_errors

Act = Callable[[Iterable[Record]], Iterator[Record]]
"""A function that acts on findings and yields their records with the result, in the same order."""

_IN_MEMORY = 1 << 20
"""The bytes of records kept in memory; above this, an unnamed temporary file is used."""

_SAID = 10
_NAMED = 100


class DeferredFindings:
    """The deferred findings, and the final record of each when the scan ends.

    Raises:
        OutputError: the temporary file can't be written or read (in every method).
    """

    def __init__(self, limits: BreakerLimits) -> None:
        self._breaker = CircuitBreaker(limits)
        self._records = _RecordSpool()
        self.held = 0
        """The number of findings that the circuit breaker changed to held."""
        self.changed = False
        """True if a final record may differ from the first one."""

    def add(self, record: Record) -> bool:
        """Count a record, and return True if it is deferred because its final verdict is not known yet."""
        if record["type"] != "finding":
            return False
        self._breaker.count(record, owner_of(record))
        if not is_accusing(record):
            return False
        self._records.put(record)
        return True

    def count_besides(self, findings: Iterable[Record]) -> None:
        """Have the breaker count findings of files that this scan did not reach."""
        for finding in findings:
            self._breaker.count(finding, owner_of(finding))

    def finalize(self, act: Act | None = None) -> None:
        """Make the final records, after the scan has found everything."""
        if not self._records.number or (act is None and not self._breaker.has_tripped):
            return
        self.changed = True
        last = _RecordSpool()
        judged: Iterable[Record] = map(self._breaker.judge, self._records)
        try:
            for record in judged if act is None else act(judged):
                self.held += record["verdict"] == Verdict.HELD
                last.put(record)
        except BaseException:
            # The findings are still to be reported, with their first records.
            last.close()
            raise
        self._records.close()
        self._records = last

    def records(self) -> Iterator[Record]:
        """Yield the final records; the first records as long as there are no final ones."""
        return map(public, self._records)

    def held_records(self) -> Iterator[Record]:
        """Yield the records that the circuit breaker changed to held."""
        records = self._records if self.held else ()
        return (record for record in records if record["verdict"] == Verdict.HELD)

    def breaker_messages(self) -> list[str]:
        """Return the circuit breaker's messages, a line each."""
        entries = self._breaker.said()
        if not entries:
            return []
        more = [f"and {len(entries) - _SAID} entries more"] if len(entries) > _SAID else []
        return [
            *(f"BREAKER: {message}: too many matches" for message in [*entries[:_SAID], *more]),
            f"BREAKER: {self.held} files are held, and only files with other matches are moved. Ask the "
            "owner of the list; `hashscan lists except` excepts an entry, --breaker-owners and "
            "--breaker-files set the limits",
        ]

    def fields(self) -> dict[str, Any]:
        """Return the circuit breaker's fields in the summary."""
        entries = self._breaker.said()
        if not entries:
            return {}
        first = list(islice(self._breaker.fields(), _NAMED))
        return {"breaker": {"held": self.held, "entries": len(entries), "first": first}}

    def close(self) -> None:
        """Close the temporary file, which deletes it."""
        self._records.close()


class _RecordSpool:
    """A list of records on disk, in the order in which they were added."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(_IN_MEMORY, prefix="hashscan-")  # noqa: SIM115
        self.number = 0

    def put(self, record: Record) -> None:
        """Append a record; call it only before the records are read."""
        with temporary_file_errors("findings that wait"):
            self._file.write(json.dumps(record).encode() + b"\n")
        self.number += 1

    def __iter__(self) -> Iterator[Record]:
        with temporary_file_errors("findings that wait"):
            self._file.seek(0)
            for _ in range(self.number):
                yield json.loads(self._file.readline())

    def close(self) -> None:
        """Close the temporary file, which deletes it."""
        self._file.close()
