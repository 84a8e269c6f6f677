"""An exchange, a database of hashes that is polled with credentials: here `Example Exchange`, an invention.

    GET v1/changes?after=CURSOR     {"records": [...], "next": CURSOR, "more": true}

has records such as `{"id": "17", "category": "A1", "hashes": {"pdq": "f00f..."}, "withdrawn": false}`. A
record is always its newest state, and a cursor stays valid: a fetch that was killed goes on after the last
page.

`pages` runs in a process of its own with bounded memory. All requests go through the transport: it bounds
size and time of answers, keeps `Retry-After`, takes proxy and certificates from the list's settings, and
reaches no server but that of the environment. Nothing of an answer may get into an error's text. hashscan
stores a page together with its cursor, makes versions of the records, and compares and activates them like
those of other lists.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

import msgspec
import requests
from msgspec import Struct

from hashscan.lists.exchanges.base import Exchange, Page, Record, Request
from hashscan.lists.exchanges.transport import ASK_EXCHANGE, FetchError, PageGuard, Transport


class _Changed(Struct):
    id: str
    category: str
    hashes: dict[str, str]
    withdrawn: bool


class _Answer(Struct):
    records: list[_Changed]
    next: str
    more: bool


class ExampleExchange(Exchange):
    """The exchange `Example Exchange`."""

    name = "example-exchange"
    credentials_form = "MEMBER:TOKEN on the first line"
    categories: ClassVar[Mapping[str, str]] = {"A1": "A1", "A2": "A2", "*": "other"}

    def environments(self) -> Mapping[str, str]:
        """Return the addresses of its databases."""
        return {"production": "https://exchange.example.org/v1"}

    def parse_credentials(self, text: str) -> dict[str, str]:
        """Return member and token."""
        member, _, token = text.partition("\n")[0].strip().partition(":")
        if not member or not token:
            raise ValueError("no MEMBER:TOKEN")
        return {"member": member, "token": token}

    def pages(self, request: Request, transport: Transport) -> Iterator[Page]:
        """Yield what has changed since the cursor, which is the whole checkpoint here."""
        cursor = "" if request.checkpoint is None else msgspec.json.decode(request.checkpoint, type=str)
        begin, guard = cursor, PageGuard(transport.host, cursor)
        with transport.mount(requests.Session()) as session:
            session.auth = (request.credentials["member"], request.credentials["token"])
            while True:
                content = session.get(f"{request.address}/changes", params={"after": cursor}).content
                # Only sources that ask for times need this: a wrong clock would leave out records.
                transport.check_clock()
                try:
                    answer = msgspec.json.decode(content, type=_Answer)
                except msgspec.ValidationError:
                    raise FetchError(
                        f"{transport.host} sends another document than asked for", ASK_EXCHANGE
                    ) from None
                except (msgspec.DecodeError, UnicodeDecodeError):
                    raise FetchError(
                        f"{transport.host} sends something else than JSON, or a part of it", ASK_EXCHANGE
                    ) from None
                try:
                    guard.check(answer.records, answer.next if answer.more else None)
                except FetchError:
                    # Otherwise the next pull would go on where these pages led, and miss entries.
                    yield Page([], [], msgspec.json.encode(begin).decode())
                    raise
                cursor = answer.next
                yield self._page(answer, cursor)
                if not answer.more:
                    return

    def _page(self, answer: _Answer, cursor: str) -> Page:
        records = [
            Record(each.id, each.id, self.categories.get(each.category, "other"), each.hashes)
            for each in answer.records
            if not each.withdrawn
        ]
        removed = [each.id for each in answer.records if each.withdrawn]
        return Page(records, removed, msgspec.json.encode(cursor).decode())
