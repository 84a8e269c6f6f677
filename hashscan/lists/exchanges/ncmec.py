"""NCMEC's hash sharing, version 2 of its interface, in all environments that the library knows.

Faults of the library (threatexchange 1.2.17) that are mended here:
 * It writes local times as UTC, so that under other time zones entries are skipped: this process runs in UTC.
 * It asks for nothing if the clock was set back, and calls that a success: clocks are compared first.
 * It parses documents with types and entities, and takes any document without pictures for an empty answer.
 * It follows a page that names itself as the next one for ever.
 * It stops at an assertion if a pull is resumed within five seconds.

The interface gives an entry's newest state, whenever it is asked; so a fetch can start before the end of the
last one, and does: entries that were stamped while it ran are not missed.
Source: https://report.cybertip.org/ws-hashsharing/v2/documentation/usage-recommendations.html
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote
from xml.etree.ElementTree import Element, ParseError

import msgspec
from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import iterparse
from msgspec import Struct
from threatexchange.exchanges.clients.ncmec import hash_api
from threatexchange.exchanges.impl import ncmec_api

from hashscan.lists.exchanges.base import Exchange, Opinion, Page, Record, Request, Submitted
from hashscan.lists.exchanges.transport import ASK_EXCHANGE, FetchError, Transport
from hashscan.lists.formats.ncmec import ALGORITHM_NAMES, CLASSIFICATIONS
from hashscan.lists.formats.text import read_photodna
from hashscan.text import printable

OVERLAP = 3600
"""Seconds by which a fetch starts before the end of the last one."""
_EMPTY_MAX = 100
"""Pages without an entry that may follow each other."""
_DEPTH_MAX = 32
_ELEMENTS_MAX = 400_000
"""Largest depth and number of elements of a page; one of 1,000 entries has some tens for each entry."""
_RESUME_REFUSED = frozenset({400, 404, 410})
_WAIT = 10
_FINGERPRINTS = {
    "md5": hash_api.FingerprintType.md5,
    "sha1": hash_api.FingerprintType.sha1,
    "pdq": hash_api.FingerprintType.pdq,
    "photodna": hash_api.FingerprintType.pdna,
}
_OPINION_REFUSED = frozenset({400, 404, 405, 409, 410, 422})
"""Statuses that refuse one opinion, and not all."""
_REASONS_SHOWN, _REASON_SHOWN = 20, 100
"""Most of NCMEC's reasons in a message, and most characters of each."""


class _Checkpoint(Struct, frozen=True):
    start: int
    """Start of the range of time that is being fetched; seconds since 1970."""
    next: str = ""
    """The next page of that range; empty to begin with its first page."""
    end: int = 0
    asked: int = 0
    """Time at which the server named the next page."""


class NcmecExchange(Exchange):
    """NCMEC's hash sharing."""

    name = "ncmec"
    credentials_form = "USER:PASSWORD on the first line"
    categories = {name: name for name in sorted(CLASSIFICATIONS)} | {"*": "other"}
    takes_feedback = True

    def environments(self) -> Mapping[str, str]:
        return {each.name: each.value for each in hash_api.NCMECEnvironment}

    def parse_credentials(self, text: str) -> dict[str, str]:
        user, _, password = text.partition("\n")[0].strip("\r").partition(":")
        if not user or not password:
            raise ValueError("no USER:PASSWORD")
        return {"user": user, "password": password}

    def pages(self, request: Request, transport: Transport) -> Iterator[Page]:
        """Yield the pages of all entries that have changed since the checkpoint."""
        environment = hash_api.NCMECEnvironment[request.environment]
        user, password = request.credentials["user"], request.credentials["password"]
        client = _Client(user, password, environment, transport)
        client.check_status()
        transport.check_clock()
        stored = msgspec.json.decode(request.checkpoint, type=_Checkpoint) if request.checkpoint else None
        api = _Api(ncmec_api.NCMECCollabConfig(name=request.name, environment=environment), user, password)
        api.client = client
        fetched = False
        while True:
            try:
                for delta in api.fetch_iter([], _restored(stored)):
                    stored = _stored(delta.checkpoint)
                    yield _page(delta.updates.values(), stored, environment.name)
                    fetched = True
                return
            except FetchError as error:
                if stored is None or not stored.next:
                    raise
                resumed = not fetched and error.status in _RESUME_REFUSED
                if resumed or client.paging_failed:
                    # Otherwise the next pull would begin with the same page.
                    stored = _Checkpoint(stored.start)
                    yield Page([], [], _encoded(stored))
                if not resumed:
                    raise

    def submit(self, request: Request, transport: Transport) -> Iterator[Submitted]:
        """Send a vote on one fingerprint of an entry for each opinion.

        NCMEC takes no text: a vote against a fingerprint names one of NCMEC's own reasons.
        """
        environment = hash_api.NCMECEnvironment[request.environment]
        client = _Client(request.credentials["user"], request.credentials["password"], environment, transport)
        for number, opinion in enumerate(request.opinions or ()):
            kind = _FINGERPRINTS.get(opinion.algorithm)
            if kind is None:
                yield Submitted(number, f"NCMEC takes no feedback on {opinion.algorithm}")
                continue
            try:
                client.vote(opinion, kind)
            except _NoSuchReason as error:
                yield Submitted(number, str(error), error.advice)
            except FetchError as error:
                if error.status not in _OPINION_REFUSED:
                    raise
                yield Submitted(number, str(error), "Ask NCMEC if the entry is still there.")
            else:
                yield Submitted(number)


class _Api(ncmec_api.NCMECSignalExchangeAPI):
    """The library's fetch with our client."""

    client: _Client

    def get_client(self, environment: hash_api.NCMECEnvironment) -> _Client:
        return self.client


class _Client(hash_api.NCMECHashAPI):
    """The library's client with bounded requests and a strict parser."""

    def __init__(
        self, user: str, password: str, environment: hash_api.NCMECEnvironment, transport: Transport
    ) -> None:
        super().__init__(user, password, environment)
        self.paging_failed = False
        self._transport = transport
        self._seen: set[int] = set()
        self._empty = 0

    def check_status(self) -> None:
        try:
            self.status()
        except (LookupError, ValueError, AssertionError):
            raise FetchError(f"{self._transport.host} sends another document than asked for") from None

    def vote(self, opinion: Opinion, kind: hash_api.FingerprintType) -> None:
        """Send one opinion; raise FetchError if the server does not take it."""
        member, _, entry = opinion.key.partition("/")
        guid = self._reason(kind, opinion.reason) if opinion.wrong else None
        vote = hash_api.FeedbackType.downvote if opinion.wrong else hash_api.FeedbackType.upvote
        self.submit_feedback(int(member), quote(entry, safe=""), kind, vote, guid)

    def _reason(self, kind: hash_api.FingerprintType, reason: str) -> str:
        host = self._transport.host
        try:
            known = self._feedback_reason_map.get(kind) or self.feedback_reasons(kind)
        except (LookupError, ValueError, AssertionError):
            raise FetchError(f"{host} sends another document than asked for", ASK_EXCHANGE) from None
        if not known:
            raise _NoSuchReason(f"{host} has no reasons against a fingerprint of this kind", ASK_EXCHANGE)
        wanted = reason.strip().casefold()
        for guid, name in known.items():
            if wanted in {guid.casefold(), name.strip().casefold()}:
                return guid
        if len(known) == 1:
            return next(iter(known))
        names = "; ".join(printable(name)[:_REASON_SHOWN] for name in list(known.values())[:_REASONS_SHOWN])
        raise _NoSuchReason(
            f"{host} wants one of its own reasons: {names}",
            "Give the feedback again, with --reason and one of these.",
        )

    def get_entries(
        self, *, start_timestamp: int = 0, end_timestamp: int = 0, next_: str = ""
    ) -> hash_api.GetEntriesResponse:
        """Return one page; refuse a page that was named before in this range, and too many empty ones."""
        host = self._transport.host
        if not next_:
            self._seen.clear()
            self._empty = 0
        elif hash(next_) in self._seen:
            self.paging_failed = True
            raise FetchError(f"{host} names a page again that was fetched already", ASK_EXCHANGE)
        self._seen.add(hash(next_))
        root = self._get(
            hash_api.NCMECEndpoint.entries,
            next_=next_,
            **{"from": _utc(start_timestamp)},
            to=_utc(end_timestamp),
        )
        try:
            page = hash_api.GetEntriesResponse.from_xml(hash_api._XMLWrapper(root), int(time.time()))
        except Exception:
            # Its message holds the whole document.
            raise FetchError(f"{host} sends entries that can't be read", ASK_EXCHANGE) from None
        self._empty = 0 if page.updates else self._empty + 1
        if self._empty > _EMPTY_MAX and page.next:
            self.paging_failed = True
            raise FetchError(f"{host} sends page after page without an entry", ASK_EXCHANGE)
        return page

    def _get_session(self) -> Any:
        return self._transport.mount(super()._get_session())

    def _get(
        self, endpoint: hash_api.NCMECEndpoint, *, path: str = "", next_: str = "", **params: Any
    ) -> Element:
        url = "/".join((self._base_url, self.VERSION, endpoint.value))
        url = f"{url}/{path}" if path else url
        if next_:
            url, params = self._base_url + next_, {}
        with self._get_session() as session:
            content = session.get(url, params=params).content
        try:
            root = _parsed(content)
        except DefusedXmlException:
            raise FetchError(
                f"{self._transport.host} sends a document with a type or entities", ASK_EXCHANGE
            ) from None
        except _TooManyElements:
            raise FetchError(
                f"{self._transport.host} sends a document nested too deep, or of too many elements",
                ASK_EXCHANGE,
            ) from None
        except (ParseError, ValueError, LookupError):
            raise FetchError(
                f"{self._transport.host} sends something else than XML, or a part of it", ASK_EXCHANGE
            ) from None
        if endpoint is hash_api.NCMECEndpoint.entries and root.tag != "queryResult":
            raise FetchError(f"{self._transport.host} sends another document than asked for", ASK_EXCHANGE)
        return root


class _NoSuchReason(FetchError):
    """A vote against a fingerprint for none of NCMEC's reasons."""


class _TooManyElements(Exception):
    """A document that is nested too deep, or has too many elements."""


def _parsed(content: bytes) -> Element:
    """Return the root of a document without a type, with names without namespaces."""
    events = iterparse(
        io.BytesIO(content),
        events=("start", "end"),
        forbid_dtd=True,
        forbid_entities=True,
        forbid_external=True,
    )
    element: Element | None = None
    depth = count = 0
    for event, element in events:
        if event == "start":
            depth, count = depth + 1, count + 1
            if depth > _DEPTH_MAX or count > _ELEMENTS_MAX:
                raise _TooManyElements
            continue
        depth -= 1
        element.tag = element.tag.rpartition("}")[2]
        if element.text is None and element.get("href"):
            # A fingerprint that has to be fetched separately, which the library would leave out uncounted.
            element.text = "-"
    if element is None:
        raise ValueError("no element")
    return element  # the root ends last


def _utc(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _restored(stored: _Checkpoint | None) -> ncmec_api.NCMECCheckpoint | None:
    if stored is None:
        return None
    if not stored.next:
        return ncmec_api.NCMECCheckpoint(max(stored.start - OVERLAP, 0))
    # The library insists that the range ended more than five seconds ago.
    for _ in range(_WAIT):
        if stored.end < int(time.time()) - 5:
            break
        time.sleep(1)
    else:
        return ncmec_api.NCMECCheckpoint(max(stored.start - OVERLAP, 0))
    paging = ncmec_api._NCMECPagingInfo(stored.next, stored.end, stored.asked)
    if not paging.is_valid:
        return ncmec_api.NCMECCheckpoint(max(stored.start - OVERLAP, 0))
    return ncmec_api.NCMECCheckpoint(stored.start, paging)


def _stored(checkpoint: ncmec_api.NCMECCheckpoint) -> _Checkpoint:
    start, paging = checkpoint.get_entries_max_ts, checkpoint.paging_info
    # Not `if paging`: an expired one is false.
    if paging is None:
        return _Checkpoint(start)
    return _Checkpoint(start, paging.paging_url, paging.paging_end_ts, paging.paging_url_ts)


def _encoded(checkpoint: _Checkpoint) -> str:
    return msgspec.json.encode(checkpoint).decode()


def _page(updates: Any, checkpoint: _Checkpoint, environment: str) -> Page:
    records, removed = [], []
    for update in updates:
        key = f"{update.member_id}/{update.id.strip()}"
        if update.deleted:
            removed.append(key)
            continue
        records.append(Record(key, key, _category(update.classification, environment), _digests(update)))
    return Page(records, removed, _encoded(checkpoint))


def _category(classification: str | None, environment: str) -> str:
    """Return our category; entries of the exploitative databases are not classified as abuse."""
    given = (classification or "").strip()
    return given if given in CLASSIFICATIONS and "Exploitative" not in environment else "other"


def _digests(update: hash_api.NCMECEntryUpdate) -> dict[str, str]:
    digests = {}
    for name, text in update.fingerprints.items():
        algorithm, value = ALGORITHM_NAMES.get(name.lower(), name.lower()), text.strip()
        if algorithm == "photodna":
            try:
                algorithm, value = read_photodna(value)
            except ValueError:
                value = "-"
        if value:
            digests[algorithm] = value
    return digests
