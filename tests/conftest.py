"""Programs that tests start are as quick as the tests and take signals as at a terminal; nothing is timed."""

from __future__ import annotations

import os
import signal

import hypothesis

# Without a terminal sweeps would step back behind whatever else runs here, and tests time out.
os.environ["HASHSCAN_BACKGROUND"] = "no"

# What is unchanged is chosen at random to be read again, and tests count.
os.environ["HASHSCAN_REREAD"] = "0%"

# One that runs in the background hands down ignored ones.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# On a busy machine any example may take long.
hypothesis.settings.register_profile(
    "untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("untimed")
