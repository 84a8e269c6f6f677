"""Parse and check single values of a notice, which are untrusted."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from datetime import datetime

from hashscan.lists.formats.text import shown
from hashscan.model import ALGORITHMS, CATEGORIES, KNOWN_GOOD_CATEGORY
from hashscan.text import is_printable_line
from hashscan.timefmt import parse_zoned

DIGESTS = ("md5", "sha1", "sha256")
"""Digest algorithms by which notices may name content."""

URL_MAX = 8000
"""Longest URL of a notice in characters."""
_PATH_MAX = 8000
_LINE_MAX = 500
_HOURS_MAX = 8784
_COUNTRY = re.compile(r"[A-Z]{2}", re.ASCII)
_URL = re.compile(r"([a-z][a-z0-9+.-]{0,30})://([^/?#]+)(.*)", re.ASCII | re.IGNORECASE | re.DOTALL)
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_CATEGORIES = {name.casefold(): name for name in CATEGORIES if name != KNOWN_GOOD_CATEGORY}


class FieldError(Exception):
    """An error for an invalid value; its message names the field."""


def url(text: str) -> str:
    """Return a URL with its scheme; restore one that was defanged (`hxxps://example[.]org`).

    Raises:
        FieldError: the text is not a URL.
    """
    text = text.strip()
    found = _URL.fullmatch(text)
    if found is None or not is_printable_line(text, URL_MAX) or " " in text:
        raise FieldError(
            f"{shown(text)} is not a URL: it needs a scheme, no spaces and at most {URL_MAX} characters"
        )
    scheme, host, rest = found.groups()
    if scheme.lower() in ("hxxp", "hxxps"):
        scheme = "http" + scheme[4:].lower()
    return f"{scheme}://{host.replace('[.]', '.').replace('(.)', '.')}{rest}"


def path(text: str) -> bytes:
    """Return an absolute path, or the URL of an object, as bytes.

    Raises:
        FieldError: the text is neither.
    """
    if "\0" in text or not (text.startswith("/") or "://" in text) or len(text) > _PATH_MAX:
        raise FieldError(f"{shown(text)} is not an absolute path")
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise FieldError(f"{shown(text)} is not text") from error


def printable_line(field: str, text: str) -> str:
    """Return a name as one printable line."""
    text = text.strip()
    if not is_printable_line(text, _LINE_MAX):
        raise FieldError(f"{field} {shown(text)} is not a line of at most {_LINE_MAX} printable characters")
    return text


def category(text: str) -> str:
    """Return one of hashscan's categories, from any letter case; empty for empty text.

    Raises:
        FieldError: the text is not a category, or is the known-good one.
    """
    text = text.strip()
    if not text:
        return ""
    try:
        return _CATEGORIES[text.casefold()]
    except KeyError:
        known = ", ".join(_CATEGORIES.values())
        raise FieldError(f"{shown(text)} is not a category; known are {known}") from None


def one_of(field: str, text: str, known: Iterable[str]) -> str:
    """Return a text in lower case that is one of the known values."""
    values, value = tuple(map(str, known)), text.strip().lower()
    if value not in values:
        raise FieldError(f"{field} {shown(text)} is not known; known are {', '.join(values)}")
    return value


def member_state(text: str) -> str:
    """Return two letters of ISO 3166 in upper case."""
    value = text.strip().upper()
    if not _COUNTRY.fullmatch(value):
        raise FieldError(f"member_state {shown(text)} is not two letters, such as NL")
    return value


def hours(text: str) -> float:
    """Return a number of hours, above 0 and at most a year."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= _HOURS_MAX:
        raise FieldError(f"hours {shown(text)} is not a number above 0 and up to {_HOURS_MAX}")
    return value


def time_or_day(field: str, text: str) -> datetime:
    """Parse a time with its zone, or a day, which begins at midnight UTC."""
    text = text.strip()
    found = parse_zoned(f"{text}T00:00:00Z" if _DAY.fullmatch(text) else text)
    if found is None:
        raise FieldError(
            f"{field} {shown(text)} is neither a time with its zone, such as 2026-11-26T09:30:00Z, nor a day"
        )
    return found


def digest(algorithm: str, text: str) -> tuple[str, str]:
    """Return the algorithm and a digest in lower-case hex."""
    value = text.strip().lower()
    if not re.fullmatch(f"[0-9a-f]{{{2 * ALGORITHMS[algorithm].size}}}", value):
        raise FieldError(f"{shown(text)} is not {algorithm} in hex")
    return algorithm, value
