"""Marks for tests of what is otherwise without the compiled parts."""

from __future__ import annotations

import pytest

from hashscan.hashing.recognition import none_kinds

needs_traces = pytest.mark.skipif(
    none_kinds.has_traces is None, reason="without the search in C any picture may hold something"
)
