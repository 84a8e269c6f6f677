from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hashscan.lists.exchanges import pulling
from tests.lists.exchanges.servers import Served, ncmec_served


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulling, "PAUSES", (0.01, 0.01))


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with ncmec_served(tmp_path / "exchange") as served:
        yield served
