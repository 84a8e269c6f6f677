"""The origin of a signed list, as it is stored: addresses, TLS settings, credentials; results of its pulls.

All of it is stored with the list, and the places of credentials. The secrets are read for each pull, and
never written or shown.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import os
import re
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote_to_bytes

from msgspec import Meta

from hashscan.atomic_files import replace_file
from hashscan.errors import HashscanError, UsageError
from hashscan.schema import InvalidDocumentError, decode_file, encode_file
from hashscan.secret_files import read_secret
from hashscan.timefmt import utc_now
from hashscan.web_address import DEFAULT_PORTS, UrlParts, parse, split_url


def tls_context(
    ca_file: str | None, certificate: str | None = None, key: str | None = None
) -> ssl.SSLContext:
    """Return settings for connections: TLS 1.2 or later, with certificate and host name checked.

    Args:
        ca_file: the only trusted authorities; None uses the system's.
        certificate: client certificate, sent to servers that ask for one.
        key: key of the certificate; None if both are in one file.

    Raises:
        UsageError: a file can't be used.
    """
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # ssl.SSLError is an OSError too
        raise UsageError(
            f"{ca_file} holds no certificates that can be used: {error.strerror}",
            advice="Name a PEM file of the authority that certifies the list's server.",
        ) from error
    if certificate:
        try:
            # Otherwise OpenSSL would ask for the password of an encrypted key at the terminal, and cron has
            # none.
            context.load_cert_chain(certificate, key, password=lambda: b"")
        except (OSError, ValueError) as error:
            message = getattr(error, "strerror", None) or str(error)
            raise UsageError(
                f"the client certificate {certificate} can't be used with its key: {message}",
                advice="Name PEM files of a certificate and of its own key, which must not be encrypted.",
            ) from error
    return context


_TOKEN = re.compile(r"[\x21-\x7e]{1,8192}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class CredentialSources:
    """The places of the credentials for one list; None if not used."""

    token_file: str | None = None
    """File whose first line is a bearer token."""
    token_variable: str | None = None
    """Name of the environment variable that contains the token."""
    login_file: str | None = None
    """File whose first line is a user, a colon and a password."""
    login_variable: str | None = None
    certificate: str | None = None
    """PEM file of the client certificate for mutual TLS."""
    key: str | None = None
    """PEM file of the certificate's key, not encrypted; None if it is in the certificate's file."""

    def __post_init__(self) -> None:
        if sum(map(bool, self.authorizations)) > 1:
            raise UsageError(
                "one list can't have two tokens or logins",
                advice="Name one of --token-file, --token-variable, --login-file and --login-variable.",
            )
        if self.key and not self.certificate:
            raise UsageError(
                "there is a key but no certificate", advice="Name --client-certificate with --client-key."
            )
        for name in (self.token_variable, self.login_variable):
            if name and not _VARIABLE.fullmatch(name):
                raise UsageError(
                    "a credential's variable is not named as one",
                    advice="Give the variable's name, never the secret itself.",
                )

    @property
    def authorizations(self) -> tuple[str | None, ...]:
        """The places of the credentials for the Authorization header."""
        return self.token_file, self.token_variable, self.login_file, self.login_variable

    @property
    def any(self) -> bool:
        """True if there are credentials of any kind."""
        return any((*self.authorizations, self.certificate))


@dataclass(frozen=True, slots=True)
class Credentials:
    """The credentials as they were read."""

    authorization: str | None = field(default=None, repr=False)
    """Value of the Authorization header."""
    certificate: str | None = None
    key: str | None = None
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """Texts that must never be shown."""

    def hidden(self, text: str) -> str:
        """Return the text with all secrets masked, in case a server has sent one back."""
        for secret in self.secrets:
            text = text.replace(secret, "***")
        return text


def read_credentials(places: CredentialSources, environ: Mapping[str, str]) -> Credentials:
    """Read the credentials for a pull.

    Raises:
        UsageError: a credential is missing, can't be read, is accessible to others, or is not valid.
    """
    if places.certificate:
        # The file with the key must be private; a certificate alone may be readable by all.
        read_secret(Path(places.key or places.certificate), "the client key")
    authorization: str | None = None
    secrets: tuple[str, ...] = ()
    token = _secret(places.token_file, places.token_variable, environ, "the token")
    if token is not None:
        if not _TOKEN.fullmatch(token):
            raise UsageError(
                "the token is empty or holds characters that no token has",
                advice="Its place must hold the token alone, on the first line.",
            )
        authorization, secrets = f"Bearer {token}", (token,)
    login = _secret(places.login_file, places.login_variable, environ, "the login")
    if login is not None:
        user, _, password = login.partition(":")
        if not user or not password:
            raise UsageError(
                "the login is not a user, a colon and a password",
                advice="Its place must hold USER:PASSWORD, on the first line.",
            )
        encoded = base64.b64encode(login.encode("utf-8", "surrogateescape")).decode("ascii")
        authorization, secrets = f"Basic {encoded}", (encoded, login, password)
    return Credentials(authorization, places.certificate, places.key, secrets)


def _secret(file: str | None, variable: str | None, environ: Mapping[str, str], what: str) -> str | None:
    """Return the first line of a private file, or a variable's value; None if neither is named."""
    if file:
        line = read_secret(Path(file), what).split(b"\n")[0].rstrip(b"\r")
        return line.decode("utf-8", "surrogateescape")
    if variable and not environ.get(variable):
        raise UsageError(
            f"{what} should be in the environment variable {variable}, which is not set",
            advice="Set it for this command, or add the list again with other credentials.",
        )
    return environ[variable] if variable else None


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
    address = _split_checked(source, "the address of a list", advice)
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
    address = _split_checked(proxy, "the address of a proxy", advice)
    if address.scheme not in DEFAULT_PORTS or not address.host or address.path not in {b"", b"/"}:
        raise UsageError(f"{proxy!r} is no proxy that can be used", advice=advice)
    return f"{address.scheme}://{address.host}{'' if address.port is None else f':{address.port}'}"


def is_loopback(host: str) -> bool:
    """Return True if a host is this machine, so that no connection to it can be intercepted on a network."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def environment_proxy(scheme: str, host: str) -> str | None:
    """Return the environment's proxy for a host; None if there is none, and always for this machine."""
    import urllib.request

    if is_loopback(host) or urllib.request.proxy_bypass(host):
        return None
    proxies = urllib.request.getproxies()
    return proxies.get(scheme) or proxies.get("all")


def _split_checked(text: str, what: str, advice: str) -> UrlParts:
    """Split an address into its parts; a user or password in it is refused without repeating it."""
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
