"""End the fork server with the scan; only the process that workers are forked from imports this module.

Otherwise the fork server would end with the last of its workers, which have the pipe open that it listens to;
and workers that are paused, or held by the rate limiter, would never notice that the scan has ended.
"""

from __future__ import annotations

import os

from hashscan.scan.workers.process_setup import die_with_parent

die_with_parent()
# A worker may be paused before it has run any code of its own.
os.register_at_fork(after_in_child=die_with_parent)
