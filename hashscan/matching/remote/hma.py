"""The adapter for Hasher-Matcher-Actioner (HMA), Meta's open-source matching service.

`/m/lookup` decides, since only it leaves out content and banks that are disabled. It answers with the banks:
newer versions with the entries and distances in each, older ones with the names alone, so that
`/m/raw_lookup` is asked for the distances besides.

Source: hasher-matcher-actioner/src/OpenMediaMatch/blueprints/matching.py in facebook/ThreatExchange.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlencode

from msgspec import Struct, field

from hashscan.lists.services.adapter import NO_SINGLE_ENTRY, AskedDigest, MatchingService, ServiceMatch
from hashscan.schema import Text, decode_json, validated

_SIGNALS = {"pdq": "pdq", "md5": "video_md5"}
"""HMA's names of the algorithms that it has by default: its md5 is that of a video's bytes."""


class _Found(Struct):
    bank_content_id: int | None = None
    content_id: int | None = field(default=None)
    distance: str | int | float | None = None

    @property
    def entry(self) -> str:
        number = self.bank_content_id if self.bank_content_id is not None else self.content_id
        if number is None:
            raise ValueError("it has a match without an id")
        return str(number)

    @property
    def bits(self) -> int | None:
        text = "" if self.distance is None else str(self.distance)
        return int(text) if text.isascii() and text.isdigit() and len(text) < 4 else None


class _RawLookup(Struct):
    matches: list[_Found]


_ByBank = dict[str, list[_Found]]


class Hma(MatchingService):
    """An installation of HMA."""

    name = "hma"
    algorithms = frozenset(_SIGNALS)
    digests_max = 8
    per_request = 1
    key = "token"
    needs_key = False
    sends = "one PDQ or md5 in the address of each request, where proxies may log it"

    def check(self, digests: Sequence[AskedDigest]) -> Iterator[ServiceMatch]:
        """Ask about each digest in a request of its own."""
        for place, digest in enumerate(digests):
            query = {"signal": digest.value.hex(), "signal_type": _SIGNALS[digest.algorithm]}
            answer: Any = decode_json(self._send("GET", f"m/lookup?{urlencode(query)}"))
            if isinstance(answer, list):
                yield from self._of_banks(place, digest, validated(answer, list[Text]), query)
                continue
            for bank, entries in validated(answer, _ByBank).items():
                for found in entries:
                    yield self._match(place, digest, found.entry, bank, found.bits)

    def _of_banks(
        self, place: int, digest: AskedDigest, banks: list[str], query: dict[str, str]
    ) -> Iterator[ServiceMatch]:
        """Yield a match for each bank, with the smallest distance of all entries, also disabled ones."""
        if not banks:
            return
        asked = urlencode({**query, "include_distance": "true"})
        found = self._ask(_RawLookup, "GET", f"m/raw_lookup?{asked}").matches
        closest = min((f for f in found if f.bits is not None), key=lambda f: f.bits or 0, default=None)
        for bank in banks:
            # It is not known in which bank an entry is, so the bank's name identifies the match.
            yield self._match(place, digest, _id_of(bank), bank, None if closest is None else closest.bits)

    def _match(
        self, place: int, digest: AskedDigest, entry: str, bank: str, bits: int | None
    ) -> ServiceMatch:
        exact = digest.algorithm != "pdq"
        return ServiceMatch(place, entry, self._category_of(bank), 0 if exact else bits)

    def version(self) -> str:
        """Return a digest of the server's text on its indices: when each was built, and how large it is."""
        status: Any = decode_json(self._send("GET", "m/index/status"))
        if not isinstance(status, dict):
            raise ValueError("the status of its indices is none")
        known = {name: status[name] for name in sorted(_SIGNALS.values()) if name in status}
        return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()


def _id_of(bank: str) -> str:
    return NO_SINGLE_ENTRY + "".join(letter if "!" <= letter <= "~" else "_" for letter in bank)[:63]
