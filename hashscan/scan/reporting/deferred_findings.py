"""The findings that accuse files, until the last word on them can be said when the sweep ends."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from hashscan.errors import OutputError
from hashscan.matching.circuit_breaker import Breaker, owner_of
from hashscan.model import Verdict
from hashscan.reports.record_lines import Record, public
from hashscan.reports.records import is_accusing
from hashscan.settings.policy import BreakerLimits

Act = Callable[[Iterable[Record]], Iterator[Record]]
"""Does what is to be done about findings, and gives their records as they stand then, in the same order."""

_IN_MEMORY = 1 << 20
"""Bytes of records; of more, a temporary file without a name is made."""

_SAID = 10
"""Entries that are named on standard error."""
_NAMED = 100
"""Entries that are named in a report."""


class Settlement:
    """What was found so far, and in the end what is said of it.

    Raises, in all it does:
        OutputError: its temporary file can't be written or read.
    """

    def __init__(self, limits: BreakerLimits) -> None:
        self._breaker = Breaker(limits)
        self._records = _Records()
        self.held = 0
        """Findings that the breaker has made held."""
        self.changed = False
        """Whether a last word may be another than the first."""

    def take(self, record: Record) -> bool:
        """Take note of any record; whether the last word on it is still to be said."""
        if record["type"] != "finding":
            return False
        self._breaker.count(record, owner_of(record))
        if not is_accusing(record):
            return False
        self._records.put(record)
        return True

    def count_besides(self, findings: Iterable[Record]) -> None:
        """Have the breaker count what this scan did not come by."""
        for finding in findings:
            self._breaker.count(finding, owner_of(finding))

    def settle(self, act: Act | None = None) -> None:
        """Find the last words, once all was found.

        Args:
            act: what to do about what is not held.
        """
        if not self._records.number or (act is None and not self._breaker.has_tripped):
            return
        self.changed = True
        last = _Records()
        judged: Iterable[Record] = map(self._breaker.judge, self._records)
        try:
            for record in judged if act is None else act(judged):
                self.held += record["verdict"] == Verdict.HELD
                last.put(record)
        except BaseException:
            # What was found is still to be told, by its first word.
            last.close()
            raise
        self._records.close()
        self._records = last

    def records(self) -> Iterator[Record]:
        """The last words that were found, or the first ones where they weren't yet."""
        return map(public, self._records)

    def last_held(self) -> Iterator[Record]:
        """Those records that the breaker has made held."""
        records = self._records if self.held else ()
        return (record for record in records if record["verdict"] == Verdict.HELD)

    def said(self) -> list[str]:
        """What the breaker has to say, a line each."""
        entries = self._breaker.said()
        if not entries:
            return []
        more = [f"and {len(entries) - _SAID} entries more"] if len(entries) > _SAID else []
        return [
            *(f"BREAKER: {words}: too much to be right" for words in [*entries[:_SAID], *more]),
            f"BREAKER: {self.held} files are held, and none is moved that nothing else accuses. Ask whoever "
            "owns the list; `hashscan lists except` withholds an entry, and --breaker-owners and "
            "--breaker-files say how much is too much",
        ]

    def fields(self) -> dict[str, Any]:
        """What a summary says of the breaker."""
        entries = self._breaker.said()
        if not entries:
            return {}
        first = list(islice(self._breaker.fields(), _NAMED))
        return {"breaker": {"held": self.held, "entries": len(entries), "first": first}}

    def close(self) -> None:
        """Forget all of it."""
        self._records.close()


class _Records:
    """Records in the order in which they came."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(_IN_MEMORY, prefix="hashscan-")  # noqa: SIM115
        self.number = 0

    def put(self, record: Record) -> None:
        """Add one, before any is read."""
        try:
            self._file.write(json.dumps(record).encode() + b"\n")
        except OSError as error:
            raise _trouble(error) from error
        self.number += 1

    def __iter__(self) -> Iterator[Record]:
        try:
            self._file.seek(0)
            for _ in range(self.number):
                yield json.loads(self._file.readline())
        except OSError as error:
            raise _trouble(error) from error

    def close(self) -> None:
        """Forget them."""
        self._file.close()


def _trouble(error: OSError) -> OutputError:
    return OutputError(
        f"the findings that wait, a temporary file in {tempfile.gettempdir()}, failed: {error.strerror}",
        advice="Free some space there, or name another folder in TMPDIR.",
    )
