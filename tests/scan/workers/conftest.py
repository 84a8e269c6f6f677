"""Workers of pools whose zygotes are forked, too."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module", autouse=True)
def _fork_server(forking_workers: None) -> None:
    pass
