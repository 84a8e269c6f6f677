"""Requests that need no key, and those whose path or key is wrong, at a real node."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import cast

import pytest
from sqlalchemy import Connection, literal, select

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


def test_a_browser_gets_a_page_about_paths_that_are_not_there(site: Node) -> None:
    for path, status, kind in (
        ("/nothing", 404, "text/html; charset=utf-8"),
        ("/sign-out", 405, "text/html; charset=utf-8"),
        ("/v1/nothing", 404, "application/json"),
    ):
        answer = site.ask("GET", path, accept="text/html,*/*;q=0.8")
        assert (answer.status, answer.headers["content-type"]) == (status, kind)
        assert ("content-security-policy" in answer.headers) is kind.startswith("text/html")


def test_only_slow_answers_are_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(requests, "time", SimpleNamespace(monotonic=lambda: now))
    answers = requests.SlowAnswers(slow_seconds=1.0, times=10.0, most=2)

    nothing = cast("Connection", None)

    def ask(takes: float, answer: int) -> Callable[[Connection], int]:
        def asked(connection: Connection) -> int:
            nonlocal now
            now += takes
            return answer

        return asked

    def get(key: str, takes: float, answer: int) -> int:
        return answers.get(key, nothing, ask(takes, answer))

    assert [get("fast", 0.5, number) for number in range(3)] == [0, 1, 2]
    assert [get("slow", 2, number) for number in range(3)] == [0, 0, 0]
    assert get("other", 2, 5) == 5
    now += 37.9
    assert get("slow", 2, 7) == 7
    now += 200
    assert [get("stuck", 500, number) for number in range(2)] == [0, 1]
    # No more than two are kept.
    assert [get(name, 2, 8) for name in ("third", "fourth")] == [8, 8]
    assert get("slow", 0, 9) == 9


def test_an_answer_that_is_too_old_is_given_once_more_and_renewed(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    asked: list[int] = []

    def ask(connection: Connection) -> int:
        nonlocal now
        now += 2
        asked.append(connection.execute(select(literal(len(asked)))).scalar_one())
        return len(asked)

    monkeypatch.setattr(requests, "time", SimpleNamespace(monotonic=lambda: now))
    answers = requests.SlowAnswers(slow_seconds=1.0, times=10.0)
    with database.reading() as connection:
        assert answers.get("slow", connection, ask) == 1
        answers.renew(database)
        assert len(asked) == 1
        now += 20
        assert [answers.get("slow", connection, ask) for _ in range(2)] == [1, 1]
        answers.renew(database)
        assert len(asked) == 2
        answers.renew(database)
        assert answers.get("slow", connection, ask) == 2
    assert asked == [0, 1]
