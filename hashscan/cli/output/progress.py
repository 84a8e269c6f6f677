"""Progress of a scan, a pull or a comparison: a bar on a terminal, else a record a minute for -v."""

from __future__ import annotations

import logging
import os
import sys
import time
from typing import Any, Self

from hashscan.cli.output.logs import STANDARD_ERROR, print_message
from hashscan.scan.reporting.observer import RunningScan
from hashscan.text import human_bytes, plural, printable, shortened

LINE_SECONDS = 60.0
_BAR_SECONDS = 0.2
_FOLDER_MAX = 40
"""Characters of the folder that are shown."""
_log = logging.getLogger(__name__)


class ScanProgress:
    """The display of a scan's totals while it runs: a bar on a terminal, else nothing without -v."""

    def __init__(self) -> None:
        self._run: RunningScan | None = None
        self._started = self._shown = time.monotonic()
        self._bar: Any = None

    def watch(self, run: RunningScan) -> None:
        self._run = run
        if STANDARD_ERROR.is_for_people:
            from tqdm import tqdm

            # The total is that of the last scans. Without one, there is no share and no time left.
            self._bar = STANDARD_ERROR.bar = tqdm(
                total=run.expected or None,
                unit=" files",
                file=sys.stderr,
                dynamic_ncols=True,
                mininterval=_BAR_SECONDS,
                leave=False,
            )

    def tick(self) -> None:
        """Show the totals if it is time; cheap enough to be called for every listing."""
        if self._run is None:
            return
        now = time.monotonic()
        if now - self._shown < (_BAR_SECONDS if self._bar is not None else LINE_SECONDS):
            return
        self._shown = now
        summary, folder = self._run.summary, printable(os.fsdecode(self._run.folder))
        found = f"{human_bytes(summary.bytes_read)}, {plural(summary.findings, 'finding')}"
        if self._bar is not None:
            if self._bar.total is not None and summary.files > self._bar.total:
                self._bar.total = None
            self._bar.set_postfix_str(f"{found}, {shortened(folder, _FOLDER_MAX)}", refresh=False)
            self._bar.update(summary.files - self._bar.n)
            return
        seconds = max(now - self._started, 1e-9)
        _log.info("%s, %s, %.0f files/s", plural(summary.files, "file"), found, summary.files / seconds)

    def message(self, text: str) -> None:
        """Print a message in place of the bar, which appears again below it."""
        print_message(text)

    def clear(self) -> None:
        """Make room for a line in place of the bar, which appears again below it."""
        if self._bar is not None:
            self._bar.clear()

    def close(self) -> None:
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
            _log.info("list %s: %s", printable(self._name), message)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
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
