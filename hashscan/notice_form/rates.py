"""Limit how many notices one client, and all together, may send in an hour."""

from __future__ import annotations

import time
from collections import Counter

from hashscan.service.doors.base import client_of
from hashscan.service.doors.http.documents import ErrorCode, RequestError

HOUR = 3600
_CLIENTS_MAX = 100_000


class Rates:
    """Counts of the current hour, which begins when the first notice after the last one's end comes.

    More clients than `_CLIENTS_MAX` are not told apart: the counts of all begin anew, and the limit of all
    together stays.
    """

    def __init__(self, per_client: int, per_hour: int) -> None:
        self._per_client = per_client
        self._per_hour = per_hour
        self._begun = -float(HOUR)
        self._total = 0
        self._by_client: Counter[str] = Counter()

    def admit(self, address: str) -> None:
        """Count a try of a client; of IPv6, a network of 64 bits is one client.

        Raises:
            RequestError: it is one too many, or enough notices were taken.
        """
        now = time.monotonic()
        if now >= self._begun + HOUR:
            self._begun, self._total = now, 0
            self._by_client.clear()
        client = client_of(address)
        if self._by_client[client] >= self._per_client:
            raise self._refused("too many notices from this address")
        self._require_room()
        if len(self._by_client) >= _CLIENTS_MAX:
            self._by_client.clear()
        self._by_client[client] += 1

    def count(self) -> None:
        """Count a valid notice: others must not use up the limit of all together.

        Raises:
            RequestError: it is one too many.
        """
        self._require_room()
        self._total += 1

    def _require_room(self) -> None:
        if self._total >= self._per_hour:
            raise self._refused("too many notices are coming in")

    def _refused(self, reason: str) -> RequestError:
        left = max(1, int(self._begun + HOUR - time.monotonic()))
        return RequestError(ErrorCode.RATE_LIMITED, reason, left)
