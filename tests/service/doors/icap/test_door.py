"""Checks the ICAP door with the real engine: what passes, what is replaced, and what is never left open."""

from __future__ import annotations

import gzip
import re
import socket
import zlib
from base64 import encodebytes
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hashscan.model import Reason
from hashscan.service.doors.connection import Connection
from hashscan.service.doors.icap.bodies import WAITING_MAX
from hashscan.service.doors.icap.door import IcapDoor
from hashscan.service.doors.icap.requests import PHRASES
from hashscan.service.engine.uploads import Overloaded, TooLarge
from hashscan.settings.service import DEFAULT_ANSWERS, UnixAddress
from hashscan.state_dir import StateDir
from tests.pictures import encoded, scene
from tests.service.doors.icap.sessions import (
    REQUEST_HEAD,
    RESPONSE_HEAD,
    Reply,
    Talk,
    chunked,
    form,
    reqmod,
    request,
    respmod,
    talking,
)
from tests.service.serving import (
    ENTRY,
    SMALL_LIMITS,
    STRICT,
    Cases,
    Service,
    clean,
    make_state,
    planted,
    served,
    tcp_door,
)
from tests.waiting import until


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> StateDir:
    return make_state(tmp_path_factory.mktemp("state"))


@pytest.fixture(scope="module")
def cases() -> Cases:
    return Cases()


@pytest.fixture(scope="module")
def service(state: StateDir, cases: Cases) -> Iterator[Service]:
    with served(state, IcapDoor, tcp_door("icap"), recorder=cases) as service:
        yield service


@pytest.fixture
def talk(service: Service) -> Iterator[Talk]:
    with talking(service) as talk:
        yield talk


ALLOW = "Allow: 204"
NULL_BODY = [("req-hdr", REQUEST_HEAD), ("null-body", b"")]


def test_options(talk: Talk, service: Service) -> None:
    reply = talk.ask(request("OPTIONS", []))
    assert reply.first == "ICAP/1.0 200 OK"
    assert reply.get("Methods") == "REQMOD, RESPMOD"
    assert reply.get("Allow") == "204"
    assert reply.get("Transfer-Preview") == "*"
    assert int(reply.get("Preview")) > 0
    assert int(reply.get("Max-Connections")) == service.door.settings.connections_max
    assert int(reply.get("Options-TTL")) > 0
    assert re.fullmatch('"[0-9A-Za-z]{1,32}"', reply.get("ISTag"))
    assert talk.ask(request("OPTIONS", [], service="reqmod")).get("Methods") == "REQMOD"


@pytest.mark.parametrize("make", [reqmod, respmod])
def test_bodies_pass_or_are_replaced(talk: Talk, make: Any) -> None:
    assert talk.ask(make(chunked([clean()]), ALLOW)).status == 204
    reply = talk.ask(make(chunked([planted()]), ALLOW))
    assert reply.status == 200
    assert reply.refused
    threat = reply.get("X-Virus-ID")
    assert re.fullmatch(r"hashscan\.Blocked-[0-9A-Z]{1,26}", threat)
    assert reply.get("X-Infection-Found") == f"Type=0; Resolution=2; Threat={threat};"
    assert reply.body is not None
    assert threat.encode() in reply.body
    # The random reference may have any two characters.
    shown = repr((reply.fields, reply.http, reply.body)).replace(threat, "")
    assert ENTRY not in shown
    assert "A1" not in shown
    assert talk.ask(make(chunked([clean()]), ALLOW)).status == 204


@pytest.mark.parametrize(("make", "http"), [(reqmod, REQUEST_HEAD), (respmod, RESPONSE_HEAD)])
@pytest.mark.parametrize("body", [clean(), b"", b"x" * 300_000, None])
def test_without_204_the_message_comes_back_unchanged(
    talk: Talk, make: Any, http: bytes, body: bytes | None
) -> None:
    if body is None:
        sections = [("req-hdr", REQUEST_HEAD)]
        if make is respmod:
            sections.append(("res-hdr", RESPONSE_HEAD))
        session = request("REQMOD" if make is reqmod else "RESPMOD", [*sections, ("null-body", b"")])
    else:
        session = make(chunked([body[:1000], body[1000:]]))
    reply = talk.ask(session)
    assert (reply.status, reply.http, reply.body) == (200, http, body)
    assert talk.ask(request("OPTIONS", [])).status == 200


@pytest.mark.parametrize("size", [0, 10, 4096, 10**6])
def test_previews(talk: Talk, size: int) -> None:
    for body, expected in ((clean(), 204), (planted(), 200)):
        talk.socket.sendall(reqmod(b"", ALLOW, f"Preview: {size}"))
        if size >= len(body):
            reply = talk.ask(chunked([body], b"0; ieof\r\n\r\n"))
        else:
            assert talk.ask(chunked([body[:size]])).status == 100
            reply = talk.ask(chunked([body[size:]]))
        assert reply.status == expected
        assert reply.refused == (expected == 200)


def test_a_preview_allows_204_only_as_its_answer(talk: Talk) -> None:
    body = clean()
    assert talk.ask(reqmod(chunked([body], b"0; ieof\r\n\r\n"), "Preview: 1000000")).status == 204
    talk.ask(reqmod(chunked([body[:10]]), "Preview: 10"))
    reply = talk.ask(chunked([body[10:]]))
    assert (reply.status, reply.body) == (200, body)


def test_requests_are_pipelined(talk: Talk) -> None:
    first = talk.ask(
        reqmod(chunked([planted()]), ALLOW),
        request("OPTIONS", []),
        reqmod(chunked([clean()]), ALLOW),
        request("REQMOD", NULL_BODY, ALLOW, "Connection: close"),
    )
    others = [Reply(talk.stream) for _ in range(3)]
    assert first.refused
    assert [reply.status for reply in others] == [200, 204, 204]
    assert others[-1].get("Connection") == "close"
    assert talk.at_end()


@pytest.mark.parametrize(
    ("session", "status", "ends"),
    [
        (b"nonsense\r\n\r\n", 400, True),
        (reqmod(b"xyz\r\n"), 400, True),
        (request("OPTIONS", []).replace(b"ICAP/1.0", b"ICAP/9.9"), 505, True),
        (request("OPTIONS", []).replace(b"OPTIONS", b"PATCH"), 501, True),
        (request("OPTIONS", [], service="none"), 404, False),
        (reqmod(chunked([b"abc"]), service="none"), 404, False),
        (reqmod(chunked([b"abc"]), "Preview: 3", service="none"), 404, False),
        (reqmod(chunked([b"abc"]), service="respmod"), 405, False),
        (respmod(chunked([b"abc"]), service="reqmod"), 405, False),
    ],
)
def test_errors(talk: Talk, session: bytes, status: int, ends: bool) -> None:
    reply = talk.ask(session)
    assert reply.first == f"ICAP/1.0 {status} {PHRASES[status]}"
    assert reply.get("Connection") == ("close" if ends else "keep-alive")
    assert reply.get("ISTag")
    if ends:
        assert talk.at_end()
    else:
        assert talk.ask(request("OPTIONS", [])).status == 200


def test_the_tag_changes_with_the_lists(tmp_path: Any) -> None:
    state = make_state(tmp_path / "state")
    with served(state, IcapDoor, tcp_door("icap")) as service, talking(service) as talk:
        before = talk.ask(request("OPTIONS", [])).get("ISTag")
        assert talk.ask(reqmod(chunked([clean()]), ALLOW)).get("ISTag") == before
        make_state(tmp_path / "state", more=bytes(range(32)))
        service.reload()
        assert talk.ask(request("OPTIONS", [])).get("ISTag") != before


HEAD = b"POST /upload HTTP/1.1\r\nHost: h\r\nContent-Type: %b\r\n\r\n"
FORM_HEAD = HEAD % b"multipart/form-data; boundary=b7"


def verdict_of(talk: Talk, cases: Cases, body: bytes, head: bytes) -> tuple[bool, list[Reason | None]]:
    """Return True if a body is refused, and the reasons of the cases that this made."""
    before = len(cases.refusals)
    reply = talk.ask(reqmod(chunked([body]), ALLOW, head=head))
    return reply.refused, [result.reason for _, result in cases.refusals[before:]]


@pytest.mark.parametrize(
    "boundary", [b"----WebKitFormBoundary7MA4YWxkTrZu0gW", b"----geckoformboundary7e1b2a9d4f0c"]
)
def test_forms_of_browsers(talk: Talk, cases: Cases, boundary: bytes) -> None:
    head = HEAD % (b"multipart/form-data; boundary=" + boundary)
    assert verdict_of(talk, cases, form(boundary, [clean(), b"text"]), head) == (False, [])
    assert verdict_of(talk, cases, form(boundary, [clean(), planted()]), head) == (True, [None])


def test_each_file_of_a_form_is_checked(talk: Talk, cases: Cases) -> None:
    parts = [clean(), b"text", planted(), b""]
    assert verdict_of(talk, cases, form(b"b7", parts), FORM_HEAD) == (True, [None])
    upload, _ = cases.refusals[-1]
    assert upload.name == b"2.jpg"
    assert verdict_of(talk, cases, form(b"b7", [clean(), b"text", b""]), FORM_HEAD) == (False, [])
    assert verdict_of(talk, cases, form(b"b7", []), FORM_HEAD) == (False, [])


@pytest.mark.parametrize("field", ['name="f"', 'name="f"; filename=""', "name=f; filename*=UTF-8''a.txt"])
def test_a_part_is_checked_whatever_its_name(talk: Talk, cases: Cases, field: str) -> None:
    part = f"Content-Disposition: form-data; {field}\r\nContent-Type: text/plain\r\n\r\n".encode()
    body = form(b"b7", [planted()], head=part)
    assert verdict_of(talk, cases, body, FORM_HEAD) == (True, [None])


INNER_HEAD = b'Content-Disposition: form-data; name="f"\r\nContent-Type: multipart/mixed; boundary=%b\r\n\r\n'


@pytest.mark.parametrize(("content", "refused"), [(planted(), True), (clean(), False)])
def test_inner_multiparts_are_taken_apart(talk: Talk, cases: Cases, content: bytes, refused: bool) -> None:
    inner = form(b"c8", [content])
    assert verdict_of(talk, cases, form(b"b7", [inner], head=INNER_HEAD % b"c8"), FORM_HEAD)[0] == refused
    inner = form(b"d9", [inner], head=INNER_HEAD % b"c8")
    assert verdict_of(talk, cases, form(b"b7", [inner], head=INNER_HEAD % b"d9"), FORM_HEAD)[0] == refused
    related = HEAD % b'multipart/related; type="x/y"; boundary=b7; start="<a>"'
    assert verdict_of(talk, cases, form(b"b7", [content]), related)[0] == refused


def test_multiparts_that_lie_too_deep_are_not_clean(talk: Talk, cases: Cases) -> None:
    body, head = form(b"x0", [clean()]), b"Content-Type: multipart/mixed; boundary=x0\r\n\r\n"
    for depth in range(1, 4):
        body = form(b"x%d" % depth, [body], head=head)
        head = b"Content-Type: multipart/mixed; boundary=x%d\r\n\r\n" % depth
    refused, reasons = verdict_of(talk, cases, body, HEAD % b"multipart/form-data; boundary=x3")
    assert refused
    assert Reason.AMBIGUOUS in reasons


def test_parts_in_base64_are_decoded(talk: Talk, cases: Cases) -> None:
    head = b"Content-Disposition: form-data; name=f\r\nContent-Transfer-Encoding: BASE64\r\n\r\n"
    for content, refused in ((planted(), True), (clean(), False)):
        text = encodebytes(content).replace(b"\n", b"\r\n").rstrip()
        assert verdict_of(talk, cases, form(b"b7", [text], head=head), FORM_HEAD)[0] == refused
    # Some applications store the part as it came.
    assert verdict_of(talk, cases, form(b"b7", [planted()], head=head), FORM_HEAD)[0]


@pytest.mark.parametrize("text", [b"YWJj!", b"YWJ", b"YQ==YWJj", b"Y=WJj", b" YWJj", b"YWJj YWJj"])
def test_base64_that_is_read_in_more_than_one_way_is_not_clean(talk: Talk, cases: Cases, text: bytes) -> None:
    head = b"Content-Disposition: form-data; name=f\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    assert verdict_of(talk, cases, form(b"b7", [text], head=head), FORM_HEAD) == (True, [Reason.AMBIGUOUS])


HIDING: Mapping[str, tuple[bytes, bytes]] = {
    "two boundaries": (FORM_HEAD.replace(b"b7", b"b7; boundary=c8"), form(b"c8", [planted()])),
    "another header for PHP": (
        FORM_HEAD.replace(b"boundary=b7", b"xboundary=c8; boundary=b7"),
        form(b"b7", [form(b"c8", [planted()])]),
    ),
    "quoted with an escape": (FORM_HEAD.replace(b"b7", rb'"b\7"'), form(b"b7", [planted()])),
    "space in the boundary": (FORM_HEAD.replace(b"b7", b'"b 7"'), form(b"b 7", [planted()])),
    "no boundary": (FORM_HEAD.replace(b"; boundary=b7", b""), form(b"b7", [planted()])),
    "two types": (
        FORM_HEAD[:-2] + b"Content-Type: text/plain\r\n\r\n",
        form(b"b7", [planted()]),
    ),
    "a type with an underscore": (
        FORM_HEAD.replace(b"Content-Type", b"Content_Type"),
        form(b"b7", [planted()]),
    ),
    "a type that is none": (FORM_HEAD.replace(b"form-data;", b"form-data ,"), form(b"b7", [planted()])),
    "a folded type": (FORM_HEAD.replace(b"; boundary", b";\r\n boundary"), form(b"b7", [planted()])),
    "a type with a bare line feed": (
        FORM_HEAD.replace(b"Host: h\r\n", b"Host: h\n"),
        form(b"b7", [planted()]),
    ),
    "a form without its type": (HEAD % b"text/plain", form(b"b7", [planted()])),
    "a form with line feeds": (
        HEAD % b"text/plain",
        b'--b7\nContent-Disposition: form-data; name="f"\n\n' + planted() + b"\n--b7--\n",
    ),
    "line feeds in a form": (FORM_HEAD, form(b"b7", [b"a\n--b7\nA: b\n\n" + planted()])),
    "a preamble": (FORM_HEAD, b"preamble\r\n" + form(b"b7", [clean()])),
    "an epilogue": (FORM_HEAD, form(b"b7", [clean()]) + planted()),
    "a second form": (FORM_HEAD, form(b"b7", [clean()]) + form(b"b7", [planted()])),
    "no end": (FORM_HEAD, form(b"b7", [planted()])[:-8]),
    "quoted-printable": (
        FORM_HEAD,
        form(b"b7", [b"=FF"], head=b"A: b\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"),
    ),
    "an encoded part": (
        FORM_HEAD,
        form(b"b7", [gzip.compress(planted())], head=b"Content-Encoding: gzip\r\n\r\n"),
    ),
    "a part with a header twice": (FORM_HEAD, form(b"b7", [b"x"], head=b"A: b\r\nA: c\r\n\r\n")),
    "too long for its length": (HEAD[:-2] % b"image/jpeg" + b"Content-Length: 10\r\n\r\n", clean()),
    "two lengths": (HEAD[:-2] % b"x/y" + b"Content-Length: 3\r\nContent-Length: 03\r\n\r\n", b"abc"),
    "a length that is none": (HEAD[:-2] % b"x/y" + b"Content-Length: +3\r\n\r\n", b"abc"),
    "gzip": (HEAD[:-2] % b"image/jpeg" + b"Content-Encoding: gzip\r\n\r\n", gzip.compress(planted())),
    "upper case": (
        HEAD[:-2] % b"image/jpeg" + b"CONTENT-ENCODING: X-GZIP\r\n\r\n",
        gzip.compress(planted()),
    ),
    "deflate": (
        HEAD[:-2] % b"image/jpeg" + b"Content-Encoding: deflate\r\n\r\n",
        zlib.compress(planted()),
    ),
    "a bomb": (HEAD[:-2] % b"image/jpeg" + b"Content-Encoding: gzip\r\n\r\n", gzip.compress(bytes(1 << 24))),
    "brotli": (HEAD[:-2] % b"image/jpeg" + b"Content-Encoding: br\r\n\r\n", b"x"),
    "two encodings": (
        HEAD[:-2] % b"image/jpeg" + b"Content-Encoding: identity\r\nContent-Encoding: x\r\n\r\n",
        b"x",
    ),
    "a transfer encoding": (HEAD[:-2] % b"image/jpeg" + b"Transfer-Encoding: gzip, chunked\r\n\r\n", b"x"),
    "a range": (HEAD[:-2] % b"image/jpeg" + b"Content-Range: bytes 0-9/100\r\n\r\n", b"x" * 10),
    "a resumed upload": (HEAD[:-2] % b"image/jpeg" + b"Upload-Offset: 10\r\n\r\n", b"x" * 10),
}
"""Bodies that some program may read otherwise than another: heads of requests, and bodies."""


@pytest.mark.parametrize("name", HIDING)
def test_nothing_that_is_read_in_more_than_one_way_is_clean(talk: Talk, cases: Cases, name: str) -> None:
    head, body = HIDING[name]
    refused, reasons = verdict_of(talk, cases, body, head)
    assert refused
    assert {Reason.AMBIGUOUS, Reason.COMPRESSED, Reason.PARTIAL, None}.issuperset(reasons)


def test_a_doubtful_form_with_a_planted_picture_as_a_whole(talk: Talk, cases: Cases) -> None:
    """The body as a whole is always checked, whatever its head says."""
    for head in (FORM_HEAD, HEAD % b"text/plain", HEAD[:-2] % b"x/y" + b"Content-Encoding: gzip\r\n\r\n"):
        assert verdict_of(talk, cases, planted(), head)[0]


@pytest.mark.parametrize("head", [b"HTTP/1.1 206 Partial Content\r\n\r\n", b"HTTP/1.0 206\r\nA: b\r\n\r\n"])
def test_a_part_of_a_download_is_not_clean(talk: Talk, cases: Cases, head: bytes) -> None:
    before = len(cases.refusals)
    assert talk.ask(respmod(chunked([planted()[:500]]), ALLOW, head=head)).refused
    assert len(cases.refusals) == before + 1


def test_headers_that_are_repeated_as_they_are(talk: Talk, cases: Cases) -> None:
    """c-icap's client does so."""
    head = FORM_HEAD[:-2] + b"Content-Length: %d\r\nContent-Length: %d\r\n\r\n"
    for content, refused in ((clean(), False), (planted(), True)):
        body = form(b"b7", [content])
        assert verdict_of(talk, cases, body, head % (len(body), len(body)))[0] == refused


def test_too_many_parts(talk: Talk, cases: Cases) -> None:
    assert verdict_of(talk, cases, form(b"b7", [b""] * 1001), FORM_HEAD) == (True, [Reason.AMBIGUOUS])
    assert verdict_of(talk, cases, form(b"b7", [b""] * 1000), FORM_HEAD) == (False, [])


def test_a_small_form_of_many_parts_does_not_take_all_descriptors(state: StateDir) -> None:
    held: list[int] = []

    class Watching(Cases):
        def checked(self, *arguments: Any) -> None:
            held.append(service.engine.room.contents)

    body = form(b"b7", [b"x"] * 1000)
    with served(state, IcapDoor, tcp_door("icap"), recorder=Watching()) as service, talking(service) as talk:
        assert talk.ask(reqmod(chunked([body]), ALLOW, head=FORM_HEAD)).status == 204
    assert len(held) == 1001
    assert max(held) < 2 * WAITING_MAX


@pytest.mark.parametrize(("trouble", "status"), [("allow", 204), ("refuse", 200), ("error", 500)])
@pytest.mark.parametrize("announced", [True, False])
def test_a_body_that_is_too_long(state: StateDir, trouble: str, status: int, announced: bool) -> None:
    limits = replace(SMALL_LIMITS, upload_bytes=1000)
    door = tcp_door("icap", answers={**STRICT, "trouble": trouble})
    body = b"x" * 100_000
    length = b"Content-Length: 100000\r\n\r\n" if announced else b"\r\n"
    cases = Cases()
    with served(state, IcapDoor, door, limits, cases) as service, talking(service) as talk:
        reply = talk.ask(reqmod(chunked([body]), ALLOW, head=REQUEST_HEAD[:-2] + length))
        assert (reply.status, reply.refused) == (status, trouble == "refuse")
        assert [type(error) for error in cases.failures] == [TooLarge]
        # Without 204 it can't be sent back.
        reply = talk.ask(reqmod(chunked([body]), head=REQUEST_HEAD[:-2] + length))
        assert reply.status == (200 if trouble == "refuse" else 500)
        # The rest of a preview need not be sent.
        if announced:
            head = REQUEST_HEAD[:-2] + length
            reply = talk.ask(reqmod(chunked([body[:10]]), "Preview: 10", head=head))
            assert reply.status == status
        assert talk.ask(reqmod(chunked([clean()[:900]]), ALLOW)).status in {200, 204}


def test_no_room(state: StateDir) -> None:
    limits = replace(SMALL_LIMITS, bytes_in_flight=100)
    cases = Cases()
    with served(state, IcapDoor, tcp_door("icap"), limits, cases) as service, talking(service) as talk:
        reply = talk.ask(reqmod(chunked([clean()]), ALLOW))
        assert reply.first == f"ICAP/1.0 503 {PHRASES[503]}"
        assert [type(error) for error in cases.failures] == [Overloaded]


def test_announced_bytes_take_no_room(state: StateDir) -> None:
    """Or a few clients that send nothing would have all others refused."""
    limits = replace(SMALL_LIMITS, bytes_in_flight=1 << 20)
    head = REQUEST_HEAD[:-2] + b"Content-Length: 1000000\r\n\r\n"
    with served(state, IcapDoor, tcp_door("icap"), limits) as service, talking(service) as talk:
        with talking(service) as idle:
            idle.socket.sendall(reqmod(b"1\r\nx\r\n", head=head))
            until(lambda: service.engine.room.contents == 1)
            assert talk.ask(reqmod(chunked([clean()]), ALLOW)).status == 204
        until(service.is_idle)


def test_a_client_that_leaves(service: Service) -> None:
    picture = planted()
    for session in (
        reqmod(chunked([picture])[:-5]),
        reqmod(chunked([picture])),
        reqmod(chunked([form(b"b7", [picture] * 20)]), head=FORM_HEAD),
        reqmod(chunked([form(b"b7", [picture] * 20)])[:-300], head=FORM_HEAD),
        reqmod(chunked([picture[:10]]), "Preview: 10"),
    ):
        with talking(service) as talk:
            talk.socket.sendall(session)
    until(service.is_idle)


def test_a_byte_at_a_time(talk: Talk) -> None:
    talk.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in reqmod(chunked([planted()[:50]]), ALLOW):
        talk.socket.send(bytes([byte]))
    assert Reply(talk.stream).status in {200, 204}


def test_clients_that_are_too_slow(state: StateDir) -> None:
    door = tcp_door("icap", idle_seconds=1.5, request_seconds=2.0)
    with served(state, IcapDoor, door) as service:
        with talking(service) as talk:
            assert talk.at_end()
        with talking(service) as talk:
            reply = talk.ask(reqmod(b"5\r\nab"))
            assert reply.first == f"ICAP/1.0 408 {PHRASES[408]}"
            assert talk.at_end()
        with talking(service) as talk:
            talk.socket.settimeout(0.05)
            talk.socket.sendall(reqmod(b"ffff\r\n"))
            while True:
                try:
                    if talk.socket.recv(5) == b"ICAP/":
                        break
                except TimeoutError:
                    talk.socket.send(b"x")


def test_a_client_that_does_not_take_the_message_back(state: StateDir, tmp_path: Path) -> None:
    # Of a Unix socket, since TCP's buffers may take some megabytes.
    address = UnixAddress(tmp_path / "icap.sock")
    door = tcp_door("icap", address=address, request_seconds=1.5, idle_seconds=1.5)
    with served(state, IcapDoor, door) as service, talking(service) as talk:
        talk.socket.sendall(reqmod(chunked([b"x" * (2 << 20)])))
        # More was sent than waits in buffers, so it is connected.
        until(lambda: not service.door.connections)
        assert service.is_idle()
        with pytest.raises((EOFError, ConnectionError)):
            Reply(talk.stream)


def test_a_defect_is_an_error(state: StateDir, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    with served(state, IcapDoor, tcp_door("icap")) as service, talking(service) as talk:
        monkeypatch.setattr(service.engine, "check", broken)
        assert talk.ask(reqmod(chunked([clean()]), ALLOW)).status == 500
        assert talk.at_end()


def test_owners(state: StateDir) -> None:
    cases = Cases()
    door = tcp_door("icap", owner_header="X-Client-Username")
    with served(state, IcapDoor, door, recorder=cases) as service, talking(service) as talk:
        for fields in (
            ["X-Client-Username: ann"],
            ["X-Client-Username: ann"],
            [],
            [],
            ["X-Client-Username: "],
            ["X-Client-Username: ann", "X-Client-Username: bob"],
            ["X-Client-IP: 192.0.2.1"],
        ):
            assert talk.ask(reqmod(chunked([planted()]), *fields)).refused
    owners = [upload.client.owner for upload, _ in cases.refusals]
    assert owners[0] == owners[1]
    assert len(set(owners)) == 6


def test_one_owner_for_a_door(state: StateDir) -> None:
    cases = Cases()
    with served(state, IcapDoor, tcp_door("icap", one_owner=True), recorder=cases) as service:
        for _ in range(2):
            with talking(service) as talk:
                assert talk.ask(reqmod(chunked([planted()]))).refused
    assert len({upload.client.owner for upload, _ in cases.refusals}) == 1


def test_a_trusted_door_shows_entries(state: StateDir) -> None:
    with served(state, IcapDoor, tcp_door("icap", show_entries=True)) as service, talking(service) as talk:
        reply = talk.ask(reqmod(chunked([planted()]), ALLOW))
        assert f"entry={ENTRY};" in reply.get("X-Hashscan-Match")


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        (b"Content-Encoding: br", form(b"b7", [planted()])[1:]),
        (b"Content-Encoding: br", b"preamble\r\n" + form(b"b7", [planted()])),
        (b"Content-Encoding: gzip", gzip.compress(form(b"b7", [planted()]))),
        (b"Upload-Offset: 0", form(b"b7", [clean()])[:-4]),
        (b"Content-Range: bytes 0-1/2", b"\n" + form(b"b7", [planted()])),
        (b"Content-Encoding: br\r\nUpload-Offset: 0\r\nContent-Length: 3", form(b"b7", [clean()])),
    ],
)
def test_no_doubt_hides_behind_one_that_is_allowed(state: StateDir, fields: bytes, body: bytes) -> None:
    door = tcp_door("icap", answers=DEFAULT_ANSWERS["icap"])
    cases = Cases()
    with served(state, IcapDoor, door, recorder=cases) as service, talking(service) as talk:
        head = FORM_HEAD[:-2] + fields + b"\r\n\r\n"
        assert verdict_of(talk, cases, body, head) == (True, [Reason.AMBIGUOUS])
        # Programs that don't decode requests find the file.
        head = FORM_HEAD[:-2] + b"Content-Encoding: br\r\n\r\n"
        assert verdict_of(talk, cases, form(b"b7", [planted()]), head) == (True, [None])


def test_downloads_with_odd_heads_pass(talk: Talk) -> None:
    head = b"HTTP/1.1 200 OK\r\nSet Cookie: a\r\nContent-Type: a/b\r\nContent-Type: c/d\r\n\r\n"
    assert talk.ask(respmod(chunked([clean()]), ALLOW, head=head)).status == 204
    odd = head.replace(b"a/b", b"multipart/x-mixed-replace; boundary=b7")
    assert talk.ask(respmod(chunked([clean()]), ALLOW, head=odd)).refused
    replaced = b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace;boundary=b7\r\n\r\n"
    assert talk.ask(respmod(chunked([form(b"b7", [planted()])]), ALLOW, head=replaced)).refused
    assert talk.ask(respmod(chunked([form(b"b7", [clean()])]), ALLOW, head=replaced)).status == 204
    # Not taken apart, it is a file in which FFmpeg finds a picture, and this door opens none.
    assert talk.ask(respmod(chunked([form(b"b7", [clean()])]), ALLOW)).refused


@pytest.mark.parametrize("undecoded", ["allow", "refuse", "error"])
def test_answers_by_settings(state: StateDir, undecoded: str) -> None:
    door = tcp_door("icap", answers={**STRICT, "undecoded": undecoded})
    broken = encoded(scene(9), "WEBP")[:3000]
    with served(state, IcapDoor, door) as service, talking(service) as talk:
        for body, head in ((broken, REQUEST_HEAD), HIDING["gzip"][::-1]):
            reply = talk.ask(reqmod(chunked([body]), ALLOW, head=head))
            assert reply.status == {"allow": 204, "refuse": 200, "error": 500}[undecoded]


def test_more_connections_than_allowed(state: StateDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Connection, "is_waiting", False)
    with served(state, IcapDoor, tcp_door("icap", connections_max=1)) as service, talking(service) as talk:
        assert talk.ask(request("OPTIONS", [])).status == 200
        with talking(service) as other:
            assert Reply(other.stream).first == f"ICAP/1.0 503 {PHRASES[503]}"
            assert other.at_end()
