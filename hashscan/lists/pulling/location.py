"""Checks and normalises addresses: of a list's source, of a proxy."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from hashscan.errors import UsageError

WEB = ("https://", "http://")
"""Prefixes of a source on a web server; any other source is a folder."""


def checked_location(source: str) -> str:
    """Return a source in its stored form: a web address with a slash at its end, or an absolute path.

    Raises:
        UsageError: the source is neither.
    """
    advice = "Give an https address or a folder, with metadata/ and targets/ in it."
    if not source:
        raise UsageError("the list has no address", advice=advice)
    if "://" not in source:
        return _existing_folder(Path(source), advice)
    address = _taken_apart(source, "the address of a list", advice)
    if address.scheme == "file" and address.netloc in {"", "localhost"}:
        return _existing_folder(Path(unquote(address.path)), advice)
    if not f"{address.scheme}://".startswith(WEB) or not address.hostname:
        raise UsageError(f"lists can't be pulled from {source!r}", advice=advice)
    return source if source.endswith("/") else f"{source}/"


def checked_proxy(proxy: str) -> str:
    """Return the address of a proxy for web requests in its normal form.

    Raises:
        UsageError: the address is not a usable proxy.
    """
    advice = "Give it as http://HOST:PORT or https://HOST:PORT."
    address = _taken_apart(proxy, "the address of a proxy", advice)
    if (
        not f"{address.scheme}://".startswith(WEB)
        or not address.hostname
        or address.path not in {"", "/"}
        or not address.netloc.isascii()
    ):
        raise UsageError(f"{proxy!r} is no proxy that can be used", advice=advice)
    return f"{address.scheme}://{address.netloc}"


def endpoint(url: str) -> tuple[str, str, int]:
    """Return scheme, host and port of a web address, which identify the server of a connection.

    Raises:
        ValueError: the text is not a web address.
    """
    address = urlsplit(url)
    if not f"{address.scheme}://".startswith(WEB) or not address.hostname:
        raise ValueError("no web address")
    return address.scheme, address.hostname, address.port or (443 if address.scheme == "https" else 80)


def is_loopback(host: str) -> bool:
    """Return True if a host is this machine, so that no connection to it can be intercepted on a network."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _taken_apart(text: str, what: str, advice: str) -> SplitResult:
    """Split an address into its parts; a user or password in it is refused without repeating it.

    Raises:
        UsageError: the text is not an address, or contains what it must not.
    """
    try:
        address = urlsplit(text)
        port = address.port
    except ValueError as error:
        raise UsageError(f"{what} can't be understood", advice=advice) from error
    if port == 0:
        raise UsageError(f"{what} can't have port 0", advice=advice)
    if "@" in address.netloc or address.query or address.fragment or not text.isprintable() or " " in text:
        raise UsageError(
            f"{what} can't hold a user or password, a question mark, a hash sign or spaces",
            advice=f"{advice} Credentials go into files of their own.",
        )
    return address


def _existing_folder(folder: Path, advice: str) -> str:
    if not folder.is_dir():
        raise UsageError(f"there is no folder {str(folder)!r}", advice=advice)
    return str(folder.absolute())
