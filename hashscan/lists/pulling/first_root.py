"""Downloads a list's first root and compares it with a fingerprint that the administrator knows."""

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
    """Return a sha256 as 64 digits; the input may have colons or spaces between them.

    Raises:
        UsageError: the text is not a sha256.
    """
    digits = re.sub(r"[:\s]", "", text).lower().removeprefix("sha256")
    if not _HEX.fullmatch(digits):
        raise UsageError(
            "the fingerprint is no sha256 in hexadecimal",
            advice="Ask the list's owner for the sha256 of 1.root.json: 64 digits of 0-9 and a-f.",
        )
    return digits


def fetch_first_root(origin: Origin, fingerprint: str) -> bytes:
    """Return the first root of a list if its fingerprint is the expected one.

    Args:
        origin: its locations are tried in order.
        fingerprint: sha256 of the file, received by a way that the administrator trusts.

    Raises:
        UsageError: the fingerprint is not valid, or credentials can't be read.
        UnreachableError: no location has a root.
        ListTrustError: roots were found, but none with this fingerprint.
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
