"""Define the interface of hashscan's own matching service: the paths, requests and answers, as JSON.

The client in `matching.remote` and every server use these types, so that both sides read the same document
in the same way. A client sends digests and nothing else: no names, paths, sizes or times.

GET  v1/info               Info
POST v1/check              CheckRequest, answered by CheckAnswer
GET  v1/changes?since=V    Changes of the list since its version V
POST v1/feedback           FeedbackRequest; the body of the answer is not read

Requests carry `Authorization: Bearer KEY`. A server that wants fewer requests answers 429 or 503, with
`Retry-After` if it names a time. A client sends a POST again with the same `Idempotency-Key`, so that a
server that counts requests counts it once. Any other status than 200 refuses the request for good.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from msgspec import Meta, Struct

from hashscan.model import ALGORITHMS, ENTRY_ID_MAX
from hashscan.schema import Count, Text

INFO, CHECK, CHANGES, FEEDBACK = "v1/info", "v1/check", "v1/changes", "v1/feedback"
"""The paths, below the service's address."""

DIGESTS_MAX = 10_000
"""Largest number of digests that a server may accept in one request."""

Version = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"\A[A-Za-z0-9._:-]+\Z")]
"""A version of the service's list; any other text is another version."""
EntryId = Annotated[str, Meta(min_length=1, max_length=ENTRY_ID_MAX, pattern=r"\A[!-~]+\Z")]
Prefix = Annotated[str, Meta(min_length=4, max_length=4, pattern=r"\A[0-9a-f]{4}\Z")]


class FilterAddress(Struct, frozen=True):
    """A filter of the service's list, by which clients know most digests that needn't be asked.

    It is in a repository as `hashscan publish filter` makes it.
    """

    url: Text
    """Address of the repository: https, or below the service's own address."""
    root: Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
    """SHA-256 of its first root."""
    version: Version
    """The version of the filter that belongs to the list as it is now; no other is used."""


class Info(Struct, frozen=True):
    """The service's description."""

    version: Version
    algorithms: list[Text]
    """Names as in `model.ALGORITHMS`; those that the client does not know are not asked for."""
    digests_max: Annotated[int, Meta(ge=1, le=DIGESTS_MAX)]
    """Most digests in one request."""
    filter: FilterAddress | None = None
    """None for a service that publishes no filter."""


class DigestFields(Struct, frozen=True):
    """One digest."""

    algorithm: Text
    value: Text
    """In hexadecimal, lower case."""

    def __post_init__(self) -> None:
        known = ALGORITHMS.get(self.algorithm)
        if known is None or len(self.value) != 2 * known.size or self.value != self.value.lower():
            raise ValueError("not a digest of a known algorithm")
        bytes.fromhex(self.value)


class CheckRequest(Struct, frozen=True):
    """Digests to compare with the service's list."""

    digests: list[DigestFields]


class CheckMatch(Struct, frozen=True):
    """An entry of the service's list that one of the digests matches."""

    digest: Count
    """Index of the digest in the request."""
    entry: EntryId
    category: Text
    """One of `model.CATEGORIES`; any other is for review only."""
    distance: Count = 0
    """Bits in which a perceptual digest differs from the entry; of PhotoDNA, the squared distance."""
    acting: bool = False
    """True if an exact digest equals an entry of an acting category. It counts only where the category is
    `listed`, since the key may see no other: without it, such an answer is for review."""


class CheckAnswer(Struct, frozen=True):
    """All matches of a request's digests."""

    version: Version
    """The version of the list that was compared."""
    matches: list[CheckMatch]


class Changes(Struct, frozen=True):
    """The digests whose answers may have changed since a version of the list.

    It says as little of the list as is needed to ask again only what may be affected.
    """

    version: Version
    everything: bool = False
    """True if every digest must be asked again, such as for a version that the server no longer knows."""
    algorithms: list[Text] = []
    """Algorithms of which every digest must be asked again, such as perceptual ones with new entries."""
    prefixes: dict[str, list[Prefix]] = {}
    """By algorithm, the first four hexadecimal digits of the digests that must be asked again."""
    entries: list[EntryId] = []
    """Entries that were withdrawn or changed: digests that matched one of them must be asked again."""


class FeedbackRequest(Struct, frozen=True):
    """A hoster's opinion on an entry; the last one that a key's owner sends of an entry counts."""

    entry: EntryId
    opinion: Literal["wrong", "right"]
    reason: Annotated[str, Meta(max_length=500)]
    hoster: Annotated[str, Meta(max_length=200)] = ""
    """Name of the hoster's organisation."""


def request_of(digests: Sequence[tuple[str, bytes]]) -> CheckRequest:
    """Return the request for digests, given by algorithm and value."""
    return CheckRequest([DigestFields(algorithm, value.hex()) for algorithm, value in digests])
