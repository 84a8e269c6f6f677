"""The adapter for services with hashscan's own interface; see `matching_service_api`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from urllib.parse import quote

from hashscan.lists.services.adapter import UNMAPPED, AskedDigest, MatchingService, ServiceMatch
from hashscan.matching_service_api import (
    CHANGES,
    CHECK,
    FEEDBACK,
    INFO,
    Changes,
    CheckAnswer,
    FeedbackRequest,
    FilterAddress,
    Info,
    request_of,
)
from hashscan.model import ALGORITHMS, CATEGORIES, KNOWN_GOOD_CATEGORY, LISTED_CATEGORY
from hashscan.schema import encode_json

_ACCUSING = frozenset(CATEGORIES) - {KNOWN_GOOD_CATEGORY}


class HashscanService(MatchingService):
    """A server that speaks hashscan's own interface."""

    name = "hashscan"
    algorithms = frozenset(name for name, algorithm in ALGORITHMS.items() if algorithm.matched)
    digests_max = 400
    per_request = 400
    key = "token"
    sends_idempotency_keys = True
    takes_feedback = True
    sends = (
        "the digests of up to 400 contents' bytes and pictures in a request, in no order that means "
        "anything; if the service names a filter, those of bytes only as far as it lets them through"
    )

    @cached_property
    def _info(self) -> Info:
        return self._ask(Info, "GET", INFO)

    def limits(self) -> tuple[int, frozenset[str]]:
        """Return what the service itself says of its limits."""
        return min(self.digests_max, self._info.digests_max), self.algorithms & set(self._info.algorithms)

    def version(self) -> str:
        """Return the version of the service's list."""
        return self._info.version

    def filter(self) -> FilterAddress | None:
        """Return where the filter of the service's list is."""
        return self._info.filter

    def changes(self, since: str) -> Changes:
        """Return which answers may have changed since a version."""
        return self._ask(Changes, "GET", f"{CHANGES}?since={quote(since, safe='')}")

    def check(self, digests: Sequence[AskedDigest]) -> Iterator[ServiceMatch]:
        """Ask about all digests in one request."""
        body = encode_json(request_of(digests))
        for match in self._ask(CheckAnswer, "POST", CHECK, body).matches:
            category = match.category if match.category in _ACCUSING else self._category_of(match.category)
            if match.category == LISTED_CATEGORY and not (
                match.acting
                and match.digest < len(digests)
                and ALGORITHMS[digests[match.digest].algorithm].metric == "exact"
            ):
                # The entry may be of a category for review, whatever the settings map such answers to.
                category = UNMAPPED
            elif match.category == LISTED_CATEGORY:
                category = self._categories.get(LISTED_CATEGORY, LISTED_CATEGORY)
            yield ServiceMatch(match.digest, match.entry, category or UNMAPPED, match.distance)

    def submit_feedback(self, entry: str, *, wrong: bool, reason: str, hoster: str) -> None:
        """Send what the operator says of an entry."""
        request = FeedbackRequest(entry, "wrong" if wrong else "right", reason, hoster)
        self._send("POST", FEEDBACK, encode_json(request))
