"""TCAP, the Terrorist Content Analytics Platform of Tech Against Terrorism (`tat` in the library).

Faults of the library (threatexchange 1.2.17) that are mended here:
 * It counts pages from the first one, so that an entry that changes meanwhile moves to the end, and one that
   was not read yet takes its place and is skipped: each page is asked for by the last entry before it.
 * It leaves out md5 of all files but films, sha256 and sha512, uncounted: all digests are taken.
 * It stops at an entry with a new field: only the fields that are needed are read.
 * It logs in again for every page, and sends requests without a token if the answer has none.
 * It follows a page that names itself as the next one for ever.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import msgspec
from msgspec import Struct
from threatexchange.exchanges.clients.techagainstterrorism import api

from hashscan.lists.exchanges.base import Exchange, Page, Record, Request
from hashscan.lists.exchanges.transport import (
    ASK_EXCHANGE,
    CHECK_CREDENTIALS,
    FetchError,
    PageGuard,
    Transport,
)

CATEGORY = "terrorism"
OVERLAP = 3600.0
"""Seconds by which a fetch starts before the end of the last one; an entry is always its newest state."""
_BAD_REQUEST, _REFUSED = 400, 401

_log = logging.getLogger(__name__)


class _Checkpoint(Struct, frozen=True):
    after: str
    """Time and id of the last entry, as the server sent them."""
    complete: bool
    """True if there was nothing after it."""


class _Entry(Struct, frozen=True):
    """The fields of an entry that are needed."""

    id: int
    algorithm: str
    hash_digest: str
    deleted: bool


class TcapExchange(Exchange):
    """The hash list of Tech Against Terrorism."""

    name = "tcap"
    credentials_form = "USER:PASSWORD on the first line"
    categories: ClassVar[Mapping[str, str]] = {"*": CATEGORY}

    def environments(self) -> Mapping[str, str]:
        return {"production": api.TATHashListAPI.BASE_URL}

    def parse_credentials(self, text: str) -> dict[str, str]:
        user, _, password = text.partition("\n")[0].strip("\r").partition(":")
        if not user or not password:
            raise ValueError("no USER:PASSWORD")
        return {"user": user, "password": password}

    def pages(self, request: Request, transport: Transport) -> Iterator[Page]:
        """Yield the pages of all entries that have changed since the checkpoint."""
        client = _Client(request.credentials["user"], request.credentials["password"])
        client.transport = transport
        stored = msgspec.json.decode(request.checkpoint, type=_Checkpoint) if request.checkpoint else None
        after = _earlier(stored.after) if stored and stored.complete else stored.after if stored else ""
        guard = PageGuard(transport.host, after)
        more = True
        while more:
            answer = client.fetch_hashes(after=after)
            transport.check_clock()
            more = bool(answer.next)
            guard.check(answer.results, answer.checkpoint if more else None)
            after = answer.checkpoint or after
            yield _page(answer.results, _Checkpoint(after, not more))


class _Client(api.TATHashListAPI):
    """The library's client with bounded requests, and one login for all of them."""

    transport: Transport
    _token: str | None = None

    def fetch_hashes(
        self, next_page: str | None = None, order: str = "asc", after: str = ""
    ) -> api.TATHashListResponse:
        """Return the page after an entry; its results are as they were sent."""
        url = f"{self.BASE_URL}{api.TATEndpoint.hash_list.value}"
        try:
            answer = self._get(url, self._logged_in(), order=order, after=after)
        except FetchError as error:
            if error.status != _REFUSED or self._token is None:
                raise
            # The token is too old: a long fetch.
            self._token = None
            answer = self._get(url, self._logged_in(), order=order, after=after)
        if not (
            isinstance(answer, dict)
            and isinstance(answer.get("results"), list)
            and isinstance(answer.get("checkpoint"), str | None)
            and "next" in answer
        ):
            raise FetchError(f"{self.transport.host} sends another document than asked for", ASK_EXCHANGE)
        results = answer["results"]
        return api.TATHashListResponse(
            len(results), answer["next"], None, answer.get("checkpoint") or "", results
        )

    def _logged_in(self) -> str:
        if self._token is None:
            token = self.get_auth_token(self.username, self.password)
            if not isinstance(token, str) or not token.isascii() or not token.isprintable():
                raise FetchError(f"{self.transport.host} does not accept the login", CHECK_CREDENTIALS)
            self._token = token
        return self._token

    @contextmanager
    def _get_session(self, auth_token: str | None = None) -> Iterator[Any]:
        with super()._get_session(auth_token) as session:
            yield self.transport.mount(session)

    def _get(self, full_url: str | None = None, auth_token: str | None = None, **params: Any) -> Any:
        try:
            return super()._get(full_url, auth_token, **params)
        except ValueError:
            raise self._not_json() from None

    def _post(self, endpoint: api.TATEndpoint, data: Any = None) -> Any:
        try:
            answer = super()._post(endpoint, data)
        except FetchError as error:
            if error.status != _BAD_REQUEST:
                raise
            # Its answer to a login that is not valid.
            raise FetchError(str(error), CHECK_CREDENTIALS, error.status) from None
        except ValueError:
            raise self._not_json() from None
        if not isinstance(answer, dict):
            raise FetchError(f"{self.transport.host} sends another document than asked for", ASK_EXCHANGE)
        return answer

    def _not_json(self) -> FetchError:
        return FetchError(
            f"{self.transport.host} sends something else than JSON, or a part of it", ASK_EXCHANGE
        )


def _earlier(after: str) -> str:
    """Return the place that lies `OVERLAP` before another; from the beginning if it has another form."""
    try:
        return f"{max(float(after.partition(',')[0]) - OVERLAP, 0):.6f},0"
    except ValueError:
        return ""


def _page(results: list[Any], checkpoint: _Checkpoint) -> Page:
    kept: dict[str, Record] = {}
    removed: dict[str, None] = {}
    for result in results:
        try:
            entry = msgspec.convert(result, _Entry)
        except msgspec.ValidationError:
            # Counted as a record that can't be read, as those that the library logs; no text is kept.
            _log.error("an entry can't be read")
            continue
        key = str(entry.id)
        kept.pop(key, None)
        removed.pop(key, None)
        if entry.deleted:
            removed[key] = None
            continue
        algorithm = entry.algorithm.strip().lower().replace("-", "")[:64]
        kept[key] = Record(key, key, CATEGORY, {algorithm: entry.hash_digest.strip().lower()[:4096]})
    return Page(list(kept.values()), list(removed), msgspec.json.encode(checkpoint).decode())
