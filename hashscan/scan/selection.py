"""Describe in the report the options that decide which files a scan checks, and how far."""

from __future__ import annotations

import hashlib
import json

from hashscan.reports.record_lines import Record
from hashscan.settings.scan import ScanSettings
from hashscan.sources.patterns import Patterns

_PATTERNS_SHOWN = 100
"""The number of patterns shown, because an ignore file may have very many."""


def selection_fields(settings: ScanSettings, patterns: Patterns) -> Record:
    """Return the `selection` field of a scan's first record; options that were not given are left out.

    Args:
        settings: the scan's settings.
        patterns: the compiled patterns of `--exclude` and `--ignore-file`.
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
    """Return the number of patterns, a fingerprint of all of them, and the first of them as text."""
    document = json.dumps([[included, pattern] for included, pattern in patterns.source])
    return {
        "number": len(patterns.source),
        "fingerprint": hashlib.sha256(document.encode("ascii")).hexdigest(),
        "patterns": [
            ("!" if included else "") + pattern for included, pattern in patterns.source[:_PATTERNS_SHOWN]
        ],
    }
