"""Define the base class of adapters: how one kind of matching service is asked, and what its answers mean.

An adapter is one class and one row in the registry. It builds requests from digests, and turns answers into
matches; connections, retries, rate limits and credentials are those of `matching.remote`.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from math import inf
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, TypeVar

from hashscan.matching_service_api import Changes, FilterAddress
from hashscan.model import ACTING_CATEGORIES, ALGORITHMS, CATEGORIES, ENTRY_ID_MAX
from hashscan.schema import decode_json, validated

T = TypeVar("T")

ENTRIES_MAX = 100
"""Most entries of a service that are kept for one digest."""
UNMAPPED = "other"
"""Category of an answer whose class has no other; it is for review only."""
NO_SINGLE_ENTRY = "*"
"""Beginning of the id in a match for which the service names no entry, but many or none. Such an id can't be
excepted, since that would silence all of them."""
_ENTRY = re.compile(rf"[!-~]{{1,{ENTRY_ID_MAX}}}")


class AskedDigest(NamedTuple):
    """A digest of a content."""

    algorithm: str
    value: bytes


class ServiceMatch(NamedTuple):
    """One entry that the service names for one of the digests."""

    digest: int
    """Index of the digest among those asked."""
    entry: str
    """The entry's id: printable ASCII, at most 64 characters; see `NO_SINGLE_ENTRY`."""
    category: str
    """One of `model.CATEGORIES`."""
    distance: int | None = 0
    """Bits in which the digest differs from the entry; None where the service does not say."""


class Sender(Protocol):
    """Sends requests to one service, and returns the bodies of its answers."""

    def __call__(self, method: str, path: str, body: bytes | None = None, /) -> bytes:
        """Return the body of an answer with status 200.

        Args:
            path: below the service's address, with its query.
            body: a JSON document; None for a request without one.
        """


class MatchingService(ABC):
    """The adapter for one kind of service; one instance is used by several threads."""

    name: ClassVar[str]
    algorithms: ClassVar[frozenset[str]]
    """Algorithms that the service may take."""
    digests_max: ClassVar[int]
    """Most digests that `check` takes at once."""
    per_request: ClassVar[int]
    """Most digests in one request."""
    key: ClassVar[Literal["token", "login"]]
    """The first line of the key file: a token, or USER:PASSWORD."""
    key_header: ClassVar[str] = "Authorization"
    """Header of the key: a bearer token or basic authorization, or the bare token in any other header."""
    needs_key: ClassVar[bool] = True
    categories: ClassVar[Mapping[str, str]] = {}
    """Category of each class that the service names; the list's settings may name others."""
    sends_idempotency_keys: ClassVar[bool] = False
    """True if each request with a document has a random `Idempotency-Key`, the same when it is sent again."""
    takes_feedback: ClassVar[bool] = False
    """True if `submit_feedback` sends opinions to the service."""
    sends: ClassVar[str]
    """The content of requests, as text for people."""

    def __init__(self, send: Sender, categories: Mapping[str, str]) -> None:
        """Use a service.

        Args:
            categories: categories by class, in addition to those of the adapter.
        """
        self._send = send
        self._categories = {**self.categories, **categories}

    @abstractmethod
    def check(self, digests: Sequence[AskedDigest]) -> Iterable[ServiceMatch]:
        """Ask about digests, at most `digests_max`, and return all matches.

        Raises:
            ValueError: the answer is not valid.
        """

    def limits(self) -> tuple[int, frozenset[str]]:
        """Return how many digests `check` takes at once, and the algorithms that the service takes now."""
        return self.digests_max, self.algorithms

    def version(self) -> str:
        """Return the version of the service's list; empty where the service has none."""
        return ""

    def changes(self, since: str) -> Changes:
        """Return which answers may have changed since a version of the service's list."""
        return Changes(self.version(), everything=True)

    def filter(self) -> FilterAddress | None:
        """Return where a filter of the service's list is; None if there is none."""
        return None

    def submit_feedback(self, entry: str, *, wrong: bool, reason: str, hoster: str) -> None:
        """Send what this machine's operator says of an entry; only where `takes_feedback` is true.

        Args:
            wrong: True to say that the entry is wrong, False to confirm it.
            hoster: name of the operator's organisation; empty if it is not to be named.
        """
        raise NotImplementedError

    def _ask(self, shape: type[T], method: str, path: str, body: bytes | None = None) -> T:
        """Return the answer to a request as an object of this type."""
        return validated(decode_json(self._send(method, path, body)), shape)

    def _category_of(self, name: str) -> str:
        return self._categories.get(name, UNMAPPED)


def checked_matches(matches: Iterable[Any], digests: Sequence[AskedDigest]) -> tuple[ServiceMatch, ...]:
    """Return an adapter's matches after checking them: each is for a digest that was asked.

    Of each digest, at most `ENTRIES_MAX` are returned: those that may act first, and then the closest. All
    are stored, so an answer that names a million would fill the disk.

    Raises:
        ValueError: one is not valid.
    """
    found: dict[int, list[ServiceMatch]] = {}
    for match in matches:
        if not 0 <= match.digest < len(digests):
            raise ValueError("it names a digest that was not asked")
        if not _ENTRY.fullmatch(match.entry):
            raise ValueError("it names an entry by an id that no entry can have")
        if match.category not in CATEGORIES:
            raise ValueError("it names a category that does not exist")
        algorithm = ALGORITHMS[digests[match.digest].algorithm]
        farthest = 0 if algorithm.metric == "exact" else algorithm.farthest // 2
        if match.distance is not None and not 0 <= match.distance <= farthest:
            raise ValueError("it names a distance at which nothing matches")
        of_digest = found.setdefault(match.digest, [])
        of_digest.append(match)
        if len(of_digest) > 2 * ENTRIES_MAX:
            found[match.digest] = _foremost(of_digest)
    return tuple(match for of_digest in found.values() for match in _foremost(of_digest))


def _foremost(matches: list[ServiceMatch]) -> list[ServiceMatch]:
    return sorted(set(matches), key=_rank)[:ENTRIES_MAX]


def _rank(match: ServiceMatch) -> tuple[bool, float, str]:
    distance = inf if match.distance is None else match.distance
    return match.category not in ACTING_CATEGORIES, distance, match.entry
