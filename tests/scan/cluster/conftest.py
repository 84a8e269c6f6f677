"""A cluster, and something to scan with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scan.cluster.scanning import draw, state_with
from tests.scan.nodes import Cluster, cluster


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Cluster]:
    with cluster(tmp_path / "cluster") as made:
        yield made


@pytest.fixture
def pictures(tmp_path: Path) -> tuple[Path, Path]:
    """A folder of pictures, and a state folder whose list has some of them."""
    folder = tmp_path / "pictures"
    return folder, state_with(tmp_path / "state", draw(folder, 60))
