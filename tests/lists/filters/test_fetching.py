"""A filter that a service names is fetched, verified and kept, and a hostile service gains nothing by it."""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tuf.api.metadata import TargetFile

from hashscan.lists.filters import fetching
from hashscan.lists.filters.fetching import FilterCache
from hashscan.lists.filters.format import INDEX_NAME, FilterError, FilterIndex, VersionFilter
from hashscan.lists.publishing import metadata as release
from hashscan.lists.publishing.keys import load_key
from hashscan.lists.publishing.publisher_state import Expiry
from hashscan.lists.services.settings import ServiceSettings, StoredService
from hashscan.matching_service_api import FilterAddress
from hashscan.schema import encode_file
from hashscan.secret_files import Credentials
from tests.lists.builders import Filters, some_entries, tree
from tests.web import WebServer, serving

pytestmark = pytest.mark.integration

EXACT = ("md5", "sha256")
ENTRIES = some_entries(60, algorithms=EXACT)
KEY = Credentials("Bearer secret", secrets=("secret",))


@pytest.fixture
def filters(tmp_path: Path) -> Filters:
    return Filters(tmp_path / "service")


@pytest.fixture
def web(filters: Filters) -> Iterator[WebServer]:
    with serving(filters.repository) as server:
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "national"
    made.mkdir()
    return made


def cache_at(folder: Path, url: str) -> FilterCache:
    """The filters of a service that is at an address."""
    return FilterCache(StoredService("national", "identity", ServiceSettings(url, "hashscan"), folder), KEY)


def kept(folder: Path) -> int:
    return len(list((folder / "filter").glob("*.filter")))


def sign(filters: Filters, files: dict[str, bytes], change: dict[str, TargetFile] | None = None) -> None:
    """Sign any targets at all, as a hostile publisher could; `change` replaces what is signed of some."""
    staging = filters.folder / "files"
    staging.mkdir()
    for name, data in files.items():
        (staging / name).write_bytes(data)
    targets = [release.new_target(staging / name) for name in files]
    signed = {target.info.path: target.info for target in targets} | (change or {})
    signers = {role: [load_key(filters.folder / "keys", role, None)] for role in release.SIGNING_ROLES}
    now = datetime.now(UTC).replace(microsecond=0)
    for target in targets:
        (staging / target.info.path).replace(filters.repository / "targets" / target.file_name)
    made = release.signed_release(
        "targets", signed, dict.fromkeys(release.SIGNING_ROLES, 0), signers, Expiry(), now
    )
    for name, data in made.items():
        (filters.repository / "metadata" / name).write_bytes(data)


def index(base: str, additions: str | None = None, version: str = "v") -> bytes:
    return encode_file(FilterIndex(1, [VersionFilter(version, base, additions)]))


def test_it_is_fetched_once_for_each_version(filters: Filters, web: WebServer, folder: Path) -> None:
    first = filters.publish(ENTRIES)
    cache = cache_at(folder, web.url)
    found = cache.get(filters.address(web.url, first.version))
    assert found.version == first.version
    assert all(found.lets_through(entry.algorithm, entry.value) for entry in ENTRIES)
    assert kept(folder) == 1
    assert all(path.stat().st_mode & 0o077 == 0 for path in folder.rglob("*"))
    asked = len(web.asked)
    again = cache_at(folder, web.url).get(filters.address(web.url, first.version))
    assert again.version == first.version
    assert len(web.asked) == asked
    more = some_entries(62, algorithms=EXACT)
    second = filters.publish(more)
    found = cache.get(filters.address(web.url, second.version))
    assert all(found.lets_through(entry.algorithm, entry.value) for entry in more)
    assert len(web.requests("base.filter")) == len(web.requests("additions.filter")) == 1
    assert len(web.requests("1.root.json")) == 1
    assert kept(folder) == 2
    # A service that has not changed its lists yet has the version before.
    assert cache.get(filters.address(web.url, first.version)).version == first.version
    third = filters.publish(some_entries(80, algorithms=EXACT))
    assert cache.get(filters.address(web.url, third.version)).version == third.version
    assert kept(folder) == 1


def test_the_key_goes_to_the_service_alone(filters: Filters, web: WebServer, folder: Path) -> None:
    made = filters.publish(ENTRIES)
    cache_at(folder, web.url).get(filters.address(web.url, made.version))
    assert {headers["Authorization"] for headers in web.headers} == {"Bearer secret"}
    web.headers.clear()
    shutil.rmtree(folder / "filter")
    cache_at(folder, "http://127.0.0.1:9/").get(filters.address(web.url, made.version))
    assert {headers["Authorization"] for headers in web.headers} == {None}


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/etc",
        "file:///etc/",
        "FILE:///etc/",
        "ftp://files.example/",
        "folder:///etc",
        "http://files.example/",
        "https://user:password@files.example/",
        "https://files.example/?a=b",
        "https://169.254.169.254/latest/meta-data/",
        "https://[fe80::1]/",
        "https://[::ffff:169.254.169.254]/",
        "https://10.0.0.1/",
        "https://127.0.0.1/",
        "https://[::1]/",
        "http://127.0.0.1/",
        "http://localhost/",
        "https://\n",
    ],
)
def test_addresses_that_are_never_asked(folder: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*_: object, **__: object) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr("urllib3.util.connection.create_connection", connect)
    with pytest.raises(FilterError) as caught:
        cache_at(folder, "https://service.example/").get(FilterAddress(url, "0" * 64, "1"))
    assert "connection was tried" not in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_name_that_leads_into_a_private_network_gets_no_request(folder: Path) -> None:
    received: list[bytes] = []
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:

        def listen() -> None:
            connection, _ = listening.accept()
            with closing(connection):
                received.append(connection.recv(100))

        thread = threading.Thread(target=listen)
        thread.start()
        url = f"https://localhost:{listening.getsockname()[1]}/"
        with pytest.raises(FilterError):
            cache_at(folder, "https://service.example/").get(FilterAddress(url, "0" * 64, "1"))
        thread.join(10)
    assert received == [b""]


def test_a_redirect_leads_to_no_other_address(filters: Filters, web: WebServer, folder: Path) -> None:
    made = filters.publish(ENTRIES)
    for target in (
        "https://169.254.169.254/",
        "https://10.0.0.1/x",
        "file:///etc/passwd",
        "http://10.0.0.1/",
    ):

        def redirect(request: object, target: str = target) -> None:
            request.send_response(302)  # type: ignore[attr-defined]
            request.send_header("Location", target)  # type: ignore[attr-defined]
            request.send_header("Content-Length", "0")  # type: ignore[attr-defined]
            request.end_headers()  # type: ignore[attr-defined]

        web.answers["1.root.json"] = redirect
        with pytest.raises(FilterError):
            cache_at(folder, web.url).get(filters.address(web.url, made.version))


def test_a_root_that_the_service_does_not_name(filters: Filters, web: WebServer, folder: Path) -> None:
    made = filters.publish(ENTRIES)
    with pytest.raises(FilterError):
        cache_at(folder, web.url).get(FilterAddress(web.url, "0" * 64, made.version))
    assert kept(folder) == 0


def test_another_repository_of_the_same_service(tmp_path: Path, filters: Filters, folder: Path) -> None:
    made = filters.publish(ENTRIES)
    other = Filters(tmp_path / "other")
    renewed = other.publish(some_entries(62, algorithms=EXACT))
    with serving(filters.repository) as web:
        cache_at(folder, web.url).get(filters.address(web.url, made.version))
    with serving(other.repository) as web:
        found = cache_at(folder, web.url).get(other.address(web.url, renewed.version))
    assert found.version == renewed.version
    assert kept(folder) == 1


def test_a_version_that_is_not_there(filters: Filters, web: WebServer, folder: Path) -> None:
    filters.publish(ENTRIES)
    with pytest.raises(FilterError):
        cache_at(folder, web.url).get(filters.address(web.url, "another"))


def test_an_older_state_is_no_newest_one(filters: Filters, web: WebServer, folder: Path) -> None:
    first = filters.publish(ENTRIES)
    shutil.copytree(filters.repository, filters.folder / "before")
    second = filters.publish(some_entries(62, algorithms=EXACT))
    cache = cache_at(folder, web.url)
    cache.get(filters.address(web.url, second.version))
    web.folder = filters.folder / "before"
    with pytest.raises(FilterError):
        cache.get(filters.address(web.url, first.version))


def test_what_has_expired(filters: Filters, web: WebServer, folder: Path) -> None:
    made = filters.publish(ENTRIES, days=-10)
    assert datetime.fromisoformat(made.header.made) < datetime.now(UTC) - timedelta(days=9)
    with pytest.raises(FilterError):
        cache_at(folder, web.url).get(filters.address(web.url, made.version))


def test_what_is_signed_but_no_filter(filters: Filters, folder: Path, tmp_path: Path) -> None:
    made = filters.publish(ENTRIES)
    (path,) = (filters.repository / "targets").glob("*.base.filter")
    good = path.read_bytes()
    for number, files in enumerate(
        (
            {INDEX_NAME: b"{}", "b": good},
            {INDEX_NAME: b"[" * 10_000, "b": good},
            {INDEX_NAME: index("b"), "b": b"x"},
            # Its header says another version.
            {INDEX_NAME: index("b"), "b": good},
            {INDEX_NAME: index("b", "b", made.version), "b": good},
            {INDEX_NAME: index("missing")},
            {"b": good},
        )
    ):
        other = Filters(tmp_path / f"hostile-{number}")
        sign(other, files)
        version = made.version if number == 4 else "v"
        with serving(other.repository) as web, pytest.raises(FilterError):
            cache_at(folder, web.url).get(other.address(web.url, version))
        assert not (folder / "filter" / "current.json").exists()


def test_a_signed_length_that_would_fill_the_disk(
    filters: Filters, web: WebServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "FILE_MAX", 1500)
    made = filters.publish(some_entries(2000, algorithms=EXACT))
    with pytest.raises(FilterError):
        cache_at(folder, web.url).get(filters.address(web.url, made.version))
    assert not web.requests("base.filter")


@pytest.mark.parametrize("end", ["timestamp.json", "1.root.json", "filters.json", "base.filter"])
def test_an_answer_that_is_longer_than_it_may_be(
    filters: Filters, web: WebServer, folder: Path, end: str
) -> None:
    made = filters.publish(ENTRIES)

    def pour(request: object) -> None:
        request.send_response(200)  # type: ignore[attr-defined]
        request.send_header("Content-Length", str(1 << 40))  # type: ignore[attr-defined]
        request.end_headers()  # type: ignore[attr-defined]
        while True:
            request.wfile.write(b" " * 65536)  # type: ignore[attr-defined]

    web.answers[end] = pour
    with pytest.raises(FilterError):
        cache_at(folder, web.url).get(filters.address(web.url, made.version))
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 1 << 20


def test_a_server_that_does_not_end_its_answer(
    filters: Filters, web: WebServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = filters.publish(ENTRIES)
    monkeypatch.setattr(fetching, "FETCH_SECONDS", 0.2)
    over = threading.Event()

    def drip(request: object) -> None:
        request.send_response(200)  # type: ignore[attr-defined]
        request.send_header("Content-Length", "1000")  # type: ignore[attr-defined]
        request.end_headers()  # type: ignore[attr-defined]
        request.wfile.write(b" ")  # type: ignore[attr-defined]
        over.wait(20)

    web.answers["timestamp.json"] = drip
    try:
        with pytest.raises(FilterError):
            cache_at(folder, web.url).get(filters.address(web.url, made.version))
    finally:
        over.set()


def test_a_hash_that_is_no_name_of_a_file(filters: Filters, web: WebServer, folder: Path) -> None:
    good = index("b")
    wrong = "../" * 21 + "x"
    assert len(wrong) == 64
    sign(filters, {INDEX_NAME: good}, {"b": TargetFile(10, {"sha256": wrong}, "b")})
    with pytest.raises(FilterError):
        cache_at(folder, web.url).get(filters.address(web.url, "v"))


def test_damaged_files_are_fetched_again(filters: Filters, web: WebServer, folder: Path) -> None:
    made = filters.publish(ENTRIES)
    wanted = filters.address(web.url, made.version)
    cache_at(folder, web.url).get(wanted)
    (path,) = (folder / "filter").glob("*[0-9a-f].filter")
    for damaged in (path, folder / "filter" / "current.json", folder / "filter" / "root.json"):
        for data in (b"", damaged.read_bytes()[:-1] + b"\x00"):
            damaged.write_bytes(data)
            found = cache_at(folder, web.url).get(wanted)
            assert all(found.lets_through(entry.algorithm, entry.value) for entry in ENTRIES)
    path.unlink()
    assert cache_at(folder, web.url).get(wanted).version == made.version
    assert not [name for name in tree(folder) if ".tmp" in name]


NAMES = (
    ".", "root.json", "current.json", "tuf", "tuf/root.json", "tuf/timestamp.json", "tuf/snapshot.json",
    "tuf/targets.json", "tuf/root_history", "tuf/root_history/1.root.json",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_folder_repairs_itself(filters: Filters, web: WebServer, folder: Path, name: str) -> None:
    """Whatever is in the place of a file or folder, the next version is fetched."""
    cache = cache_at(folder, web.url)
    for number in range(3):
        version = filters.publish(some_entries(60 + 30 * number, algorithms=EXACT)).version
        assert cache.get(filters.address(web.url, version)).version == version
        path = folder / "filter" / name
        if path.is_dir():
            shutil.rmtree(path)
            path.write_bytes(b"")
        elif number:
            path.unlink()
            path.mkdir()
        else:
            path.write_bytes(b"{")
    tuf = folder / "filter" / "tuf"
    if tuf.is_dir():
        (tuf / "tmpkilled").write_bytes(b"of a process that was killed")
    version = filters.publish(some_entries(200, algorithms=EXACT)).version
    assert cache.get(filters.address(web.url, version)).version == version
    assert not {path.name for path in folder.rglob("tmp*")}


def test_a_service_that_was_removed_does_not_come_back(
    filters: Filters, web: WebServer, folder: Path
) -> None:
    made = filters.publish(ENTRIES)
    folder.rmdir()
    with pytest.raises(FilterError):
        cache_at(folder, web.url).get(filters.address(web.url, made.version))
    assert not folder.exists()


def test_one_that_is_closed_fetches_nothing(filters: Filters, web: WebServer, folder: Path) -> None:
    made = filters.publish(ENTRIES)
    cache = cache_at(folder, web.url)
    cache.close()
    with pytest.raises(FilterError):
        cache.get(filters.address(web.url, made.version))
    assert not web.asked
