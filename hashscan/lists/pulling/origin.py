"""The origin of a signed list, as it is stored with the list, and the results of its pulls."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from hashscan.atomic_files import replace_file
from hashscan.errors import HashscanError, UsageError
from hashscan.schema import InvalidDocumentError, decode_file, encode_file
from hashscan.secret_files import CredentialSources, read_credentials
from hashscan.timefmt import utc_now
from hashscan.web_address import parse
from hashscan.web_connection import WEB, checked_location, checked_proxy, is_loopback, tls_context


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
    credentials: CredentialSources = CredentialSources()

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
    absolute = {
        name: str(Path(value).absolute()) if value and not name.endswith("_variable") else value
        for name, value in asdict(credentials or CredentialSources()).items()
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
    # Variables may not be set yet.
    read_credentials(replace(origin.credentials, token_variable=None, login_variable=None), {})
    tls_context(origin.ca_file, origin.credentials.certificate, origin.credentials.key)
    return origin


def write_origin(path: Path, origin: Origin) -> None:
    """Store an origin; of credentials only their places are stored."""
    replace_file(path, encode_file(origin))


def read_origin(path: Path) -> Origin:
    """Read a stored origin."""
    try:
        return decode_file(path.read_bytes(), Origin)
    except UsageError as error:
        raise InvalidDocumentError(str(error)) from error


@dataclass(frozen=True, slots=True)
class PullRecord:
    """Times and results of pulls; times are RFC 3339."""

    succeeded: str | None = None
    """Time of the last pull that completed, with or without anything new."""
    tried: str | None = None
    error: str | None = None
    """Error of the last attempt; None if it succeeded."""
    problems: tuple[str, ...] = ()
    """Errors of the sources that the last attempt skipped."""


@contextmanager
def recorded(path: Path) -> Iterator[list[str]]:
    """Record at `path` how the body ended; yield the list of problems, which the body fills."""
    now = utc_now()
    problems: list[str] = []
    try:
        yield problems
    except (HashscanError, OSError) as error:
        # If the disk is full the record can't be written either; the error itself says enough.
        with suppress(OSError):
            failed = replace(read_attempts(path), tried=now, error=str(error), problems=())
            replace_file(path, encode_file(failed))
        raise
    replace_file(path, encode_file(PullRecord(now, now, None, tuple(problems))))


def read_attempts(path: Path) -> PullRecord:
    """Read the record; return an empty one if it is missing or not valid, since nothing depends on it."""
    try:
        return decode_file(path.read_bytes(), PullRecord)
    except (FileNotFoundError, InvalidDocumentError):
        return PullRecord()


_VALIDATOR = re.compile(r"[\x20-\x7e]{1,256}")
_HEADERS = {"ETag": "If-None-Match", "Last-Modified": "If-Modified-Since"}
"""Each validator header and the request header that returns it."""


@dataclass(frozen=True, slots=True)
class _StoredValidators:
    timestamps: dict[str, dict[str, Annotated[str, Meta(pattern=rf"\A{_VALIDATOR.pattern}\Z")]]]


class Validators:
    """The validators of a list's timestamps, by address.

    If a server has nothing newer, it answers without content, and the timestamp stored here is used as its
    answer. So a server can only cause the present state to be kept, and its expiry is checked as always.
    """

    def __init__(self, path: Path, timestamp: Path) -> None:
        """Use the file at `path`, which need not exist and is ignored if it is not understood. `timestamp` is
        the file of the timestamp that tuf's client accepted last."""
        self._path = path
        self.timestamp = _bytes(timestamp)
        """The answer of a server that has nothing newer."""
        try:
            self._kept = decode_file(_bytes(path), _StoredValidators).timestamps
        except InvalidDocumentError:
            # A full request costs only a kilobyte.
            self._kept = {}
        self._before = dict(self._kept)

    def conditions(self, url: str) -> dict[str, str]:
        """Return headers that request only a newer timestamp; empty if none is stored to compare with."""
        kept = self._kept.get(url)
        if not kept or kept.get("sha256") != _digest(self.timestamp):
            return {}
        return {asked: kept[said] for said, asked in _HEADERS.items() if said in kept}

    def note(self, url: str, headers: Mapping[str, str], timestamp: bytes) -> None:
        """Store the validators that a server sent with a timestamp."""
        said = {name: headers.get(name, "") for name in _HEADERS}
        usable = {name: value for name, value in said.items() if _VALIDATOR.fullmatch(value)}
        self._kept[url] = {**usable, "sha256": _digest(timestamp)}

    def save(self) -> None:
        """Write new validators to the file."""
        if self._kept != self._before:
            replace_file(self._path, encode_file(_StoredValidators(self._kept)))


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _bytes(path: Path) -> bytes:
    """Return the content of a file; empty if it does not exist."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
