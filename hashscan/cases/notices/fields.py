"""Single values of a notice, from the text that a stranger wrote for them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from hashscan.cases.notices.base import Notice
from hashscan.lists.raw_entries import shown
from hashscan.model import ALGORITHMS, CATEGORIES, KNOWN_GOOD_CATEGORY

DIGESTS = ("md5", "sha1", "sha256")
"""What notices may name content by."""

_URL_MAX = 8000
_PATH_MAX = 8000
_WORDS_MAX = 500
_URL = re.compile(r"([a-z][a-z0-9+.-]{0,30})://([^/?#]+)(.*)", re.ASCII | re.IGNORECASE | re.DOTALL)
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_CATEGORIES = {name.casefold(): name for name in CATEGORIES if name != KNOWN_GOOD_CATEGORY}


class FieldError(Exception):
    """A value that can't be meant; its words name the field."""


def url(text: str) -> str:
    """A URL with its scheme; one that was made unclickable (`hxxps://example[.]org`) is mended.

    Raises:
        FieldError: it is none.
    """
    text = text.strip()
    found = _URL.fullmatch(text)
    if found is None or len(text) > _URL_MAX or not text.isprintable() or " " in text:
        raise FieldError(
            f"{shown(text)} is no URL: it needs a scheme, no spaces and at most {_URL_MAX} letters"
        )
    scheme, host, rest = found.groups()
    if scheme.lower() in ("hxxp", "hxxps"):
        scheme = "http" + scheme[4:].lower()
    return f"{scheme}://{host.replace('[.]', '.').replace('(.)', '.')}{rest}"


def path(text: str) -> bytes:
    """An absolute path, or the URL of an object.

    Raises:
        FieldError: it is neither.
    """
    if "\0" in text or not (text.startswith("/") or "://" in text) or len(text) > _PATH_MAX:
        raise FieldError(f"{shown(text)} is no absolute path")
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise FieldError(f"{shown(text)} is no text") from error


def words(field: str, text: str) -> str:
    """A name, in one printable line.

    Raises:
        FieldError: it is too long, or has control characters.
    """
    text = text.strip()
    if len(text) > _WORDS_MAX or not text.isprintable():
        raise FieldError(f"{field} {shown(text)} is no line of at most {_WORDS_MAX} printable letters")
    return text


def category(text: str) -> str:
    """One of hashscan's categories in any case; empty for empty text.

    Raises:
        FieldError: it is none that accuses.
    """
    text = text.strip()
    if not text:
        return ""
    try:
        return _CATEGORIES[text.casefold()]
    except KeyError:
        known = ", ".join(_CATEGORIES.values())
        raise FieldError(f"{shown(text)} is no category; known are {known}") from None


def moment(field: str, text: str) -> datetime:
    """A time with its zone, or a day, which begins in UTC.

    Raises:
        FieldError: it is neither.
    """
    text = text.strip()
    try:
        found = datetime.fromisoformat(text)
        if _DAY.fullmatch(text):
            return found.replace(tzinfo=UTC)
        if found.tzinfo is not None:
            return found.astimezone(UTC)
    except (ValueError, OverflowError):
        pass  # Told below.
    raise FieldError(
        f"{field} {shown(text)} is no time with its zone, such as 2026-11-26T09:30:00Z, and no day"
    )


def digest(algorithm: str, text: str) -> tuple[str, str]:
    """A digest in lower-case hex.

    Raises:
        FieldError: it is none of that algorithm.
    """
    value = text.strip().lower()
    if not re.fullmatch(f"[0-9a-f]{{{2 * ALGORITHMS[algorithm].size}}}", value):
        raise FieldError(f"{shown(text)} is no {algorithm} in hex")
    return algorithm, value


def checked(notice: Notice) -> Notice:
    """The notice, if it names anything.

    Raises:
        FieldError: it has no URL, no path and no digest.
    """
    if not (notice.url or notice.path or notice.digests):
        raise FieldError("there is no URL, no path and no digest")
    return notice
