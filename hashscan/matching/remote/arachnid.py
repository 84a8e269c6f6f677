"""The adapter for Arachnid Shield, the service of the Canadian Centre for Child Protection.

Source: `scan_pdq_hashes` in arachnid-shield-sdk 0.2.2 (PyPI). The service answers for each PDQ with a class
and with details of the pictures that it is near to; it names no distance.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from typing import ClassVar

from msgspec import Struct

from hashscan.lists.services.adapter import NO_SINGLE_ENTRY, AskedDigest, MatchingService, ServiceMatch
from hashscan.schema import Text, encode_json

_NOTHING = frozenset({None, "no-known-match"})


class _Detail(Struct):
    sha256_hex: Text = ""


class _Scanned(Struct):
    classification: Text | None = None
    near_match_details: list[_Detail] | _Detail | None = None


class _Answer(Struct):
    scanned_hashes: dict[str, _Scanned | None]


class ArachnidShield(MatchingService):
    """Arachnid Shield, `https://shield.projectarachnid.com/`."""

    name = "arachnid"
    algorithms = frozenset({"pdq"})
    digests_max = 100
    per_request = 100
    key = "login"
    categories: ClassVar = {"csam": "baseline", "test": "test"}
    sends = "up to 100 PDQ in a request, and the user name of the account"

    def check(self, digests: Sequence[AskedDigest]) -> Iterator[ServiceMatch]:
        """Ask about all digests in one request."""
        texts = [base64.b64encode(digest.value).decode("ascii") for digest in digests]
        body = encode_json({"hashes": list(dict.fromkeys(texts))})
        answer = self._ask(_Answer, "POST", "v1/pdq/", body).scanned_hashes
        if missing := set(texts) - answer.keys():
            raise ValueError(f"it leaves out {len(missing)} digests")
        for place, text in enumerate(texts):
            found = answer[text]
            if found is None or found.classification in _NOTHING:
                continue
            details = found.near_match_details
            first = details[0] if isinstance(details, list) and details else details
            entry = first.sha256_hex if isinstance(first, _Detail) else ""
            category = self._category_of(found.classification or "")
            yield ServiceMatch(place, entry or f"{NO_SINGLE_ENTRY}unnamed", category, None)
