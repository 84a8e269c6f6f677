"""Sends pictures that take over, end or occupy their decoder through each door."""

from __future__ import annotations

import http.client
import json
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hashscan.service.doors.base import Door
from hashscan.service.doors.clamd.door import ClamdDoor
from hashscan.service.doors.http.app import HttpDoor
from hashscan.service.doors.icap.door import IcapDoor
from hashscan.service.engine.engine import Engine
from hashscan.settings.service import DoorSettings, EngineLimits, TcpAddress, UnixAddress
from tests.pictures import encoded, scene
from tests.scan.hostile import LIE, MARKS
from tests.service.doors.clamd.talking import stream
from tests.service.doors.http.serving import add_key
from tests.service.doors.http.serving import form as http_form
from tests.service.doors.icap.sessions import REQUEST_HEAD, Reply, chunked, form, reqmod
from tests.service.engine.test_attacks import decoding_by
from tests.service.serving import STRICT, Service, clean, make_state, planted, served, tcp_door
from tests.waiting import PATIENCE_SECONDS, until

LIMITS = EngineLimits(workers=2, upload_bytes=4 << 20, bytes_in_flight=64 << 20)
MALLORY, ANN = "mallory", "ann"
FORM_HEAD = REQUEST_HEAD[:-2] + b"Content-Type: multipart/form-data; boundary=b7\r\n\r\n"


def connected(address: UnixAddress | TcpAddress) -> socket.socket:
    """Return a connection to a door."""
    if isinstance(address, TcpAddress):
        return socket.create_connection((address.host, address.port), PATIENCE_SECONDS)
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(PATIENCE_SECONDS)
    connection.connect(str(address.path))
    return connection


class Application(ABC):
    """A client of one door, whose one connection carries the uploads of all its users."""

    sends_forms = True

    @abstractmethod
    def upload(self, user: str, *contents: bytes) -> str:
        """Upload files in one request, and return how it is answered: allow, refuse or error."""

    @abstractmethod
    def close(self) -> None:
        """Close the connection."""


class ClamdApplication(Application):
    """A client of clamd, which knows no users: each command of its session is an owner."""

    sends_forms = False

    def __init__(self, address: Any) -> None:
        self._socket = connected(address)
        self._replies = self._socket.makefile("rb")
        self._socket.sendall(b"zIDSESSION\0")

    def upload(self, user: str, *contents: bytes) -> str:
        (content,) = contents
        self._socket.sendall(b"zINSTREAM\0" + stream(content))
        reply = b""
        while not reply.endswith(b"\0"):
            byte = self._replies.read(1)
            assert byte
            reply += byte
        endings = {b"OK\0": "allow", b"FOUND\0": "refuse", b"ERROR\0": "error"}
        return endings[reply.rpartition(b" ")[2]]

    def close(self) -> None:
        self._replies.close()
        self._socket.close()


class IcapApplication(Application):
    """A proxy, which may name its users in a header."""

    def __init__(self, address: Any, header: str = "") -> None:
        self._socket = connected(address)
        self._answers = self._socket.makefile("rb")
        self._header = header

    def upload(self, user: str, *contents: bytes) -> str:
        fields = ["Allow: 204", *([f"{self._header}: {user}"] if self._header else [])]
        if len(contents) == 1:
            self._socket.sendall(reqmod(chunked(contents), *fields))
        else:
            self._socket.sendall(reqmod(chunked([form(b"b7", contents)]), *fields, head=FORM_HEAD))
        reply = Reply(self._answers)
        return "refuse" if reply.refused else {204: "allow", 500: "error"}[reply.status]

    def close(self) -> None:
        self._answers.close()
        self._socket.close()


class HttpApplication(Application):
    """An application, which may have a key for each user, or name its users in a header."""

    def __init__(self, address: Any, header: str = "", keys: Mapping[str, str] | None = None) -> None:
        self._connection = http.client.HTTPConnection(address.host, address.port, timeout=PATIENCE_SECONDS)
        self._header = header
        self._keys = keys or {}

    def upload(self, user: str, *contents: bytes) -> str:
        fields = {self._header: user} if self._header else {}
        if self._keys:
            fields["Authorization"] = f"Bearer {self._keys[user]}"
        body = contents[0]
        if len(contents) > 1:
            named = [(f"{number}.jpg", content) for number, content in enumerate(contents)]
            body, fields["Content-Type"] = http_form(*named)
        self._connection.request("POST", "/v1/scan", body, fields)
        return str(json.loads(self._connection.getresponse().read())["outcome"])

    def close(self) -> None:
        self._connection.close()


WAYS = ["clamd", "icap", "icap by header", "http", "http by header", "http by key", "http by key and header"]
"""The doors, each with the ways in which it tells owners apart."""


@contextmanager
def opened(folder: Path, way: str, **answers: str) -> Iterator[tuple[Service, Callable[[], Application]]]:
    """Serve at a door, and yield what makes a client."""
    protocol, *_ = way.split()
    header = "X-Client-Username" if "header" in way else ""
    settings = tcp_door(protocol, owner_header=header, answers=STRICT | answers)  # type: ignore[arg-type]
    if protocol == "clamd":
        # By TCP, a client of clamd that has left can't be told from one that waits.
        settings = replace(settings, address=UnixAddress(folder / "door.sock"))
    keys: dict[str, str] = {}
    if "key" in way and header:
        # One application has one key for all its users.
        keys = dict.fromkeys((MALLORY, ANN), add_key(folder / "keys", "scan", owner="shop"))
    elif "key" in way:
        keys = {user: add_key(folder / "keys", "scan", name=user, owner=user) for user in (MALLORY, ANN)}

    def make(engine: Engine, door: DoorSettings) -> Door:
        if protocol == "clamd":
            return ClamdDoor(engine, door)
        if protocol == "icap":
            return IcapDoor(engine, door)
        return HttpDoor(engine, door, keys=folder / "keys" if keys else None)

    with served(make_state(folder / "state"), make, settings, LIMITS) as service:
        address = service.address
        applications: Mapping[str, Callable[[], Application]] = {
            "clamd": lambda: ClamdApplication(address),
            "icap": lambda: IcapApplication(address, header),
            "http": lambda: HttpApplication(address, header, keys),
        }
        yield service, applications[protocol]


@pytest.mark.parametrize("way", WAYS)
def test_a_taken_over_decoder_changes_no_other_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """After the attack, the decoder says of every picture that it is the attacker's."""
    attack = encoded(scene(3)) + LIE
    with (
        decoding_by(monkeypatch, "tests.scan.hostile:load_liar"),
        opened(tmp_path, way) as (_, connect),
        closing(connect()) as shared,
    ):
        for _ in range(4):
            assert shared.upload(MALLORY, attack) == "allow"
            if shared.sends_forms:
                shared.upload(MALLORY, attack, clean())
            with closing(connect()) as own:
                for application in (shared, own):
                    assert application.upload(ANN, planted()) == "refuse"
                    assert application.upload(ANN, clean()) == "allow"
                    if application.sends_forms:
                        assert application.upload(ANN, clean(), planted()) == "refuse"


@pytest.mark.parametrize("way", [way for way in WAYS if "by" in way])
def test_a_taken_over_decoder_lies_to_its_owner_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """The attack works: what an owner is trusted to be has the decoder that the attack has taken over."""
    attack = encoded(scene(3)) + LIE
    with (
        decoding_by(monkeypatch, "tests.scan.hostile:load_liar"),
        opened(tmp_path, way) as (_, connect),
        closing(connect()) as application,
    ):
        answers = []
        for _ in range(4):
            application.upload(MALLORY, attack)
            answers.append(application.upload(MALLORY, planted()))
        assert "allow" in answers


@pytest.mark.parametrize("way", ["clamd", "icap", "http"])
def test_decoders_that_die_cost_one_answer_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    deadly = encoded(scene(3)) + MARKS["segfault"]
    with (
        decoding_by(monkeypatch, "tests.scan.hostile:load"),
        opened(tmp_path, way, undecoded="error") as (_, connect),
        closing(connect()) as application,
    ):
        for _ in range(8):
            assert application.upload(MALLORY, deadly) == "error"
            assert application.upload(ANN, planted()) == "refuse"


LOOPING = encoded(scene(3)) + MARKS["loop"]


def http_post(content: bytes, kind: str = "image/jpeg") -> bytes:
    """Return an upload by HTTP."""
    fields = f"Host: x\r\nContent-Type: {kind}\r\nContent-Length: {len(content)}"
    return f"POST /v1/scan HTTP/1.1\r\n{fields}\r\n\r\n".encode() + content


@pytest.mark.parametrize(
    ("way", "session"),
    [
        ("clamd", b"zINSTREAM\0" + stream(LOOPING)),
        ("clamd", b"zIDSESSION\0" + (b"zINSTREAM\0" + stream(LOOPING)) * 9),
        ("icap", reqmod(chunked([LOOPING]), "Allow: 204")),
        ("icap", reqmod(chunked([LOOPING]))),
        ("icap", reqmod(chunked([form(b"b7", [LOOPING] * 9)]), "Allow: 204", head=FORM_HEAD)),
        ("icap", reqmod(chunked([form(b"b7", [LOOPING] * 9)])[:-9], "Allow: 204", head=FORM_HEAD)),
        ("http", http_post(LOOPING)),
        ("http", http_post(*http_form(*[("a", LOOPING)] * 9))),
    ],
)
def test_a_client_that_leaves_ends_the_work_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str, session: bytes
) -> None:
    """Each decoder would loop for longer than the test may take."""
    with (
        decoding_by(monkeypatch, "tests.scan.hostile:load", seconds=1000.0),
        opened(tmp_path, way) as (service, connect),
    ):
        with connected(service.address) as client:
            client.sendall(session)
            until(lambda: service.engine.pool.running)
        until(lambda: not service.engine.pool.running and service.is_idle())
        with closing(connect()) as application:
            assert application.upload(ANN, planted()) == "refuse"
