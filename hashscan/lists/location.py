"""The form in which the source of a signed list is given and kept."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from hashscan.errors import UsageError

WEB = ("https://", "http://")
"""How a source on a web server begins; any other is a folder."""


def checked_location(source: str) -> str:
    """A source in the form it is kept: a web address with a slash at its end, or an absolute path.

    Raises:
        UsageError: it is neither.
    """
    advice = "Give an https address or a folder, with metadata/ and targets/ in it."
    if not source:
        raise UsageError("the list has no address", advice=advice)
    if "://" not in source:
        return _existing_folder(Path(source), advice)
    try:
        address = urlsplit(source)
        port = address.port
    except ValueError as error:
        raise UsageError(f"{source!r} is no address: {error}", advice=advice) from error
    if address.scheme == "file" and address.netloc in {"", "localhost"}:
        return _existing_folder(Path(unquote(address.path)), advice)
    if not f"{address.scheme}://".startswith(WEB) or not address.hostname or port == 0:
        raise UsageError(f"lists can't be pulled from {source!r}", advice=advice)
    if (
        address.username is not None
        or address.query
        or address.fragment
        or not source.isprintable()
        or " " in source
    ):
        raise UsageError(
            "the address of a list can't hold a user, a question mark, a hash sign or spaces", advice=advice
        )
    return source if source.endswith("/") else f"{source}/"


def _existing_folder(folder: Path, advice: str) -> str:
    if not folder.is_dir():
        raise UsageError(f"there is no folder {str(folder)!r}", advice=advice)
    return str(folder.absolute())
