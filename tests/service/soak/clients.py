"""The clients of all doors, each in a thread of its own."""

from __future__ import annotations

import io
import itertools
import random
import socket
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import clamd
import pyclamd
import urllib3
from icap import IcapClient
from icap.exception import IcapServerError

from tests.service.doors.clamd.talking import stream
from tests.service.doors.http.serving import form
from tests.service.soak.contents import AGAIN, Given, Pictures, Sample, Tally, Versions
from tests.waiting import PATIENCE_SECONDS

PIPELINED = 4
OWNERS = 12

Ask = Callable[[Sequence[Sample], random.Random], list[Given]]


@dataclass(frozen=True)
class Places:
    """The addresses of the doors."""

    unix: Path
    clamd: int
    icap: int
    http: int
    key: str


def of_clamd(reply: str | None) -> Given:
    """Return the outcome of a reply by clamd's protocol, without its label."""
    if reply == "OK":
        return Given("allow")
    assert reply is not None
    if reply.endswith(" ERROR"):
        return Given(AGAIN)
    assert reply.endswith(" FOUND"), reply
    return Given("refuse")


@contextmanager
def clamd_of_pypi(places: Places) -> Iterator[Ask]:
    """Each upload has a connection."""
    client = clamd.ClamdUnixSocket(str(places.unix), PATIENCE_SECONDS)

    def ask(samples: Sequence[Sample], chosen: random.Random) -> list[Given]:
        found = (client.instream(io.BytesIO(sample.content))["stream"] for sample in samples)
        return [of_clamd("OK" if kind == "OK" else f"{name} {kind}") for kind, name in found]

    yield ask


@contextmanager
def pyclamd_of_pypi(places: Places) -> Iterator[Ask]:
    """Each upload has a connection over TCP."""
    client = pyclamd.ClamdNetworkSocket("127.0.0.1", places.clamd, PATIENCE_SECONDS)

    def ask(samples: Sequence[Sample], chosen: random.Random) -> list[Given]:
        given = []
        for sample in samples:
            found = client.scan_stream(sample.content)
            kind, name = ("OK", "") if found is None else found["stream"]
            given.append(of_clamd("OK" if kind == "OK" else f"{name} {kind}"))
        return given

    yield ask


@contextmanager
def sessions(places: Places) -> Iterator[Ask]:
    """A session of clamd, with streams and passed files in turn, some at a time."""
    with socket.socket(socket.AF_UNIX) as connection, tempfile.TemporaryFile() as file:
        connection.settimeout(PATIENCE_SECONDS)
        connection.connect(str(places.unix))
        connection.sendall(b"zIDSESSION\0")
        numbers = itertools.count(1)
        rest = b""

        def ask(samples: Sequence[Sample], chosen: random.Random) -> list[Given]:
            nonlocal rest
            sent = {}
            for place, sample in enumerate(samples):
                if place == 0 and sample.kind != "eicar":
                    file.seek(0)
                    file.truncate()
                    file.write(sample.content)
                    file.flush()
                    connection.sendall(b"zFILDES\0")
                    socket.send_fds(connection, [b"\0"], [file.fileno()])
                else:
                    connection.sendall(b"zINSTREAM\0" + stream(sample.content))
                sent[next(numbers)] = place
            given: dict[int, Given] = {}
            while len(given) < len(samples):
                while b"\0" in rest:
                    reply, _, rest = rest.partition(b"\0")
                    number, _, text = reply.decode().partition(": ")
                    given[sent[int(number)]] = of_clamd(text.partition(": ")[2])
                if len(given) < len(samples):
                    more = connection.recv(1 << 16)
                    if not more:
                        raise EOFError(f"after {rest!r}")
                    rest += more
            return [given[place] for place in range(len(samples))]

        yield ask


@contextmanager
def icap_of_pypi(places: Places) -> Iterator[Ask]:
    """A connection to the ICAP door, whose uploads have owners."""
    with IcapClient("127.0.0.1", places.icap, timeout=PATIENCE_SECONDS) as client:

        def ask(samples: Sequence[Sample], chosen: random.Random) -> list[Given]:
            given = []
            for sample in samples:
                head = b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(sample.content)
                owner = {"X-Client-Username": f"customer-{chosen.randrange(OWNERS)}"}
                try:
                    answer = client.reqmod("hashscan", head, sample.content, owner)
                except IcapServerError:
                    given.append(Given(AGAIN))
                    continue
                if not answer.is_no_modification:
                    assert "X-Virus-ID" in answer.headers, answer.headers
                given.append(Given("allow" if answer.is_no_modification else "refuse"))
            return given

        yield ask


@contextmanager
def http_of_pypi(places: Places) -> Iterator[Ask]:
    """Connections to the HTTP door: one file, or a form with some."""
    with closing(urllib3.HTTPConnectionPool("127.0.0.1", places.http, retries=False)) as pool:

        def ask(samples: Sequence[Sample], chosen: random.Random) -> list[Given]:
            headers = {
                "Authorization": f"Bearer {places.key}",
                "X-Upload-Owner": f"customer-{chosen.randrange(OWNERS)}",
            }
            if len(samples) == 1:
                body = samples[0].content
            else:
                files = [(f"{place}.jpg", sample.content) for place, sample in enumerate(samples)]
                body, headers["Content-Type"] = form(*files, boundary=f"b{chosen.getrandbits(64):x}")
            answer = pool.request(
                "POST", "/v1/scan", body=body, headers=headers, timeout=urllib3.Timeout(PATIENCE_SECONDS)
            )
            if answer.status == 503:
                return [Given(AGAIN) for _ in samples]
            assert answer.status == 200, answer.data
            found = answer.json()["files"]
            assert len(found) == len(samples), found
            return [
                Given(AGAIN if file["outcome"] == "error" else file["outcome"], named_by(file["matches"]))
                for file in ({"matches": [], **file} for file in found)
            ]

        yield ask


def named_by(matches: Sequence[dict[str, Any]]) -> frozenset[int]:
    """Return the versions whose entries are named."""
    return frozenset(int(match["entry"].partition("-")[0][1:]) for match in matches)


CLIENTS: tuple[tuple[str, Callable[[Places], Any], int], ...] = (
    ("clamd unix", clamd_of_pypi, 1),
    ("clamd unix session", sessions, PIPELINED),
    ("clamd unix session", sessions, PIPELINED),
    ("clamd tcp", pyclamd_of_pypi, 1),
    ("clamd tcp", pyclamd_of_pypi, 1),
    ("icap", icap_of_pypi, 1),
    ("icap", icap_of_pypi, 1),
    ("icap", icap_of_pypi, 1),
    ("http", http_of_pypi, 1),
    ("http", http_of_pypi, 1),
    ("http form", http_of_pypi, PIPELINED),
)
"""Each connection: its door, its client, and how many contents it sends at a time."""


class Load:
    """The clients, each in a thread of its own."""

    def __init__(
        self, places: Places, pictures: Pictures, versions: Versions, tally: Tally | None = None
    ) -> None:
        self.tally = tally or Tally()
        self._places = places
        self._pictures = pictures
        self._versions = versions
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._drive, args=(number, *client))
            for number, client in enumerate(CLIENTS)
        ]
        self._threads.append(threading.Thread(target=self._check_digests))

    def start(self) -> None:
        """Begin to send."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let what was sent be answered, and end the clients."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _drive(self, number: int, door: str, connected: Callable[[Places], Any], at_a_time: int) -> None:
        chosen = random.Random(number)
        while not self._stop.is_set():
            samples: list[Sample] = []
            try:
                with connected(self._places) as ask:
                    while not self._stop.is_set():
                        samples = [self._pictures.draw(chosen) for _ in range(at_a_time)]
                        begin = time.monotonic()
                        answers = ask(samples, chosen)
                        end = time.monotonic()
                        for sample, given in zip(samples, answers, strict=True):
                            self.tally.judge(door, sample, given, self._versions, begin, end)
            except Exception:
                kinds = ", ".join(sample.kind for sample in samples)
                self.tally.lost += [f"{door}: {kinds}: {traceback.format_exc()}"] * max(1, len(samples))
                self._stop.wait(0.2)

    def _check_digests(self) -> None:
        """Have the digests of all pictures compared, again and again: an answer is of one version."""
        while not self._stop.is_set():
            try:
                with closing(urllib3.HTTPConnectionPool("127.0.0.1", self._places.http)) as pool:
                    while not self._stop.wait(0.01):
                        self._check_once(pool)
            except Exception:
                self.tally.lost.append(f"http check: {traceback.format_exc()}")
                self._stop.wait(0.2)

    def _check_once(self, pool: urllib3.HTTPConnectionPool) -> None:
        begin = time.monotonic()
        names = list(self._pictures.digests)
        asked = [{"algorithm": "pdq", "value": value} for value in self._pictures.digests.values()]
        # More than are matched at a time.
        asked += [{"algorithm": "sha256", "value": f"{n:064x}"} for n in range(300)] + asked
        answer = pool.request(
            "POST", "/v1/check", json={"digests": asked}, retries=False,
            headers={"Authorization": f"Bearer {self._places.key}"},
            timeout=urllib3.Timeout(PATIENCE_SECONDS),
        )  # fmt: skip
        end = time.monotonic()
        self.tally.requests["http check"] += 1
        if answer.status == 503:
            self.tally.again["http check"] += 1
            return
        assert answer.status == 200, answer.data
        matches = answer.json()["matches"]
        possible = self._versions.possible(begin, end)
        named = named_by(matches)
        found = sorted(names[match["digest"] % (len(asked) - len(names))] for match in matches)
        for number in named & set(possible):
            if len(named) == 1 and found == sorted(["always", "odd" if number % 2 else "even"] * 2):
                known = self._versions.known
                while len(known) <= number:
                    known.append(end)
                return
        self.tally.wrong.append(f"http check: {matches}; possible were {possible}")
