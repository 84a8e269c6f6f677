"""Observer of a scan from the command line: progress, messages, lines of findings, signals, pause."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from hashscan.cli.output.list_changes import print_exceptions
from hashscan.cli.output.logs import ERROR, print_line, print_message
from hashscan.cli.output.progress import ScanProgress
from hashscan.cli.output.terminal import finding_line, verdict_colours
from hashscan.errors import EXIT_INTERRUPTED, EXIT_TERMINATED
from hashscan.lists.exceptions import Exceptions
from hashscan.model import ListInfo, TrustState
from hashscan.process import let_go_of_output
from hashscan.reports.records import Record
from hashscan.scan.reporting.observer import Observer, RunningScan


def pause(processes: Callable[[], Iterable[int]]) -> None:
    """Stop the workers and then this process, until SIGCONT arrives; returns when all continue.

    The default action of SIGTSTP would stop this process alone, and not even that if no shell could continue
    it: under cron, nohup or systemd. Decoders finish the work that they have begun; then they wait for their
    workers.
    """
    stopped = list(processes())
    _signal_processes(stopped, signal.SIGSTOP)
    # To this thread and not to the process: another thread could receive it, and this one would run on for a
    # while.
    signal.raise_signal(signal.SIGSTOP)
    _signal_processes(stopped, signal.SIGCONT)


def _signal_processes(processes: Iterable[int], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, number)


_CUSTOMERS_KEPT = 100_000
"""Customers that are counted at most; folders can have any names, and each one may be a customer."""

Handler = Callable[[int, FrameType | None], None]


_OTHER_STOPS = (signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGXCPU)
"""Signals that would end the process without a report; a scan treats them as SIGTERM."""


class FindingLines:
    """The lines of findings on standard output. If they can't be written, the report still has them."""

    def __init__(self) -> None:
        self.trouble: OSError | None = None
        """The reason why lines are missing, unless their reader has ended."""
        self._over = False
        self._terminal = sys.stdout.isatty()
        self._colours = verdict_colours(sys.stdout)

    def write(self, finding: Record) -> None:
        if not self._over:
            with self._until_refused():
                sys.stdout.write(finding_line(finding, self._colours) + "\n")
                if self._terminal:
                    sys.stdout.flush()

    def close(self) -> None:
        with self._until_refused():
            sys.stdout.flush()

    @contextlib.contextmanager
    def _until_refused(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._over = True
            if error.errno not in {errno.EPIPE, errno.EBADF}:
                self.trouble = error
            let_go_of_output()


class TerminalObserver(Observer):
    """An observer that shows progress, writes lines of findings, and stops the scan cleanly on a signal.

    Args:
        lines: whether standard output gets a line for each finding; it does not if a report goes there.
    """

    def __init__(self, *, lines: bool) -> None:
        self.lines = FindingLines() if lines else None
        self.customers: Counter[str] = Counter()
        """Number of findings by customer; those of no customer have an empty name."""
        self._progress = ScanProgress()
        self._run: RunningScan | None = None
        self._exit_code: int | None = None
        self._handlers: dict[int, Any] = {}

    def lists_opened(self, lists: Sequence[ListInfo]) -> None:
        for info in lists:
            if info.problem is not None:
                print_message(f"list {info.name} is {info.state.value}: {info.problem}", ERROR)
            elif info.state is TrustState.LOCAL:
                print_message(f"list {info.name} is local and not signed")
            elif info.state is TrustState.EXCHANGE:
                print_message(f"list {info.name} is from an exchange and not signed")

    def exceptions_loaded(self, exceptions: Exceptions) -> None:
        print_exceptions(exceptions)

    def unfinished_report_renamed(self, path: Path) -> None:
        print_message(f"the incomplete report of a killed scan is kept as {path}")

    def message(self, message: str) -> None:
        self._progress.message(message)

    def request(self, text: str) -> None:
        print_line(f"request: {text}")

    def beginning(self) -> None:
        """Install the signal handlers; on a signal the scan ends as soon as it has started."""
        self._install_handler(signal.SIGINT, self._handle)
        self._install_handler(signal.SIGTERM, self._handle)
        # nohup ignores SIGHUP, and a script may have chosen to ignore others: then they stay ignored.
        others: dict[signal.Signals, Handler] = dict.fromkeys(_OTHER_STOPS, self._handle)
        others |= {signal.SIGHUP: self._hang_up, signal.SIGTSTP: self._pause}
        for number, handle in others.items():
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._install_handler(number, handle)

    def started(self, run: RunningScan) -> None:
        """Start to show progress; stop the scan if a signal has arrived before."""
        self._run = run
        self._progress.watch(run)
        if self._exit_code is not None:
            run.stop()

    def tick(self) -> None:
        self._progress.tick()

    def record(self, record: Record) -> None:
        """Write the line of a finding, and count it by customer; print the date of an inventory."""
        if record["type"] == "scan" and "inventory" in record:
            created = record["inventory"]["created"]
            print_message(f"the inventory is from {created}; later objects are not scanned")
        if record["type"] == "finding":
            customer = str(record.get("customer", ""))
            if customer in self.customers or len(self.customers) < _CUSTOMERS_KEPT:
                self.customers[customer] += 1
        if self.lines is not None and record["type"] in {"finding", "standing"}:
            self._progress.clear()
            self.lines.write(record)

    def stop_exit_code(self) -> int | None:
        return self._exit_code

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._exit_code is not None:
            # The second signal: the sender does not want to wait for anything.
            sys.stderr.write("\nhashscan: stopped at once; the report stays unfinished\n")
            raise KeyboardInterrupt
        self._stop(EXIT_INTERRUPTED if number == signal.SIGINT else EXIT_TERMINATED)

    def _hang_up(self, number: int, frame: FrameType | None) -> None:
        """Stop the scan when the terminal closes; shell and kernel may both send the signal."""
        if self._exit_code is None:
            self._stop(EXIT_TERMINATED)

    def _pause(self, number: int, frame: FrameType | None) -> None:
        pause(list if self._run is None else self._run.processes)

    def _install_handler(self, number: signal.Signals, handle: Handler) -> None:
        self._handlers[number] = signal.signal(number, handle)

    def _stop(self, exit_code: int) -> None:
        self._exit_code = exit_code
        if self._run is not None:
            self._run.stop()

    def __enter__(self) -> TerminalObserver:
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.close()
        if self.lines is not None:
            self.lines.close()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
