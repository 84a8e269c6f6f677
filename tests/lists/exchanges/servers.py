"""Exchanges on loopback: servers that speak NCMEC's interface, reached by their own names through a proxy."""

from __future__ import annotations

import json
import ssl
import time
import urllib.parse
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from xml.sax.saxutils import escape

from tests.certificates import Authority
from tests.web import WebServer, proxying, refuse, send, serving

HOST = "report.cybertip.org"
USER, PASSWORD = "jo.secret-user", "pass:word-secret"
NAMESPACE = "https://hashsharing.ncmec.org/hashsharing/v2"


def utc(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


@dataclass(frozen=True)
class Media:
    """An entry of NCMEC's, in its newest state."""

    member: int
    id: str
    time: int
    fingerprints: dict[str, str] = field(default_factory=dict)
    classification: str = "A1"
    kind: str = "image"
    deleted: bool = False

    def xml(self) -> str:
        tag = f"deleted{self.kind.capitalize()}" if self.deleted else self.kind
        prints = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in self.fingerprints.items())
        rest = (
            ""
            if self.deleted
            else (
                f"<classification>{self.classification}</classification><fingerprints>{prints}</fingerprints>"
            )
        )
        return (
            f'<{tag}><member id="{self.member}">Example &amp; Co</member><timestamp>{utc(self.time)}'
            f"</timestamp><id>{self.id}</id>{rest}</{tag}>"
        )


Fault = Callable[[BaseHTTPRequestHandler, str], bool]
"""Answers a request itself, and returns True; or returns False."""


@dataclass
class Ncmec:
    """A database of NCMEC's."""

    entries: dict[tuple[int, str], Media] = field(default_factory=dict)
    page: int = 1000
    asked: list[str] = field(default_factory=list)
    fault: Fault | None = None
    reasons: dict[str, str] = field(default_factory=lambda: {"guid-1": "Not CSAM", "guid-2": "Too dark"})
    """Names of the reasons against a fingerprint, by GUID."""
    votes: list[tuple[str, bytes]] = field(default_factory=list)
    """Addresses and bodies of the feedback that was taken."""

    def put(self, *media: Media) -> None:
        for each in media:
            self.entries[each.member, each.id] = each

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        self.asked.append(request.path)
        login = b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if request.headers.get("Authorization") != f"Basic {login}":
            refuse(request, 401)
            return
        if self.fault is not None and self.fault(request, request.path):
            return
        address = urllib.parse.urlsplit(request.path)
        if address.path.endswith("/v2/status"):
            send(request, f'<status xmlns="{NAMESPACE}"><member id="7">Us</member></status>'.encode())
            return
        if address.path.endswith("/reasons"):
            names = "".join(f'<reason guid="{g}" name="{escape(n)}"/>' for g, n in self.reasons.items())
            inner = f"<availableFeedbackReasons>{names}</availableFeedbackReasons>"
            send(request, f'<feedback xmlns="{NAMESPACE}">{inner}</feedback>'.encode())
            return
        if request.command == "PUT":
            self.votes.append((address.path, body_of(request)))
            send(request, b"")
            return
        query = {name: values[0] for name, values in urllib.parse.parse_qs(address.query).items()}
        begin, end = query["from"], query["to"]
        chosen = [m for m in self.entries.values() if begin <= utc(m.time) <= end]
        start = int(query.get("start", 1))
        shown = chosen[start - 1 : start - 1 + self.page]
        following = start + len(shown)
        next_ = ""
        if following <= len(chosen):
            parts = {"from": begin, "to": end, "start": following, "size": self.page, "max": len(chosen)}
            next_ = f"/v2/entries?{urllib.parse.urlencode(parts)}"
        send(request, document(shown, next_))


def body_of(request: BaseHTTPRequestHandler) -> bytes:
    return request.rfile.read(int(request.headers["Content-Length"]))


def document(media: list[Media], next_: str = "") -> bytes:
    groups = ""
    for kind in ("image", "video"):
        of = [each for each in media if each.kind == kind]
        if of:
            newest = utc(max(each.time for each in of))
            groups += f'<{kind}s count="{len(of)}" maxTimestamp="{newest}">'
            groups += "".join(each.xml() for each in of) + f"</{kind}s>"
    paging = f"<paging><next>{escape(next_)}</next></paging>" if next_ else ""
    return f'<?xml version="1.0"?><queryResult xmlns="{NAMESPACE}">{groups}{paging}</queryResult>'.encode()


@dataclass
class Served:
    """An exchange on loopback, and how to reach it."""

    ncmec: Ncmec
    proxy: str
    ca_file: Path
    credentials: Path
    web: WebServer


@contextmanager
def ncmec_served(
    folder: Path, host: str = HOST, certificate_for: str | None = None, after_days: int = 30
) -> Iterator[Served]:
    """Serve NCMEC's interface at the name `host`."""
    folder.mkdir()
    authority = Authority(folder / "authority")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue(certificate_for or host))
    credentials = folder / "credentials"
    credentials.touch(0o600)
    credentials.write_text(f"{USER}:{PASSWORD}\n")
    ncmec = Ncmec()
    with serving(folder, context) as web, proxying(web) as (proxy, _, _):
        web.handle = ncmec.handle  # type: ignore[method-assign]
        yield Served(ncmec, proxy, authority.file, credentials, web)


STOPNCII_HOST = "api.stopncii.org"
FUNCTION_KEY, SUBSCRIPTION_KEY, FEEDBACK_KEY = "function-secret", "subscription-secret", "feedback-secret"


@dataclass(frozen=True)
class Hash:
    """A record of StopNCII's, in its newest state."""

    value: str
    time: int
    kind: str = "ImagePDQ"
    status: str = "Active"

    def json(self) -> dict[str, object]:
        return {
            "lastModtimestamp": self.time,
            "signalType": self.kind,
            "hashValue": self.value,
            "hashStatus": self.status,
            "caseNumbers": [],
            "CSPFeedbacks": [],
        }


@dataclass
class StopNcii:
    """The database of StopNCII."""

    hashes: dict[str, Hash] = field(default_factory=dict)
    page: int = 800
    asked: list[str] = field(default_factory=list)
    fault: Fault | None = None
    votes: list[bytes] = field(default_factory=list)
    """Bodies of the feedback that was taken."""

    def put(self, *hashes: Hash) -> None:
        for each in hashes:
            self.hashes[each.value] = each

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        self.asked.append(request.path)
        keys = request.headers.get("x-functions-key"), request.headers.get("Ocp-Apim-Subscription-Key")
        function = FEEDBACK_KEY if request.command == "POST" else FUNCTION_KEY
        if keys != (function, SUBSCRIPTION_KEY):
            refuse(request, 401)
            return
        if self.fault is not None and self.fault(request, request.path):
            return
        if request.command == "POST":
            self.votes.append(body_of(request))
            refuse(request, 204)
            return
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(request.path).query)
        begin, at = int(query["startTimestamp"][0]), int(query.get("nextPageToken", ["0"])[0])
        chosen = [each for each in self.hashes.values() if each.time >= begin]
        shown = chosen[at : at + self.page]
        more = at + len(shown) < len(chosen)
        answer = {
            "count": len(shown),
            "nextPageToken": str(at + len(shown)) if more else None,
            "nextSetTimestamp": max([each.time for each in shown], default=begin),
            "hasMoreRecords": more,
            "hashRecords": [each.json() for each in shown],
        }
        send(request, json.dumps(answer).encode())


@dataclass
class Both:
    """NCMEC and StopNCII on loopback, reached through one proxy."""

    ncmec: Ncmec
    stopncii: StopNcii
    proxy: str
    ca_file: Path
    ncmec_login: Path
    stopncii_keys: Path


@contextmanager
def both_served(folder: Path) -> Iterator[Both]:
    """Serve both interfaces at their own names."""
    folder.mkdir()
    authority = Authority(folder / "authority")
    contexts: dict[str, ssl.SSLContext] = {}
    for host in (HOST, STOPNCII_HOST):
        contexts[host] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        contexts[host].load_cert_chain(*authority.issue(host))

    def choose(connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> None:
        connection.context = contexts[str(name)]

    first = contexts[HOST]
    first.sni_callback = choose  # type: ignore[assignment]
    paths = []
    for name, text in (
        ("ncmec-login", f"{USER}:{PASSWORD}"),
        ("stopncii-keys", f"{FUNCTION_KEY},{SUBSCRIPTION_KEY}"),
    ):
        paths.append(folder / name)
        paths[-1].touch(0o600)
        paths[-1].write_text(f"{text}\n")
    ncmec, stopncii = Ncmec(), StopNcii()

    def handle(request: BaseHTTPRequestHandler) -> None:
        (ncmec if request.headers["Host"] == HOST else stopncii).handle(request)

    with serving(folder, first) as web, proxying(web) as (proxy, _, _):
        web.handle = handle  # type: ignore[method-assign]
        yield Both(ncmec, stopncii, proxy, authority.file, *paths)
