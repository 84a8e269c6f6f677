"""Progress of a scan or a pull: a bar on a terminal, else a line a minute."""

from __future__ import annotations

import sys
import time
from typing import Any, Self

from hashscan.cli.output.logs import STANDARD_ERROR, print_message
from hashscan.reports.summary import Summary
from hashscan.text import human_bytes, printable

LINE_SECONDS = 60.0
_BAR_SECONDS = 0.2


class ScanProgress:
    """The display of a scan's totals on standard error while it runs."""

    def __init__(self) -> None:
        self._summary: Summary | None = None
        self._started = self._shown = time.monotonic()
        self._bar: Any = None
        if STANDARD_ERROR.is_for_people:
            from tqdm import tqdm

            # The number of files is not known until the last folder is listed, so there is no total.
            self._bar = STANDARD_ERROR.bar = tqdm(
                unit=" files", file=sys.stderr, dynamic_ncols=True, mininterval=_BAR_SECONDS, leave=False
            )

    def watch(self, summary: Summary) -> None:
        """Set the totals to show."""
        self._summary = summary

    def tick(self) -> None:
        """Show the totals if it is time; cheap enough to be called for every listing."""
        if self._summary is None:
            return
        now = time.monotonic()
        if now - self._shown < (_BAR_SECONDS if self._bar is not None else LINE_SECONDS):
            return
        self._shown = now
        summary = self._summary
        if self._bar is not None:
            self._bar.set_postfix_str(
                f"{human_bytes(summary.bytes_read)}, {summary.findings} findings", refresh=False
            )
            self._bar.update(summary.files - self._bar.n)
            return
        seconds = max(now - self._started, 1e-9)
        print_message(
            f"{summary.files} files, {human_bytes(summary.bytes_read)}, "
            f"{summary.findings} findings, {summary.files / seconds:.0f} files/s"
        )

    def message(self, text: str) -> None:
        """Print a message in place of the bar, which appears again below it."""
        print_message(text)

    def clear(self) -> None:
        """Make room for a line in place of the bar, which appears again below it."""
        if self._bar is not None:
            self._bar.clear()

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()
            STANDARD_ERROR.bar = None


class _ListProgress:
    """The display on standard error of what is done with a list."""

    def __init__(self, name: str, about: str, unit: str) -> None:
        self._name = name
        self._shown = time.monotonic()
        self._bar: Any = None
        if STANDARD_ERROR.is_for_people:
            from tqdm import tqdm

            self._bar = STANDARD_ERROR.bar = tqdm(
                desc=about, unit=unit, unit_scale=True, file=sys.stderr, dynamic_ncols=True, leave=False
            )

    def _line(self, message: str) -> None:
        """Print a message about the list if it is time."""
        now = time.monotonic()
        if now - self._shown >= LINE_SECONDS:
            self._shown = now
            print_message(f"list {self._name}: {message}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()
            STANDARD_ERROR.bar = None


class PullProgress(_ListProgress):
    """The display of how much of a list is downloaded."""

    def __init__(self, name: str) -> None:
        super().__init__(name, printable(name), "B")
        self._received = 0
        self._total: int | None = None

    def expect(self, count: int) -> None:
        """Set the number of bytes that are still to come, once it is known."""
        self._total = self._received + count
        if self._bar is not None:
            self._bar.total = self._total
            self._bar.refresh()

    def received(self, count: int) -> None:
        """Count received bytes, and show the total if it is time."""
        self._received += count
        if self._bar is not None:
            self._bar.update(count)
            return
        of = f" of {human_bytes(self._total)}" if self._total is not None else ""
        self._line(f"{human_bytes(self._received)}{of} downloaded")


class ComparisonProgress(_ListProgress):
    """The display of how far new entries are compared with the known digests."""

    def __init__(self, name: str) -> None:
        super().__init__(name, f"{printable(name)}: comparing", " digests")

    def watch(self, done: int, digests: int) -> None:
        """Show how many of the known digests of one algorithm were compared, if it is time."""
        if self._bar is not None:
            self._bar.total = digests
            self._bar.update(done - self._bar.n)
            return
        self._line(f"compared with {done} of {digests} known digests")
