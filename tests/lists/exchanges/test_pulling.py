"""Pulls from NCMEC's interface on loopback, by the real library."""

from __future__ import annotations

import logging
import random
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from hashscan.errors import NoUsableListError, UnreachableError, UsageError
from hashscan.lists import difference
from hashscan.lists.entries import entries_of_list
from hashscan.lists.exchanges import pulling
from hashscan.lists.exchanges.transport import SIZE_MAX
from hashscan.lists.pulling.client import Pulled, attempts_of
from hashscan.lists.storage.local_list import Fetched, read_fetched, write_fetched
from hashscan.lists.store import ListStore
from hashscan.model import Entry, TrustState
from hashscan.registry import EXCHANGES
from tests.lists.exchanges.processes import pull_in_another_process
from tests.lists.exchanges.servers import HOST, PASSWORD, USER, Media, Served, document, ncmec_served
from tests.web import refuse, send, serving

pytest.importorskip("threatexchange", reason="of the extra exchange")

NAME = "ncmec"
HOUR = 3600


def added(store: ListStore, served: Served, environment: str = "Industry", name: str = NAME) -> None:
    source = pulling.checked_source(
        EXCHANGES,
        "ncmec",
        environment,
        served.credentials,
        proxy=served.proxy,
        ca_file=served.ca_file,
    )
    pulling.add(store, name, source)


def pull(store: ListStore, name: str = NAME, **options: bool) -> Pulled:
    return pulling.pull(store, name, EXCHANGES, **options)  # type: ignore[arg-type]


def entries(store: ListStore, name: str = NAME) -> dict[str, Entry]:
    with store.open([name], datetime.now(UTC)) as opened:
        if not opened.handles:
            return {}
        return {entry.id: entry for entry in entries_of_list(opened.handles[0])}


def expected(served: Served) -> dict[str, Entry]:
    """The entries that the list must have by the server's data."""
    return {
        (stem := f"{media.member}/{media.id}:{algorithm}"): Entry(
            stem, algorithm, bytes.fromhex(value), media.classification
        )
        for media in served.ncmec.entries.values()
        if not media.deleted
        for algorithm, value in media.fingerprints.items()
    }


def some_media(count: int, before: float = 30 * HOUR, step: float = 60, first: int = 0) -> list[Media]:
    begin = int(time.time() - before)
    return [
        Media(
            42 + number % 3,
            f"m{number}",
            int(begin + number * step),
            {"md5": f"{number:032x}", "sha1": f"{number:040x}", "pdq": f"{number:064x}"},
            ("A1", "A2", "B1", "B2")[number % 4],
            ("image", "video")[number % 2],
        )
        for number in range(first, first + count)
    ]


@pytest.fixture(params=["UTC", "Europe/Amsterdam", "America/New_York"])
def zone(request: pytest.FixtureRequest) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", request.param)
        time.tzset()
        yield str(request.param)
    time.tzset()


def test_the_entries_are_the_servers_in_every_time_zone(store: ListStore, served: Served, zone: str) -> None:
    served.ncmec.page = 20
    served.ncmec.put(*some_media(100))
    added(store, served)
    first = pull(store)
    assert first.info.state is TrustState.EXCHANGE
    assert entries(store) == expected(served)
    # Stamped within the hours by which local times differ from UTC.
    now = int(time.time())
    served.ncmec.put(
        Media(42, "late", now - 2 * 60, {"md5": "ab" * 16}),
        Media(42, "m0", now - 3 * 60, deleted=True),
        Media(43, "m1", now - 3 * 60, {"md5": "cd" * 16}, kind="video"),
    )
    second = pull(store)
    assert entries(store) == expected(served)
    assert (second.info.version, second.previous) == (2, 1)


def test_a_pull_without_news_confirms_the_version(store: ListStore, served: Served) -> None:
    served.ncmec.put(*some_media(3))
    added(store, served)
    pull(store)
    active = store.folder(NAME).active()
    assert active is not None
    old = read_fetched(active)
    assert old is not None
    write_fetched(active, Fetched(old.revision, "2020-01-01T00:00:00Z", old.left_out))
    assert store.infos(datetime.now(UTC))[0].state is TrustState.STALE_EXCHANGE
    done = pull(store)
    assert (done.changed, done.info.version, done.info.state) == (False, 1, TrustState.EXCHANGE)


def test_a_list_that_is_not_pulled_is_stale(store: ListStore, served: Served) -> None:
    served.ncmec.put(*some_media(3))
    added(store, served)
    pull(store)
    for later, state in (
        (timedelta(days=2, hours=23), TrustState.EXCHANGE),
        (timedelta(days=3, hours=1), TrustState.STALE_EXCHANGE),
        (timedelta(days=-3), TrustState.STALE_EXCHANGE),
    ):
        (info,) = store.infos(datetime.now(UTC) + later)
        assert info.state is state
        assert (info.problem is None) is (state is TrustState.EXCHANGE)


def test_categories_and_digests_that_cant_be_used(store: ListStore, served: Served) -> None:
    now = int(time.time()) - 2 * HOUR
    served.ncmec.put(
        Media(1, "a", now, {"md5": "ab" * 16, "netclean": "x", "ssvh_pdna": "y"}, "Z9"),
        Media(1, "b", now, {"md5": "no digest", "pdna": ",".join(["7"] * 144)}, ""),
        Media(1, "c", now, {"MD5": "cd" * 16, "videntifier": ""}, "B1"),
    )
    added(store, served)
    done = pull(store)
    found = {entry.id: entry.category for entry in entries(store).values()}
    assert found == {"1/a:md5": "other", "1/b:photodna": "other", "1/c:md5": "B1"}
    assert pulling.unused_digests(store, NAME) == {
        "of algorithms that hashscan doesn't know": 2,
        "of md5 that are no such digests": 1,
    }
    assert done.info.by_algorithm == (("md5", 2), ("photodna", 1))


def test_all_entries_of_an_exploitative_database_are_for_review(store: ListStore, tmp_path: Path) -> None:
    with ncmec_served(tmp_path / "other", "hashsharing.ncmec.org") as served:
        served.ncmec.put(*some_media(4))
        added(store, served, "Exploitative")
        pull(store)
        assert {entry.category for entry in entries(store).values()} == {"other"}


def test_all_environments_of_the_library(store: ListStore, served: Served) -> None:
    environments = EXCHANGES["ncmec"]().environments()
    assert {"Industry", "NGO", "LawEnforcement", "Exploitative", "test_Industry"} <= set(environments)
    assert all(address.startswith("https://") for address in environments.values())
    with pytest.raises(UsageError) as caught:
        added(store, served, "Nowhere")
    assert "Industry" in caught.value.remedy


def spoil(data: bytes) -> object:
    def fault(request: BaseHTTPRequestHandler, path: str) -> bool:
        if "/entries" in path:
            send(request, data)
        return "/entries" in path

    return fault


ITSELF = document(some_media(2), "/v2/entries?start=2&size=1000&max=9")
BILLION_LAUGHS = (
    b'<!DOCTYPE queryResult [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><queryResult>&b;</queryResult>'
)
EXTERNAL = (
    b'<!DOCTYPE queryResult [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
    b"<queryResult><images>&x;</images></queryResult>"
)
HUGE = b"<queryResult><images>" + b"x" * (SIZE_MAX + 1)
FAULTS = {
    "HTML": (spoil(b"<!DOCTYPE html><html><body>Log in</body></html>"), "type or entities"),
    "XHTML": (spoil(b"<html><body>Log in</body></html>"), "another document"),
    "JSON": (spoil(b'{"queryResult": []}'), "something else than XML"),
    "a document cut short": (spoil(document(some_media(5))[:-40]), "something else than XML"),
    "entities": (spoil(BILLION_LAUGHS), "type or entities"),
    "a file": (spoil(EXTERNAL), "type or entities"),
    "a page that names itself": (spoil(ITSELF), "again"),
    "an entry of megabytes": (spoil(HUGE), "16 MiB"),
    "an entry without an id": (
        spoil(b'<queryResult><images maxTimestamp="2026-01-01T00:00:00Z"><image/></images></queryResult>'),
        "can't be read",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_and_the_last_version_stays(store: ListStore, served: Served, fault: str) -> None:
    served.ncmec.put(*some_media(5))
    added(store, served)
    pull(store)
    good = entries(store)
    served.ncmec.fault, said = FAULTS[fault]  # type: ignore[assignment]
    served.ncmec.put(Media(42, "late", int(time.time()) - 600, {"md5": "ab" * 16}))
    with pytest.raises(UnreachableError) as caught:
        pull(store)
    text = f"{caught.value} {caught.value.remedy}"
    assert said in text
    for secret in (USER, PASSWORD, "secret", "Log in", "ab" * 16, "root:"):
        assert secret not in text
    assert attempts_of(store, NAME).error == str(caught.value)
    assert entries(store) == good
    served.ncmec.fault = None
    pull(store)
    assert entries(store) == expected(served)


def test_another_server_as_the_next_page(store: ListStore, served: Served) -> None:
    """The library appends the page's address to its own; no address may lead elsewhere."""
    for start in (
        "@127.0.0.1:1/",
        ".example.com/",
        "//127.0.0.1:1/",
        "\\\\127.0.0.1/",
        "https://127.0.0.1:1/",
    ):
        name = f"n{abs(hash(start))}"
        served.ncmec.fault = spoil(document(some_media(2), f"{start}v2/entries?x=1"))  # type: ignore[assignment]
        added(store, served, name=name)
        with pytest.raises(UnreachableError):
            pull(store, name)


def test_a_certificate_for_another_name(store: ListStore, tmp_path: Path) -> None:
    with ncmec_served(tmp_path / "other", certificate_for="other.example") as served:
        added(store, served)
        with pytest.raises(UnreachableError, match="certificate"):
            pull(store)
        assert not served.ncmec.asked


def test_no_server_answers(store: ListStore, served: Served) -> None:
    source = pulling.checked_source(
        EXCHANGES, "ncmec", "Industry", served.credentials, proxy="http://127.0.0.1:9"
    )
    pulling.add(store, NAME, source)
    with pytest.raises(UnreachableError, match=HOST):
        pull(store)


@pytest.mark.parametrize("content", ["", "user", ":password", "user:\n", b"\xff:\xff"])
def test_credentials_that_are_none(store: ListStore, served: Served, content: str | bytes) -> None:
    served.credentials.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UsageError, match="does not hold them") as caught:
        added(store, served)
    assert "USER:PASSWORD" in caught.value.remedy


def test_an_exchange_without_entries(store: ListStore, served: Served) -> None:
    added(store, served)
    with pytest.raises(NoUsableListError):
        pull(store)
    served.ncmec.put(*some_media(1, before=600))
    pull(store)
    good = entries(store)
    served.ncmec.put(Media(42, "m0", int(time.time()) - 300, deleted=True))
    with pytest.raises(NoUsableListError):
        pull(store)
    assert entries(store) == good


def test_records_of_another_list_are_dropped(store: ListStore, served: Served, tmp_path: Path) -> None:
    with ncmec_served(tmp_path / "other", "hashsharing.ncmec.org") as other:
        other.ncmec.put(*some_media(5, first=100))
        added(store, other, "NGO", "other")
        pull(store, "other")
    served.ncmec.put(*some_media(5))
    added(store, served)
    shutil.copy(store.folder("other").records, store.folder(NAME).records)
    done = pull(store)
    assert entries(store) == expected(served)
    assert len(done.problems) == 1


def test_new_records_are_not_taken_for_those_of_a_deleted_database(store: ListStore, served: Served) -> None:
    served.ncmec.put(*some_media(5))
    added(store, served)
    pull(store)
    store.folder(NAME).records.unlink()
    served.ncmec.put(Media(42, "m0", int(time.time()) - 600, {"md5": "ab" * 16}))
    pull(store)
    assert entries(store) == expected(served)


def test_a_fetch_that_gets_no_answer_ends(
    store: ListStore, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = threading.Event()
    served.ncmec.fault = lambda request, path: over.wait() and False
    added(store, served)
    monkeypatch.setattr(pulling, "SECONDS_MAX", 1.0)
    try:
        with pytest.raises(UnreachableError, match="more than"):
            pull(store)
    finally:
        over.set()


def test_a_fetch_goes_on_after_the_last_page(store: ListStore, served: Served) -> None:
    """The pages of a range of time that came before a fault are not fetched again."""
    served.ncmec.page = 10
    served.ncmec.put(*some_media(100, step=0, before=2 * HOUR))

    def at_the_eighth(request: BaseHTTPRequestHandler, path: str) -> bool:
        if "start=71" in path:
            refuse(request, 500)
        return "start=71" in path

    added(store, served)
    served.ncmec.fault = at_the_eighth
    with pytest.raises(UnreachableError):
        pull(store)
    assert not entries(store)
    served.ncmec.fault = None
    served.ncmec.asked.clear()
    pull(store)
    assert entries(store) == expected(served)
    resumed = served.ncmec.asked[1]
    assert "start=71" in resumed
    assert resumed.replace("start=71", "start=61") not in served.ncmec.asked


def test_a_page_that_the_server_has_forgotten(store: ListStore, served: Served) -> None:
    served.ncmec.page = 10
    served.ncmec.put(*some_media(100, step=0, before=2 * HOUR))
    added(store, served)
    served.ncmec.fault = lambda request, path: "start=71" in path and not refuse(request, 500)
    with pytest.raises(UnreachableError):
        pull(store)
    served.ncmec.fault = lambda request, path: "start=71" in path and not refuse(request, 410)
    with pytest.raises(UnreachableError):
        pull(store)
    served.ncmec.fault = None
    pull(store)
    assert entries(store) == expected(served)


def test_staging_comparing_and_activating(store: ListStore, served: Served) -> None:
    served.ncmec.put(*some_media(3))
    added(store, served)
    pull(store)
    served.ncmec.put(Media(42, "late", int(time.time()) - 600, {"md5": "ab" * 16}))
    served.ncmec.put(Media(42, "m0", int(time.time()) - 600, deleted=True))
    staged = pull(store, stage=True)
    assert (staged.staged, staged.info.version) == (True, 2)
    assert "42/late:md5" not in entries(store)
    with difference.difference(store, NAME) as compared:
        changes = {(change.came, change.algorithm): change.ids for change in compared.changes()}
    assert changes == {
        (True, "md5"): ["42/late:md5"],
        (False, "md5"): ["42/m0:md5"],
        (False, "sha1"): ["42/m0:sha1"],
        (False, "pdq"): ["42/m0:pdq"],
    }
    # The same version again, as long as it is not activated.
    assert pull(store, stage=True).info.version == 2
    difference.activate(store, NAME)
    assert entries(store) == expected(served)


def test_a_version_that_is_not_admitted_waits(store: ListStore, served: Served) -> None:
    served.ncmec.put(*some_media(3))
    added(store, served)
    done = pulling.pull(store, NAME, EXCHANGES, admits=lambda compared: False)
    assert done.withheld
    assert not entries(store)
    difference.discard(store, NAME)
    pull(store)
    assert entries(store) == expected(served)


@pytest.mark.parametrize("element", [b"<image>", b"<image/>"])
def test_a_document_of_too_many_elements(store: ListStore, served: Served, element: bytes) -> None:
    """An answer of an allowed size would grow when it is parsed."""
    many = element * (SIZE_MAX // len(element) - 10)
    served.ncmec.fault = spoil(b"<queryResult><images>" + many)  # type: ignore[assignment]
    added(store, served)
    with pytest.raises(UnreachableError, match="too deep"):
        pull(store)


def test_nothing_is_logged(
    store: ListStore,
    served: Served,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    served.ncmec.put(*some_media(3))
    added(store, served)
    with caplog.at_level(logging.DEBUG):
        pull(store)
        served.ncmec.fault = spoil(b"<queryResult><images><image/></images></queryResult>")  # type: ignore[assignment]
        with pytest.raises(UnreachableError):
            pull(store)
    assert capfd.readouterr() == ("", "")
    assert not [
        record for record in caplog.records if record.name.startswith(("urllib3", "root", "hashscan"))
    ]


@pytest.mark.slow
def test_a_pull_that_is_killed_at_any_moment_goes_on(served: Served, tmp_path: Path) -> None:
    served.ncmec.page = 50
    served.ncmec.put(*some_media(2000, step=10, before=30 * HOUR))
    killed, undisturbed = ListStore(tmp_path / "killed"), ListStore(tmp_path / "undisturbed")
    for store in (killed, undisturbed):
        added(store, served)
    begun = time.monotonic()
    pull(undisturbed)
    duration = time.monotonic() - begun
    generator = random.Random(18)
    for _ in range(8):
        child = pull_in_another_process(tmp_path / "killed", NAME)
        try:
            child.wait(timeout=generator.uniform(0.2, 1) * duration)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
    pull(killed)
    assert entries(killed) == entries(undisturbed) == expected(served)


@pytest.mark.usefixtures("started_fetches")
def test_no_module_of_the_working_folder_is_run(
    store: ListStore, served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder may be a customer's, and whoever pulls, root."""
    folder, run = tmp_path / "customer", tmp_path / "run"
    folder.mkdir()
    for name in ("requests", "defusedxml", "threatexchange", "urllib3"):
        (folder / f"{name}.py").write_text(f"open({str(run)!r}, 'w').close()\nraise ImportError")
    served.ncmec.put(*some_media(1))
    added(store, served)
    monkeypatch.chdir(folder)
    pull(store)
    assert not run.exists()


def drip_header(request: BaseHTTPRequestHandler) -> None:
    request.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
    while True:
        request.wfile.write(b"a")
        time.sleep(0.02)


def drip_body(request: BaseHTTPRequestHandler) -> None:
    request.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        request.wfile.write(b"a")
        time.sleep(0.02)


@pytest.mark.parametrize("drip", [drip_header, drip_body])
def test_a_server_that_drips_ends_the_fetch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drip: Callable[[BaseHTTPRequestHandler], None]
) -> None:
    """Each byte starts the timeout of the socket again; a body comes in pieces of 64 KiB."""
    import requests

    from hashscan.lists.exchanges import transport

    monkeypatch.setattr(transport, "SECONDS_MAX", 0.4)
    with serving(tmp_path) as web:
        web.handle = drip  # type: ignore[method-assign]
        asking = transport.Transport(web.url, proxy=None, ca_file=None, pauses=())
        with (
            asking.mount(requests.Session()) as session,
            pytest.raises(transport.FetchError, match="takes more"),
        ):
            session.get(web.url)
