"""The settings of a matching service, which is stored like a list.

The path of the key's file is stored, not the key. The key is read for each scan, and never written or shown.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from hashscan.atomic_files import replace_file
from hashscan.errors import UsageError
from hashscan.lists.services.adapter import MatchingService
from hashscan.model import CATEGORIES, KNOWN_GOOD_CATEGORY
from hashscan.schema import decode_file, encode_file, encode_json
from hashscan.secret_files import Credentials, CredentialSources, read_credentials
from hashscan.web_address import parse
from hashscan.web_connection import (
    WEB,
    checked_location,
    checked_proxy,
    is_loopback,
    tls_context,
)

DEFAULT_ALGORITHMS = ("sha256", "sha1", "md5", "pdq")
ASK_AGAIN = 30 * 86_400.0
"""Seconds after which an answer is asked for again."""
IN_FLIGHT = 4
"""Requests under way at the same time."""
PATIENCE = 60.0
"""Seconds without any answer after which a scan no longer waits for the service."""


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """The address of a service, and how it is asked."""

    url: str
    """With a slash at its end."""
    adapter: str
    key_file: str | None = None
    algorithms: tuple[str, ...] = DEFAULT_ALGORITHMS
    variants: bool = False
    """True to ask about all variants of a picture, not only the picture as it is stored."""
    acts: bool = False
    """True if an answer makes a match; else it is for review."""
    categories: Mapping[str, str] = field(default_factory=dict)
    ask_again: float = ASK_AGAIN
    in_flight: int = IN_FLIGHT
    rate: float | None = None
    """Most requests in a second; None for no limit but the service's own."""
    patience: float = PATIENCE
    proxy: str | None = None
    ca_file: str | None = None
    demanded: bool = False
    """True if the operator has chosen the algorithms; else the service may leave some out from the start."""

    @property
    def host(self) -> str:
        """The host of the service."""
        return parse(self.url.encode()).endpoint[1]

    @property
    def fingerprint(self) -> str:
        """64 hex digits that differ where the same file may get another answer, or another verdict by it."""
        asked = [self.url, self.adapter, sorted(self.algorithms), self.variants, self.demanded]
        counted = [self.acts, sorted(self.categories.items())]
        return hashlib.sha256(encode_json([asked, counted])).hexdigest()


class StoredService(NamedTuple):
    """A matching service that this machine uses as a list."""

    name: str
    identity: str
    """Distinguishes it from another service that gets its name later."""
    settings: ServiceSettings
    folder: Path | None = None
    """The folder of the list, in which a filter is kept; None if there is none."""

    def refused(self, takes: Collection[str], took: Collection[str]) -> tuple[str, ...]:
        """Return the algorithms about which the service is to be asked, and can't be.

        Args:
            takes: algorithms that the service takes now.
            took: those that it has ever taken.
        """
        wanted = self.settings.algorithms
        return tuple(
            name for name in wanted if name not in takes and (self.settings.demanded or name in took)
        )


def checked_settings(settings: ServiceSettings, adapter: type[MatchingService]) -> ServiceSettings:
    """Return settings in their stored form.

    Raises:
        UsageError: the address is not valid, a file can't be used, the key would be sent unencrypted, or the
            service takes none of the algorithms.
    """
    if not settings.url.startswith(WEB):
        raise UsageError(
            "a matching service has a web address", advice="Give its https address, with --service URL."
        )
    # Unlike a default of the class, a choice of the operator must be possible in full.
    asked: Sequence[str] = settings.algorithms
    if asked == DEFAULT_ALGORITHMS:
        asked = [name for name in asked if name in adapter.algorithms]
    if impossible := [name for name in asked if name not in adapter.algorithms]:
        raise UsageError(
            f"the service takes no {' or '.join(impossible)}",
            advice=f"It takes {', '.join(sorted(adapter.algorithms))}.",
        )
    for name in settings.categories.values():
        if name not in CATEGORIES or name == KNOWN_GOOD_CATEGORY:
            raise UsageError(f"{name!r} is no category that an answer can have")
    checked = ServiceSettings(
        checked_location(settings.url),
        settings.adapter,
        _absolute(settings.key_file),
        tuple(asked),
        settings.variants,
        settings.acts,
        dict(settings.categories),
        settings.ask_again,
        settings.in_flight,
        settings.rate,
        settings.patience,
        checked_proxy(settings.proxy) if settings.proxy else None,
        _absolute(settings.ca_file),
        settings.demanded,
    )
    if adapter.needs_key and checked.key_file is None:
        raise UsageError(
            "this service needs a key", advice="Name the file with it: --key-file FILE, mode 600."
        )
    scheme, host, _ = parse(checked.url.encode()).endpoint
    if scheme != "https" and not is_loopback(host):
        raise UsageError(
            f"digests and key would travel to {host} in the clear", advice="Give an https address."
        )
    read_key(checked, adapter)
    tls_context(checked.ca_file)
    return checked


def _absolute(path: str | None) -> str | None:
    return str(Path(path).absolute()) if path else None


def read_key(settings: ServiceSettings, adapter: type[MatchingService]) -> Credentials:
    """Read the key of a service.

    Raises:
        UsageError: the file is missing, accessible to others, or has no usable key.
    """
    login = adapter.key == "login"
    return read_credentials(
        CredentialSources(
            token_file=None if login else settings.key_file, login_file=settings.key_file if login else None
        ),
        {},
    )


def key_headers(settings: ServiceSettings, adapter: type[MatchingService]) -> dict[str, str]:
    """Return the header with the key of a service; none for a service without one.

    Raises:
        UsageError: the file is missing, accessible to others, or has no usable key.
    """
    value = read_key(settings, adapter).authorization
    if value is None:
        return {}
    bare = adapter.key_header != "Authorization" and adapter.key == "token"
    return {adapter.key_header: value.removeprefix("Bearer ") if bare else value}


def write_settings(path: Path, settings: ServiceSettings) -> None:
    """Store settings."""
    replace_file(path, encode_file(settings))


def read_settings(path: Path) -> ServiceSettings:
    """Read stored settings."""
    return decode_file(path.read_bytes(), ServiceSettings)
