"""Acknowledged reports are counted once, while clients, nodes, commands and PostgreSQL are killed at random.

`python -m benchmarks.hub.kills` does the same for five minutes.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.hub.databases import programs
from tests.hub.killing.harness import run

_SECONDS = 8


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_what_is_acknowledged_is_counted_once(kind: str, tmp_path: Path) -> None:
    if kind == "postgresql" and (programs() is None or shutil.which("haproxy", path="/usr/sbin") is None):
        pytest.skip("PostgreSQL's server or HAProxy is not installed")
    outcome = run(tmp_path, kind, _SECONDS, 7, outage=1.0)
    assert outcome.trouble == []
    assert [(name, outcome.known[name], outcome.counted[name]) for name in outcome.differences()] == []
    assert outcome.kills.total() > 0
    assert all(outcome.known[f"{name}: reports"] > 0 for name in ("web-alpha", "web-beta"))
