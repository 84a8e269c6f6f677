"""Fetches a list's first root, which the administrator knows by its fingerprint."""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import closing

from hashscan.errors import ListTrustError, UnreachableError, UsageError
from hashscan.lists.pulling.credentials import read_credentials
from hashscan.lists.pulling.origin import Origin
from hashscan.lists.repository import METADATA

_NAME = "1.root.json"
_HEX = re.compile(r"[0-9a-f]{64}")


def checked_fingerprint(text: str) -> str:
    """A sha256 as 64 digits, from one that may have colons or spaces between them.

    Raises:
        UsageError: it is none.
    """
    digits = re.sub(r"[:\s]", "", text).lower().removeprefix("sha256")
    if not _HEX.fullmatch(digits):
        raise UsageError(
            "the fingerprint is no sha256 in hexadecimal",
            advice="Ask the list's owner for the sha256 of 1.root.json: 64 digits of 0-9 and a-f.",
        )
    return digits


def fetch_first_root(origin: Origin, fingerprint: str) -> bytes:
    """The first root of a list, when it is the very one that is expected.

    Args:
        origin: asked in the order of its locations.
        fingerprint: sha256 of the file, which came by a way that the administrator trusts.

    Raises:
        UsageError: the fingerprint is none, or credentials can't be read.
        UnreachableError: no location has a root.
        ListTrustError: a root was found, but only others than this one.
    """
    from hashscan.lists.pulling.fetchers import fetcher_for
    from hashscan.lists.pulling.source_errors import source_errors
    from hashscan.lists.trust import LIMITS

    wanted = checked_fingerprint(fingerprint)
    credentials = read_credentials(origin.credentials, os.environ)
    unreachable: list[UnreachableError] = []
    others = []
    for location in origin.locations:
        address, fetcher = fetcher_for(location, origin, credentials, None)
        try:
            with closing(fetcher), source_errors(location, credentials.hidden):
                root = fetcher.download_bytes(f"{address}{METADATA}/{_NAME}", LIMITS.root_max_length)
        except UnreachableError as error:
            unreachable.append(error)
            continue
        found = hashlib.sha256(root).hexdigest()
        if found == wanted:
            return root
        others.append(f"{location} has a root with the fingerprint {found}")
    if others:
        raise ListTrustError(
            f"{'; '.join(others)}; not the one expected",
            advice="Nothing was added. Compare the fingerprint with the list's owner, not with the server.",
        )
    raise UnreachableError("; ".join(map(str, unreachable)), advice=unreachable[0].remedy)
