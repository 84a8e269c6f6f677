"""Exchanges of extensions of python-threatexchange, besides what `test_contract` tests."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hashscan.errors import UsageError
from hashscan.lists.entries import entries_of_list
from hashscan.lists.exchanges import pulling
from hashscan.lists.store import ListStore
from hashscan.registry import EXCHANGES
from tests.lists.exchanges.processes import EXTENSION, install_extension
from tests.lists.exchanges.servers import AllServed, ExtensionServer, all_served, md5_of

pytest.importorskip("threatexchange", reason="of the extra exchange")

MANIFEST = "from threatexchange.extensions.manifest import ThreatExchangeExtensionManifest as M\n"


@pytest.fixture(autouse=True)
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return install_extension(tmp_path / "packages", monkeypatch)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[AllServed]:
    with all_served(tmp_path / "exchanges") as served:
        yield served


def add(store: ListStore, served: AllServed, environment: str) -> ExtensionServer:
    source = pulling.checked_source(
        EXCHANGES,
        "extension",
        environment,
        served.credentials["extension"],
        proxy=served.proxy,
        ca_file=served.ca_file,
    )
    pulling.add(store, "mine", source)
    server = served.interfaces["extension"]
    assert isinstance(server, ExtensionServer)
    return server


def values(store: ListStore) -> set[str]:
    with store.open(["mine"], datetime.now(UTC)) as opened:
        return {entry.value.hex() for handle in opened.handles for entry in entries_of_list(handle)}


def test_false_positives_are_left_out(store: ListStore, served: AllServed) -> None:
    server = add(store, served, f"{EXTENSION}/example")
    now = int(time.time()) - 7200
    server.records = {
        md5_of(1): (now, "video_md5", "right"),
        md5_of(2): (now, "video_md5", "wrong"),
        "ab" * 32: (now, "video_sha256", "right"),
        "cd" * 32: (now, "pdq", "right"),
    }
    pulling.pull(store, "mine", EXCHANGES)
    assert values(store) == {md5_of(1), "ab" * 32, "cd" * 32}
    server.records[md5_of(1)] = (now + 7000, "video_md5", "wrong")
    info = pulling.pull(store, "mine", EXCHANGES).info
    assert values(store) == {"ab" * 32, "cd" * 32}
    assert info.categories == ("other",)
    with store.open(["mine"], datetime.now(UTC)) as opened:
        ids = [entry.id for handle in opened.handles for entry in entries_of_list(handle)]
    # Reports name ids, and must not reveal what is on a list.
    assert not any(value in id_ for id_ in ids for value in values(store))


def test_an_exchange_that_sends_everything_each_time(store: ListStore, served: AllServed) -> None:
    server = add(store, served, f"{EXTENSION}/whole")
    server.page = 4
    for number in range(10):
        server.add(number, 7200)
    pulling.pull(store, "mine", EXCHANGES)
    assert values(store) == {md5_of(number) for number in range(10)}
    del server.records[md5_of(3)]
    pulling.pull(store, "mine", EXCHANGES)
    assert values(store) == {md5_of(number) for number in range(10) if number != 3}


def test_requests_go_to_the_named_server_only(store: ListStore, served: AllServed) -> None:
    path = served.credentials["extension"]
    path.write_text(json.dumps({"address": "https://other.example.org/", "credentials": "k"}))
    server = add(store, served, f"{EXTENSION}/example")
    with pytest.raises(pulling.UnreachableError, match="another server"):
        pulling.pull(store, "mine", EXCHANGES)
    assert not server.asked


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"address": 7},
        {"address": "http://hashes.example.org/"},
        {"address": "no address"},
        {"address": "https://a.example/", "collaboration": []},
        {"address": "https://a.example/", "password": "x"},
        [],
    ],
)
def test_credentials_that_are_none(store: ListStore, served: AllServed, content: object) -> None:
    served.credentials["extension"].write_text(json.dumps(content))
    with pytest.raises(UsageError, match="does not hold them"):
        add(store, served, f"{EXTENSION}/example")


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        (f"{EXTENSION}/nobody", "no exchange 'nobody'"),
        (f"{EXTENSION}/merging", "merges"),
        (f"{EXTENSION}:example", "no environment"),
        ("os.path/x", "not in"),
        ("hashscan_not_installed/x", "not in"),
        ("..evil/x", "no environment"),
    ],
)
def test_extensions_that_cant_be_used(
    store: ListStore, served: AllServed, environment: str, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        add(store, served, environment)


@pytest.mark.parametrize(
    "text",
    [
        "import a_module_that_is_not_there",
        "raise RuntimeError('no')",
        "import sys; sys.exit(3)",
        "def broken(:",
        "OTHER = 7",
        "TX_MANIFEST = 7",
        f"{MANIFEST}TX_MANIFEST = M(apis=(7,))",
    ],
)
def test_a_broken_extension_is_named(
    store: ListStore, served: AllServed, packages: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (packages / "hashscan_broken_extension.py").write_text(text)
    monkeypatch.delitem(sys.modules, "hashscan_broken_extension", raising=False)
    with pytest.raises(UsageError, match="hashscan_broken_extension"):
        add(store, served, "hashscan_broken_extension/example")


def test_an_extension_from_elsewhere_is_not_run(
    store: ListStore, served: AllServed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as from the current folder, which may be a customer's."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "hashscan_outside_extension.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.syspath_prepend(str(elsewhere))
    with pytest.raises(UsageError, match="not in"):
        add(store, served, "hashscan_outside_extension/example")
    assert not (tmp_path / "ran").exists()
