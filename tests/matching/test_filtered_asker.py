"""A process that asks for a long time uses no filter of a version that the service no longer has."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec import structs

from hashscan.lists.services.settings import ServiceSettings, StoredService
from hashscan.matching.remote import asker
from hashscan.matching.remote.single import SingleAsker
from hashscan.model import Entry
from tests.lists.builders import Filters
from tests.matching_services import SECRET, Listed, ServiceServer, service_running
from tests.waiting import until

pytestmark = pytest.mark.integration

Publish = Callable[..., None]
SHORT = 0.05


def digest(number: int) -> bytes:
    return hashlib.sha256(b"%d" % number).digest()


@pytest.fixture
def server() -> Iterator[ServiceServer]:
    with service_running() as running:
        yield running


@pytest.fixture
def publish(server: ServiceServer, tmp_path: Path) -> Publish:
    """List digests in a new version of the service, of which there is a filter."""
    filters = Filters(tmp_path / "owner")
    server.filters = filters.repository

    def publish(*numbers: int) -> None:
        entries = [Entry(f"n-{number}", "sha256", digest(number), "A1") for number in numbers]
        made = filters.publish(entries, new_base=True)
        server.entries = [Listed(each.id, "sha256", each.value) for each in entries]
        server.version = made.version
        server.filter = filters.address(f"{server.url}filters/", made.version)

    return publish


@pytest.fixture
def one(server: ServiceServer, publish: Publish, tmp_path: Path) -> Iterator[SingleAsker]:
    publish(1)
    key = tmp_path / "key"
    key.write_text(SECRET)
    key.chmod(0o600)
    folder = tmp_path / "national"
    folder.mkdir()
    settings = ServiceSettings(server.url, "hashscan", str(key), patience=1.0)
    with SingleAsker([StoredService("national", "identity", settings, folder)], ()) as made:
        yield made


def named(one: SingleAsker, number: int) -> list[str]:
    return [match.entry_id for match in one.matches({"sha256": digest(number)})]


def test_it_asks_only_what_the_filter_lets_through(server: ServiceServer, one: SingleAsker) -> None:
    assert named(one, 1) == ["n-1"]
    requests = server.requests
    assert not any(named(one, number) for number in range(2, 30))
    assert one.silent == []
    assert server.requests <= requests + 1


def test_a_new_version_is_noticed(
    server: ServiceServer, publish: Publish, one: SingleAsker, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert named(one, 2) == []
    publish(1, 2)
    assert named(one, 2) == []
    monkeypatch.setattr(asker, "CONFIRM_SECONDS", SHORT)
    time.sleep(2 * SHORT)
    assert named(one, 2) == ["n-2"]
    monkeypatch.setattr(asker, "CONFIRM_SECONDS", 60.0)

    def filtered() -> bool:
        before = len(server.asked)
        named(one, 3)
        return len(server.asked) == before

    until(filtered)
    assert named(one, 2) == ["n-2"]


def test_everything_is_asked_until_there_is_a_filter_of_the_new_version(
    server: ServiceServer, one: SingleAsker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert named(one, 2) == []
    server.version = "new"
    server.entries.append(Listed("n-2", "sha256", digest(2)))
    assert server.filter is not None
    server.filter = structs.replace(server.filter, version="new")
    monkeypatch.setattr(asker, "CONFIRM_SECONDS", SHORT)
    time.sleep(2 * SHORT)
    assert named(one, 2) == ["n-2"]
    until(lambda: any("national" in record.getMessage() for record in caplog.records))
    before = len(server.asked)
    assert named(one, 3) == []
    assert len(server.asked) == before + 1


def test_a_service_that_does_not_confirm_its_version_clears_nothing(
    server: ServiceServer, one: SingleAsker, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert named(one, 2) == []
    server.kill()
    assert named(one, 3) == []
    assert one.silent == []
    monkeypatch.setattr(asker, "CONFIRM_SECONDS", SHORT)
    time.sleep(2 * SHORT)
    assert named(one, 3) == []
    assert one.silent == ["national"]
