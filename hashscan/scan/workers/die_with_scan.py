"""Prepare the fork server, the process that workers are forked from; no other process imports this module.

It ends with the scan. Otherwise it would end with the last of its workers, which have the pipe open that it
listens to; and workers that are paused, or held by the rate limiter, would never notice that the scan has
ended.
"""

from __future__ import annotations

import gc
import os

from hashscan.scan.workers.process_setup import die_with_parent

_COLLECT_AFTER = 20_000
"""New objects after which a worker looks for unreachable cycles; a batch of files stays below that."""


def _prepare_worker() -> None:
    die_with_parent()
    # The objects of the imported modules live as long as the worker. To look for garbage among them would
    # take time, and would copy the memory that all workers share.
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER)
    gc.enable()


die_with_parent()
# The imports that follow leave hardly any garbage.
gc.disable()
# A worker may be paused before it has run any code of its own.
os.register_at_fork(after_in_child=_prepare_worker)
