"""One engine for all tests of the HTTP door that don't change it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hashscan.model import Entry
from tests.conftest import use_forking_server
from tests.service.doors.http.serving import HttpServer, Site, http_server
from tests.service.engine.serving import entry_of, picture, store_list

LISTED = picture(1)
GOOD = picture(3)
SIMILAR = Entry("p0", "pdq", bytes(range(32)), "A2")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpServer]:
    """An engine with a list that has LISTED."""
    use_forking_server()
    state = tmp_path_factory.mktemp("http") / "state"
    store_list(state, entry_of(LISTED), SIMILAR)
    store_list(state, entry_of(GOOD, 1, "known-good"), entry_of(GOOD, 2), name="good")
    with http_server(state) as running:
        yield running


@pytest.fixture(scope="module")
def site(server: HttpServer) -> Iterator[Site]:
    """A door on loopback that shows entries and needs no key."""
    with server.door() as opened:
        yield opened
