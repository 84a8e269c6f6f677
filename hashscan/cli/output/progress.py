"""Progress of a scan: a bar on a terminal, else a line a minute."""

from __future__ import annotations

import sys
import time
from typing import Any

from hashscan.cli.output.terminal import human_bytes, print_message
from hashscan.reports.summary import Summary

LINE_SECONDS = 60.0
_BAR_SECONDS = 0.2


class ScanProgress:
    """The display of a scan's totals on standard error while it runs."""

    def __init__(self) -> None:
        self._summary: Summary | None = None
        self._started = self._shown = time.monotonic()
        self._bar: Any = None
        if sys.stderr.isatty():
            from tqdm import tqdm

            # The number of files is not known until the last folder is listed, so there is no total.
            self._bar = tqdm(
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
        sys.stderr.write(
            f"hashscan: {summary.files} files, {human_bytes(summary.bytes_read)}, "
            f"{summary.findings} findings, {summary.files / seconds:.0f} files/s\n"
        )
        sys.stderr.flush()

    def line(self, text: str) -> None:
        """Write a line in place of the bar, which appears again below it."""
        if self._bar is not None:
            self._bar.clear()
        print_message(text)

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()
