"""What a sweep is told that changes which files it checks, or how far, as its report states it."""

from __future__ import annotations

import hashlib
import json

from hashscan.reports.record_lines import Record
from hashscan.settings.scan import SweepSettings
from hashscan.sources.patterns import Patterns

_PATTERNS_SHOWN = 100
"""An ignore file may have very many."""


def selection_fields(settings: SweepSettings, patterns: Patterns) -> Record:
    """The `selection` of a sweep's record; what was not asked for is left out.

    Args:
        settings: of the sweep.
        patterns: what was compiled of `--exclude` and `--ignore-file`.
    """
    asked = {
        "exclude": _exclude_fields(patterns) if patterns else None,
        "max_file_size": settings.max_file_size,
        "max_sparse": settings.max_sparse,
        "one_file_system": settings.one_file_system or None,
        "all_versions": settings.all_versions or None,
        "endpoint": settings.access.endpoint,
        "trust_ctime": list(settings.trust_ctime) or None,
        "anonymous": settings.access.anonymous or None,
        "max_pixels": settings.decoding.max_pixels,
        "decoder_memory": settings.decoding.memory_bytes,
        "decoder_seconds": settings.decoding.seconds,
    }
    return {key: value for key, value in asked.items() if value is not None}


def _exclude_fields(patterns: Patterns) -> Record:
    """All patterns by what tells them from others, the first of them as they are."""
    document = json.dumps([[included, pattern] for included, pattern in patterns.source])
    return {
        "number": len(patterns.source),
        "fingerprint": hashlib.sha256(document.encode("ascii")).hexdigest(),
        "patterns": [
            ("!" if included else "") + pattern for included, pattern in patterns.source[:_PATTERNS_SHOWN]
        ],
    }
