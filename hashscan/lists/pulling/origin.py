"""The origin of a signed list: checked addresses of source, mirrors and proxy, as stored with the list."""

from __future__ import annotations

import ipaddress
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

from hashscan.errors import UsageError
from hashscan.lists.pulling.credentials import CredentialSources, check_files, tls_context
from hashscan.lists.storage.atomic_files import replace_file
from hashscan.web_address import DEFAULT_PORTS, UrlParts, parse, split_url

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
    if address.scheme == "file" and address.host in {"", "localhost"} and address.port is None:
        return _existing_folder(Path(os.fsdecode(unquote_to_bytes(address.path))), advice)
    if address.scheme not in DEFAULT_PORTS or not address.host:
        raise UsageError(f"lists can't be pulled from {source!r}", advice=advice)
    # In lower case, since the scheme decides later how the list is fetched.
    source = address.scheme + source[len(address.scheme) :]
    return source if source.endswith("/") else f"{source}/"


def checked_proxy(proxy: str) -> str:
    """Return the address of a proxy for web requests in its normal form.

    Raises:
        UsageError: the address is not a usable proxy.
    """
    advice = "Give it as http://HOST:PORT or https://HOST:PORT."
    address = _taken_apart(proxy, "the address of a proxy", advice)
    if address.scheme not in DEFAULT_PORTS or not address.host or address.path not in {b"", b"/"}:
        raise UsageError(f"{proxy!r} is no proxy that can be used", advice=advice)
    return f"{address.scheme}://{address.host}{'' if address.port is None else f':{address.port}'}"


def is_loopback(host: str) -> bool:
    """Return True if a host is this machine, so that no connection to it can be intercepted on a network."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _taken_apart(text: str, what: str, advice: str) -> UrlParts:
    """Split an address into its parts; a user or password in it is refused without repeating it.

    Raises:
        UsageError: the text is not an address, or contains what it must not.
    """
    try:
        address = split_url(text.encode("utf-8"))
    except ValueError as error:
        raise UsageError(f"{what} can't be understood", advice=advice) from error
    if address.port == 0:
        raise UsageError(f"{what} can't have port 0", advice=advice)
    if not address.host.isascii():
        raise UsageError(f"{what} must have its host in ASCII, such as xn--...", advice=advice)
    if address.user is not None or address.query or address.fragment or not text.isprintable() or " " in text:
        raise UsageError(
            f"{what} can't hold a user or password, a question mark, a hash sign or spaces",
            advice=f"{advice} Credentials go into files of their own.",
        )
    return address


def _existing_folder(folder: Path, advice: str) -> str:
    if not folder.is_dir():
        raise UsageError(f"there is no folder {str(folder)!r}", advice=advice)
    return str(folder.absolute())


_SCHEMA = 1


class OriginError(Exception):
    """A stored origin can't be read; the message says why."""


@dataclass(frozen=True, slots=True)
class Origin:
    """A list's source, its mirrors, and their connection settings."""

    source: str
    """An address or a folder in the form of `checked_location`."""
    mirrors: tuple[str, ...] = ()
    """Tried in this order if the source, or the mirror before, offers nothing usable."""
    proxy: str | None = None
    """Takes precedence over the environment's proxy; None uses the environment's."""
    ca_file: str | None = None
    """PEM file of the only authorities trusted to certify the servers; None uses the system's."""
    credentials: CredentialSources = CredentialSources()  # noqa: RUF009 - frozen

    @property
    def locations(self) -> tuple[str, ...]:
        """The source and its mirrors."""
        return self.source, *self.mirrors

    @property
    def endpoints(self) -> frozenset[tuple[str, str, int]]:
        """The list's own web servers; credentials are sent to no others."""
        web = (location for location in self.locations if location.startswith(WEB))
        return frozenset(parse(location.encode()).endpoint for location in web)


def checked_origin(
    source: str,
    mirrors: Sequence[str] = (),
    *,
    proxy: str | None = None,
    ca_file: Path | None = None,
    credentials: CredentialSources | None = None,
) -> Origin:
    """Return an origin in its stored form, with absolute paths of all files.

    Raises:
        UsageError: an address is not valid, a file can't be used, or credentials would be sent unencrypted.
    """
    places = credentials or CredentialSources()
    absolute = {
        field.name: str(Path(value).absolute()) if value and not field.name.endswith("_variable") else value
        for field in fields(places)
        for value in [getattr(places, field.name)]
    }
    origin = Origin(
        checked_location(source),
        tuple(checked_location(mirror) for mirror in mirrors),
        checked_proxy(proxy) if proxy else None,
        str(ca_file.absolute()) if ca_file else None,
        CredentialSources(**absolute),
    )
    if len(set(origin.locations)) < len(origin.locations):
        raise UsageError("one address of the list is named twice", advice="Name each mirror once.")
    if origin.credentials.any:
        for scheme, host, _ in origin.endpoints:
            if scheme != "https" and not is_loopback(host):
                raise UsageError(
                    f"credentials would travel to {host} in the clear",
                    advice="Give https addresses for the list and its mirrors.",
                )
    check_files(origin.credentials)
    tls_context(origin.ca_file, origin.credentials.certificate, origin.credentials.key)
    return origin


def write_origin(path: Path, origin: Origin) -> None:
    """Store an origin; of credentials only their places are stored.

    Raises:
        OSError: the file can't be written.
    """
    replace_file(path, json.dumps({"schema": _SCHEMA, **asdict(origin)}, indent=1).encode())


def read_origin(path: Path) -> Origin:
    """Read a stored origin.

    Raises:
        OriginError: the file is not understood.
        OSError: the file can't be read.
    """
    try:
        document = json.loads(path.read_bytes())
    except ValueError as error:
        raise OriginError("it is not JSON") from error
    if not isinstance(document, dict) or document.get("schema") != _SCHEMA:
        raise OriginError("it was written by another version")
    try:
        return _origin(document)
    except (AttributeError, KeyError, TypeError, UsageError) as error:
        raise OriginError("it is damaged") from error


def _origin(document: dict[str, Any]) -> Origin:
    source, mirrors = document["source"], document["mirrors"]
    optional = [document["proxy"], document["ca_file"], *document["credentials"].values()]
    if not all(isinstance(text, str) for text in (source, *mirrors)) or not all(
        text is None or isinstance(text, str) for text in optional
    ):
        raise TypeError("addresses and files are text")
    return Origin(
        source,
        tuple(mirrors),
        document["proxy"],
        document["ca_file"],
        CredentialSources(**document["credentials"]),
    )
