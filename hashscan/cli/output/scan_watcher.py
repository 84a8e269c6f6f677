"""Watches a sweep for the person or the service that started it: progress, findings, signals."""

from __future__ import annotations

import signal
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from hashscan.cli.commands.lists_except import say_exceptions
from hashscan.cli.output.progress import Progress
from hashscan.cli.output.terminal import ROWS_SHOWN, printable, say
from hashscan.errors import EXIT_INTERRUPTED, EXIT_TERMINATED
from hashscan.lists.exceptions import Exceptions
from hashscan.model import ListInfo, TrustState
from hashscan.reports.record_lines import Record
from hashscan.reports.records import is_accusing
from hashscan.scan.reporting.observer import Observer, Run
from hashscan.scan.throttle.pause import pause

_CUSTOMERS_KEPT = 100_000
"""Folders may be called anything, and each be a customer."""

Handler = Callable[[int, FrameType | None], None]


class Watcher(Observer):
    """Shows progress, keeps the first findings for a table, and ends the sweep in good order on a signal."""

    def __init__(self) -> None:
        self._matches: list[Record] = []
        self._others: list[Record] = []
        self.standing: list[Record] = []
        self.customers: Counter[str] = Counter()
        """How many findings each has; those that no rule gives to one have an empty name."""
        self._progress = Progress()
        self._run: Run | None = None
        self._exit_code: int | None = None
        self._handlers: dict[int, Any] = {}

    @property
    def findings(self) -> list[Record]:
        """The first of them, and before all others what is acted on."""
        return (self._matches + self._others)[:ROWS_SHOWN]

    def opened(self, lists: Sequence[ListInfo]) -> None:
        """Say what is to be known about the lists."""
        for info in lists:
            if info.problem is not None:
                say(f"hashscan: list {info.name} is {info.state.value}: {info.problem}")
            elif info.state is TrustState.LOCAL:
                say(f"hashscan: list {info.name} is local: nobody has signed it")

    def excepted(self, exceptions: Exceptions) -> None:
        """Say what is withheld."""
        say_exceptions(exceptions)

    def set_aside(self, path: Path) -> None:
        """Say where the report of a killed sweep is."""
        say(f"hashscan: a killed sweep left its report unfinished; it is kept as {path}")

    def told(self, message: str) -> None:
        """Say it."""
        self._progress.line(f"hashscan: {printable(message)}")

    def beginning(self) -> None:
        """Start to heed signals; the sweep ends on one as soon as it has begun."""
        self._heed(signal.SIGINT, self._handle)
        self._heed(signal.SIGTERM, self._handle)
        # Under nohup the former is ignored, and a script may have chosen to ignore the latter.
        for number, handle in ((signal.SIGHUP, self._hang_up), (signal.SIGTSTP, self._pause)):
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._heed(number, handle)

    def begun(self, run: Run) -> None:
        """Start to show progress; stop the sweep where a signal has asked for it before."""
        self._run = run
        self._progress.watch(run.summary)
        if self._exit_code is not None:
            run.stop()

    def tick(self) -> None:
        """Show progress."""
        self._progress.tick()

    def record(self, record: Record) -> None:
        """Keep the first findings; say how old an inventory is."""
        if record["type"] == "sweep" and "inventory" in record:
            created = record["inventory"]["created"]
            say(f"hashscan: the inventory is of {created}; what came later is not swept")
        if record["type"] == "finding":
            customer = str(record.get("customer", ""))
            if customer in self.customers or len(self.customers) < _CUSTOMERS_KEPT:
                self.customers[customer] += 1
            found = self._matches if is_accusing(record) else self._others
            if len(found) < ROWS_SHOWN:
                found.append(record)
        if record["type"] == "standing" and len(self.standing) < ROWS_SHOWN:
            self.standing.append(record)

    def stopped_with(self) -> int | None:
        """The exit code of the signal that stopped the sweep."""
        return self._exit_code

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._exit_code is not None:
            # Asked twice: whoever asks does not want to wait for anything.
            sys.stderr.write("\nhashscan: stopped at once; the report stays unfinished\n")
            raise KeyboardInterrupt
        self._stop(EXIT_INTERRUPTED if number == signal.SIGINT else EXIT_TERMINATED)

    def _hang_up(self, number: int, frame: FrameType | None) -> None:
        """The terminal was closed; shell and kernel may both say so."""
        if self._exit_code is None:
            self._stop(EXIT_TERMINATED)

    def _pause(self, number: int, frame: FrameType | None) -> None:
        pause(list if self._run is None else self._run.processes)

    def _heed(self, number: signal.Signals, handle: Handler) -> None:
        self._handlers[number] = signal.signal(number, handle)

    def _stop(self, exit_code: int) -> None:
        self._exit_code = exit_code
        if self._run is not None:
            self._run.stop()

    def __enter__(self) -> Watcher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.close()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
