"""Imported by the process that workers are forked from, and nowhere else: it ends with the sweep.

By itself it would end with the last of its workers, which hold the pipe that it listens to; and workers that
are paused, or held by their pace, would never notice that there is no sweep any more.
"""

from __future__ import annotations

import os

from hashscan.scan.workers.parent_death import die_with_parent

die_with_parent()
# A worker may be paused before it has done anything of its own.
os.register_at_fork(after_in_child=die_with_parent)
