"""Imported by the process that workers are forked from, and nowhere else: it ends with the sweep.

By itself it would end with the last of its workers, which hold the pipe that it listens to; and workers that
are paused, or held by their pace, would never notice that there is no sweep any more.
"""

from __future__ import annotations

from hashscan.scan.orphans import die_with_parent

die_with_parent()
