"""Every adapter of a matching service against a server that speaks its interface, driven by the registry."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hashscan.errors import UsageError
from hashscan.hashing.variants import DigestRun, Part
from hashscan.lists.services.adapter import AskedDigest, MatchingService, ServiceMatch
from hashscan.lists.services.settings import (
    ServiceSettings,
    StoredService,
    checked_settings,
    key_headers,
    read_settings,
    write_settings,
)
from hashscan.matching.remote.asker import Asker, OwnerTurns
from hashscan.matching.remote.single import SingleAsker
from hashscan.model import ALGORITHMS
from hashscan.registry import MATCHING_SERVICES
from hashscan.service_client import ServiceClient
from tests.matching_services import (
    LOGIN,
    SECRET,
    SPEAKERS,
    Handler,
    Listed,
    ServiceServer,
    service_running,
    speak_older_hma,
)
from tests.waiting import until as wait_until

ADAPTERS = list(MATCHING_SERVICES)
LISTED = bytes(range(32))


def near(value: bytes, bits: int) -> bytes:
    """A digest that differs in some bits."""
    return (int.from_bytes(value, "big") ^ ((1 << bits) - 1)).to_bytes(len(value), "big")


def adapter_of(name: str) -> type[MatchingService]:
    return MATCHING_SERVICES[name]


@pytest.fixture(params=ADAPTERS)
def adapter(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def server(adapter: str) -> Iterator[ServiceServer]:
    entries = [Listed("4711", "pdq", LISTED), Listed("4712", "pdq", near(LISTED, 120), category="B2")]
    with service_running(SPEAKERS[adapter], entries=entries) as running:
        yield running


@pytest.fixture
def key_file(tmp_path: Path, adapter: str) -> Path:
    path = tmp_path / "key"
    path.write_text((LOGIN if adapter_of(adapter).key == "login" else SECRET) + "\n")
    path.chmod(0o600)
    return path


Ask = Callable[..., Asker]


@pytest.fixture
def asker(server: ServiceServer, adapter: str, key_file: Path) -> Iterator[Ask]:
    made: list[Asker] = []

    def make(**options: Any) -> Asker:
        settings = ServiceSettings(server.url, adapter, str(key_file), **{"patience": 0.5, **options})
        checked = checked_settings(settings, adapter_of(adapter))
        made.append(Asker(StoredService("national", "identity", checked), adapter_of(adapter)))
        return made[-1]

    yield make
    for one in made:
        one.close()


def answer_of(asker: Asker, *values: bytes) -> tuple[ServiceMatch, ...] | None:
    wait_until(lambda: asker.introduction is not None or asker.refusal)
    asker.submit("key", [AskedDigest("pdq", value) for value in values])
    found: list[Any] = []
    wait_until(lambda: found.extend(asker.collect()) or bool(found))
    return found[0].matches


def test_an_adapter_declares_what_it_takes(adapter: str) -> None:
    declared = adapter_of(adapter)
    assert declared.algorithms <= {name for name, known in ALGORITHMS.items() if known.matched}
    assert 1 <= declared.per_request <= declared.digests_max
    assert declared.sends


def test_equal_and_near_digests_match_and_others_do_not(asker: Ask) -> None:
    matches = answer_of(asker(), LISTED, near(LISTED, 20), near(LISTED, 60))
    assert matches is not None
    assert [match.digest for match in matches] == [0, 1]
    assert [match.distance for match in matches] in ([0, 20], [None, None])
    assert all(match.entry for match in matches)


def test_the_category_is_that_of_the_entry_or_for_review(asker: Ask, adapter: str) -> None:
    plain = answer_of(asker(), LISTED)
    mapped = answer_of(asker(categories={"A1": "A2", "csam": "A2"}), LISTED)
    assert plain is not None
    assert mapped is not None
    expected = {"hashscan": ("A1", "A1"), "arachnid": ("baseline", "A2")}
    assert (plain[0].category, mapped[0].category) == expected.get(adapter, ("other", "A2"))


def test_more_digests_than_a_request_takes_are_all_answered(asker: Ask, server: ServiceServer) -> None:
    server.digests_max = 2
    matches = answer_of(asker(), *[near(LISTED, 50)] * 4, LISTED, near(LISTED, 1))
    assert matches is not None
    assert [match.digest for match in matches] == [4, 5]


def test_no_digest_is_no_request(asker: Ask, server: ServiceServer) -> None:
    one = asker()
    assert answer_of(one) == ()
    assert server.asked == []


def busy(status: int, **headers: str) -> Callable[[Handler], None]:
    def answer(request: Handler) -> None:
        request.service.fault = None
        request.send(b"{}", status, **headers)

    return answer


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_busy_service_is_asked_again(asker: Ask, server: ServiceServer, status: int) -> None:
    one = asker()
    assert answer_of(one, LISTED)
    server.fault = busy(status)
    assert answer_of(one, LISTED)
    assert one.trouble == ""


def test_retry_after_is_kept(asker: Ask, server: ServiceServer) -> None:
    one = asker()
    assert answer_of(one, LISTED)
    server.fault = busy(429, Retry_After="1")
    began = time.monotonic()
    assert answer_of(one, LISTED)
    assert time.monotonic() - began >= 1


def test_a_wait_of_thousands_of_years_does_not_end_the_threads(asker: Ask, server: ServiceServer) -> None:
    one = asker()
    assert answer_of(one, LISTED)
    server.fault = busy(503, Retry_After="Fri, 31 Dec 9999 23:59:59 GMT")
    one.submit("key", [AskedDigest("pdq", LISTED)])
    wait_until(lambda: one.down)
    assert all(thread.is_alive() for thread in one._threads)


def test_each_request_counts_for_the_rate(asker: Ask, server: ServiceServer) -> None:
    one = asker(rate=20.0)
    wait_until(lambda: one.introduction is not None)
    before, began = server.requests, time.monotonic()
    assert answer_of(one, *[near(LISTED, bits) for bits in range(40, 48)]) is not None
    assert time.monotonic() - began >= (server.requests - before - 1) / 20


def test_a_batch_without_digests_needs_no_request(asker: Ask, server: ServiceServer) -> None:
    one = asker()
    wait_until(lambda: one.introduction is not None)
    before = server.requests
    assert answer_of(one) == ()
    assert server.requests == before


def test_the_defect_of_an_adapter_reaches_the_caller(
    asker: Ask, adapter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the scan would wait for an answer for ever."""
    monkeypatch.setattr(adapter_of(adapter), "check", lambda *_: {}["missing"])
    with pytest.raises(KeyError):
        answer_of(asker(), LISTED)


def test_a_service_that_was_killed_is_asked_until_it_is_back(asker: Ask, server: ServiceServer) -> None:
    one = asker()
    assert answer_of(one, LISTED)
    server.kill()
    one.submit("key", [AskedDigest("pdq", LISTED)])
    wait_until(lambda: one.down)
    assert one.refusal == ""
    server.start()
    found: list[Any] = []
    wait_until(lambda: found.extend(one.collect()) or bool(found))
    assert found[0].matches
    assert not one.down


@pytest.mark.parametrize("status", [400, 401, 403, 404, 301, 302, 204])
def test_a_service_that_refuses_is_not_asked_again(asker: Ask, server: ServiceServer, status: int) -> None:
    one = asker()
    assert answer_of(one, LISTED)
    server.fault = lambda request: request.send(b"", status, Location="http://127.0.0.1:1/")
    before = server.requests
    assert answer_of(one, LISTED) is None
    assert one.down
    assert str(status) in one.refusal
    assert answer_of(one, LISTED) is None
    assert server.requests == before + 1


CHECKED = b'{"version": "1", "matches": [%s], "scanned_hashes": {}, "A1": [%s]}'
NONSENSE = {
    "html": b"<!DOCTYPE html><html>Please log in</html>",
    "nothing": b"",
    "cut short": b'{"matches": [',
    "a number": b"7",
    "nested deeply": b"[" * 100_000,
    "another document": b'{"matches": 5, "scanned_hashes": 5, "version": 5, "A1": 5}',
    "a digest that was not asked": CHECKED % (b'{"digest": 9, "entry": "x", "category": "A1"}', b'{"x": 1}'),
    "an id that is none": CHECKED % (b'{"digest": 0, "entry": "\\u0000", "category": "A1"}', b"{}"),
}


@pytest.mark.parametrize("kind", NONSENSE)
def test_nonsense_is_refused(asker: Ask, server: ServiceServer, kind: str) -> None:
    one = asker()
    assert answer_of(one, LISTED)
    server.fault = lambda request: request.send(NONSENSE[kind])
    assert answer_of(one, LISTED) is None
    assert "not valid" in one.refusal


def dripping_header(request: Handler) -> None:
    request.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
    while True:
        request.wfile.write(b"a")
        time.sleep(0.02)


def interim_answers(request: Handler) -> None:
    while True:
        request.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        time.sleep(0.02)


def dripping_body(request: Handler) -> None:
    request.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;")
    while True:
        request.wfile.write(b"a")
        time.sleep(0.02)


@pytest.mark.parametrize("drip", [dripping_header, interim_answers, dripping_body])
def test_a_service_that_drips_is_down_after_a_time(
    asker: Ask, server: ServiceServer, monkeypatch: pytest.MonkeyPatch, drip: Callable[[Handler], None]
) -> None:
    """Each byte would start the socket's own timeout again."""
    from hashscan import service_client

    monkeypatch.setattr(service_client, "ANSWER_SECONDS", 0.3)
    one = asker(patience=0.2)
    assert answer_of(one, LISTED)
    server.fault = drip
    one.submit("key", [AskedDigest("pdq", LISTED)])
    wait_until(lambda: one.down)
    assert one.refusal == ""
    server.fault = None
    found: list[Any] = []
    wait_until(lambda: found.extend(one.collect()) or bool(found))
    assert found[0].matches


def test_a_header_that_breaks_off_is_no_nonsense(asker: Ask, server: ServiceServer) -> None:
    def break_off(request: Handler) -> None:
        request.service.fault = None
        request.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Le")
        request.close_connection = True

    one = asker()
    assert answer_of(one, LISTED)
    server.fault = break_off
    assert answer_of(one, LISTED)


def test_many_digests_are_answered_although_every_second_request_must_wait(
    asker: Ask, server: ServiceServer
) -> None:
    """A file with many pictures would otherwise be asked about again and again from its first one."""
    server.digests_max = 2
    one = asker()
    assert answer_of(one, LISTED)

    def count(service: ServiceServer) -> None:
        service.fault = busy(429) if service.requests % 2 else None

    server.on_request = count
    values = [near(LISTED, bits) for bits in range(40, 56)]
    assert answer_of(one, *values, LISTED) is not None
    assert len(server.asked) == len(set(server.asked)) + 1


def test_of_very_many_entries_those_that_may_act_are_kept(
    asker: Ask, server: ServiceServer, adapter: str
) -> None:
    """All are stored: an answer that names a million must not fill the disk."""
    first = server.entries[0]
    others = [Listed(str(number), "pdq", LISTED, "of no category") for number in range(1000, 1500)]
    server.entries = [*others, first]
    matches = answer_of(asker(), LISTED)
    assert matches is not None
    assert 0 < len(matches) <= 100
    if adapter == "hashscan":
        assert matches[0].entry == first.entry


def test_a_late_answer_is_not_taken_for_that_of_the_next_file(
    server: ServiceServer, adapter: str, key_file: Path
) -> None:
    settings = checked_settings(
        ServiceSettings(server.url, adapter, str(key_file), patience=0.5), adapter_of(adapter)
    )
    with SingleAsker([StoredService("national", "identity", settings)], ()) as one:
        runs = [DigestRun(Part(), 0, (0,), 0, "pdq", LISTED, 100, 0)]
        exact = {"sha256": bytes(32)}
        assert one.matches(exact, runs)
        server.kill()
        assert one.matches(exact, runs) == []
        assert one.silent == ["national"]
        server.start()
        wait_until(lambda: not one.shortcomings())
        other = [DigestRun(Part(), 0, (0,), 0, "pdq", near(LISTED, 60), 100, 0)]
        assert one.matches(exact, other) == []
        assert one.silent == []


def test_owners_take_turns() -> None:
    turns = OwnerTurns()
    for content in range(5):
        turns.put("many", content)
    contents = turns.contents()
    for _ in range(2):
        owner, content = next(contents)
        turns.charge(owner, 4)
    turns.put("few", 7)
    assert next(turns.contents()) == ("few", 7)
    turns.charge("few", 4)
    owner, content = next(turns.contents())
    turns.put_back(owner, content)
    assert list(turns.contents()) == [("many", 2), ("many", 3), ("many", 4)]


def test_an_endless_answer_is_refused(
    asker: Ask, server: ServiceServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hashscan import service_client

    monkeypatch.setattr(service_client, "ANSWER_MAX", 1 << 16)
    one = asker()
    assert answer_of(one, LISTED)
    server.fault = lambda request: request.send(b" " * (1 << 18))
    assert answer_of(one, LISTED) is None
    assert "bytes" in one.refusal


def test_a_wrong_key_is_refused_and_not_repeated(
    asker: Ask, server: ServiceServer, key_file: Path, adapter: str
) -> None:
    if not adapter_of(adapter).needs_key:
        pytest.skip("this service needs no key")
    key_file.write_text("wrong:key-of-a-hoster\n")
    key_file.chmod(0o600)
    one = asker()
    wait_until(lambda: bool(one.refusal) or one.introduction is not None)
    assert answer_of(one, LISTED) is None
    assert "401" in one.refusal
    assert "wrong" not in one.refusal


def test_a_change_of_the_list_has_another_version(asker: Ask, server: ServiceServer, adapter: str) -> None:
    first = asker()
    wait_until(lambda: first.introduction is not None)
    server.version = "2"
    second = asker()
    wait_until(lambda: second.introduction is not None)
    assert first.introduction is not None
    assert second.introduction is not None
    told = first.introduction.version != second.introduction.version
    assert told == (adapter != "arachnid")


def test_a_change_at_the_end_of_a_long_version_of_hma_is_another_version(tmp_path: Path) -> None:
    """Otherwise nothing would be asked again."""

    def speak(service: ServiceServer, _: Handler, __: bytes) -> Any:
        return {"pdq": {"shards": ["unchanged"] * 100}, "video_md5": {"z_built_to": service.version}}

    key = tmp_path / "key"
    key.touch(0o600)
    key.write_text(SECRET)
    versions = []
    with service_running(speak) as server:
        settings = ServiceSettings(server.url, "hma", str(key))
        for server.version in ("1", "2", "2"):
            one = Asker(StoredService("hma", "identity", settings), adapter_of("hma"))
            wait_until(lambda one=one: one.introduction or one.refusal)
            assert one.introduction is not None
            versions.append(one.introduction.version)
            one.close()
    assert versions[0] != versions[1] == versions[2]


def test_an_adapter_sends_feedback_or_says_that_it_does_not(
    server: ServiceServer, adapter: str, key_file: Path
) -> None:
    kind = adapter_of(adapter)
    settings = ServiceSettings(server.url, adapter, str(key_file))
    sent = kind(ServiceClient(settings, key_headers(settings, kind)), {}).submit_feedback
    before = len(server.received)
    if not kind.takes_feedback:
        with pytest.raises(NotImplementedError):
            sent("4711", wrong=True, reason="a logo", hoster="Example Hosting")
        assert len(server.received) == before
        return
    for wrong in (True, False):
        sent("47/11", wrong=wrong, reason="a logo", hoster="Example Hosting")
    received = bytes(server.received[before:])
    assert received.count(b"a logo") == 2
    assert b"11" in received


def test_older_hma_names_banks_and_its_raw_lookup_the_distance(tmp_path: Path) -> None:
    entries = [Listed("4711", "pdq", LISTED, category="SEXUAL BANK")]
    with service_running(speak_older_hma, entries=entries) as server:
        key = tmp_path / "key"
        key.write_text(SECRET)
        key.chmod(0o600)
        settings = ServiceSettings(server.url, "hma", str(key), ("pdq",), categories={"SEXUAL BANK": "B1"})
        with Asker(StoredService("hma", "identity", settings), adapter_of("hma")) as one:
            matches = answer_of(one, near(LISTED, 3))
    assert matches == (ServiceMatch(0, "*SEXUAL_BANK", "B1", 3),)


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        ({"url": "http://service.example/"}, "https"),
        ({"url": "ftp://service.example/"}, "https"),
        ({"url": "https://user:secret@service.example/"}, "Credentials"),
        ({"algorithms": ("whash", "sha512")}, "takes"),
        ({"categories": {"x": "known-good"}}, ""),
        ({"key_file": "/nonexistent"}, ""),
    ],
)
def test_settings_that_cannot_work_are_refused(
    options: dict[str, Any], advice: str, key_file: Path, adapter: str
) -> None:
    if adapter == "hashscan" and "algorithms" in options:
        pytest.skip("it takes all algorithms")
    wanted = {"url": "https://service.example/", "adapter": adapter, "key_file": str(key_file), **options}
    with pytest.raises(UsageError) as raised:
        checked_settings(ServiceSettings(**wanted), adapter_of(adapter))
    assert advice in raised.value.remedy
    assert "secret" not in str(raised.value) + raised.value.remedy


def test_a_key_that_others_may_read_is_refused(key_file: Path, adapter: str) -> None:
    key_file.chmod(0o644)
    with pytest.raises(UsageError):
        checked_settings(
            ServiceSettings("https://service.example/", adapter, str(key_file)), adapter_of(adapter)
        )


def test_settings_are_stored_without_the_key(tmp_path: Path, key_file: Path, adapter: str) -> None:
    settings = checked_settings(
        ServiceSettings("https://service.example/", adapter, str(key_file), categories={"x": "A1"}),
        adapter_of(adapter),
    )
    write_settings(tmp_path / "service.json", settings)
    assert read_settings(tmp_path / "service.json") == settings
    assert SECRET not in (tmp_path / "service.json").read_text()
