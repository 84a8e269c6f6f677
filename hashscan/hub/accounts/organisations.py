"""Keep the organisations of a hub: hosters and server groups that ask it, and to which notices are sent."""

from __future__ import annotations

import ipaddress
import re
import time
from collections.abc import Sequence
from typing import Any, Literal

from msgspec import Struct
from sqlalchemy import Connection, Row, delete, insert, select, update

from hashscan.errors import UsageError
from hashscan.hub.accounts.audit import record
from hashscan.hub.storage.tables import ORGANISATIONS, SERVERS
from hashscan.schema import decode_json, encode_json
from hashscan.settings.cases_and_alerts import email_address
from hashscan.text import is_printable_line

NoticesVia = Literal["sync", "mail"]
NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
"""A short name of an organisation, as a label of a host name."""
_COUNTRY = re.compile(r"[A-Z]{2}", re.ASCII)
_TITLE_MAX = 200


class Organisation(Struct, frozen=True):
    """An organisation."""

    id: int
    name: str
    title: str
    country: str
    contacts: tuple[str, ...]
    networks: tuple[str, ...]
    as_numbers: tuple[int, ...]
    via: NoticesVia
    """sync: its servers fetch notices. mail: they are mailed to its contacts."""
    created: int
    closed: int | None

    @property
    def shown(self) -> str:
        """The full name, or the short one where there is none."""
        return self.title or self.name


def _of(row: Row[Any]) -> Organisation:
    values: Any = list(row)
    values[4:7] = [tuple(decode_json(text.encode())) if text else () for text in values[4:7]]
    return Organisation(*values)


def organisations(connection: Connection) -> list[Organisation]:
    """Return all organisations by name."""
    return [_of(row) for row in connection.execute(select(ORGANISATIONS).order_by(ORGANISATIONS.c.name))]


def organisation_named(connection: Connection, name: str) -> Organisation:
    """Return an organisation.

    Raises:
        UsageError: there is none of this name.
    """
    row = connection.execute(select(ORGANISATIONS).where(ORGANISATIONS.c.name == name)).first()
    if row is None:
        raise UsageError(f"there is no organisation {name!r}", advice="See `hashscan hub org list`.")
    return _of(row)


def add_organisation(
    connection: Connection,
    actor: str,
    name: str,
    *,
    title: str = "",
    country: str = "",
    contacts: Sequence[str] = (),
    networks: Sequence[str] = (),
    as_numbers: Sequence[int] = (),
    via: NoticesVia = "sync",
) -> Organisation:
    """Add an organisation.

    Raises:
        UsageError: a value is not valid, or there already is one of this name.
    """
    if not NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is not a name that an organisation can have",
            advice="Use up to 63 lower-case letters, digits and hyphens, such as example-hosting.",
        )
    if connection.execute(select(ORGANISATIONS.c.id).where(ORGANISATIONS.c.name == name)).first():
        raise UsageError(f"there already is an organisation {name}", advice="Choose another name.")
    values = _checked(title, country, contacts, networks, as_numbers, via)
    connection.execute(insert(ORGANISATIONS).values(name=name, created=int(time.time()), **values))
    made = organisation_named(connection, name)
    record(connection, actor, "organisation.add", made.id, {"name": name})
    return made


def change_organisation(connection: Connection, actor: str, name: str, **changed: Any) -> None:
    """Change some of the values that `add_organisation` takes.

    Raises:
        UsageError: a value is not valid, or there is no such organisation.
    """
    found = organisation_named(connection, name)
    names = ("title", "country", "contacts", "networks", "as_numbers", "via")
    kept = {key: getattr(found, key) for key in names}
    values = _checked(**(kept | changed))
    connection.execute(update(ORGANISATIONS).where(ORGANISATIONS.c.id == found.id).values(**values))
    record(connection, actor, "organisation.change", found.id, {"name": name, "changed": sorted(changed)})


def close_organisation(connection: Connection, actor: str, name: str, *, closed: bool = True) -> None:
    """Refuse an organisation's keys and users from now on, or admit them again; its data stays."""
    found = organisation_named(connection, name)
    at = int(time.time()) if closed else None
    connection.execute(update(ORGANISATIONS).where(ORGANISATIONS.c.id == found.id).values(closed=at))
    action = "organisation.close" if closed else "organisation.reopen"
    record(connection, actor, action, found.id, {"name": name})


def delete_organisation(connection: Connection, actor: str, name: str) -> None:
    """Delete an organisation, with its keys, users, counts, servers, cases and notices.

    The lines of the audit log about it stay: they name it, and hold nothing about people's files.
    """
    found = organisation_named(connection, name)
    # A report that comes in has locked its server first; otherwise each would wait for the other.
    servers = select(SERVERS.c.id).where(SERVERS.c.organisation == found.id)
    connection.execute(servers.order_by(SERVERS.c.id).with_for_update()).all()
    connection.execute(delete(ORGANISATIONS).where(ORGANISATIONS.c.id == found.id))
    record(connection, actor, "organisation.delete", found.id, {"name": name})


def _checked(
    title: str,
    country: str,
    contacts: Sequence[str],
    networks: Sequence[str],
    as_numbers: Sequence[int],
    via: NoticesVia,
) -> dict[str, Any]:
    if title and not is_printable_line(title, _TITLE_MAX):
        raise UsageError(f"the title must be one printable line of at most {_TITLE_MAX} characters")
    if country and not _COUNTRY.fullmatch(country):
        raise UsageError(f"{country!r} is no country code", advice="Write two capital letters, such as NL.")
    for contact in contacts:
        # An encoded word would be decoded, with whatever is in it.
        if not contact.isascii() or not contact.isprintable() or "=?" in contact:
            raise UsageError(
                f"{contact!r} is no e-mail address", advice="Write one such as abuse@example.net."
            )
        email_address(contact, "contact")
    for network in networks:
        try:
            ipaddress.ip_network(network)
        except ValueError as error:
            raise UsageError(
                f"{network!r} is no network: {error}", advice="Write one such as 192.0.2.0/24."
            ) from None
    for number in as_numbers:
        if not 0 < number < 1 << 32:
            raise UsageError(f"{number} is no number of an autonomous system")
    if via == "mail" and not contacts:
        raise UsageError("notices by mail need the address of a contact", advice="Add a contact.")
    lists = {"contacts": contacts, "networks": networks, "as_numbers": as_numbers}
    texts = {key: encode_json(list(value)).decode() for key, value in lists.items()}
    return {"title": title, "country": country, "via": via, **texts}
