"""`/openapi.json` describes every answer; generated requests find no 5xx and no answer of another form."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.specs.openapi.checks import positive_data_acceptance, unsupported_method

from hashscan.service.doors.http.documents import ErrorCode
from tests.examples import examples
from tests.service.doors.http.serving import HttpServer, Site, add_key

EXAMPLES = examples(25)
PATHS = {
    ("/healthz", "get"),
    ("/metrics", "get"),
    ("/openapi.json", "get"),
    ("/readyz", "get"),
    ("/v1/changes", "get"),
    ("/v1/check", "post"),
    ("/v1/check/{algorithm}/{value}", "get"),
    ("/v1/info", "get"),
    ("/v1/lists", "get"),
    ("/v1/scan", "post"),
    ("/v1/scan/nginx", "post"),
}


class Locked(NamedTuple):
    """A door that needs a key, and one with all rights."""

    site: Site
    key: str


@pytest.fixture(scope="module")
def locked(server: HttpServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Locked]:
    keys: Path = tmp_path_factory.mktemp("openapi") / "keys"
    key = add_key(keys, "scan", "check", "lists", "metrics")
    with server.door(keys=keys, metrics=lambda: b"m 1\n") as site:
        yield Locked(site, key)


def test_the_document_names_every_path_and_code(site: Site) -> None:
    document = site.ask("GET", "/openapi.json").document
    assert {(path, method) for path, methods in document["paths"].items() for method in methods} == PATHS
    text = json.dumps(document)
    missing = {error.code for error in ErrorCode if f"{error.code}" not in text}
    # Answered where no path or method is found.
    assert missing == {"not_found", "method_not_allowed"}
    names = set(document["components"]["schemas"])
    assert {"CheckRequest", "DigestFields", "FileAnswer", "MatchAnswer", "Verdict"} <= names
    used = {part.split('"')[0] for part in text.split('"#/components/schemas/')[1:]}
    assert used <= names


@pytest.mark.parametrize(("path", "method"), sorted(PATHS))
def test_generated_requests_are_answered_as_described(locked: Locked, path: str, method: str) -> None:
    """Valid and invalid ones, by `schemathesis`; every answer is one that the document has."""
    site, key = locked
    operation = schemathesis.openapi.from_url(f"{site.url}/openapi.json")[path][method]
    valid = operation.as_strategy(generation_mode=schemathesis.GenerationMode.POSITIVE)
    invalid = operation.as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE)
    # A digest of a valid form may still be of the wrong length, and a valid form too long.
    excluded = [positive_data_acceptance, unsupported_method]

    @settings(max_examples=EXAMPLES, database=None, suppress_health_check=list(HealthCheck), deadline=None)
    @given(st.one_of(valid, invalid), st.booleans())
    def asked(case: Any, with_key: bool) -> None:
        headers = {"Authorization": f"Bearer {key}"} if with_key else {}
        case.headers.update(headers)  # so that it no longer counts as a case without a key
        answer = case.call(base_url=site.url, headers=headers)
        assert answer.status_code < 500
        case.validate_response(answer, excluded_checks=excluded)

    asked()
