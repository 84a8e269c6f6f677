"""Servers that speak the interfaces of the adapter and of the exchange; only the contract tests use them.

hashscan's tests find them by the name of this module: `SPEAKERS` by the names of adapters, and `EXCHANGES` by
those of exchanges.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit


def speak(service: Any, request: BaseHTTPRequestHandler, body: bytes) -> Any:
    """Answer a request of the adapter; `service` compares digests (`tests.matching_services`)."""
    path = urlsplit(request.path).path
    if path == "/v2/status":
        return {"listVersion": service.version, "maxHashes": service.digests_max}
    if path.endswith("/vote"):
        return {}
    if path != "/v2/matches":
        return None
    results = []
    for asked in json.loads(body)["hashes"]:
        found = service.matches(asked["type"].lower(), bytes.fromhex(asked["hash"]))
        matches = [{"id": one.entry, "class": one.category, "distance": apart} for one, apart in found]
        results.append({"ref": asked["ref"], "status": "OK", "matches": matches})
    return {"results": results[::-1]}


SPEAKERS = {"example-check": speak}


class ExampleExchangeServer:
    """A database of `Example Exchange`, with the members of `tests.lists.exchanges.servers.Interface`."""

    host = "exchange.example.org"
    environment = "production"
    credentials = "Member:Token-of-a-member"
    secrets = ("Member", "Token-of-a-member")
    wrong_credentials = ""
    category = "A1"
    another_document = b'{"secret": []}'

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []
        self.page = 100
        self.asked: list[str] = []
        self.fault: Callable[[BaseHTTPRequestHandler, str], bool] | None = None

    def _put(self, key: str, hashes: dict[str, str], *, withdrawn: bool = False) -> None:
        self.records.append({"id": key, "category": "A1", "hashes": hashes, "withdrawn": withdrawn})

    def add(self, number: int, ago: float) -> None:
        """Add the entry of a number, or bring it back; this exchange has no times."""
        self._put(f"r{number}", {"md5": f"{number:032x}"})

    def withdraw(self, number: int, ago: float) -> None:
        """Withdraw the entry of a number."""
        self._put(f"r{number}", {}, withdrawn=True)

    def add_unknown(self, ago: float) -> None:
        """Add an entry of an algorithm that hashscan doesn't know."""
        self._put("unknown", {"tmk": "x"})

    def is_page(self, path: str) -> bool:
        """Return True if a request is for a page of entries."""
        return True

    def one_page(self, path: str, next_: int | None) -> bytes:
        """Return a page without an entry, which names another one as the next, or itself if that is None."""
        return json.dumps({"records": [], "next": str(next_ or 7), "more": True}).encode()

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        """Answer a request of the exchange's class."""
        self.asked.append(request.path)
        login = base64.b64encode(self.credentials.encode()).decode()
        if request.headers.get("Authorization") != f"Basic {login}":
            request.send_response(401)
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        if self.fault is not None and self.fault(request, request.path):
            return
        after = int(parse_qs(urlsplit(request.path).query).get("after", ["0"])[0] or 0)
        end = min(after + self.page, len(self.records))
        answer = {"records": self.records[after:end], "next": str(end), "more": end < len(self.records)}
        data = json.dumps(answer).encode()
        request.send_response(200)
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        request.wfile.write(data)


EXCHANGES = {"example-exchange": ExampleExchangeServer}
