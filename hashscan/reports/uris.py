"""Addresses of what a record is about, as other programs take them."""

from __future__ import annotations

import re
from urllib.parse import quote, quote_from_bytes

_SEGMENT = "/:@!$&'()*+,;=~"
"""What stands for itself in a path, besides letters, digits and `-._`."""

_SCHEME = re.compile(rb"([a-z][a-z0-9]*)://([^/]*)(.*)", re.DOTALL)
_NO_ESCAPE = re.compile("%(?![0-9A-Fa-f]{2})")


def uri_of(path: bytes) -> str:
    """The URI of a file's path or an object's URL, in ASCII, from which its bytes can be had again.

    Keys of objects may hold anything and are escaped; web addresses are escaped already, and what can't stand
    in one is all that is changed.
    """
    if path.startswith(b"/"):
        return "file://" + quote_from_bytes(path, _SEGMENT)
    found = _SCHEME.fullmatch(path)
    if found is None:
        # Before a colon would be a scheme.
        return quote_from_bytes(path, _SEGMENT.replace(":", ""))
    scheme, host, key = found.groups()
    begin = f"{scheme.decode()}://{quote_from_bytes(host, ':@[]')}"
    if scheme in {b"http", b"https"}:
        return begin + _NO_ESCAPE.sub("%25", quote(key, _SEGMENT + "?%"))
    return begin + quote_from_bytes(key, _SEGMENT)
