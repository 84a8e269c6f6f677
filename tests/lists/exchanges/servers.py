"""Exchanges on loopback: servers that speak their interfaces, reached by their own names through a proxy."""

from __future__ import annotations

import json
import ssl
import time
import urllib.parse
from abc import ABC, abstractmethod
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar
from xml.sax.saxutils import escape

from hashscan.registry import EXCHANGES
from tests.certificates import Authority
from tests.web import Answer, WebServer, proxying, refuse, send, serving

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


class Interface(ABC):
    """A server of an exchange, for the tests that hold for all of them."""

    host: ClassVar[str]
    environment: ClassVar[str]
    credentials: ClassVar[str]
    secrets: ClassVar[tuple[str, ...]]
    """Parts of the credentials."""
    wrong_credentials: ClassVar[str] = ""
    """Another user's credentials; empty for the usual ones in the other case."""
    category: ClassVar[str]
    """The category of all entries that `add` adds."""
    page: int
    """Largest number of entries on a page."""
    asked: list[str]
    """Paths of all requests."""
    fault: Fault | None

    @abstractmethod
    def handle(self, request: BaseHTTPRequestHandler) -> None:
        """Answer a request."""

    @abstractmethod
    def add(self, number: int, ago: float) -> None:
        """Add the entry of the md5 `md5_of(number)`, or bring it back, stamped that many seconds ago."""

    @abstractmethod
    def withdraw(self, number: int, ago: float) -> None:
        """Withdraw the entry of `add`."""

    @abstractmethod
    def add_unknown(self, ago: float) -> None:
        """Add an entry of an algorithm that hashscan doesn't know."""

    @abstractmethod
    def is_page(self, path: str) -> bool:
        """Return True if a request is for a page of entries."""

    @abstractmethod
    def one_page(self, path: str, next_: int | None) -> bytes:
        """A page without an entry, which names another one as the next, or itself if that is None."""

    another_document: ClassVar[bytes] = b'{"secret": []}'


def md5_of(number: int) -> str:
    return f"{number:032x}"


def stamp(ago: float) -> int:
    return int(time.time() - ago)


@dataclass
class Ncmec(Interface):
    """A database of NCMEC's."""

    host = HOST
    environment = "Industry"
    credentials = f"{USER}:{PASSWORD}"
    secrets = (USER, PASSWORD)
    category = "A1"
    another_document = b"<html><body>Log in</body></html>"

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

    def add(self, number: int, ago: float) -> None:
        self.put(Media(42, f"n{number}", stamp(ago), {"md5": md5_of(number)}))

    def withdraw(self, number: int, ago: float) -> None:
        self.put(Media(42, f"n{number}", stamp(ago), deleted=True))

    def add_unknown(self, ago: float) -> None:
        self.put(Media(42, "unknown", stamp(ago), {"netclean": "x"}))

    def is_page(self, path: str) -> bool:
        return "/entries" in path

    def one_page(self, path: str, next_: int | None) -> bytes:
        return document([], f"/v2/entries?start={next_ or 2}&size=1000&max=99999999")

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
class StopNcii(Interface):
    """The database of StopNCII."""

    host = STOPNCII_HOST
    environment = "production"
    credentials = f"{FUNCTION_KEY},{SUBSCRIPTION_KEY}"
    secrets = (FUNCTION_KEY, SUBSCRIPTION_KEY)
    category = "ncii"

    hashes: dict[str, Hash] = field(default_factory=dict)
    page: int = 800
    asked: list[str] = field(default_factory=list)
    fault: Fault | None = None
    votes: list[bytes] = field(default_factory=list)
    """Bodies of the feedback that was taken."""

    def put(self, *hashes: Hash) -> None:
        for each in hashes:
            self.hashes[each.value] = each

    def add(self, number: int, ago: float) -> None:
        self.put(Hash(md5_of(number), stamp(ago), "VideoMD5"))

    def withdraw(self, number: int, ago: float) -> None:
        self.put(Hash(md5_of(number), stamp(ago), "VideoMD5", "Withdrawn"))

    def add_unknown(self, ago: float) -> None:
        self.put(Hash("some text", stamp(ago), "Text"))

    def is_page(self, path: str) -> bool:
        return True

    def one_page(self, path: str, next_: int | None) -> bytes:
        page = {"count": 0, "nextPageToken": str(next_ or 0), "nextSetTimestamp": 0}
        return json.dumps({**page, "hasMoreRecords": True, "hashRecords": []}).encode()

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


TOKEN = "1234567890|app-secret_of-20_characters"


@dataclass
class Update:
    """An indicator of a privacy group, in its newest state."""

    id: int
    kind: str
    indicator: str
    time: int
    deleted: bool = False
    statuses: tuple[str, ...] = ("MALICIOUS",)
    """One for each member with an opinion."""
    tags: tuple[str, ...] = ("media_type_photo",)

    def json(self) -> dict[str, object]:
        update: dict[str, object] = {
            "id": str(self.id),
            "indicator": self.indicator,
            "type": self.kind,
            "last_updated": self.time,
            "should_delete": self.deleted,
        }
        if not self.deleted:
            update["descriptors"] = {
                "data": [
                    {
                        "id": str(10 * self.id + member),
                        "owner": {"id": str(700 + member)},
                        "status": status,
                        "tags": {"data": [{"id": "1", "text": tag} for tag in self.tags]},
                    }
                    for member, status in enumerate(self.statuses)
                ]
            }
        return update


@dataclass
class PrivacyGroup(Interface):
    """A privacy group of ThreatExchange."""

    host = "graph.facebook.com"
    environment = "303636684709969"
    credentials = TOKEN
    secrets = (TOKEN, TOKEN.partition("|")[2])
    category = "other"

    updates: dict[int, Update] = field(default_factory=dict)
    page: int = 100
    asked: list[str] = field(default_factory=list)
    fault: Fault | None = None

    def put(self, *updates: Update) -> None:
        for each in updates:
            self.updates[each.id] = each

    def add(self, number: int, ago: float) -> None:
        self.put(Update(number, "HASH_MD5", md5_of(number), stamp(ago)))

    def withdraw(self, number: int, ago: float) -> None:
        self.put(Update(number, "HASH_MD5", md5_of(number), stamp(ago), deleted=True))

    def add_unknown(self, ago: float) -> None:
        self.put(Update(10**9, "HASH_TMK", "x" * 9000, stamp(ago)))

    def is_page(self, path: str) -> bool:
        return "/threat_updates" in path

    def one_page(self, path: str, next_: int | None) -> bytes:
        return json.dumps({"data": [], "paging": {"next": self._address(next_ or 7)}}).encode()

    def _address(self, after: int, start: int = 0) -> str:
        query = urllib.parse.urlencode({"access_token": TOKEN, "start_time": start, "after": after})
        return f"https://{self.host}/v26.0/{self.environment}/threat_updates?{query}"

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        self.asked.append(request.path)
        address = urllib.parse.urlsplit(request.path)
        query = {name: values[0] for name, values in urllib.parse.parse_qs(address.query).items()}
        if query.get("access_token") != TOKEN:
            refuse(request, 400)
            return
        if self.fault is not None and self.fault(request, request.path):
            return
        if address.path.strip("/").split("/")[1:] != [self.environment, "threat_updates"]:
            refuse(request, 404)
            return
        start, after = int(query.get("start_time", 0)), int(query.get("after", 0))
        chosen = sorted((u for u in self.updates.values() if u.time >= start), key=lambda u: u.time)
        shown = chosen[after : after + self.page]
        answer: dict[str, object] = {"data": [update.json() for update in shown]}
        if after + len(shown) < len(chosen):
            answer["paging"] = {"next": self._address(after + len(shown), start)}
        send(request, json.dumps(answer).encode())


TCAP_USER, TCAP_PASSWORD = "tcap.secret-user", "pass:tcap-secret"


@dataclass
class Tcap(Interface):
    """The hash list of Tech Against Terrorism."""

    host = "app.terrorismanalytics.org"
    environment = "production"
    credentials = f"{TCAP_USER}:{TCAP_PASSWORD}"
    secrets = (TCAP_USER, TCAP_PASSWORD, "jwt-secret")
    category = "terrorism"

    entries: dict[int, dict[str, object]] = field(default_factory=dict)
    page: int = 100
    asked: list[str] = field(default_factory=list)
    fault: Fault | None = None
    logins: int = 0

    def put(self, id_: int, algorithm: str, value: str, time: float, **fields: object) -> None:
        self.entries[id_] = {
            "hash_digest": value,
            "algorithm": algorithm,
            "ideology": "far-right",
            "file_type": "jpg",
            "deleted": False,
            "updated_on": float(time),
            "created_on": "2025-03-03 23:05:22,587",
            "id": id_,
            **fields,
        }

    def add(self, number: int, ago: float) -> None:
        self.put(number, "MD5", md5_of(number), stamp(ago))

    def withdraw(self, number: int, ago: float) -> None:
        self.put(number, "MD5", md5_of(number), stamp(ago), deleted=True)

    def add_unknown(self, ago: float) -> None:
        self.put(10**9, "ORB", "x" * 9000, stamp(ago))

    def is_page(self, path: str) -> bool:
        return "/hash-list/" in path

    def one_page(self, path: str, next_: int | None) -> bytes:
        page = {"count": 9, "next": "https://a/b?limit=1&offset=1", "previous": None, "results": []}
        return json.dumps({**page, "checkpoint": f"{next_ or 7}.5,1"}).encode()

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0)).decode()
        self.asked.append(request.path)
        if request.path == "/token-auth/tcap/":
            login = {name: values[0] for name, values in urllib.parse.parse_qs(body).items()}
            if request.command != "POST" or (login.get("username"), login.get("password")) != (
                TCAP_USER,
                TCAP_PASSWORD,
            ):
                refuse(request, 400)
                return
            self.logins += 1
            send(request, json.dumps({"user": {"name": "x"}, "token": f"jwt-secret{self.logins}"}).encode())
            return
        if request.headers.get("Authorization") != f"Bearer jwt-secret{self.logins}":
            refuse(request, 401)
            return
        if self.fault is not None and self.fault(request, request.path):
            return
        query = {n: v[0] for n, v in urllib.parse.parse_qs(urllib.parse.urlsplit(request.path).query).items()}
        after, offset = query.get("after", ""), int(query.get("offset", 0))
        begin, _, last = after.partition(",")
        place = (float(begin), int(last)) if after else (0.0, 0)
        ordered = sorted(((float(str(e["updated_on"])), number), e) for number, e in self.entries.items())
        chosen = [(key, entry) for key, entry in ordered if key > place]
        shown = chosen[offset : offset + self.page]
        more = offset + len(shown) < len(chosen)
        answer = {
            "count": len(chosen),
            "next": f"https://{self.host}{request.path}&offset={offset + len(shown)}" if more else None,
            "previous": None,
            "checkpoint": "{:.6f},{}".format(*shown[-1][0]) if shown else after,
            "results": [entry for _, entry in shown],
        }
        send(request, json.dumps(answer).encode())


EXTENSION_KEY = "extension-secret"


@dataclass
class ExtensionServer(Interface):
    """The server of `example_extension`."""

    host = "hashes.example.org"
    environment = "hashscan_test_extension/example"
    credentials = json.dumps(
        {
            "address": "https://hashes.example.org/",
            "collaboration": {"bank": "b1"},
            "credentials": EXTENSION_KEY,
        }
    )
    wrong_credentials = credentials.replace(EXTENSION_KEY, "another-secret")
    secrets = (EXTENSION_KEY,)
    category = "other"

    records: dict[str, tuple[int, str, str]] = field(default_factory=dict)
    """Time, kind and state by value."""
    page: int = 100
    asked: list[str] = field(default_factory=list)
    fault: Fault | None = None

    def add(self, number: int, ago: float) -> None:
        self.records[md5_of(number)] = stamp(ago), "video_md5", "right"

    def withdraw(self, number: int, ago: float) -> None:
        self.records[md5_of(number)] = stamp(ago), "video_md5", "gone"

    def add_unknown(self, ago: float) -> None:
        self.records["x"] = stamp(ago), "tmk", "right"

    def is_page(self, path: str) -> bool:
        return True

    def one_page(self, path: str, next_: int | None) -> bytes:
        return json.dumps({"records": [], "newest": 0, "next": next_ or 7}).encode()

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        self.asked.append(request.path)
        if request.headers.get("X-Key") != EXTENSION_KEY:
            refuse(request, 401)
            return
        if self.fault is not None and self.fault(request, request.path):
            return
        address = urllib.parse.urlsplit(request.path)
        query = {name: int(values[0]) for name, values in urllib.parse.parse_qs(address.query).items()}
        ordered = sorted((t, kind, value, state) for value, (t, kind, state) in self.records.items())
        chosen = [record for record in ordered if record[0] >= query["since"]]
        begin = query["page"] * self.page
        shown = chosen[begin : begin + self.page]
        answer = {
            "records": [record[1:] for record in shown],
            "newest": ordered[-1][0] if ordered else 0,
            "next": query["page"] + 1 if begin + len(shown) < len(chosen) else None,
        }
        send(request, json.dumps(answer).encode())


INTERFACES: dict[str, type[Interface]] = {
    "ncmec": Ncmec,
    "stopncii": StopNcii,
    "threatexchange": PrivacyGroup,
    "tcap": Tcap,
    "extension": ExtensionServer,
}
"""The servers by the exchange's name in the registry."""
for _name in EXCHANGES:
    if _name not in INTERFACES:
        # An exchange of an installed plug-in brings a server of its own.
        _package = EXCHANGES.rows[_name].target.partition(".")[0]
        INTERFACES[_name] = import_module(f"{_package}.servers").EXCHANGES[_name]


@dataclass
class AllServed:
    """All exchanges on loopback, reached through one proxy."""

    interfaces: dict[str, Interface]
    proxy: str
    ca_file: Path
    credentials: dict[str, Path]
    """Files by the exchange's name."""

    @property
    def ncmec(self) -> Ncmec:
        found = self.interfaces["ncmec"]
        assert isinstance(found, Ncmec)
        return found

    @property
    def stopncii(self) -> StopNcii:
        found = self.interfaces["stopncii"]
        assert isinstance(found, StopNcii)
        return found

    @property
    def group(self) -> PrivacyGroup:
        found = self.interfaces["threatexchange"]
        assert isinstance(found, PrivacyGroup)
        return found

    @property
    def tcap(self) -> Tcap:
        found = self.interfaces["tcap"]
        assert isinstance(found, Tcap)
        return found


@contextmanager
def all_served(folder: Path, others: Mapping[str, Answer] = MappingProxyType({})) -> Iterator[AllServed]:
    """Serve all interfaces at their own names, and what answers at other names."""
    folder.mkdir()
    authority = Authority(folder / "authority")
    contexts: dict[str, ssl.SSLContext] = {}
    interfaces = {name: kind() for name, kind in INTERFACES.items()}
    hosts = {interface.host: interface for interface in interfaces.values()}
    answers: dict[str, Answer] = {host: interface.handle for host, interface in hosts.items()}
    answers |= others
    for host in answers:
        contexts[host] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        contexts[host].load_cert_chain(*authority.issue(host))

    def choose(connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> None:
        connection.context = contexts[str(name)]

    first = contexts[HOST]
    first.sni_callback = choose  # type: ignore[assignment]
    credentials = {}
    for name, interface in interfaces.items():
        path = credentials[name] = folder / f"{name}-credentials"
        path.touch(0o600)
        path.write_text(f"{interface.credentials}\n")

    with serving(folder, first) as web, proxying(web) as (proxy, _, _):
        web.handle = lambda request: answers[request.headers["Host"]](request)  # type: ignore[method-assign]
        yield AllServed(interfaces, proxy, authority.file, credentials)
