"""Progress of a pull: a bar on a terminal, else a line a minute."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

from hashscan.cli.output import progress
from hashscan.cli.output.terminal import escape_control, human_bytes, print_message


class PullProgress:
    """The display on standard error of how much of a list is downloaded."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._received = 0
        self._total: int | None = None
        self._shown = time.monotonic()
        self._bar: Any = None
        if sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(
                desc=escape_control(name),
                unit="B",
                unit_scale=True,
                file=sys.stderr,
                dynamic_ncols=True,
                leave=False,
            )

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
        now = time.monotonic()
        if now - self._shown >= progress.LINE_SECONDS:
            self._shown = now
            of = f" of {human_bytes(self._total)}" if self._total is not None else ""
            print_message(f"hashscan: list {self._name}: {human_bytes(self._received)}{of} downloaded")

    def __enter__(self) -> PullProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()
