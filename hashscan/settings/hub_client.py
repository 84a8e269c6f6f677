"""The settings of a hub's clients: its address, and the key with which this server sends and fetches.

The key is read from its file whenever it is needed, and never written or shown.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path

from hashscan.errors import UsageError
from hashscan.lists.services.settings import ServiceSettings
from hashscan.secret_files import CredentialSources, read_credentials
from hashscan.text import is_printable_line
from hashscan.web_address import parse
from hashscan.web_connection import WEB, checked_location, is_loopback

_NAME_MAX = 255


@dataclass(frozen=True, slots=True)
class HubClientSettings:
    """The hub of this server."""

    url: str
    """With a slash at its end."""
    key_file: Path
    ca_file: Path | None = None
    """The only authorities that are accepted for its certificate (PEM); None for those of the system."""
    named: str = ""
    """Name of this server at the hub; empty for its host name."""

    @property
    def server(self) -> str:
        """The name of this server at the hub."""
        return self.named or socket.gethostname()

    @property
    def host(self) -> str:
        """The host of the hub."""
        return parse(self.url.encode()).endpoint[1]

    @property
    def connection(self) -> ServiceSettings:
        """The settings of its connections."""
        return ServiceSettings(self.url, "hub", ca_file=None if self.ca_file is None else str(self.ca_file))

    def key_headers(self) -> dict[str, str]:
        """Return the header with the key.

        Raises:
            UsageError: the file is missing, accessible to others, or has no usable key.
        """
        value = read_credentials(CredentialSources(token_file=str(self.key_file)), {}).authorization
        assert value is not None
        return {"Authorization": value}


def hub_client_settings(
    url: str, key_file: Path | None, ca_file: Path | None = None, named: str = ""
) -> HubClientSettings:
    """Return the settings of a hub's client, checked.

    Raises:
        UsageError: the address is not valid, the key would be sent unencrypted, or no key is named, or
            the name of this server is not one.
    """
    if not url.startswith(WEB):
        raise UsageError(f"{url!r} is no address of a hub", advice="Give its https address, with --hub URL.")
    checked = checked_location(url)
    scheme, host, _ = parse(checked.encode()).endpoint
    if scheme != "https" and not is_loopback(host):
        raise UsageError(f"the key would travel to {host} in the clear", advice="Give an https address.")
    if key_file is None:
        raise UsageError("the hub needs a key", advice="Name the file with it: --key-file FILE, mode 600.")
    if not is_printable_line(named, _NAME_MAX):
        raise UsageError(f"{named!r} is no name that a server can have", advice="Use its host name.")
    return HubClientSettings(checked, key_file, ca_file, named)
