"""StopNCII: hashes of intimate pictures that the people shown in them don't want published.

Faults of the library (threatexchange 1.2.17) that are mended here:
 * It compares a hash's value with the state of its cases, so that withdrawn hashes stay: `hashStatus` counts.
 * It leaves out records whose state or kind is new to it, with no more than a line in the log: they are
   counted, and reported as unread.
 * It follows a page that names itself as the next one for ever.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import msgspec
from msgspec import Struct
from threatexchange.exchanges.clients.stopncii import api

from hashscan.lists.exchanges.base import Exchange, Page, Record, Request, Submitted
from hashscan.lists.exchanges.transport import ASK_EXCHANGE, FetchError, PageGuard, Transport
from hashscan.lists.formats.base import derived_id

CATEGORY = "ncii"
OVERLAP = 3600
"""Seconds by which a fetch starts before the end of the last one; a record is always its newest state."""
_STALE = 30 * 86_400
"""Seconds after which the library, too, fetches everything afresh."""
_ALGORITHMS = {api.StopNCIISignalType.ImagePDQ: "pdq", api.StopNCIISignalType.VideoMD5: "md5"}
_GONE = frozenset({api.StopNCIICaseStatus.Withdrawn, api.StopNCIICaseStatus.Deleted})
_OPINION_REFUSED = frozenset({400, 404, 409, 410, 422})
"""Statuses that refuse one opinion, and not all."""


class _Checkpoint(Struct, frozen=True):
    start: int
    """Time from which on records are asked for; seconds since 1970."""
    fetched: int


class StopNciiExchange(Exchange):
    """StopNCII.org."""

    name = "stopncii"
    credentials_form = (
        "FETCH_FUNCTION_KEY,SUBSCRIPTION_KEY on the first line, and FEEDBACK_FUNCTION_KEY as a third for "
        "feedback"
    )
    categories: ClassVar[Mapping[str, str]] = {"*": CATEGORY}
    takes_feedback = True

    def environments(self) -> Mapping[str, str]:
        return {"production": api.StopNCIIAPI.BASE_URL}

    def parse_credentials(self, text: str) -> dict[str, str]:
        keys = text.partition("\n")[0].strip().split(",")
        if len(keys) not in {2, 3} or not all(keys):
            raise ValueError("not two or three keys")
        return dict(zip(("function", "subscription", "feedback"), keys, strict=False))

    def pages(self, request: Request, transport: Transport) -> Iterator[Page]:
        """Yield the pages of all records that have changed since the checkpoint."""
        client = _client(request, transport)
        now = int(time.time())
        stored = msgspec.json.decode(request.checkpoint, type=_Checkpoint) if request.checkpoint else None
        afresh = stored is not None and now - stored.fetched > _STALE
        start = api.StopNCIIAPI.DEFAULT_START_TIME
        if stored is not None and not afresh:
            start = max(stored.start - OVERLAP, start)
        last = start
        guard = PageGuard(transport.host)
        for answer in client.fetch_hashes_iter(start):
            transport.check_clock()
            guard.check(answer.hashRecords, answer.nextPageToken or "" if answer.hasMoreRecords else None)
            last = max(last, min(answer.nextSetTimestamp, now))
            # Pages need not be in the order of time: only the last one says from when on to ask next.
            place = _Checkpoint(start if answer.hasMoreRecords else last, now)
            yield _page(answer.hashRecords, place, afresh=afresh)
            afresh = False

    def submit(self, request: Request, transport: Transport) -> Iterator[Submitted]:
        """Send the value of each hash, which is its only name there, with `Blocked` or `NotBlocked`."""
        if "feedback" not in request.credentials:
            raise FetchError(
                "the credentials have no key for feedback",
                "Ask StopNCII for one, and write it behind the two others: "
                "FETCH_FUNCTION_KEY,SUBSCRIPTION_KEY,FEEDBACK_FUNCTION_KEY.",
            )
        client = _client(request, transport)
        kinds = {algorithm: kind for kind, algorithm in _ALGORITHMS.items()}
        states = api.StopNCIICSPFeedbackValue
        for number, opinion in enumerate(request.opinions or ()):
            state = states.NotBlocked if opinion.wrong else states.Blocked
            try:
                client.submit_feedback(kinds[opinion.algorithm], opinion.value, state)
            except FetchError as error:
                if error.status not in _OPINION_REFUSED:
                    raise
                yield Submitted(number, str(error), "Ask StopNCII if the hash is still there.")
            else:
                yield Submitted(number)


def _client(request: Request, transport: Transport) -> _Client:
    keys = request.credentials
    more = {api.StopNCIIEndpoint.SubmitFeedback: keys["feedback"]} if "feedback" in keys else {}
    client = _Client(keys["subscription"], keys["function"], more)
    client.transport = transport
    return client


class _Client(api.StopNCIIAPI):
    """The library's client with bounded requests."""

    transport: Transport

    def _get_session(self, endpoint: api.StopNCIIEndpoint) -> Any:
        return self.transport.mount(super()._get_session(endpoint))

    def _post(self, endpoint: api.StopNCIIEndpoint, *, json: Any = None) -> None:
        # The library insists on JSON in the answer, of which nothing is used.
        with self._get_session(endpoint) as session:
            session.post(f"{self._base_url}/{endpoint.value}", json=json)

    def _get(self, endpoint: api.StopNCIIEndpoint, **params: Any) -> Any:
        try:
            answer = super()._get(endpoint, **params)
        except ValueError:
            raise FetchError(
                f"{self.transport.host} sends something else than JSON, or a part of it", ASK_EXCHANGE
            ) from None
        if not isinstance(answer, dict) or not isinstance(answer.get("hashRecords"), list):
            raise FetchError(f"{self.transport.host} sends another document than asked for", ASK_EXCHANGE)
        return answer


def _page(records: list[api.StopNCIIHashRecord], checkpoint: _Checkpoint, *, afresh: bool) -> Page:
    kept: dict[str, Record] = {}
    removed: dict[str, None] = {}
    for record in records:
        algorithm = _ALGORITHMS.get(record.signalType, record.signalType.value.lower())
        value = record.hashValue.strip().lower()
        key = derived_id(algorithm, CATEGORY, value)
        kept.pop(key, None)
        removed.pop(key, None)
        if record.hashStatus in _GONE:
            removed[key] = None
        else:
            kept[key] = Record(key, key, CATEGORY, {algorithm: value[:4096]})
    text = msgspec.json.encode(checkpoint).decode()
    return Page(list(kept.values()), list(removed), text, afresh=afresh)
