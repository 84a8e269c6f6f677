"""The origin of a signed list: source, mirrors, proxy and credential places, as stored with the list."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from hashscan.errors import UsageError
from hashscan.lists.durable import replace_file
from hashscan.lists.pulling.credentials import CredentialSources, check_files
from hashscan.lists.pulling.location import WEB, checked_location, checked_proxy, endpoint, is_loopback
from hashscan.lists.pulling.tls import tls_context

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
        return frozenset(endpoint(location) for location in self.locations if location.startswith(WEB))


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
