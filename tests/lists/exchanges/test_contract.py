"""Contract of every exchange of the registry: real library, servers that speak the real interfaces."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from itertools import count
from pathlib import Path

import pytest

from hashscan.errors import LockedError, UnreachableError, UsageError
from hashscan.lists.entries import entries_of_list
from hashscan.lists.exchanges import pulling
from hashscan.lists.exchanges.transport import SIZE_MAX
from hashscan.lists.pulling.client import Pulled, attempts_of
from hashscan.lists.store import ListStore
from hashscan.model import CATEGORIES, TrustState
from hashscan.registry import EXCHANGES
from tests.lists.exchanges.processes import install_extension, pull_in_another_process
from tests.lists.exchanges.servers import INTERFACES, AllServed, Fault, Interface, all_served, md5_of
from tests.web import refuse, send

pytest.importorskip("threatexchange", reason="of the extra exchange")

HOUR = 3600
DAY = 24 * HOUR
SPACING = 3000
"""Seconds between two entries: an hour's overlap has two of them."""
LONG_TIME = 60
ZONES = ("Europe/Amsterdam", "America/New_York")
"""East and west of UTC, which the other tests have."""


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of installed packages, with an extension of the library in it."""
    return install_extension(tmp_path / "packages", monkeypatch)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[AllServed]:
    with all_served(tmp_path / "exchanges") as served:
        yield served


def test_every_exchange_has_a_server_here() -> None:
    assert set(EXCHANGES) == set(INTERFACES)


@pytest.fixture(params=INTERFACES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def interface(served: AllServed, name: str) -> Interface:
    interface = served.interfaces[name]
    interface.page = 10
    for number in range(35):
        interface.add(number, 2 * DAY - number * SPACING)
    return interface


def added(store: ListStore, served: AllServed, name: str, environment: str | None = None) -> None:
    source = pulling.checked_source(
        EXCHANGES,
        name,
        environment or served.interfaces[name].environment,
        served.credentials[name],
        proxy=served.proxy,
        ca_file=served.ca_file,
    )
    pulling.add(store, name, source)


def pull(store: ListStore, name: str) -> Pulled:
    return pulling.pull(store, name, EXCHANGES)


def values(store: ListStore, name: str) -> dict[str, str]:
    with store.open([name], datetime.now(UTC)) as opened:
        if not opened.handles:
            return {}
        return {entry.value.hex(): entry.category for entry in entries_of_list(opened.handles[0])}


def expected(interface: Interface, numbers: Iterator[int] | range | set[int]) -> dict[str, str]:
    return {md5_of(number): interface.category for number in numbers}


@pytest.mark.parametrize("zone", ZONES)
def test_the_entries_are_the_servers_in_every_time_zone(
    store: ListStore,
    served: AllServed,
    interface: Interface,
    name: str,
    zone: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        added(store, served, name)
        first = pull(store, name)
        assert first.info.state is TrustState.EXCHANGE
        assert values(store, name) == expected(interface, range(35))
        # Stamped within the hours by which local times differ from UTC, and one within the overlap.
        interface.add(100, 120)
        interface.add(101, HOUR // 2)
        interface.withdraw(0, 180)
        interface.add_unknown(180)
        second = pull(store, name)
        assert values(store, name) == expected(interface, {*range(1, 35), 100, 101})
        assert (second.info.version, second.previous, second.problems) == (2, 1, ())
        assert pulling.unused_digests(store, name) == {"of algorithms that hashscan doesn't know": 1}
    finally:
        monkeypatch.undo()
        time.tzset()


def test_only_changes_are_fetched(
    store: ListStore, served: AllServed, interface: Interface, name: str
) -> None:
    added(store, served, name)
    pull(store, name)
    whole = sum(map(interface.is_page, interface.asked))
    interface.asked.clear()
    interface.withdraw(0, 120)
    pull(store, name)
    assert values(store, name) == expected(interface, range(1, 35))
    assert sum(map(interface.is_page, interface.asked)) < whole
    interface.add(0, 60)
    pull(store, name)
    assert values(store, name) == expected(interface, range(35))
    assert not pull(store, name).changed


def status(code: int, **headers: str) -> Fault:
    def fault(request: BaseHTTPRequestHandler, path: str) -> bool:
        request.send_response(code)
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        request.send_header("Content-Length", "0")
        request.end_headers()
        return True

    return fault


def faults(interface: Interface) -> Iterator[tuple[str, Fault, str]]:
    """Yield each fault of a server: its name, the server with it, and a part of the message about it."""

    def page(data: bytes, length: int | None = None, **headers: str) -> Fault:
        def fault(request: BaseHTTPRequestHandler, path: str) -> bool:
            if not interface.is_page(path):
                return False
            send(request, data, length, {name.replace("_", "-"): value for name, value in headers.items()})
            request.close_connection = length is not None
            return True

        return fault

    numbers = count(1000)
    whole = interface.one_page("", 5)

    def endless(request: BaseHTTPRequestHandler, path: str) -> bool:
        return page(interface.one_page(path, next(numbers)))(request, path)

    def another_clock(request: BaseHTTPRequestHandler, path: str) -> bool:
        request.date_time_string = lambda timestamp=None: "Tue, 04 Nov 2025 09:00:00 GMT"  # type: ignore[method-assign]
        return False

    for code in (401, 403, 404, 429, 500):
        yield str(code), status(code), str(code)
    yield "429 and much patience", status(429, Retry_After="86400"), "86400 seconds"
    yield "a redirect", status(302, Location="http://127.0.0.1/secret"), "302"
    yield "HTML", page(b"<!DOCTYPE html><html><body>Log in</body></html>"), ""
    yield "nothing", page(b""), "something else"
    yield "another document", page(interface.another_document), "another document"
    yield "a page cut short", page(whole[:-9]), "something else"
    yield "an answer cut short", page(whole[:-9], len(whole)), "broke off"
    yield "a page that names itself", page(interface.one_page("", None)), "again"
    yield "endless pages", endless, "without an entry"
    yield "an entry of megabytes", page(b'["' + b"x" * (SIZE_MAX + 1)), "16 MiB"
    yield "much nesting", page(b"[" * 100_000), ""
    yield "a compressed answer", page(whole, Content_Encoding="gzip"), "compressed"
    yield "another clock", another_clock, "clock"


def test_faults_are_named_and_the_last_version_stays(
    store: ListStore, served: AllServed, interface: Interface, name: str
) -> None:
    added(store, served, name)
    pull(store, name)
    good = values(store, name)
    interface.add(100, 600)
    for fault, broken, said in faults(interface):
        interface.fault = broken
        with pytest.raises(UnreachableError) as caught:
            pull(store, name)
        text = f"{caught.value} {caught.value.remedy}"
        assert said in text or name == "extension", fault
        assert interface.host in text, fault
        for secret in (*interface.secrets, "secret", "Log in", md5_of(100)):
            assert secret not in text, fault
        assert attempts_of(store, name).error == str(caught.value)
        assert values(store, name) == good, fault
    interface.fault = None
    pull(store, name)
    assert values(store, name) == expected(interface, {*range(35), 100})


def test_a_busy_server_is_asked_again(
    store: ListStore, served: AllServed, interface: Interface, name: str
) -> None:
    answers = iter((503, 429))

    def busy(request: BaseHTTPRequestHandler, path: str) -> bool:
        code = next(answers, None)
        return code is not None and status(code, Retry_After="0")(request, path)

    added(store, served, name)
    interface.fault = busy
    pull(store, name)
    assert values(store, name) == expected(interface, range(35))


def test_a_certificate_of_an_unknown_authority(
    store: ListStore, served: AllServed, interface: Interface, name: str
) -> None:
    source = pulling.checked_source(
        EXCHANGES, name, interface.environment, served.credentials[name], proxy=served.proxy
    )
    pulling.add(store, name, source)
    with pytest.raises(UnreachableError, match="certificate"):
        pull(store, name)
    assert not interface.asked


def test_credentials(store: ListStore, served: AllServed, interface: Interface, name: str) -> None:
    path = served.credentials[name]
    for content in (b"", b"secret", b"\xff:\xff"):
        path.write_bytes(content)
        with pytest.raises(UsageError, match="does not hold them") as caught:
            added(store, served, name)
        assert EXCHANGES[name].credentials_form in str(caught.value.remedy)
    path.write_text(interface.credentials)
    path.chmod(0o644)
    with pytest.raises(UsageError, match="may read"):
        added(store, served, name)
    path.chmod(0o600)
    added(store, served, name)
    path.chmod(0o604)
    with pytest.raises(UsageError, match="may read"):
        pull(store, name)
    assert not interface.asked


def test_credentials_of_somebody_else(
    store: ListStore, served: AllServed, interface: Interface, name: str
) -> None:
    changed = interface.wrong_credentials or interface.credentials.swapcase()
    served.credentials[name].write_text(changed)
    added(store, served, name)
    with pytest.raises(UnreachableError) as caught:
        pull(store, name)
    assert "credentials" in str(caught.value.remedy)
    assert changed not in f"{caught.value} {caught.value.remedy}"


def test_an_environment_that_there_is_not(store: ListStore, served: AllServed, name: str) -> None:
    with pytest.raises(UsageError, match="Nowhere"):
        added(store, served, name, "Nowhere")


def test_two_pulls_at_once(
    store: ListStore, served: AllServed, interface: Interface, name: str, tmp_path: Path
) -> None:
    begun, over = threading.Event(), threading.Event()

    def held_up(request: BaseHTTPRequestHandler, path: str) -> bool:
        begun.set()
        over.wait()
        return False

    added(store, served, name)
    interface.fault = held_up
    with pull_in_another_process(tmp_path / "state" / "lists", name) as other:
        try:
            assert begun.wait(LONG_TIME)
            with pytest.raises(LockedError):
                pull(store, name)
        finally:
            over.set()
        assert other.wait() == 0
    assert values(store, name) == expected(interface, range(35))


def test_records_of_another_list_are_dropped(
    store: ListStore, served: AllServed, interface: Interface, name: str
) -> None:
    other = next(each for each in INTERFACES if each != name)
    served.interfaces[other].add(500, DAY)
    added(store, served, other)
    pull(store, other)
    added(store, served, name)
    store.folder(name).records.write_bytes(store.folder(other).records.read_bytes())
    assert len(pull(store, name).problems) == 1
    assert values(store, name) == expected(interface, range(35))


def test_a_pull_that_is_killed_at_any_page_goes_on(
    store: ListStore, served: AllServed, interface: Interface, name: str, tmp_path: Path
) -> None:
    added(store, served, name)
    for page in (1, 3):
        reached = threading.Event()
        over = threading.Event()
        pages = count(1)

        def stopping(
            request: BaseHTTPRequestHandler,
            path: str,
            *,
            pages: Iterator[int] = pages,
            last: int = page,
            reached: threading.Event = reached,
            over: threading.Event = over,
        ) -> bool:
            if interface.is_page(path) and next(pages) == last:
                reached.set()
                over.wait()
                raise OSError("the client is gone")
            return False

        interface.fault = stopping
        with pull_in_another_process(tmp_path / "state" / "lists", name) as other:
            while not reached.wait(0.01) and other.poll() is None:
                pass
            other.kill()
            over.set()
        assert page > 1 or other.returncode == -signal.SIGKILL
        # All of a version or nothing; a pull that goes on where another ended may reach the end.
        assert values(store, name) in ({}, expected(interface, range(35)))
    interface.fault = None
    pull(store, name)
    assert values(store, name) == expected(interface, range(35))


@pytest.mark.usefixtures("started_fetches")
def test_nothing_travels_where_another_user_sees_it(
    store: ListStore, served: AllServed, interface: Interface, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    real = subprocess.Popen

    def noted(*args: object, **options: object) -> object:
        seen.append(f"{args} {options}")
        return real(*args, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "Popen", noted)
    added(store, served, name)
    pull(store, name)
    assert seen
    assert not any(secret in text for text in seen for secret in interface.secrets)
    for path in store.folder(name).path.rglob("*"):
        assert path.is_dir() or path.stat().st_mode & 0o077 == 0, path
        if path.is_file():
            content = path.read_bytes()
            assert not any(secret.encode() in content for secret in interface.secrets), path


def test_categories_are_hashscans() -> None:
    for name in EXCHANGES:
        assert set(EXCHANGES[name].categories.values()) <= set(CATEGORIES), name
        assert "*" in EXCHANGES[name].categories, name


# What only one of them has.


def test_opinions_of_a_privacy_group(store: ListStore, served: AllServed) -> None:
    group = served.group
    for number, statuses in enumerate(
        (("MALICIOUS",), ("NON_MALICIOUS",), ("MALICIOUS", "NON_MALICIOUS"), ("UNKNOWN",), ())
    ):
        group.add(number, DAY)
        group.updates[number].statuses = statuses
    added(store, served, "threatexchange")
    pull(store, "threatexchange")
    assert values(store, "threatexchange") == expected(group, {0, 2, 3})
    group.add(0, 60)
    group.updates[0].statuses = ("NON_MALICIOUS",)
    pull(store, "threatexchange")
    assert values(store, "threatexchange") == expected(group, {2, 3})


def test_a_privacy_group_without_updates_says_so(store: ListStore, served: AllServed) -> None:
    added(store, served, "threatexchange")
    with pytest.raises(pulling.NoUsableListError):
        pull(store, "threatexchange")


def test_a_copy_of_a_privacy_group_is_renewed_before_deletions_are_forgotten(
    store: ListStore, served: AllServed, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = served.group
    for number in range(3):
        group.add(number, 90 * DAY)
    added(store, served, "threatexchange")
    pull(store, "threatexchange")
    with pulling.Records(
        store.folder("threatexchange").records, f"threatexchange {group.environment}"
    ) as records:
        checkpoint = json.loads(str(records.checkpoint))
        checkpoint["fetched"] -= 86 * DAY
        records.apply(pulling.Page([], [], json.dumps(checkpoint)))
    # Its deletion was kept for too short a time to be seen.
    del group.updates[1]
    pull(store, "threatexchange")
    assert values(store, "threatexchange") == expected(group, {0, 2})


def test_pages_of_a_privacy_group_that_are_not_in_order(store: ListStore, served: AllServed) -> None:
    """A fetch that fails then begins again, so that nothing is passed over."""
    group = served.group
    group.page = 1
    for number in range(4):
        group.add(number, DAY + number * 100)
    group.updates[3].json = lambda: {  # type: ignore[method-assign]
        **type(group.updates[3]).json(group.updates[2]),
        "id": "3",
        "indicator": md5_of(3),
        "last_updated": group.updates[0].time,
    }
    added(store, served, "threatexchange")
    group.fault = lambda request, path: "after=2" in path and not refuse(request, 500)
    with pytest.raises(UnreachableError):
        pull(store, "threatexchange")
    group.fault = None
    pull(store, "threatexchange")
    assert values(store, "threatexchange") == expected(group, range(4))


@pytest.mark.parametrize("name", ["threatexchange", "tcap"])
def test_records_that_cant_be_read_are_counted(store: ListStore, served: AllServed, name: str) -> None:
    interface = served.interfaces[name]
    interface.add(1, DAY)
    added(store, served, name)
    good = interface.one_page("", None)
    wrong = [7, {}, {"id": "x"}, {"id": 4, "deleted": "no"}, {"id": "5", "type": 7, "indicator": "secret"}]
    document = {**json.loads(good), "next": None, "paging": {}}
    document["data" if name == "threatexchange" else "results"] = wrong
    pull(store, name)
    interface.fault = lambda request, path: (
        interface.is_page(path) and not send(request, json.dumps(document).encode())
    )
    assert pull(store, name).problems == ("5 records can't be read by the library, and are left out",)
    assert values(store, name) == expected(interface, {1})


def test_another_server_as_the_next_page_of_a_group(store: ListStore, served: AllServed) -> None:
    added(store, served, "threatexchange")
    for next_ in (
        "https://127.0.0.1:1/",
        "http://graph.facebook.com/",
        "//127.0.0.1/",
        "file:///etc/passwd",
        7,
    ):
        data = json.dumps({"data": [], "paging": {"next": next_}}).encode()
        served.group.fault = lambda request, path, data=data: not send(request, data)
        with pytest.raises(UnreachableError):
            pull(store, "threatexchange")


def test_an_entry_of_tcap_that_changes_while_pages_are_fetched(store: ListStore, served: AllServed) -> None:
    """It moves to the end; by counted pages, the one after it would be skipped."""
    tcap = served.tcap
    tcap.page = 10
    for number in range(35):
        tcap.add(number, DAY - number)
    pages = count(1)

    def changing(request: BaseHTTPRequestHandler, path: str) -> bool:
        if tcap.is_page(path) and next(pages) == 2:
            tcap.withdraw(3, 5)
        return False

    tcap.fault = changing
    added(store, served, "tcap")
    pull(store, "tcap")
    assert values(store, "tcap") == expected(tcap, {*range(35)} - {3})


def test_a_login_of_tcap_that_expires(store: ListStore, served: AllServed) -> None:
    tcap = served.tcap
    tcap.page = 10
    for number in range(35):
        tcap.add(number, DAY - number)
    pages = count(1)

    def expiring(request: BaseHTTPRequestHandler, path: str) -> bool:
        expired = tcap.is_page(path) and next(pages) == 3
        return expired and not refuse(request, 401)

    tcap.fault = expiring
    added(store, served, "tcap")
    pull(store, "tcap")
    assert values(store, "tcap") == expected(tcap, range(35))
    assert tcap.logins == 2


def test_all_algorithms_of_tcap(store: ListStore, served: AllServed) -> None:
    tcap = served.tcap
    sent = {"MD5": "ab" * 16, "SHA-256": "CD" * 32, "sha512": "ef" * 64, "PDQ": "12" * 32, "md5": "zz"}
    for number, (algorithm, value) in enumerate(sent.items()):
        tcap.put(number, algorithm, value, time.time() - DAY, new_field={"x": 1})
    added(store, served, "tcap")
    info = pull(store, "tcap").info
    assert info.by_algorithm == (("md5", 1), ("pdq", 1), ("sha256", 1), ("sha512", 1))
    assert pulling.unused_digests(store, "tcap") == {"of md5 that are no such digests": 1}
