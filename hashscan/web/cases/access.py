"""Admit people to the pages about cases: by the printed address, or by a proxy that names them."""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass
from http import HTTPStatus
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from hashscan.cases.reviews import PERSON_MAX
from hashscan.settings.cases_and_alerts import CaseSettings
from hashscan.settings.service import DoorSettings, TcpAddress, UnixAddress
from hashscan.state_dir import StateDir
from hashscan.text import is_printable_line
from hashscan.web.hosts import cookie_of, is_from_proxy, set_cookie
from hashscan.web.rendering import RefusedError


@dataclass(frozen=True, slots=True)
class CasePagesSettings:
    """All settings of the pages about cases."""

    state: StateDir
    cases: CaseSettings
    address: UnixAddress | TcpAddress
    user: str
    """The person who decides, where no proxy names one."""
    public_url: str = ""
    """Address of the pages as browsers see it, behind a proxy; empty if it is loopback's."""
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    """Addresses of reverse proxies, which alone may connect besides loopback."""
    trust_user_header: str = ""
    """Header in which a trusted proxy names the person; empty for the token."""
    tls: tuple[Path, Path] | None = None

    @property
    def door(self) -> DoorSettings:
        """The settings of the door."""
        return DoorSettings("http", self.address, {}, allow=self.trusted_proxies, connections_max=100)


class Access:
    """Knows the secrets of one run of the pages; they are in memory alone."""

    def __init__(self, settings: CasePagesSettings) -> None:
        self._settings = settings
        self.token = secrets.token_urlsafe(32)
        """The token of the address that is printed."""
        self._cookie_value = secrets.token_urlsafe(32)
        self._key = secrets.token_bytes(32)
        port = settings.address.port if isinstance(settings.address, TcpAddress) else "unix"
        # Browsers send a host's cookies to all of its ports.
        self._cookie = f"hashscan-cases-{port}"

    def enter(self, request: Request) -> Response | None:
        """Return the answer to an address with the token, which sets the cookie; None without a token.

        Raises:
            RefusedError: the token is another one.
        """
        if self._settings.trust_user_header or "token" not in request.query_params:
            return None
        if not _equal(request.query_params["token"], self.token):
            raise RefusedError("This address is of an earlier run. Open the one that was printed last.")
        # Without the token, which would stay in the history.
        answer = RedirectResponse("/", HTTPStatus.SEE_OTHER)
        set_cookie(self._settings, answer, self._cookie, self._cookie_value)
        return answer

    def person(self, request: Request) -> str:
        """Return the name of the person who sends a request.

        Raises:
            RefusedError: nobody may know who that is.
        """
        header = self._settings.trust_user_header
        if not header:
            if not _equal(cookie_of(self._settings, request, self._cookie), self._cookie_value):
                raise RefusedError("Open the address that `hashscan cases serve` has printed.")
            return self._settings.user
        values = request.headers.getlist(header)
        name = values[0].strip() if len(values) == 1 else ""
        if not is_from_proxy(self._settings, request) or not name:
            raise RefusedError("Open these pages through their proxy.")
        if not is_printable_line(name, PERSON_MAX):
            raise RefusedError("The proxy names nobody whose name can be recorded.")
        return name

    def csrf(self, person: str) -> str:
        """Return the token of a person's forms."""
        return hmac.new(self._key, person.encode("utf-8", "replace"), "sha256").hexdigest()


def _equal(given: str, secret: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), secret.encode())
