"""Convert paths and object URLs of records to URIs for other programs."""

from __future__ import annotations

import re
from urllib.parse import quote, quote_from_bytes

_SEGMENT = "/:@!$&'()*+,;=~"
"""Characters that are not escaped in a path, besides letters, digits and `-._`."""

_SCHEME = re.compile(rb"([a-z][a-z0-9]*)://([^/]*)(.*)", re.DOTALL)
_NO_ESCAPE = re.compile("%(?![0-9A-Fa-f]{2})")


def uri_of(path: bytes) -> str:
    """Return the URI of a file's path or an object's URL, in ASCII, from which its bytes can be recovered.

    Keys of objects may contain any bytes and are escaped. Web addresses are escaped already, so only
    characters that are not allowed are changed.
    """
    if path.startswith(b"/"):
        return "file://" + quote_from_bytes(path, _SEGMENT)
    found = _SCHEME.fullmatch(path)
    if found is None:
        # A part before a colon would be taken for a scheme.
        return quote_from_bytes(path, _SEGMENT.replace(":", ""))
    scheme, host, key = found.groups()
    begin = f"{scheme.decode()}://{quote_from_bytes(host, ':@[]')}"
    if scheme in {b"http", b"https"}:
        return begin + _NO_ESCAPE.sub("%25", quote(key, _SEGMENT + "?%"))
    return begin + quote_from_bytes(key, _SEGMENT)
