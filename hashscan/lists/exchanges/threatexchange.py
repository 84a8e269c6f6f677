"""ThreatExchange, Meta's exchange between the members of privacy groups: one group is one environment.

Faults of the library (threatexchange 1.2.17) that are mended here:
 * Its requests do not go through its own session, so they have no time limit and no retry; the errors that it
   raises hold the address, and with it the access token.
 * It stops at an assertion at a page without an update, also where a group has none at all.
 * It stops at an update that lacks a field: those are counted, and reported as unread.
 * It takes the newest time that it has seen for the place to go on from, also if the pages are not in order
   of time, and counts the age of its copy from there: changes of the pages that were not read are lost.
 * It follows a page that names itself as the next one for ever.

Opinions of a group's members are not categories of ours, and tags are free text: all entries are `other`,
which is for review only. An update without an opinion but that it is harmless is withdrawn.
Source: https://developers.facebook.com/docs/threat-exchange/reference/apis/threat-updates
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import msgspec
from msgspec import Struct
from threatexchange.exchanges.clients.fb_threatexchange import api
from threatexchange.exchanges.clients.fb_threatexchange.threat_updates import ThreatUpdateJSON
from threatexchange.exchanges.fetch_state import AggregateSignalOpinionCategory, FetchedSignalMetadata
from threatexchange.exchanges.impl.fb_threatexchange_api import FBThreatExchangeIndicatorRecord

from hashscan.lists.exchanges.base import Exchange, Page, Record, Request
from hashscan.lists.exchanges.transport import (
    ASK_EXCHANGE,
    CHECK_CREDENTIALS,
    FetchError,
    PageGuard,
    Transport,
)

CATEGORY = "other"
OVERLAP = 3600
"""Seconds by which a fetch starts before the end of the last one; an update is always the newest state."""
_STALE = 85 * 86_400
"""Seconds after which the library, too, fetches everything afresh: deletions are kept for 90 days."""
_PAGE_SIZE = 100
_ALGORITHMS = {
    "HASH_MD5": "md5",
    "HASH_VIDEO_MD5": "md5",
    "HASH_SHA1": "sha1",
    "HASH_SHA256": "sha256",
    "HASH_VIDEO_SHA256": "sha256",
    "HASH_PDQ": "pdq",
}
_GROUP = re.compile(r"[0-9]{1,32}")
_BAD_REQUEST = 400

_log = logging.getLogger(__name__)


class _Checkpoint(Struct, frozen=True):
    start: int
    """Time from which on updates are asked for; seconds since 1970."""
    complete: bool
    """True if the last fetch reached its end, and so the next one overlaps it."""
    fetched: int
    """Begin of the last fetch that reached its end, or of the first one."""


class _Id(Struct, frozen=True):
    id: str


class ThreatExchange(Exchange):
    """Meta's ThreatExchange."""

    name = "threatexchange"
    credentials_form = "APP_ID|APP_SECRET, the access token of your app, on the first line"
    categories: ClassVar[Mapping[str, str]] = {"*": CATEGORY}
    environment_form = "the number of your privacy group"

    def environments(self) -> Mapping[str, str]:
        """Return nothing: the groups of a member are not public."""
        return {}

    def address(self, environment: str, credentials: Mapping[str, str]) -> str:
        """Return the address of the library, which is the same for all groups."""
        if not _GROUP.fullmatch(environment):
            raise KeyError(environment)
        return api.ThreatExchangeAPI._TE_BASE_URL

    def parse_credentials(self, text: str) -> dict[str, str]:
        token = text.partition("\n")[0].strip()
        if not api.is_valid_app_token(token) or not token.isascii():
            raise ValueError("no token of an app")
        return {"token": token}

    def pages(self, request: Request, transport: Transport) -> Iterator[Page]:
        """Yield the pages of all updates since the checkpoint."""
        client = _Client(request.credentials["token"].replace("%7C", "|").replace("%7c", "|"))
        client.transport = transport
        now = int(time.time())
        stored = msgspec.json.decode(request.checkpoint, type=_Checkpoint) if request.checkpoint else None
        afresh = stored is not None and now - stored.fetched > _STALE
        if stored is None or afresh:
            stored = _Checkpoint(0, complete=False, fetched=now)
        start = max(stored.start - OVERLAP * stored.complete, 0)
        cursor = client.get_threat_updates(
            int(request.environment),
            start_time=start or None,
            page_size=_PAGE_SIZE,
            fields=FBThreatExchangeIndicatorRecord.te_threat_updates_fields(),
            decode_fn=_decoded,
        )
        guard = PageGuard(transport.host)
        newest, in_order = start, True
        while not cursor.done:
            updates: list[ThreatUpdateJSON | None] = cursor.next()
            transport.check_clock()
            guard.check(updates, cursor.next_url)
            times = [min(update.time, now) for update in updates if update is not None]
            in_order = in_order and times == sorted(times) and newest <= min(times, default=newest)
            newest = max([newest, *times])
            if cursor.done:
                place = _Checkpoint(newest, complete=True, fetched=now)
            else:
                # All that are older have been sent, if they are sent in order.
                place = _Checkpoint(newest if in_order else start, complete=False, fetched=stored.fetched)
            yield _page(client.app_id, updates, place, afresh=afresh)
            afresh = False


class _Client(api.ThreatExchangeAPI):
    """The library's client with bounded requests."""

    transport: Transport

    def get_json_from_url(
        self,
        url: Any,
        params: Any = None,
        *,
        json_obj_hook: Callable[[Any], Any] | None = None,
    ) -> Any:
        """Return the document at an address, which has updates and may name the next page."""
        host = self.transport.host
        try:
            with self._get_session() as session:
                answer = session.get(url, params=params or {}).json(object_hook=json_obj_hook)
        except FetchError as error:
            if error.status != _BAD_REQUEST:
                raise
            # Its answer to an access token that is not valid.
            raise FetchError(str(error), CHECK_CREDENTIALS, error.status) from None
        except ValueError:
            raise FetchError(
                f"{host} sends something else than JSON, or a part of it", ASK_EXCHANGE
            ) from None
        if not (
            isinstance(answer, dict)
            and isinstance(answer.get("data"), list)
            and isinstance(answer.get("paging", {}), dict)
        ):
            raise FetchError(f"{host} sends another document than asked for", ASK_EXCHANGE)
        return answer

    def _get_session(self) -> Any:
        return self.transport.mount(super()._get_session())  # type: ignore[no-untyped-call]


def _decoded(update: Any) -> ThreatUpdateJSON | None:
    """Return an update of which everything that is needed can be read; count others, and return None."""
    try:
        msgspec.convert(update, _Id)
        decoded = ThreatUpdateJSON(update)
        if not (decoded.id >= 0 and isinstance(decoded.indicator, str) and decoded.threat_type.upper()):
            raise ValueError
        _ = decoded.time, decoded.should_delete
    except (msgspec.ValidationError, LookupError, TypeError, ValueError, AttributeError):
        # Counted as a record that can't be read, as those that the library logs; no text is kept.
        _log.error("an update can't be read")
        return None
    return decoded


def _page(
    app_id: int, updates: Sequence[ThreatUpdateJSON | None], checkpoint: _Checkpoint, *, afresh: bool
) -> Page:
    kept: dict[str, Record] = {}
    removed: dict[str, None] = {}
    for update in updates:
        if update is None:
            continue
        try:
            opinions = FBThreatExchangeIndicatorRecord.from_threatexchange_json(app_id, update)
        except (LookupError, TypeError, ValueError, AttributeError):
            _log.error("an update can't be read")
            continue
        key = str(update.id)
        kept.pop(key, None)
        removed.pop(key, None)
        if opinions is None or is_false_positive(opinions):
            removed[key] = None
            continue
        kind = update.threat_type.upper()
        algorithm = _ALGORITHMS.get(kind, kind.lower()[:64])
        kept[key] = Record(key, key, CATEGORY, {algorithm: update.indicator.strip().lower()[:4096]})
    text = msgspec.json.encode(checkpoint).decode()
    return Page(list(kept.values()), list(removed), text, afresh=afresh)


def is_false_positive(metadata: FetchedSignalMetadata) -> bool:
    """Return True if there are opinions, and all are that a digest is a false positive."""
    return bool(metadata.get_as_opinions()) and (
        metadata.get_as_aggregate_opinion().category is AggregateSignalOpinionCategory.NEGATIVE_CLASS
    )
