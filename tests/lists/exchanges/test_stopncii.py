"""Pulls from StopNCII's interface on loopback, by the real library."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from hashscan.errors import UnreachableError, UsageError
from hashscan.lists.entries import entries_of_list
from hashscan.lists.exchanges import pulling
from hashscan.lists.pulling.client import Pulled
from hashscan.lists.store import ListStore
from hashscan.registry import EXCHANGES
from tests.lists.exchanges.servers import FUNCTION_KEY, SUBSCRIPTION_KEY, AllServed, Hash, all_served
from tests.web import refuse, send

pytest.importorskip("threatexchange", reason="of the extra exchange")

NAME = "stopncii"
VALUES = [f"{number:064x}" for number in range(25)]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[AllServed]:
    with all_served(tmp_path / "exchanges") as served:
        served.stopncii.page = 10
        served.stopncii.put(*(Hash(value, ago(30 * 3600 - number)) for number, value in enumerate(VALUES)))
        yield served


def ago(seconds: int) -> int:
    return int(time.time()) - seconds


def added(store: ListStore, served: AllServed) -> None:
    source = pulling.checked_source(
        EXCHANGES,
        "stopncii",
        None,
        served.credentials["stopncii"],
        proxy=served.proxy,
        ca_file=served.ca_file,
    )
    pulling.add(store, NAME, source)


def pull(store: ListStore) -> Pulled:
    return pulling.pull(store, NAME, EXCHANGES)


def values(store: ListStore) -> dict[str, str]:
    with store.open([NAME], datetime.now(UTC)) as opened:
        if not opened.handles:
            return {}
        return {entry.value.hex(): entry.category for entry in entries_of_list(opened.handles[0])}


def test_withdrawn_and_deleted_hashes_leave_the_list(store: ListStore, served: AllServed) -> None:
    added(store, served)
    pull(store)
    assert values(store) == dict.fromkeys(VALUES, "ncii")
    served.stopncii.put(
        Hash(VALUES[0], ago(60), status="Withdrawn"),
        Hash(VALUES[1], ago(60), status="Deleted"),
        Hash("ab" * 16, ago(60), "VideoMD5", "Received"),
        Hash("some text", ago(60), "Text"),
    )
    pull(store)
    assert values(store) == dict.fromkeys([*VALUES[2:], "ab" * 16], "ncii")
    assert pulling.unused_digests(store, NAME) == {"of algorithms that hashscan doesn't know": 1}
    served.stopncii.put(Hash(VALUES[0], ago(10)))
    pull(store)
    assert VALUES[0] in values(store)


def test_records_that_the_library_cant_read_are_counted(store: ListStore, served: AllServed) -> None:
    served.stopncii.put(Hash("cd" * 16, ago(60), "NewKind"), Hash("ef" * 16, ago(60), "VideoMD5", "NewState"))
    added(store, served)
    assert pull(store).problems == ("2 records can't be read by the library, and are left out",)
    assert len(values(store)) == len(VALUES)


def body(answer: object) -> bytes:
    return answer if isinstance(answer, bytes) else json.dumps(answer).encode()


PAGE = {"count": 0, "nextPageToken": "0", "nextSetTimestamp": 0, "hasMoreRecords": True, "hashRecords": []}
ANSWERS = {
    "HTML": b"<html>Log in</html>",
    "a part": json.dumps(PAGE).encode()[:-9],
    "no records": {"error": "secret"},
    "a list": [],
    "a page that names itself": PAGE,
    "records that are none": {**PAGE, "hashRecords": [7]},
    "no token": {**PAGE, "nextPageToken": None},
}


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_of_another_kind(store: ListStore, served: AllServed, name: str) -> None:
    added(store, served)
    pull(store)
    served.stopncii.fault = lambda request, path: not send(request, body(ANSWERS[name]))
    with pytest.raises(UnreachableError) as caught:
        pull(store)
    text = f"{caught.value} {caught.value.remedy}"
    assert not any(secret in text for secret in (FUNCTION_KEY, SUBSCRIPTION_KEY, "secret", "Log in"))
    assert len(values(store)) == len(VALUES)


def test_a_fetch_that_failed_begins_again(store: ListStore, served: AllServed) -> None:
    def at_the_last(request: BaseHTTPRequestHandler, path: str) -> bool:
        if "nextPageToken=20" in path:
            refuse(request, 403)
        return "nextPageToken=20" in path

    added(store, served)
    served.stopncii.fault = at_the_last
    with pytest.raises(UnreachableError, match="403"):
        pull(store)
    assert not values(store)
    served.stopncii.fault = None
    pull(store)
    assert len(values(store)) == len(VALUES)


@pytest.mark.parametrize(
    "content", ["", "one", "one,", ",two", "one,two,", "one,two,three,https://127.0.0.1/"]
)
def test_credentials_that_are_none(store: ListStore, served: AllServed, content: str) -> None:
    served.credentials["stopncii"].write_text(content)
    with pytest.raises(UsageError, match="does not hold them"):
        added(store, served)
