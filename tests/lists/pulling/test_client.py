from __future__ import annotations

import json
import shutil
import socket
import time
from collections.abc import Callable
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import numpy as np
import pytest

from hashscan.errors import (
    HashscanError,
    ListTrustError,
    LockedError,
    OutputError,
    UnreachableError,
    UsageError,
)
from hashscan.lists.pulling import client
from hashscan.lists.pulling import fetching as web_fetcher
from hashscan.lists.pulling.origin import Origin
from hashscan.lists.storage import manifest as manifests
from hashscan.lists.storage.manifest import Manifest, Part, PartColumns, Shard
from hashscan.lists.store import ListStore
from hashscan.model import CATEGORIES, ListInfo, TrustState
from tests.examples import quick_first
from tests.lists.builders import CANARIES, NOW, Owner, some_entries, tree
from tests.lists.storage.test_trust import rotate_root
from tests.test_locking import holder
from tests.web import WebServer, send


def info(store: ListStore, name: str = "mine") -> ListInfo:
    with store.open([name], NOW) as opened:
        return opened.infos[0]


@pytest.fixture
def subscribed(owner: Owner, store: ListStore, web: WebServer) -> ListStore:
    """Version 1, nine entries, pulled from the web server as `mine`."""
    owner.release(some_entries(9))
    client.add(store, "mine", web.url, owner.root)
    client.pull(store, "mine")
    web.asked.clear()
    return store


def still_version_1(store: ListStore, error: type[HashscanError], message: str) -> None:
    """A pull fails with this error, and the last good version stays."""
    with pytest.raises(error, match=message) as caught:
        client.pull(store, "mine")
    assert caught.value.remedy
    assert str(caught.value).isprintable()
    found = info(store)
    assert (found.state, found.version, found.entries) == (TrustState.FRESH, 1, 9 + CANARIES)


# ---- what works


def test_pulls_from_a_web_server(owner: Owner, store: ListStore, web: WebServer) -> None:
    owner.release(some_entries(9))
    client.add(store, "mine", web.url.rstrip("/"), owner.root)
    assert info(store).state is TrustState.MISSING
    assert "lists pull mine" in (info(store).problem or "")
    pulled = client.pull(store, "mine")
    assert (pulled.changed, pulled.previous, pulled.info.version) == (True, None, 1)
    assert pulled.info == info(store)
    assert pulled.info.by_algorithm == (("md5", 4), ("pdq", 4), ("sha1", 1), ("sha256", 4))
    assert pulled.info.categories == ("A1", "B2", "test")
    assert client.origin_of(store, "mine") == Origin(web.url)


@pytest.mark.parametrize("form", [str, lambda folder: folder.as_uri()])
def test_pulls_from_a_folder(owner: Owner, store: ListStore, form: Callable[[Path], str]) -> None:
    owner.release(some_entries(9))
    client.add(store, "mine", form(owner.repository), owner.root)
    assert client.pull(store, "mine").info.entries == 9 + CANARIES


def test_nothing_new_changes_nothing(subscribed: ListStore, web: WebServer) -> None:
    before = tree(subscribed.folder("mine").path)
    pulled = client.pull(subscribed, "mine")
    assert (pulled.changed, pulled.previous, pulled.fetched) == (False, 1, 0)
    assert tree(subscribed.folder("mine").path) == before
    assert web.asked == ["/metadata/2.root.json", "/metadata/timestamp.json"]


def test_new_signatures_alone_are_put_in_use(subscribed: ListStore, owner: Owner) -> None:
    manifest = owner.target("manifest.json").read_bytes()
    files = {"manifest.json": manifest}
    for name in manifests.from_bytes(manifest).names:
        files[name] = owner.target(name).read_bytes()
    owner.publish_files(files, version=2)
    pulled = client.pull(subscribed, "mine")
    assert (pulled.changed, pulled.info.version, pulled.fetched) == (True, 1, 0)


def test_a_chain_of_roots_is_followed_and_kept(subscribed: ListStore, owner: Owner) -> None:
    rotate_root(owner, 2)
    rotate_root(owner, 3)
    owner.release(some_entries(3, start=9))
    assert client.pull(subscribed, "mine").info.version == 2
    assert info(subscribed).version == 2
    assert client.pull(subscribed, "mine").changed is False


def test_a_damaged_version_is_repaired(subscribed: ListStore) -> None:
    (path,) = subscribed.folder("mine").versions.glob("*/columns/base.pdq.value.npy")
    # Its only shard.
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    assert info(subscribed).state is TrustState.DAMAGED
    pulled = client.pull(subscribed, "mine")
    assert (pulled.changed, pulled.previous) == (True, None)
    assert pulled.fetched == size
    assert info(subscribed).state is TrustState.FRESH


def test_everything_stored_is_private(subscribed: ListStore, owner: Owner) -> None:
    owner.release(some_entries(3, start=9))
    client.pull(subscribed, "mine")
    root = subscribed.folder("mine").path.parent
    paths = [root, *root.rglob("*")]
    assert len(paths) > 20
    for path in paths:
        if not path.is_symlink():
            assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


# ---- what can't be trusted


def test_another_root_trusts_nothing(owner: Owner, store: ListStore, web: WebServer, tmp_path: Path) -> None:
    owner.release(some_entries(9))
    client.add(store, "mine", web.url, Owner.begin(tmp_path / "other").root)
    with pytest.raises(ListTrustError, match="can't be trusted"):
        client.pull(store, "mine")
    assert info(store).state is TrustState.MISSING


@pytest.mark.parametrize("name", ["pdq.0000.value.npy", "manifest.json"])
def test_a_tampered_target_is_refused(subscribed: ListStore, owner: Owner, name: str) -> None:
    owner.release(some_entries(3, start=9))
    path = owner.target(name)
    data = path.read_bytes()
    path.write_bytes(data[:-2] + bytes([data[-2] ^ 1]) + data[-1:])
    still_version_1(subscribed, ListTrustError, "can't be trusted")
    path.write_bytes(data)
    assert client.pull(subscribed, "mine").info.version == 2


@pytest.mark.parametrize("name", ["timestamp.json", "2.snapshot.json", "2.targets.json"])
def test_tampered_metadata_is_refused(subscribed: ListStore, owner: Owner, name: str) -> None:
    owner.release(some_entries(3, start=9))
    path = owner.metadata / name
    document = json.loads(path.read_bytes())
    document["signed"]["version"] += 1
    path.write_bytes(json.dumps(document).encode())
    still_version_1(subscribed, ListTrustError, "can't be trusted")


def test_a_tampered_root_is_refused(subscribed: ListStore, owner: Owner) -> None:
    rotate_root(owner, 2)
    path = owner.metadata / "2.root.json"
    path.write_bytes(path.read_bytes().replace(b'"version":2', b'"version":2,"x":1'))
    still_version_1(subscribed, ListTrustError, "can't be trusted")


def test_nobody_goes_back_to_an_older_version(subscribed: ListStore, owner: Owner, web: WebServer) -> None:
    old = owner.copy("old")
    owner.release(some_entries(3, start=9))
    assert client.pull(subscribed, "mine").info.version == 2
    web.folder = old
    with pytest.raises(ListTrustError, match="version 1 must be >= 2"):
        client.pull(subscribed, "mine")
    assert info(subscribed).version == 2


def test_nobody_goes_back_behind_what_a_failed_pull_has_seen(
    subscribed: ListStore, owner: Owner, web: WebServer
) -> None:
    old = owner.copy("old")
    owner.release(some_entries(3, start=9))
    web.answers["manifest.json"] = lambda request: request.send_error(404)
    still_version_1(subscribed, UnreachableError, "404")
    web.folder, web.answers = old, {}
    still_version_1(subscribed, ListTrustError, "must be >= 2")


def test_parts_of_two_versions_dont_mix(subscribed: ListStore, owner: Owner) -> None:
    owner.release(some_entries(3, start=9))
    (owner.metadata / "1.targets.json").replace(owner.metadata / "2.targets.json")
    still_version_1(subscribed, ListTrustError, "can't be trusted")


def test_an_expired_offer_is_refused(owner: Owner, store: ListStore, web: WebServer) -> None:
    owner.release(some_entries(9), now=NOW - timedelta(days=4))
    client.add(store, "mine", web.url, owner.root)
    with pytest.raises(ListTrustError, match="has expired"):
        client.pull(store, "mine")
    assert info(store).state is TrustState.MISSING


def test_a_stale_version_stays_in_use_when_nothing_fresh_is_offered(
    subscribed: ListStore, owner: Owner
) -> None:
    later = NOW + timedelta(days=5)
    with subscribed.open(["mine"], later) as opened:
        assert opened.infos[0].state is TrustState.STALE
        assert len(opened.handles) == 1


def manifest_of(**columns: PartColumns) -> bytes:
    return manifests.to_bytes(Manifest("test", 2, NOW, CATEGORIES, (Part(2, columns, {}),)))


def npy(array: np.ndarray, tmp_path: Path) -> bytes:
    np.save(tmp_path / "array.npy", array)
    return (tmp_path / "array.npy").read_bytes()


def test_signed_nonsense_is_refused(subscribed: ListStore, owner: Owner, tmp_path: Path) -> None:
    """Each of these is signed by the owner's own keys."""
    shard = Shard(2, "md5.ids.npy", "md5.category.npy", "md5.value.npy")
    files = PartColumns(64, (shard,))
    ids = npy(np.array([b"a", b"b"], dtype="S64"), tmp_path)
    category = npy(np.zeros(2, dtype=np.uint8), tmp_path)
    value = npy(np.zeros((2, 16), dtype=np.uint8), tmp_path)
    short = npy(np.zeros((1, 16), dtype=np.uint8), tmp_path)
    lost = npy(np.full(2, 200, dtype=np.uint8), tmp_path)
    wide = npy(np.zeros((2, 8), dtype=np.uint16), tmp_path)
    names = shard.names
    offers = [
        ({"readme.txt": b""}, "no usable target 'manifest.json'"),
        ({"manifest.json": b"{}"}, "schema"),
        ({"manifest.json": b'{"schema": 2}'}, "upgrade hashscan"),
        ({"manifest.json": b" " * (manifests.MANIFEST_MAX + 1)}, "longer than"),
        ({"manifest.json": manifest_of()}, "has no entries"),
        ({"manifest.json": manifest_of(md5=files), names[0]: ids}, "no usable target"),
        (
            {"manifest.json": manifest_of(md5=files), names[0]: ids, names[1]: category, names[2]: short},
            "no column",
        ),
        (
            {"manifest.json": manifest_of(md5=files), names[0]: ids, names[1]: category, names[2]: wide},
            "no column",
        ),
        (
            {"manifest.json": manifest_of(md5=files), names[0]: ids, names[1]: lost, names[2]: value},
            "category number 200",
        ),
    ]
    for version, (offer, message) in enumerate(offers, start=2):
        owner.publish_files(offer, version)
        still_version_1(subscribed, ListTrustError, message)
    owner.publish_files(
        {"manifest.json": manifest_of(md5=files), names[0]: ids, names[1]: category, names[2]: value}, 50
    )
    assert client.pull(subscribed, "mine").info.entries == 2


# ---- what can't be reached


def test_nobody_listens(owner: Owner, store: ListStore) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        client.add(store, "mine", f"http://127.0.0.1:{unused.getsockname()[1]}/", owner.root)
        with pytest.raises(UnreachableError, match="refused"):
            client.pull(store, "mine")


def test_a_folder_that_has_gone(owner: Owner, store: ListStore) -> None:
    owner.release(some_entries(9))
    client.add(store, "mine", str(owner.repository), owner.root)
    owner.repository.rename(owner.folder / "elsewhere")
    with pytest.raises(UnreachableError, match=r"No such file or directory: .*timestamp\.json"):
        client.pull(store, "mine")


def status(code: int) -> Callable[[BaseHTTPRequestHandler], None]:
    return lambda request: request.send_error(code)


def html(request: BaseHTTPRequestHandler) -> None:
    send(request, b"<html><title>Please log in</title></html>")


def long_html(request: BaseHTTPRequestHandler) -> None:
    send(request, b"<html>" + b"<br>" * 2_000_000)


def endless(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.end_headers()
    while True:
        request.wfile.write(b"x" * 65536)


def broken_off(request: BaseHTTPRequestHandler) -> None:
    send(request, b"{", length=1000)
    request.close_connection = True


def hang_up(request: BaseHTTPRequestHandler) -> None:
    request.connection.shutdown(socket.SHUT_RDWR)


def redirected_in_a_circle(request: BaseHTTPRequestHandler) -> None:
    request.send_response(302)
    request.send_header("Location", request.path)
    request.end_headers()


@pytest.mark.parametrize(
    "answer",
    [
        status(404),
        status(403),
        status(401),
        status(500),
        status(503),
        html,
        long_html,
        endless,
        broken_off,
        hang_up,
        redirected_in_a_circle,
    ],
)
@pytest.mark.parametrize("name", quick_first(["timestamp.json", "2.snapshot.json", "2.targets.json"]))
def test_useless_answers_for_metadata(
    subscribed: ListStore,
    owner: Owner,
    web: WebServer,
    name: str,
    answer: Callable[[BaseHTTPRequestHandler], None],
) -> None:
    owner.release(some_entries(3, start=9))
    web.answers[name] = answer
    # Snapshot and targets have a signed length and hash, so any other content counts as a forgery.
    forged = name != "timestamp.json" and answer in {html, long_html, endless}
    still_version_1(subscribed, ListTrustError if forged else UnreachableError, web.url)


@pytest.mark.parametrize("answer", [status(404), status(500), broken_off, hang_up])
def test_useless_answers_for_targets(
    subscribed: ListStore, owner: Owner, web: WebServer, answer: Callable[[BaseHTTPRequestHandler], None]
) -> None:
    owner.release(some_entries(3, start=9))
    web.answers["sha256.0000.value.npy"] = answer
    still_version_1(subscribed, UnreachableError, web.url)


@pytest.mark.parametrize("answer", [html, long_html, endless])
def test_other_content_for_targets(
    subscribed: ListStore, owner: Owner, web: WebServer, answer: Callable[[BaseHTTPRequestHandler], None]
) -> None:
    owner.release(some_entries(3, start=9))
    web.answers["sha256.0000.value.npy"] = answer
    still_version_1(subscribed, ListTrustError, "sha256.0000.value.npy|can't be trusted")


def test_a_missing_root_of_the_chain_is_the_chains_end_but_trouble_is_trouble(
    subscribed: ListStore, web: WebServer
) -> None:
    web.answers["2.root.json"] = status(500)
    still_version_1(subscribed, UnreachableError, "500")


def test_a_server_that_says_nothing(
    subscribed: ListStore, web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_fetcher, "TIMEOUT", 0.1)
    web.answers["timestamp.json"] = lambda request: time.sleep(0.5)
    still_version_1(subscribed, UnreachableError, "timed out|in time")


def test_a_failed_pull_is_resumed(subscribed: ListStore, owner: Owner, web: WebServer) -> None:
    owner.release(some_entries(3, start=9))
    web.answers["sha256.0000.value.npy"] = status(503)
    still_version_1(subscribed, UnreachableError, "503")
    first = {path for path in web.asked if path.startswith("/targets/")}
    web.answers.clear()
    web.asked.clear()
    assert client.pull(subscribed, "mine").info.version == 2
    second = [path for path in web.asked if path.startswith("/targets/")]
    assert [path.split(".", 2)[2] for path in second] == ["sha256.0000.value.npy"]
    assert len(first) == 10
    assert not subscribed.folder("mine").staging.exists()


# ---- what can't be meant


def test_a_list_is_added_once_under_a_name_that_can_be_one(
    owner: Owner, store: ListStore, web: WebServer
) -> None:
    client.add(store, "mine", web.url, owner.root)
    with pytest.raises(UsageError, match="already"):
        client.add(store, "mine", web.url, owner.root)
    for name in ("demo", "../mine", "", "Mine", ".mine", "mine/x", "x" * 65):
        with pytest.raises(UsageError):
            client.add(store, name, web.url, owner.root)
        with pytest.raises(UsageError):
            client.pull(store, name)
    with pytest.raises(UsageError, match="no TUF metadata"):
        client.add(store, "other", web.url, b"<html>")
    assert store.names() == ("mine",)


def test_only_signed_lists_are_pulled(owner: Owner, store: ListStore) -> None:
    with pytest.raises(UsageError, match="there is no list 'none'"):
        client.pull(store, "none")
    store.import_entries("own", some_entries(3), "entries")
    with pytest.raises(UsageError, match="was imported"):
        client.pull(store, "own")
    with pytest.raises(UsageError, match="already"):
        client.add(store, "own", "https://lists.example/", owner.root)


def test_one_writer_at_a_time(subscribed: ListStore) -> None:
    with holder(subscribed.folder("mine").lock) as process:
        with pytest.raises(LockedError):
            client.pull(subscribed, "mine")
        with pytest.raises(LockedError):
            subscribed.remove("mine")
        process.kill()
    client.pull(subscribed, "mine")


def test_a_spoilt_source_file_is_our_own_trouble(subscribed: ListStore) -> None:
    path = subscribed.folder("mine").source
    for spoilt in (b"", b"[]", b'{"schema": 2}', b"\xff"):
        path.write_bytes(spoilt)
        with pytest.raises(OutputError):
            client.pull(subscribed, "mine")


def test_a_full_disk_is_our_own_trouble_and_changes_nothing(
    subscribed: ListStore, owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    owner.release(some_entries(3, start=9))
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfileobj", full)
        still_version_1(subscribed, OutputError, "No space left")
    assert client.pull(subscribed, "mine").info.version == 2
