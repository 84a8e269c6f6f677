"""Workers of engines whose zygotes are forked, too."""

from __future__ import annotations

import pytest

from hashscan.scan.workers.process_setup import warm_up


@pytest.fixture(scope="session", autouse=True)
def _fork_server() -> None:
    warm_up(["tests.scan.workers.forked_zygotes", "hashscan.service.engine.worker_process"])
