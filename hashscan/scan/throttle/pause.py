"""Pauses a sweep with its workers until it is told to go on."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterable


def pause(processes: Callable[[], Iterable[int]]) -> None:
    """Stop the workers and then this process, until SIGCONT comes; returns when all go on.

    The default for SIGTSTP would stop this process alone, and not even that where no shell could continue it:
    under cron, nohup or systemd. What decoders have begun they finish; then they wait for their workers.

    Args:
        processes: says which processes the workers are.
    """
    stopped = list(processes())
    _send(stopped, signal.SIGSTOP)
    # To this thread and not to the process: another thread could take it, and this one run on for a while.
    signal.raise_signal(signal.SIGSTOP)
    _send(stopped, signal.SIGCONT)


def _send(processes: Iterable[int], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, number)
