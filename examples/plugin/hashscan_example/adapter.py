"""An adapter for a matching service whose interface only its members see: a worked example.

Hotlines and vendors hand the description of their interface to members alone, so hashscan can't bring an
adapter for them. A member writes one, and keeps it in a package like this. The service here, `Example Hash
Check`, does not exist; its interface has what such interfaces usually have:

    GET  v2/status           {"listVersion": "7", "maxHashes": 50}
    POST v2/matches          {"hashes": [{"ref": "0", "type": "PDQ", "hash": "f00f..."}]}
      answered by            {"results": [{"ref": "0", "status": "OK", "matches":
                               [{"id": "4711", "class": "CAT-1", "distance": 12}]}]}
    PUT  v2/entries/ID/vote  {"vote": "down", "comment": "a logo", "from": "Example Hosting"}

The key is sent in the header `X-Member-Key`. Connections, proxies, certificates, the key, retries, pauses,
rate limits and several requests at a time are hashscan's: an adapter builds requests and reads answers.

Five rules, each of which a file could otherwise be hidden behind, or a customer be accused by:

1. Each digest that was asked has an answer of its own, or the whole answer is refused with a `ValueError`. A
   result that is missing must not pass for "nothing found".
2. A digest for which the service reports an error is no "nothing found", either.
3. An answer is read as a struct that lists what must be there; a member that is missing or of another type is
   refused (`_ask`). `checked_matches` checks the matches again: ids, categories, distances.
4. A class without a category in the table is `other`, which is for review only. Take into the table only
   what the service's terms say; the operator of a server can add to it (`lists add --category CLASS=A1`).
5. Digests alone leave: no name, no path, no customer, nothing that counts or orders files. `ref` is the
   place in this request.

Start the adapter's tests with those of this package: `servers.py` has a server that speaks the interface, and
`tests/matching/test_remote_adapters.py` of hashscan runs against it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar
from urllib.parse import quote

from msgspec import Struct

from hashscan.lists.services.adapter import NO_SINGLE_ENTRY, AskedDigest, MatchingService, ServiceMatch
from hashscan.schema import Count, Text, encode_json

_TYPES = {"pdq": "PDQ", "md5": "MD5", "sha1": "SHA1"}
"""The service's names of our algorithms."""


class _Status(Struct):
    """Members that are not named here are ignored, so that the service can add some."""

    listVersion: Text  # noqa: N815 - the service's name
    maxHashes: Count  # noqa: N815


class _Match(Struct, rename={"class_": "class"}):
    class_: Text
    id: Text | None = None
    distance: Count | None = None


class _Result(Struct):
    ref: Text
    status: Text
    matches: list[_Match]


class _Answer(Struct):
    results: list[_Result]


class ExampleHashCheck(MatchingService):
    """The service `Example Hash Check`."""

    name = "example-check"
    algorithms = frozenset(_TYPES)
    """All that the service may take; the list's settings choose among them (`--digests`)."""
    digests_max = 200
    """`check` gets so many at most. Fewer, larger calls cost less than many small ones."""
    per_request = 50
    key = "token"
    """The file of `--key-file` holds one text; `login` stands for USER:PASSWORD."""
    key_header = "X-Member-Key"
    """Without this, the key is sent as `Authorization: Bearer KEY`."""
    categories: ClassVar = {"CAT-1": "baseline", "TEST": "test"}
    takes_feedback = True
    sends = "up to 50 digests in a request, PDQ, md5 and sha1, as JSON in the body"
    """`lists add` and the status show this, and you should repeat it in your documentation."""

    def limits(self) -> tuple[int, frozenset[str]]:
        """Return how many digests `check` takes; asked for once, at the begin of a scan."""
        self.per_request = max(1, min(type(self).per_request, self._status().maxHashes))
        return self.digests_max, self.algorithms

    def version(self) -> str:
        """Return the version of the service's list; when it changes, stored answers are asked for again.

        A service that tells which digests a change affects would have `changes` besides.
        """
        return self._status().listVersion

    def _status(self) -> _Status:
        return self._ask(_Status, "GET", "v2/status")

    def check(self, digests: Sequence[AskedDigest]) -> Iterator[ServiceMatch]:
        """Ask about digests, some in each request, and yield the matches of all."""
        for start in range(0, len(digests), self.per_request):
            yield from self._check(start, digests[start : start + self.per_request])

    def _check(self, start: int, digests: Sequence[AskedDigest]) -> Iterator[ServiceMatch]:
        hashes = [
            {"ref": str(place), "type": _TYPES[digest.algorithm], "hash": digest.value.hex()}
            for place, digest in enumerate(digests)
        ]
        results = self._ask(_Answer, "POST", "v2/matches", encode_json({"hashes": hashes})).results
        by_ref = {result.ref: result for result in results}
        # Rule 1. The order of results is the service's own business.
        if len(results) != len(digests) or by_ref.keys() != {asked["ref"] for asked in hashes}:
            raise ValueError("its results are not those of the digests that were asked")
        for place, digest in enumerate(digests):
            result = by_ref[str(place)]
            if result.status != "OK":  # rule 2
                raise ValueError("it could not compare one of the digests")
            for match in result.matches:
                # Some services name no entry. Such a match can't be excepted by its id, and the id says so.
                entry = match.id or f"{NO_SINGLE_ENTRY}{match.class_}"
                # A service without distances has None; for digests of bytes it is always 0.
                distance = match.distance if digest.algorithm == "pdq" else 0
                yield ServiceMatch(start + place, entry, self._category_of(match.class_), distance)

    def submit_feedback(self, entry: str, *, wrong: bool, reason: str, hoster: str) -> None:
        """Send the operator's opinion on an entry.

        It may be sent twice, so a service must count the last one only. An adapter whose service takes none
        leaves out this method and `takes_feedback`.
        """
        vote = {"vote": "down" if wrong else "up", "comment": reason, "from": hoster}
        self._send("PUT", f"v2/entries/{quote(entry, safe='')}/vote", encode_json(vote))
