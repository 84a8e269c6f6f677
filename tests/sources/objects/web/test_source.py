"""Objects by web address, from a real server: what is listed, read, and said of what goes wrong."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from itertools import count, cycle
from pathlib import Path
from unittest import mock

import pytest

from hashscan import web_transport
from hashscan.errors import TargetError, UnreachableError, UsageError
from hashscan.model import DIRECT, Access, Batch, Reason
from hashscan.sources.base import Listing, ListingOptions, NonFileCounts, SkippedFile, UnreadableName
from hashscan.sources.objects import receiver
from hashscan.sources.objects.store import UNKNOWN_SIZE
from hashscan.sources.objects.web import client
from hashscan.sources.objects.web import source as web_store
from hashscan.sources.objects.web.source import HttpSource, HttpsSource
from hashscan.sources.patterns import Patterns
from tests.certificates import Authority
from tests.sources.objects.reading import batches_of, read_all
from tests.sources.objects.scanning import UPLOADS, scan, uploads
from tests.sources.objects.unused import unused_port
from tests.sources.objects.web_objects import MODIFIED_NS, Objects, cut_after, refuse, refusing, web_objects
from tests.web import serving


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiver, "_FIRST_PAUSE", 0.005)


@pytest.fixture
def objects() -> Iterator[Objects]:
    with web_objects() as server:
        yield server


def listed(*urls: bytes, access: Access = DIRECT, **options: object) -> list[Batch]:
    return batches_of(HttpSource(urls, ListingOptions(**options), access))  # type: ignore[arg-type]


def fetch(batches: list[Batch], access: Access = DIRECT) -> dict[bytes, bytes | Reason]:
    return read_all(HttpSource, batches, access)


def test_what_is_listed(objects: Objects) -> None:
    url = objects.put("/a/f.jpg", b"content")
    (batch,) = listed(url)
    (item,) = batch.items
    assert (batch.source, batch.target, batch.folder) == ("http", objects.url, b"")
    assert (item.name, item.stat.size, item.stat.mtime_ns) == (b"a/f.jpg", 7, MODIFIED_NS)
    assert len(item.etag) == 16
    assert fetch([batch]) == {url: b"content"}
    # Is somebody there? What is said of it? Its bytes; and is it still the same?
    assert [method for method, _ in objects.asked] == ["HEAD", "HEAD", "GET", "HEAD"]


@pytest.mark.parametrize("lacking", ["etags", "dates", "lengths", "heads", "ranges"])
def test_servers_that_say_less(objects: Objects, lacking: str) -> None:
    setattr(objects, lacking, False)
    content = os.urandom(300_000)
    url, empty = objects.put("/f", content), objects.put("/empty", b"")
    batches = listed(url, empty)
    sizes = [item.stat.size for batch in batches for item in batch.items]
    assert sizes[0] == (UNKNOWN_SIZE if lacking == "lengths" else len(content))
    assert fetch(batches) == {url: content, empty: b""}


def test_a_server_that_says_nothing(objects: Objects) -> None:
    objects.etags = objects.dates = objects.lengths = objects.heads = objects.ranges = False
    url = objects.put("/f", b"content")
    assert fetch(listed(url)) == {url: b"content"}


ODD = ["/a//b", "//lead.jpg", "/x/../y", "/./z", "/%0Anew", "/%01", "/50%25", "/%25zz", "/" + "k" * 1024]


def test_odd_paths_are_asked_for_as_they_are(objects: Objects) -> None:
    urls = [objects.put(target, target.encode()) for target in ODD]
    assert fetch(listed(*urls)) == {url: target.encode() for url, target in zip(urls, ODD, strict=True)}


def test_raw_bytes_are_escaped(objects: Objects) -> None:
    objects.put("/a%20%0A%FF%25zz", b"odd")
    url = objects.url + b"/a \n\xff%zz"
    assert fetch(listed(url)) == {url: b"odd"}


def test_queries_are_sent_and_not_shown(objects: Objects) -> None:
    one, two = objects.put("/f?sig=SECRET1", b"1"), objects.put("/f?sig=SECRET2", b"2")
    source = HttpSource([one, two, one], ListingOptions())
    batches = listed(one, two)
    assert "SECRET" not in repr(batches)
    assert b"SECRET" not in b"".join(source.paths)
    found = fetch(batches)
    assert list(found.values()) == [b"1", b"2"]
    assert tuple(found) == source.paths


def named(*names: bytes, targets: tuple[bytes, ...] = (), **options: object) -> list[Listing]:
    source = HttpSource(targets, ListingOptions(**options))  # type: ignore[arg-type]
    return list(source.listings_by_name(iter(names)))


def test_named_ones_are_read_and_nothing_is_asked_before(objects: Objects) -> None:
    one, two = objects.put("/a/f", b"1"), objects.put("/f?sig=SECRET", b"2")
    listings = named(one, two, objects.url + b"/gone", one)
    assert not objects.asked
    assert "SECRET" not in repr(listings)
    batches = [listing for listing in listings if isinstance(listing, Batch)]
    assert [len(batch.items) for batch in batches] == [3, 1]
    found = fetch(batches)
    assert sorted(value for value in found.values() if isinstance(value, bytes)) == [b"1", b"2"]
    assert found[objects.url + b"/gone"] is Reason.VANISHED


def test_a_pause_brings_what_was_named_so_far(objects: Objects) -> None:
    one, two = objects.put("/1", b"1"), objects.put("/2", b"2")
    batch, passed, last = named(one, b"", two)
    assert isinstance(batch, Batch)
    assert passed == NonFileCounts()
    assert isinstance(last, Batch)


def test_names_that_are_no_objects(objects: Objects) -> None:
    target, other = objects.put("/f", b"1"), objects.put("/other?sig=SECRET", b"2")
    listings = named(other, b"http://user:SECRET@host/f", target, targets=(target,))
    assert [type(listing) for listing in listings] == [UnreadableName, UnreadableName, Batch]
    lost = [listing for listing in listings if isinstance(listing, UnreadableName)]
    assert [listing.reason for listing in lost] == [Reason.OUTSIDE, Reason.NO_NAME]
    assert "SECRET" not in repr(lost)
    (skipped,) = named(target, exclude=Patterns.compile(("f",), None))
    assert isinstance(skipped, SkippedFile)


def test_many_at_a_time(objects: Objects) -> None:
    looking, reading = (threading.Barrier(8, timeout=60) for _ in range(2))
    looks = count()

    def slow(request: BaseHTTPRequestHandler) -> bool:
        if request.command == "GET":
            reading.wait()
        # The very first sees whether somebody is there.
        elif 0 < next(looks) <= 64:
            looking.wait()
        return False

    urls = [objects.put(f"/{number}", b"%d" % number) for number in range(64)]
    objects.answers = {f"/{number}": slow for number in range(64)}
    # Each waits for seven others.
    assert list(fetch(listed(*urls)).values()) == [b"%d" % number for number in range(64)]


def test_batches_are_of_one_host_and_bounded(objects: Objects) -> None:
    urls = [objects.put(f"/{number}", b"12345") for number in range(5)]
    other = [url.replace(b"127.0.0.1", b"localhost") for url in urls]
    pairs = [url for pair in zip(urls, other, strict=True) for url in pair]
    by_count = [(b.target, len(b.items)) for b in listed(*pairs, batch_files=3)]
    here, there = objects.url, objects.url.replace(b"127.0.0.1", b"localhost")
    assert by_count == [(here, 3), (there, 3), (here, 2), (there, 2)]
    assert [len(b.items) for b in listed(*urls, batch_bytes=10)] == [2, 2, 1]


def test_left_out(objects: Objects) -> None:
    urls = [objects.put("/a.txt?x=1", b""), objects.put("/large", b"12345"), objects.put("/f", b"1")]
    options = ListingOptions(exclude=Patterns.compile(["*.txt"], None), max_file_size=4)
    skipped = {
        listing.item.name: listing.reason
        for listing in HttpSource(urls, options).listings()
        if isinstance(listing, SkippedFile)
    }
    assert list(skipped.values()) == [Reason.EXCLUDED, Reason.OVER_SIZE]


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (401, Reason.PERMISSION),
        (403, Reason.PERMISSION),
        (404, Reason.VANISHED),
        (410, Reason.VANISHED),
        (412, Reason.REPLACED),
        (418, Reason.IO_ERROR),
        (500, Reason.IO_ERROR),
        (503, Reason.IO_ERROR),
    ],
)
def test_refusals(objects: Objects, status: int, reason: Reason) -> None:
    url, good = objects.put("/f?sig=SECRET", b"content"), objects.put("/good", b"good")
    objects.answers["/f?sig=SECRET"] = refusing(status)
    found = fetch(listed(url, good))
    assert list(found.values()) == [reason, b"good"]
    assert objects.count("GET", "/f?sig=SECRET") in ({receiver.TRIES} if status >= 500 else {1, 2})


def test_a_busy_server_is_asked_again(objects: Objects) -> None:
    left = [2]

    def busy(request: BaseHTTPRequestHandler) -> bool:
        if request.command != "GET" or not left[0]:
            return False
        left[0] -= 1
        return refuse(request, 503, Retry_After="0")

    url = objects.put("/f", b"content")
    objects.answers["/f"] = busy
    assert fetch(listed(url)) == {url: b"content"}
    assert objects.count("GET", "/f") == 3


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("etags", [True, False])
def test_a_cut_connection_is_taken_up_again(objects: Objects, ranges: bool, etags: bool) -> None:
    objects.ranges, objects.etags = ranges, etags
    content = os.urandom(700_000)
    url = objects.put("/f", content)
    batches = listed(url)
    objects.answers["/f"] = cut_after(400_000, content, etag=etags)
    assert fetch(batches) == {url: content}


def test_cut_again_and_again(objects: Objects) -> None:
    content = os.urandom(10_000)
    url = objects.put("/f", content)
    objects.answers["/f"] = cut_after(0, content, times=1000)
    assert fetch(listed(url)) == {url: Reason.IO_ERROR}


def test_replaced_between_listing_and_reading(objects: Objects) -> None:
    for etags in (True, False):
        objects.etags = etags
        url = objects.put("/f", b"content")
        batches = listed(url)
        objects.put("/f", b"CONTENT" if etags else b"longer content")
        assert fetch(batches) == {url: Reason.REPLACED}


def test_deleted_between_listing_and_reading(objects: Objects) -> None:
    url = objects.put("/f", b"content")
    batches = listed(url)
    del objects.held["/f"]
    assert fetch(batches) == {url: Reason.VANISHED}


def test_changed_while_it_is_read(objects: Objects) -> None:
    """The server sends half of the old and half of the new, as one does whose file is written over."""
    old, new = b"a" * 1000, b"b" * 1000
    url = objects.put("/f", old)
    batches = listed(url)

    def torn(request: BaseHTTPRequestHandler) -> bool:
        if request.command != "GET":
            return False
        cut_after(1000, old)(request)
        objects.put("/f", new)
        return True

    objects.answers["/f"] = torn
    assert fetch(batches) == {url: Reason.CHANGED}


def test_a_date_alone_tells_too(objects: Objects) -> None:
    objects.etags = False
    url = objects.put("/f", b"content")
    batches = listed(url)
    objects.answers["/f"] = lambda request: refuse(
        request, 200, Last_Modified="Wed, 07 Jan 2026 10:00:00 GMT"
    )
    assert fetch(batches) == {url: Reason.REPLACED}


def test_compressed_although_asked_not_to(objects: Objects) -> None:
    url = objects.put("/f", b"content")
    objects.answers["/f"] = refusing(200, Content_Encoding="gzip")
    assert fetch(listed(url)) == {url: Reason.IO_ERROR}


def test_weak_etags_are_no_identity(objects: Objects) -> None:
    objects.answers["/f"] = refusing(200, ETag='W/"x"')
    objects.put("/f", b"")
    ((item,),) = (batch.items for batch in listed(objects.url + b"/f"))
    assert item.etag == ""


def test_redirects_are_followed(objects: Objects) -> None:
    target = objects.put("/to/f?x=1", b"content")
    url = objects.url + b"/from"
    for location in [target.decode(), "//" + target.decode().partition("//")[2], "/to/f?x=1", "to/f?x=1"]:
        objects.answers["/from"] = refusing(302, Location=location)
        assert fetch(listed(url)) == {url: b"content"}


def test_five_redirects_and_no_more(objects: Objects) -> None:
    objects.put("/end", b"content")
    for number in range(7):
        following = "/end" if number == 0 else f"/{number - 1}"
        objects.answers[f"/{number}"] = refusing(307, Location=following)
    at_most, too_many = objects.url + b"/4", objects.url + b"/5"
    assert fetch(listed(at_most, too_many)) == {at_most: b"content", too_many: Reason.IO_ERROR}


@pytest.mark.parametrize(
    "location",
    ["file:///etc/passwd", "ftp://127.0.0.1/x", "http://user:x@127.0.0.1/", "", "http://", "javascript:x"],
)
def test_redirects_to_elsewhere(objects: Objects, location: str) -> None:
    objects.answers["/f"] = refusing(302, Location=location)
    url = objects.url + b"/f"
    assert fetch(listed(url)) == {url: Reason.IO_ERROR}


def test_a_public_host_does_not_lead_into_a_private_network(
    objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_transport, "is_public_address", lambda address: address == "127.0.0.2")
    secret = objects.put("/metadata", b"for this machine only")
    with web_objects() as public:
        # Another address of this machine, which the server listens on as on all of them.
        public.answers["/f"] = refusing(302, Location=secret.decode())
        private = public.url + b"/f"
        assert fetch(listed(private)) == {private: b"for this machine only"}
        objects.asked.clear()
    with web_objects(host="127.0.0.2") as public:
        public.answers["/f"] = refusing(302, Location=secret.decode())
        url = public.url + b"/f"
        assert fetch(listed(url)) == {url: Reason.IO_ERROR}
        assert not objects.asked


def test_what_does_not_say_its_size_is_bounded(objects: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
    objects.lengths = False
    monkeypatch.setattr(receiver, "UNSIZED_MAX", 1_000_000)
    small, large = objects.put("/small", b"x" * 1_000_000), objects.put("/large", b"x" * 1_000_001)
    assert fetch(listed(small, large)) == {small: b"x" * 1_000_000, large: Reason.IO_ERROR}


def test_a_trickle_is_given_up(objects: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_store, "READ_SECONDS", 0.3)

    def trickle(request: BaseHTTPRequestHandler) -> bool:
        if request.command != "GET":
            return False
        request.send_response(200)
        request.send_header("Content-Length", "1000")
        request.end_headers()
        while True:
            request.wfile.write(b"x")
            time.sleep(0.05)

    url = objects.put("/f", b"x" * 1000)
    objects.answers["/f"] = trickle
    assert fetch(listed(url)) == {url: Reason.SLOW}


_CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n"
DRIPPING = {
    "status": (b"", b"HTTP/1.1 200 "),
    "header": (b"HTTP/1.1 200 OK\r\n", b"X-A: bcdefghij\r\n"),
    "piece": (_CHUNKED, b"1;abcdefg"),
    "trailer": (_CHUNKED + b"0\r\n", b"X-A: bcdefghij\r\n"),
}
"""The bytes that are sent at once, and those that are sent one by one after that, again and again."""


@pytest.mark.parametrize("where", DRIPPING)
def test_what_drips_is_given_up(objects: Objects, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """Each byte is in time, all of them never are."""
    monkeypatch.setattr(client, "READ_SECONDS", 0.4)
    monkeypatch.setattr(client, "ANSWER_SECONDS", 0.4)
    start, drops = DRIPPING[where]
    ended = threading.Event()

    def drip(request: BaseHTTPRequestHandler) -> bool:
        if where in {"piece", "trailer"} and request.command == "HEAD":
            return refuse(request, 403)
        request.close_connection = True
        request.wfile.write(start)
        for drop in cycle(drops):
            request.wfile.write(bytes([drop]))
            if ended.wait(0.02):
                break
        return True

    url = objects.put("/f", b"x")
    other = objects.put("/other", b"other")
    objects.answers["/f"] = drip
    try:
        assert fetch(listed(url, other)) == {url: Reason.SLOW, other: b"other"}
    finally:
        ended.set()


def test_a_server_that_falls_silent_is_given_up(objects: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of an object, at each try."""
    monkeypatch.setattr(client, "READ_SECONDS", 0.2)
    monkeypatch.setattr(receiver, "PATIENCE_SECONDS", 0.5)
    ended = threading.Event()

    def half(request: BaseHTTPRequestHandler) -> bool:
        if request.command == "GET":
            request.send_response(200)
            request.send_header("Content-Length", "1000")
            request.end_headers()
            request.wfile.write(b"x" * 500)
            ended.wait()
        return False

    url = objects.put("/f", b"x" * 1000)
    objects.answers["/f"] = half
    try:
        assert fetch(listed(url)) == {url: Reason.IO_ERROR}
    finally:
        ended.set()
    assert 2 <= objects.count("GET", "/f") <= 4


def test_the_only_host_does_not_answer() -> None:
    with pytest.raises(UnreachableError, match=r"http://127\.0\.0\.1") as caught:
        HttpSource([b"http://127.0.0.1:%d/f?sig=SECRET" % unused_port()], ListingOptions())
    assert "SECRET" not in str(caught.value)


def test_one_dead_host_of_several_is_soon_left_alone(objects: Objects) -> None:
    good = objects.put("/f", b"content")
    port = unused_port()
    dead = [b"http://127.0.0.1:%d/%d" % (port, number) for number in range(50)]
    access = Access(concurrency=4)
    note_failure = client.WebClient._note_failure
    with mock.patch.object(
        client.WebClient, "_note_failure", autospec=True, side_effect=note_failure
    ) as noted:
        found = fetch(listed(good, *dead, access=access), access)
    assert found == {good: b"content"} | dict.fromkeys(dead, Reason.IO_ERROR)
    # Tried while listing, and by each thread that reads; not six times for each address.
    assert noted.call_count < 40


@pytest.mark.parametrize("scheme", [HttpSource, HttpsSource])
def test_addresses_that_are_refused(scheme: type[HttpSource]) -> None:
    with pytest.raises(UsageError):
        scheme([scheme.name.encode() + b"://u:p@h/"], ListingOptions())
    with pytest.raises(TargetError):
        scheme([b"ftp://h/"], ListingOptions())


def test_the_same_tree(objects: Objects) -> None:
    urls = [objects.put(f"/{path}", content) for path, content in uploads().items()]
    here, there = scan(str(UPLOADS)), scan(*urls)
    expected = here.by_path(f"{UPLOADS}/")
    assert expected
    assert there.by_path(objects.url.decode() + "/") == expected
    assert there.code == here.code == 1
    for name in ("files", "verdicts", "bytes"):
        assert there.summary[name] == here.summary[name]
    finding = next(record for record in there.records if record["type"] == "finding")
    assert not {"uid", "inode", "device", "links"} & finding.keys()


def test_sizes_that_become_known_are_reported(objects: Objects) -> None:
    objects.lengths = False
    files = uploads()
    urls = [objects.put(f"/{path}", content) for path, content in files.items()]
    found = scan(*urls).by_path(objects.url.decode() + "/")
    assert found
    assert {path: record["size"] for path, record in found.items()} == {p: len(files[p]) for p in found}


@pytest.mark.slow
def test_faults_lose_no_verdict(objects: Objects) -> None:
    faults = {"/gone": 404, "/forbidden": 403, "/busy": 503}
    urls = [objects.put(target, b"content") for target in (*ODD, *faults)]
    objects.answers = {target: refusing(status) for target, status in faults.items()}
    scanned = scan(*urls)
    assert scanned.code == 3
    assert scanned.summary["files"] == len(urls)
    assert {path: record["reason"] for path, record in scanned.by_path(objects.url.decode()).items()} == {
        "/gone": Reason.VANISHED.value,
        "/forbidden": Reason.PERMISSION.value,
        "/busy": Reason.IO_ERROR.value,
    }


@pytest.mark.slow
def test_a_signature_is_nowhere_to_be_seen(objects: Objects) -> None:
    """Whatever becomes of its object; the command line alone has it, as it was given there."""
    secret = "SECRETsecret123"
    files = list(uploads().values())
    urls = [objects.put(f"/{number}?sig={secret}", content) for number, content in enumerate(files)]
    objects.answers[f"/0?sig={secret}"] = refusing(403)
    objects.answers[f"/1?sig={secret}"] = refusing(503)
    objects.answers[f"/2?sig={secret}"] = refusing(302, Location=f"ftp://x/?sig={secret}")
    objects.answers[f"/3?sig={secret}"] = refusing(302, Location=f"http://127.0.0.1:1/?sig={secret}")
    scanned = scan(*urls)
    assert scanned.code == 4
    assert scanned.summary["files"] == len(files)
    assert secret not in scanned.messages + scanned.report
    for refused in (f"http://user:{secret}@127.0.0.1/", f"htps://user:{secret}@h/?{secret}"):
        refusal = scan(refused)
        assert refusal.code == 2
        assert secret not in refusal.messages + refusal.report


def test_certificates_are_verified(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    context = authority.server()
    with serving(UPLOADS, context) as server:
        url = f"{server.url}alice/holiday/hills.jpg"
        untrusted = scan(url)
        assert untrusted.code == 13
        assert "certificate is not trusted" in untrusted.messages
        trusted = scan(url, environment={"SSL_CERT_FILE": str(authority.file)})
        assert trusted.code == 0
        assert trusted.summary["files"] == 1
        with web_objects() as plain:
            server.answers["/leads"] = lambda request: _redirect(
                request, plain.put("/x", b"content").decode()
            )
            environment = {"SSL_CERT_FILE": str(authority.file)}
            downgraded = scan(f"{server.url}leads", environment=environment)
            assert downgraded.code == 3
            assert "from https to http" in downgraded.report
            assert not plain.asked


def _redirect(request: BaseHTTPRequestHandler, location: str) -> None:
    refuse(request, 302, Location=location)
