"""A cluster, and something to scan with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scan.cluster.scanning import draw, state_with
from tests.scan.nodes import Cluster, cluster


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("cluster")) as made:
        yield made


@pytest.fixture
def here(shared: Cluster) -> Iterator[Cluster]:
    """The cluster of all tests, without nodes; a test that harms the scheduler makes its own."""
    yield shared
    shared.close_nodes()


@pytest.fixture
def pictures(tmp_path: Path) -> tuple[Path, Path]:
    """A folder of pictures, and a state folder whose list has some of them."""
    folder = tmp_path / "pictures"
    return folder, state_with(tmp_path / "state", draw(folder, 60))
