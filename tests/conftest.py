"""Signals as programs at a terminal have them: one that runs in the background hands down ignored ones."""

from __future__ import annotations

import signal

signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
