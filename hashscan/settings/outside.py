"""Read what may be fetched from the outside: own networks, and the mandate for others (table `[outside]`)."""

from __future__ import annotations

import ipaddress
from datetime import UTC, date, datetime, timedelta

from msgspec import Struct

from hashscan.errors import UsageError
from hashscan.settings.legal_basis import last_day, printable_text
from hashscan.settings.table_rows import InvalidValueError, Reader, read_each, read_row
from hashscan.web_connection import checked_proxy

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Mandate(Struct, frozen=True):
    """A permission to fetch the content of URLs in networks of others."""

    by: str
    """The authority that has given it."""
    legal_basis: str
    until: date
    """The last day (UTC) on which it applies."""

    def holds(self, now: float) -> bool:
        """Return True if it applies at `now` (seconds since 1970)."""
        end = self.until + timedelta(days=1)
        return now < datetime(end.year, end.month, end.day, tzinfo=UTC).timestamp()


class OutsideSettings(Struct, frozen=True):
    """The networks whose content may be fetched, and how."""

    own_networks: tuple[Network, ...] = ()
    """Networks of the operator; also private ones, which are refused otherwise."""
    mandate: Mandate | None = None
    proxy: str | None = None
    """Address of an HTTP proxy, which must refuse private addresses itself."""


def outside_of(table: object, source: str) -> OutsideSettings:
    """Return the settings from the table of a settings file.

    Raises:
        UsageError: it can't be used; names the key and what to do.
    """
    if not isinstance(table, dict):
        raise UsageError(f"{source}: `outside` is no table", advice="Begin it with a line [outside].")
    where = f"{source}, [outside]"
    found = read_row(table, _READERS, where)
    words = {
        key: found[f"mandate_{key}"] for key in ("by", "legal_basis", "until") if f"mandate_{key}" in found
    }
    if words and len(words) < 3:
        raise UsageError(
            f"{where}: a mandate says who has given it, its legal basis and until when it applies",
            advice="Write mandate_by, mandate_legal_basis and mandate_until, or none of them.",
        )
    return OutsideSettings(
        found.get("own_networks", ()), Mandate(**words) if words else None, found.get("proxy")
    )


def _network(value: object) -> Network:
    try:
        if isinstance(value, str):
            return ipaddress.ip_network(value)
    except ValueError:
        pass
    raise InvalidValueError(f"{value!r} is no network", "Write one such as 198.51.100.0/24.")


def _proxy(value: object) -> str:
    return checked_proxy(printable_text(value))


_READERS: dict[str, Reader] = {
    "own_networks": lambda value: read_each(value, _network),
    "proxy": _proxy,
    "mandate_by": printable_text,
    "mandate_legal_basis": printable_text,
    "mandate_until": last_day,
}
KEYS = tuple(_READERS)
