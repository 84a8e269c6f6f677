"""Checksums that stores keep of their objects: in which form they state them, and those that are CRCs.

A checksum shows that bytes have changed in the store's memory, on its disks or on the way. It does not show
that the store is honest: whoever can change an object there can change its checksum, too.
"""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from collections.abc import Callable
from functools import cache

from hashscan.sources.base import StoredChecksum

Extend = Callable[[int, bytes], int]
"""Returns the CRC of bytes that follow those of another CRC."""

_LENGTHS = {"md5": 16, "sha1": 20, "sha256": 32, "crc32": 4, "crc32c": 4}
_MD5 = re.compile(r"[0-9a-f]{32}", re.IGNORECASE)


@cache
def extend_of(algorithm: str) -> Extend | None:
    """Return the function that computes a CRC; None for other algorithms, and without its library."""
    if algorithm == "crc32c":
        try:
            import google_crc32c
        except ImportError:
            return None
        # Its form in Python would take longer than all digests.
        return google_crc32c.extend if google_crc32c.implementation == "c" else None
    return (lambda before, content: zlib.crc32(content, before)) if algorithm == "crc32" else None


def in_base64(algorithm: str, text: str) -> str:
    """Return a checksum in the form of `Item.checksum`; empty if it is malformed, or of an object's parts."""
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return ""
    return f"{algorithm}:{content.hex()}" if len(content) == _LENGTHS.get(algorithm) else ""


def parse_checksum(text: str) -> StoredChecksum | None:
    """Return the checksum that `Item.checksum` states; None if it states none."""
    algorithm, _, digits = text.partition(":")
    return StoredChecksum(algorithm, bytes.fromhex(digits)) if digits else None


def checksum_of_etag(etag: str) -> StoredChecksum | None:
    """Return the MD5 that an ETag of S3 is, if the object was not stored in parts, or by keys of KMS."""
    digits = etag.strip('"')
    return StoredChecksum("md5", bytes.fromhex(digits), from_etag=True) if _MD5.fullmatch(digits) else None
