"""Pause a scan with its workers until it is continued (SIGCONT)."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterable


def pause(processes: Callable[[], Iterable[int]]) -> None:
    """Stop the workers and then this process, until SIGCONT arrives; returns when all continue.

    The default action of SIGTSTP would stop this process alone, and not even that if no shell could continue
    it: under cron, nohup or systemd. Decoders finish the work that they have begun; then they wait for their
    workers.

    Args:
        processes: returns the process ids of the workers.
    """
    stopped = list(processes())
    _send(stopped, signal.SIGSTOP)
    # To this thread and not to the process: another thread could receive it, and this one would run on for a
    # while.
    signal.raise_signal(signal.SIGSTOP)
    _send(stopped, signal.SIGCONT)


def _send(processes: Iterable[int], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, number)
