"""`/openapi.json` describes every route; each refuses every wrong key, and generated requests find no 5xx."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.specs.openapi.checks import (
    negative_data_rejection,
    positive_data_acceptance,
    unsupported_method,
)

from hashscan.hub.accounts.keys import RIGHTS, revoke_key
from hashscan.hub.accounts.organisations import close_organisation
from hashscan.hub.storage.database import Database, open_database
from hashscan.hub.web.requests import HubErrorCode
from hashscan.model import Entry
from hashscan.service.doors.http.documents import ErrorCode
from hashscan.service.doors.http.routing import MethodRoute
from hashscan.state_dir import StateDir
from tests.examples import examples
from tests.hub.serving import Node, new_key, node
from tests.service.doors.http.serving import Answered
from tests.service.engine.serving import store_list

EXAMPLES = examples(12)
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD")
OPEN = {
    "/healthz",
    "/readyz",
    "/openapi.json",
    "/statistics",
    "/statistics.csv",
    "/statistics.json",
}
"""Paths that need no key."""


class Site(NamedTuple):
    """A node, a key with all rights, and keys that are refused, by their kind."""

    node: Node
    key: str
    refused: dict[str, tuple[str, str]]
    """Header, and code of the answer."""
    without: dict[str, str]
    """By right, a key that has all others."""


@schemathesis.serializer("application/x-ndjson")
def send_lines(context: Any, value: Any) -> bytes:
    """Send a generated text as it is."""
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    state = StateDir(tmp_path_factory.mktemp("openapi") / "state")
    store_list(state.path, Entry("e0", "md5", bytes(16), "A1"), Entry("p0", "pdq", bytes(range(32)), "A1"))
    with open_database(state) as database:
        database.migrate()
        refused, without = wrong_keys(database), {}
        for right in RIGHTS:
            others = [other for other in RIGHTS if other != right]
            without[right] = new_key(database, "alpha", *others, name=f"without-{right}")
        with node(database, state) as running:
            yield Site(running, new_key(database), refused, without)


def wrong_keys(database: Database) -> dict[str, tuple[str, str]]:
    secret = new_key(database, name="good")
    revoked, expired = (
        new_key(database, name="revoked"),
        new_key(database, name="expired", expires=int(time.time()) - 1),
    )
    closed = new_key(database, "closed")
    with database.transaction() as connection:
        revoke_key(connection, "cli me", "alpha", "revoked")
        close_organisation(connection, "cli me", "closed")
    keys = {
        "unknown": secret[:-4] + "AAAA",
        "empty": "",
        "malformed": "'; DROP TABLE keys; --",
        "long": "x" * 8000,
        "revoked": revoked,
        "expired": expired,
        "of a closed organisation": closed,
    }
    return {
        "none": ("", "key_missing"),
        "of another kind": (f"Basic {secret}", "key_missing"),
        **{kind: (f"Bearer {key}", "key_invalid" if key else "key_missing") for kind, key in keys.items()},
    }


@pytest.fixture(scope="module")
def document(site: Site) -> Any:
    return site.node.ask("GET", "/openapi.json").document


def operations(site: Site) -> list[tuple[str, str]]:
    """Path and method of every route for servers; those of pages have tests of their own."""
    return [
        (route.path, route.method)
        for route in site.node.app.routes
        if isinstance(route, MethodRoute) and route.path.startswith("/v1/")
    ]


def at(path: str) -> str:
    """A path with something in place of its parameters."""
    return path.replace("{uuid}", "0" * 8 + "-0000" * 3 + "-" + "0" * 12).replace("{number}", "1")


def asked(site: Site, path: str, method: str, **headers: str) -> Answered:
    return site.node.ask(method, at(path), None if method == "GET" else b"{}", **headers)


def test_the_document_is_whole(site: Site, document: Any) -> None:
    text = json.dumps(document)
    own = {path for path, _ in operations(site)}
    assert document["paths"].keys() == own | OPEN
    names = set(document["components"]["schemas"])
    assert {part.split('"')[0] for part in text.split('"#/components/schemas/')[1:]} <= names
    for error in (ErrorCode.RATE_LIMITED, ErrorCode.TOO_MANY_DIGESTS, HubErrorCode.QUOTA_EXCEEDED):
        assert error.code in text
    for path in own | OPEN:
        for operation in document["paths"][path].values():
            assert bool(operation.get("security")) == (path in own)
            assert operation["summary"]
            done = [status for status in operation["responses"] if status.startswith("2")]
            assert done, path
            assert all("content" in operation["responses"][status] for status in done if status != "204")
    for path, method in operations(site):
        operation = document["paths"][path][method.lower()]
        assert {"401", "403", "429", "503"} <= operation["responses"].keys()
        assert ("requestBody" in operation) == (method == "POST"), (path, method)


def test_every_route_refuses_every_wrong_key(site: Site) -> None:
    for path, method in operations(site):
        answers = set()
        for kind, (header, code) in site.refused.items():
            headers = {"Authorization": header} if header else {}
            refused = asked(site, path, method, **headers)
            assert (refused.status, refused.code) == (401, code), (path, method, kind)
            assert refused.headers["www-authenticate"] == "Bearer"
            answers.add((code, refused.body))
        # Nobody learns why a key is refused: whether it was ever valid, or whose it was.
        assert len(answers) == 2, (path, answers)
        lacking = [
            right
            for right, key in site.without.items()
            if asked(site, path, method, Authorization=f"Bearer {key}").status == 403
        ]
        assert len(lacking) == 1, (path, method)


def test_other_methods_are_refused_before_keys_are_looked_at(site: Site) -> None:
    there = operations(site)
    for path in {path for path, _ in there}:
        for method in METHODS:
            if (path, method) not in there:
                refused = site.node.ask(method, at(path), key=site.key)
                assert refused.status == 405, (path, method)


def test_generated_requests_are_answered_as_described(site: Site, document: Any) -> None:
    """Valid and invalid ones, by `schemathesis`; every answer is one that the document has."""
    schema = schemathesis.openapi.from_dict(document)
    # A digest of a valid form may still be of the wrong length.
    excluded = [positive_data_acceptance, unsupported_method]
    for path, method in [(each, method) for each in document["paths"] for method in document["paths"][each]]:
        operation = schema[path][method]
        valid = operation.as_strategy(generation_mode=schemathesis.GenerationMode.POSITIVE)
        invalid = operation.as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE)

        @settings(
            max_examples=EXAMPLES, database=None, suppress_health_check=list(HealthCheck), deadline=None
        )
        @given(st.one_of(valid, invalid), st.booleans())
        def sent(case: Any, with_key: bool) -> None:
            headers = {"Authorization": f"Bearer {site.key}"} if with_key else {}
            case.headers.update(headers)  # so that it no longer counts as a case without a key
            answer = case.call(base_url=site.node.url, headers=headers)
            assert answer.status_code < 500
            # A document that is not valid may be refused for its size alone.
            too_large = [negative_data_rejection] if answer.status_code == ErrorCode.TOO_LARGE.status else []
            case.validate_response(answer, excluded_checks=excluded + too_large)

        sent()
