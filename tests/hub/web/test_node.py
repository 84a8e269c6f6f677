"""Requests that need no key, and those whose path or key is wrong, at a real node."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest

from hashscan.hub.storage.database import Database
from hashscan.hub.web import requests
from hashscan.model import Entry
from hashscan.state_dir import StateDir
from tests.hub.serving import Node, node
from tests.service.engine.serving import store_list


@pytest.fixture
def site(database: Database, hub_state: StateDir) -> Iterator[Node]:
    store_list(hub_state.path, Entry("e0", "md5", bytes(16), "A1"))
    with node(database, hub_state) as running:
        yield running


def test_a_node_says_that_it_is_ready(site: Node) -> None:
    for path in ("/healthz", "/readyz"):
        assert site.ask("GET", path).status == 200


def test_paths_and_methods_that_are_not_there(site: Node) -> None:
    missing, wrong = site.ask("GET", "/v9/nothing"), site.ask("DELETE", "/healthz")
    assert (missing.status, missing.code) == (404, "not_found")
    assert (wrong.status, wrong.code, wrong.headers["allow"]) == (405, "method_not_allowed", "GET")


def test_only_slow_answers_are_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(requests, "time", SimpleNamespace(monotonic=lambda: now))
    answers = requests.SlowAnswers(slow_seconds=1.0, times=10.0, most=2)

    def ask(takes: float, answer: int) -> Callable[[], int]:
        def asked() -> int:
            nonlocal now
            now += takes
            return answer

        return asked

    assert [answers.get("fast", ask(0.5, number)) for number in range(3)] == [0, 1, 2]
    assert [answers.get("slow", ask(2, number)) for number in range(3)] == [0, 0, 0]
    assert answers.get("other", ask(2, 5)) == 5
    now += 17.9
    assert answers.get("slow", ask(2, 7)) == 7
    now += 100
    assert [answers.get("stuck", ask(500, number)) for number in range(2)] == [0, 1]
    # No more than two are kept.
    assert [answers.get(name, ask(2, 8)) for name in ("third", "fourth")] == [8, 8]
    assert answers.get("slow", ask(0, 9)) == 9
