"""Uploads by HTTP: files, forms, who is shown what, and whatever else may come as a body."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import json
import logging
import select
import socket
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hashscan.model import Reason
from hashscan.service.doors.http.app import NGINX_LOCATION
from hashscan.service.doors.http.bodies import PARTS_MAX
from hashscan.service.doors.http.door import _Protocol
from hashscan.service.engine.contents import Content
from hashscan.service.engine.uploads import Answer, Unchecked
from tests.service.doors.http.conftest import GOOD, LISTED
from tests.service.doors.http.serving import DOOR, HttpServer, Site, add_key, form, read_to_end, with_answers
from tests.service.engine.serving import picture

CLEAN = picture(2)


def test_a_file_is_checked(site: Site) -> None:
    found = site.ask("POST", "/v1/scan?digests=true&name=a.jpg", LISTED)
    assert (found.status, found.document["outcome"]) == (200, "refuse")
    (file,) = found.document["files"]
    assert file["verdict"] == "match"
    assert file["name"] == "a.jpg" or file.get("field") == "a.jpg"
    assert file["threat"].startswith("hashscan.Blocked-")
    (match,) = file["matches"]
    assert match == {
        "list": "ours", "entry": "e0", "algorithm": "sha256", "category": "A1",
        "distance": 0, "threshold": 0, "withheld": False,
    }  # fmt: skip
    assert file["digests"]["sha256"] == hashlib.sha256(LISTED).hexdigest()
    assert found.document["version"] == site.server.engine.version
    clean = site.ask("POST", "/v1/scan", CLEAN, Content_Type="application/x-www-form-urlencoded")
    assert clean.document["files"] == [{"outcome": "allow", "verdict": "clean"}]
    shown = site.ask("POST", "/v1/scan?digests=true", CLEAN).document["files"][0]["digests"]
    assert shown["sha256"] == hashlib.sha256(CLEAN).hexdigest()
    assert len(shown["pdq"]) == 64
    chunked = site.ask("POST", "/v1/scan", iter([LISTED[:9], LISTED[9:]]))
    assert chunked.document["outcome"] == "refuse"
    assert site.ask("POST", "/v1/scan", b"").document["outcome"] == "allow"


def test_each_part_of_a_form_is_checked(site: Site) -> None:
    body, kind = form(("a\r.jpg".replace("\r", "\x7f"), CLEAN), ("b.jpg", LISTED), ("c", b"text"))
    found = site.ask("POST", "/v1/scan", body, Content_Type=kind)
    assert found.document["outcome"] == "refuse"
    assert [(f["name"], f["field"], f["outcome"]) for f in found.document["files"]] == [
        ("a\\x7f.jpg", "f", "allow"), ("b.jpg", "f", "refuse"), ("c", "f", "allow"),
    ]  # fmt: skip
    unnamed = b"--x0x\r\nA: b\r\n\r\n" + LISTED + b"\r\n--x0x--\r\n"
    assert site.ask("POST", "/v1/scan", unnamed, Content_Type=kind).document["outcome"] == "refuse"
    empty = site.ask("POST", "/v1/scan", b"--x0x--\r\n", Content_Type=kind)
    assert empty.document == {"outcome": "allow", "files": [], "version": site.server.engine.version}


def test_an_uploader_who_is_not_trusted_sees_the_reference_alone(server: HttpServer) -> None:
    with server.door(replace(DOOR, show_entries=False)) as site:
        found = site.ask("POST", "/v1/scan?digests=true", LISTED)
        (file,) = found.document["files"]
        assert found.document.keys() == {"outcome", "files"}
        assert file.keys() == {"outcome", "threat"}
        undecoded = site.ask("POST", "/v1/scan?digests=true", b"\xff\xd8\xff\xe0" + bytes(400))
        assert undecoded.document == {"outcome": "allow", "files": [{"outcome": "allow"}]}
        for path in ("/v1/lists", "/v1/info", f"/v1/check/sha256/{'0' * 64}"):
            assert site.ask("GET", path).code == "right_missing"


@pytest.mark.parametrize(("answer", "status"), [("allow", 200), ("refuse", 403), ("error", 503)])
def test_the_answer_is_a_setting_and_a_status_on_request(
    server: HttpServer, answer: str, status: int
) -> None:
    with server.door(with_answers(match=answer)) as site:
        asked = site.ask("POST", "/v1/scan?status=true", LISTED)
        assert asked.status == status
        if status == 503:
            assert "retry-after" in asked.headers
        plain = site.ask("POST", "/v1/scan", LISTED)
        assert (plain.status, plain.document["outcome"]) == (200, answer)


@pytest.mark.parametrize(("answer", "status"), [("allow", 200), ("refuse", 403), ("error", 503)])
def test_what_finds_no_room_is_answered_as_the_settings_say(
    server: HttpServer, monkeypatch: pytest.MonkeyPatch, answer: str, status: int
) -> None:
    failed: list[object] = []
    monkeypatch.setattr(server.engine.room, "bytes_in_flight", 10)
    monkeypatch.setattr(server.engine.recorder, "failed", lambda client, error: failed.append(error))
    with server.door(with_answers(trouble=answer)) as site:
        found = site.ask("POST", "/v1/scan?status=true", LISTED)
        assert found.status == status
        if status == 503:
            assert (found.code, found.headers["retry-after"]) == ("overloaded", "1")
        else:
            assert found.document["files"] == [{"outcome": answer}]
    assert [type(error).__name__ for error in failed] == ["Overloaded"]


@pytest.mark.parametrize("trouble", ["allow", "error"])
def test_a_part_that_is_not_checked_hides_no_other(
    server: HttpServer, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    check = server.engine.check

    async def checked(content: Content, *arguments: Any, **options: Any) -> Answer:
        if content.size == 1:
            content.close()
            raise Unchecked("a defect")
        return await check(content, *arguments, **options)

    monkeypatch.setattr(server.engine, "check", checked)
    with server.door(with_answers(trouble=trouble)) as site:
        body, kind = form(("a", b"x"), ("b.jpg", LISTED))
        found = site.ask("POST", "/v1/scan?status=true", body, Content_Type=kind)
        assert found.status == 403
        assert [file["outcome"] for file in found.document["files"]] == [trouble, "refuse"]


def test_a_part_of_a_file_is_not_called_clean(site: Site) -> None:
    for header in ("Content_Range", "Upload_Offset"):
        found = site.ask("POST", "/v1/scan", b"text", **{header: "bytes 0-3/1000"})
        assert found.document["files"][0]["verdict"] == "undecoded"
        assert found.document["files"][0]["reason"] == Reason.PARTIAL.value


def test_nginx_is_sent_on_with_what_is_allowed(site: Site) -> None:
    allowed = site.ask("POST", "/v1/scan/nginx?status=false&x", CLEAN)
    assert (allowed.status, allowed.headers["x-accel-redirect"]) == (200, NGINX_LOCATION)
    refused = site.ask("POST", "/v1/scan/nginx?status=false", LISTED)
    assert (refused.status, refused.headers.get("x-accel-redirect")) == (403, None)
    assert site.ask("POST", "/v1/scan/nginx", CLEAN, Content_Encoding="gzip").status == 415


def test_a_body_that_a_reader_could_take_otherwise_is_refused(site: Site) -> None:
    """Each of these hides the listed picture from a reader of another kind."""
    good, kind = form(("a", b"x"))
    hidden, _ = form(("a", b"x\n--x0x\nContent-Disposition: form-data; name=b; filename=b\n\n" + LISTED))
    nested = b"--x0x\r\nContent-Type: multipart/mixed; boundary=y\r\n\r\n--y\r\n\r\nx\r\n--y--\r\n--x0x--\r\n"
    base64 = b"--x0x\r\nContent-Transfer-Encoding: base64\r\n\r\naaaa\r\n--x0x--\r\n"
    undeclared: list[dict[str, str]] = [{}] + [
        {"Content_Type": other} for other in ("", "image/jpeg", "application/x-www-form-urlencoded")
    ]
    cases: list[tuple[bytes, dict[str, str], int, str]] = [
        (hidden, {"Content_Type": kind}, 400, "multipart_invalid"),
        (good + LISTED, {"Content_Type": kind}, 400, "multipart_invalid"),
        (LISTED + good, {"Content_Type": kind}, 400, "multipart_invalid"),
        (good[:-4], {"Content_Type": kind}, 400, "multipart_invalid"),
        (good, {"Content_Type": f"{kind}; boundary=other"}, 400, "multipart_invalid"),
        (good, {"Content_Type": "multipart/mixed; boundary=x0x"}, 400, "multipart_invalid"),
        (nested, {"Content_Type": kind}, 415, "multipart_encoded"),
        (base64, {"Content_Type": kind}, 415, "multipart_encoded"),
        *((form(("a", LISTED))[0], each, 400, "multipart_invalid") for each in undeclared),
        (b"x", {"Content_Encoding": "gzip"}, 415, "encoded"),
        (b"x", {"Content_Encoding": "identity, br"}, 415, "encoded"),
        (form(*[("a", b"x")] * (PARTS_MAX + 1))[0], {"Content_Type": kind}, 413, "multipart_too_many"),
    ]  # fmt: skip
    for body, headers, status, code in cases:
        found = site.ask("POST", "/v1/scan", body, **headers)
        assert (found.status, found.code) == (status, code)
    assert site.server.engine.room.taken == 0
    assert site.server.engine.room.contents == 0


@pytest.mark.parametrize(
    "coding", ["gzip", "x-gzip", "GZIP", "deflate", "br", "zstd", "gzip, identity", "identity, identity", "x"]
)
def test_a_picture_hidden_in_a_coded_body_is_never_let_through(site: Site, coding: str) -> None:
    """An application behind, or a browser, would decode what the door sees as bytes of no picture."""
    coded = zlib.compress(LISTED) if coding == "deflate" else gzip.compress(LISTED)
    bomb = gzip.compress(bytes(1 << 24))
    form_of, kind = form(("a.jpg", coded))
    for target in ("/v1/scan", "/v1/scan?status=true", "/v1/scan/nginx"):
        for body, headers in ((coded, {}), (bomb, {}), (form_of, {"Content_Type": kind})):
            found = site.ask("POST", target, body, Content_Encoding=coding, **headers)
            assert (found.status, found.code) == (415, "encoded")
            assert "x-accel-redirect" not in found.headers
    inner = (
        b"--x0x\r\nContent-Disposition: form-data; name=a; filename=a.jpg\r\nContent-Encoding: "
        + coding.encode()
        + b"\r\n\r\n"
        + coded
        + b"\r\n--x0x--\r\n"
    )
    found = site.ask("POST", "/v1/scan", inner, Content_Type="multipart/form-data; boundary=x0x")
    assert (found.status, found.code) == (415, "multipart_encoded")
    assert site.server.engine.room.taken == 0


def request(body: bytes = b"", *lines: bytes, target: bytes = b"/v1/scan", method: bytes = b"POST") -> bytes:
    return b"\r\n".join([method + b" " + target + b" HTTP/1.1", b"Host: x", *lines, b"", body])


@pytest.mark.parametrize(
    "lines",
    [
        (b"Content-Length: 5", b"Transfer-Encoding: chunked"),
        (b"Transfer-Encoding: chunked", b"Content-Length: 5"),
        (b"Content-Length: 5", b"Content-Length: 6"),
        (b"Content-Length: 5, 6",),
        (b"Content-Length: +5",),
        (b"Content-Length: 0x5",),
        (b"Content-Length: -1",),
        (b"Content-Length : 5",),
        (b"Transfer-Encoding: gzip, chunked",),
        (b"Transfer-Encoding: chunked, identity",),
        (b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
        (b"Transfer-Encoding: xchunked",),
        (b"Content-Type: multipart/form-data; boundary=a", b"Content-Type: text/plain", b"Content-Length: 5"),
        (b"Content-Length: 5", b" folded: x\x00"),
        (b"Bad\x00Name: x", b"Content-Length: 5"),
    ],
)
def test_no_request_is_smuggled_behind_a_length_that_is_not_clear(
    site: Site, lines: tuple[bytes, ...]
) -> None:
    """Bytes that follow are never taken for a request: the connection is closed."""
    inner = request(target=b"/healthz", method=b"GET")
    body = b"0\r\n\r\n" if b"chunked" in b"".join(lines) else b"12345"
    answer = site.send(request(body + inner, *lines))
    assert answer.count(b"HTTP/1.1") == 1
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 501"))
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["code"] == "invalid_request"


@pytest.mark.parametrize("target", [b"/healthz", b"/v1/scan", b"/v1/check/sha256/00", b"/metrics"])
def test_two_lengths_are_refused_before_key_and_path(
    server: HttpServer, tmp_path: Path, target: bytes
) -> None:
    add_key(tmp_path / "keys", "scan")
    lines = (b"Content-Length: 5", b"Transfer-Encoding: chunked")
    inner = request(target=b"/healthz", method=b"GET")
    with server.door(keys=tmp_path / "keys") as site:
        for method in (b"GET", b"POST"):
            answer = site.send(request(b"0\r\n\r\n" + inner, *lines, target=target, method=method))
            assert answer.count(b"HTTP/1.1") == 1
            assert answer.startswith(b"HTTP/1.1 400")


def test_a_door_without_keys_shows_lists_and_metrics_only_by_a_setting(server: HttpServer) -> None:
    with server.door(replace(DOOR, show_entries=False), metrics=lambda: b"m 1\n") as site:
        for path in (
            "/metrics",
            "/v1/lists",
            "/v1/info",
            "/v1/changes?since=x",
            f"/v1/check/sha256/{'0' * 64}",
        ):
            assert site.ask("GET", path).code == "right_missing"
    with server.door(metrics=lambda: b"m 1\n") as site:
        assert site.ask("GET", "/metrics").body == b"m 1\n"


def test_a_body_that_is_not_valid_is_answered_once_and_is_no_defect(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """The application answers in the moment in which the body turns out not to be valid."""
    for target in (b"/nowhere", b"/v1/scan?digests=perhaps"):
        answer = site.send(request(b"no length\r\n", b"Transfer-Encoding: chunked", target=target))
        assert answer.startswith(b"HTTP/1.1 400")
        assert answer.count(b"HTTP/1.1") == 1
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_pipelined_requests_are_answered_in_order(site: Site) -> None:
    one = request(LISTED, b"Content-Length: %d" % len(LISTED))
    two = request(CLEAN, b"Content-Length: %d" % len(CLEAN), b"Connection: close")
    answer = site.send(one + two)
    assert [part.count(b'"refuse"') > 0 for part in answer.split(b"HTTP/1.1 200")[1:]] == [True, False]


def test_limits_of_size(server: HttpServer, tmp_path: Path) -> None:
    limit = server.engine.settings.limits.upload_bytes
    with server.door() as site:
        announced = site.send(request(b"x", b"Content-Length: %d" % (limit + 1), b"Expect: 100-continue"))
        assert b"100 Continue" not in announced
        assert b" 413 " in announced
        assert b"too_large" in announced
        with site.connect() as connection:
            answer, sent = b"", 0
            while not answer:
                connection.sendall(b"GET / HTTP/1.1\r\nX: " if not sent else b"a" * 10_000)
                sent += 1
                assert sent < 200
                readable, _, _ = select.select([connection], [], [], 0.01)
                answer = connection.recv(1 << 16) if readable else b""
        assert answer.startswith(b"HTTP/1.1 400")
        asked = site.ask("POST", "/v1/scan", b"x" * (1 << 16), Expect="100-continue")
        assert asked.status == 200


def test_limits_of_time(server: HttpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with server.door(replace(DOOR, idle_seconds=0.2)) as site:
        slow = site.send(request(b"abc", b"Content-Length: 5"))
        assert b" 408 " in slow
        assert b"too_slow" in slow
        assert site.send() == b""
        assert site.send(b"POST /v1/") == b""
    with server.door(replace(DOOR, request_seconds=0.2)) as site, site.connect() as connection:
        connection.sendall(request(b"abc", b"Content-Length: 500000"))
        connection.settimeout(0.02)
        answer = b""
        while not answer:
            try:
                answer = connection.recv(1 << 16)
            except TimeoutError:
                connection.sendall(b"x")
        assert b" 408 " in answer


def test_a_slow_header_ends_the_connection(server: HttpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hashscan.service.doors.http.door.HEADER_SECONDS", 0.3)
    with server.door() as site, site.connect() as connection:
        sent = 0
        try:
            while sent < 10_000:
                connection.sendall(b"GET / HTTP/1.1\r\nA: bbbbbbb"[sent : sent + 1] or b"b")
                sent += 1
                time.sleep(0.01)
        except OSError:
            pass
        assert sent < 10_000


def test_half_sent_requests_keep_no_others_from_being_served(server: HttpServer) -> None:
    halves = (b"", b"GET /hea", b"POST /v1/scan HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc")
    with server.door(replace(DOOR, connections_max=30)) as site, ExitStack() as stack:
        held = []
        for number in range(40):
            connection = stack.enter_context(site.connect())
            connection.sendall(halves[number % len(halves)])
            held.append(connection)
        for _ in range(5):
            assert site.ask("GET", "/healthz").status == 200
        assert (site.door.refused, site.door.connections <= 30) == (0, True)
        # The oldest has lost its place.
        with suppress(ConnectionResetError):
            assert held[0].recv(1) == b""


def test_connections_are_bounded_and_refused_in_http(
    server: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Protocol, "is_waiting", False)
    with (
        server.door(replace(DOOR, connections_max=2)) as site,
        site.connect() as first,
        site.connect() as second,
    ):
        for connection in (first, second):
            connection.sendall(request(target=b"/healthz", method=b"GET"))
            assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200")
        refused = site.send()
        assert refused.startswith(b"HTTP/1.1 503")
        assert b"Retry-After" in refused
        assert json.loads(refused.partition(b"\r\n\r\n")[2])["code"] == "overloaded"
    assert site.door.connections == 0


def test_connections_are_counted_once_when_many_come_at_once(server: HttpServer) -> None:
    with server.door(replace(DOOR, connections_max=250)) as site:

        async def connect() -> list[socket.socket]:
            """Connect while the loop can't accept."""
            return [stack.enter_context(site.connect()) for _ in range(250)]

        with ExitStack() as stack:
            held = server.call(connect())
            for connection in held:
                connection.sendall(request(target=b"/healthz", method=b"GET"))
            assert all(connection.recv(1 << 16).startswith(b"HTTP/1.1 200") for connection in held)
            assert site.door.connections == 250
    assert site.door.refused == 0


def test_a_client_that_leaves_has_its_check_cancelled(
    server: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, cancelled = threading.Event(), threading.Event()
    check = server.engine.check

    async def slow(*arguments: object, **options: object) -> object:
        import asyncio

        begun.set()
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return await check(*arguments, **options)  # type: ignore[arg-type]

    with server.door() as site:
        monkeypatch.setattr(server.engine, "check", slow)
        with site.connect() as connection:
            connection.sendall(request(b"abc", b"Content-Length: 3"))
            assert begun.wait(60)
        assert cancelled.wait(60)
        monkeypatch.undo()
        assert site.ask("POST", "/v1/scan", LISTED).document["outcome"] == "refuse"
    assert server.engine.room.taken == 0


def test_an_orderly_end_answers_what_has_begun(server: HttpServer) -> None:
    with server.door() as site, site.connect() as waiting, site.connect() as idle:
        idle.sendall(request(target=b"/healthz", method=b"GET"))
        answer = http.client.HTTPResponse(idle)
        answer.begin()
        assert answer.read() == b'{"status":"ok"}'
        waiting.sendall(request(LISTED[:10], b"Content-Length: %d" % len(LISTED)))
        ready = site.ask("GET", "/readyz")
        assert ready.status == 200
        with ThreadPoolExecutor(1) as thread:
            ended = thread.submit(server.call, site.door.close(60))
            assert read_to_end(idle) == b""
            waiting.sendall(LISTED[10:])
            assert b'"refuse"' in read_to_end(waiting)
            ended.result()


def test_keys_admit_by_right_at_once_and_not_too_often(server: HttpServer, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    scanner = add_key(file, "scan", name="scanner")
    reader = add_key(file, "check", "lists", "metrics", name="reader")
    rare = add_key(file, "scan", name="rare", rate=0.001)
    with server.door(replace(DOOR, show_entries=False), keys=file, metrics=lambda: b"m 1\n") as site:
        assert site.ask("POST", "/v1/scan", LISTED).code == "key_missing"
        assert site.ask("POST", "/v1/scan", LISTED).headers["www-authenticate"] == "Bearer"
        assert site.ask("POST", "/v1/scan", LISTED, key="wrong").code == "key_invalid"
        assert site.ask("POST", "/v1/scan", LISTED, Authorization=f"Basic {scanner}").code == "key_missing"
        assert site.ask("POST", "/v1/scan", LISTED, key=reader).code == "right_missing"
        assert site.ask("POST", "/v1/scan", LISTED, key=scanner).document["outcome"] == "refuse"
        assert site.ask("GET", "/v1/lists", key=scanner).code == "right_missing"
        lists = site.ask("GET", "/v1/lists", key=reader).document["lists"]
        assert [(each["name"], each["entries"]) for each in lists] == [("good", 2), ("ours", 2)]
        assert site.ask("GET", "/metrics", key=reader).body == b"m 1\n"
        assert site.ask("GET", "/metrics").status == 401
        assert site.ask("GET", "/healthz").status == site.ask("GET", "/readyz").status == 200
        assert site.ask("POST", "/v1/scan", b"x", key=rare).status == 200
        limited = site.ask("POST", "/v1/scan", b"x", key=rare)
        assert (limited.status, limited.code) == (429, "rate_limited")
        assert int(limited.headers["retry-after"]) > 900
        add_key(file, "lists", name="scanner")
        assert site.ask("POST", "/v1/scan", LISTED, key=scanner).code == "key_invalid"
        file.chmod(0o644)
        assert site.ask("POST", "/v1/scan", LISTED, key=reader).code == "keys_unavailable"


def test_digests_are_compared(site: Site) -> None:
    def digest(algorithm: str, value: bytes) -> dict[str, str]:
        return {"algorithm": algorithm, "value": value.hex()}

    listed = hashlib.sha256(LISTED).digest()
    near = bytes([255, *range(1, 32)])
    asked = [
        digest("sha256", bytes(32)),
        digest("sha256", listed),
        digest("pdq", near),
        digest("sha256", hashlib.sha256(GOOD).digest()),
    ]
    found = site.ask("POST", "/v1/check", json.dumps({"digests": asked}).encode())
    assert found.document == {
        "version": site.server.engine.version,
        "matches": [
            {"digest": 1, "entry": "e0", "category": "A1", "distance": 0, "acting": False},
            {"digest": 2, "entry": "p0", "category": "A2", "distance": 8, "acting": False},
        ],
    }
    assert site.ask("GET", f"/v1/check/sha256/{listed.hex()}").status == 403
    clean = site.ask("GET", f"/v1/check/SHA256/{listed.hex()}")
    assert clean.code == "invalid_document"
    assert site.ask("GET", f"/v1/check/sha256/{'0' * 64}").status == 204
    info = site.ask("GET", "/v1/info").document
    assert set(info["algorithms"]) == {"sha256", "pdq"}
    version = info["version"]
    assert site.ask("GET", f"/v1/changes?since={version}").document["everything"] is False
    assert site.ask("GET", "/v1/changes?since=older").document["everything"] is True
    for body in (
        b"",
        b"{",
        b"[]",
        b'{"digests": [1]}',
        b'{"digests": [{"algorithm": "pdq", "value": "00"}]}',
    ):
        assert site.ask("POST", "/v1/check", body).code == "invalid_document"
    many = json.dumps({"digests": asked[:1] * 1001}).encode()
    assert site.ask("POST", "/v1/check", many).code == "too_many_digests"
    assert site.ask("POST", "/v1/check", bytes((1 << 20) + 1)).code == "too_large"
    assert site.ask("GET", "/v1/changes").code == "invalid_document"


def test_other_paths_and_methods_are_errors_with_codes(site: Site) -> None:
    assert site.ask("GET", "/").code == "not_found"
    assert site.ask("GET", "/docs").code == "not_found"
    assert site.ask("POST", "/v1/scan/").code == "not_found"
    found = site.ask("PUT", "/v1/scan", LISTED)
    assert (found.status, found.code, found.headers["allow"]) == (405, "method_not_allowed", "POST")
    assert site.ask("POST", "/v1/scan?digests=perhaps", b"").code == "invalid_document"


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=60), max_size=4), st.binary(max_size=30), st.integers(0, 10_000))
def test_mutated_requests_are_answered_or_closed(
    site: Site, parts: list[bytes], noise: bytes, place: int
) -> None:
    body, kind = form(*(("a", part) for part in parts))
    sent = bytearray(
        request(
            body, b"Content-Type: " + kind.encode(), b"Content-Length: %d" % len(body), b"Connection: close"
        )
    )
    at = place % len(sent)
    sent[at : at + len(noise) // 2] = noise
    with site.connect() as connection:
        connection.sendall(bytes(sent))
        connection.shutdown(1)
        answer = read_to_end(connection)
    assert not answer or answer.startswith((b"HTTP/1.1 2", b"HTTP/1.1 4", b"HTTP/1.1 100", b"HTTP/1.1 501"))
    assert site.ask("GET", "/healthz").status == 200
