"""Lists of exchanges on disk: the settings of the source, and versions, which are stored like local ones.

Such a version is not signed: the exchange sent it over TLS in answer to these credentials. Each version has
the time of the last complete pull that confirmed it; `stale_after` seconds later the list is stale, since
withdrawn entries would stay on it unnoticed.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from msgspec import Struct, structs

from hashscan.atomic_files import is_refusal, replace_file
from hashscan.errors import OutputError
from hashscan.lists.storage.layout import ListFolder
from hashscan.lists.storage.local_list import open_local
from hashscan.lists.storage.signed_list import CLOCKS_MAY_DIFFER, OpenedList, unreadable, unusable
from hashscan.lists.storage.stored_version import VerificationLevel
from hashscan.model import ListInfo, TrustState
from hashscan.schema import Count, InvalidDocumentError, Text, decode_file, encode_file
from hashscan.timefmt import format_utc, parse_utc

FETCHED_NAME = "fetched.json"


class ExchangeSource(Struct, frozen=True):
    """The exchange that a list is pulled from, and the path of the credentials, which are not stored."""

    exchange: Text
    """Name of the exchange in the registry."""
    environment: Text
    """Name of one of the exchange's databases."""
    credentials: Text
    """Path of the file with the credentials."""
    stale_after: float
    """Seconds after the last complete pull."""
    proxy: str | None = None
    ca_file: str | None = None
    """PEM file of the only authorities trusted to certify the exchange's server; None uses the system's."""


class Fetched(Struct, frozen=True):
    """The state of an exchange's records that a version was made of."""

    revision: Count
    """Revision of the records."""
    time: Text
    """Time of the last complete pull that left the records at this revision; RFC 3339."""
    left_out: dict[Text, Count]
    """Number of digests in the records that can be no entries, by reason."""


def read_exchange_source(folder: ListFolder) -> ExchangeSource | None:
    try:
        return decode_file(folder.exchange.read_bytes(), ExchangeSource)
    except FileNotFoundError:
        return None
    except InvalidDocumentError as error:
        raise OutputError(
            f"{folder.exchange} can't be read: {error}",
            advice="Upgrade hashscan, or remove the list and add it again.",
        ) from error


def write_exchange_source(folder: ListFolder, source: ExchangeSource) -> None:
    replace_file(folder.exchange, encode_file(source))


def read_fetched(version: Path) -> Fetched | None:
    """Return what a version was made of; None if that can't be read."""
    try:
        return decode_file((version / FETCHED_NAME).read_bytes(), Fetched)
    except (FileNotFoundError, InvalidDocumentError):
        return None


def write_fetched(version: Path, fetched: Fetched) -> None:
    replace_file(version / FETCHED_NAME, encode_file(fetched))


def open_exchange(
    name: str, version: Path, source: ExchangeSource, now: datetime, thoroughness: VerificationLevel
) -> OpenedList:
    """Open a version, after comparing its files with their checksums, and decide if it is stale."""
    pull = f"pull it with `hashscan lists pull {name}`"
    opened = open_local(name, version, thoroughness, "remove the list and add it again")
    if opened.handle is None:
        return opened
    try:
        fetched = read_fetched(version)
        time = parse_utc(fetched.time) if fetched else datetime.min.replace(tzinfo=UTC)
    except OSError as error:
        damaged = ListInfo(name, TrustState.DAMAGED)
        return (
            unreadable(damaged, error) if is_refusal(error) else unusable(damaged, f"can't be read: {error}")
        )
    except ValueError:
        time = datetime.min.replace(tzinfo=UTC)
    state, problem, expires = TrustState.EXCHANGE, None, None
    try:
        expires = time + timedelta(seconds=source.stale_after)
    except OverflowError:
        expires = datetime.max.replace(tzinfo=UTC)
    if time > now + CLOCKS_MAY_DIFFER:
        state = TrustState.STALE_EXCHANGE
        problem = (
            f"pulled at {format_utc(time)}, which by this machine's clock has yet to come: check the clock; "
            "until then nothing is moved on its word"
        )
    elif now >= expires:
        state = TrustState.STALE_EXCHANGE
        problem = f"not pulled since {format_utc(time)}: {pull}; until then nothing is moved on its word"
    info = structs.replace(opened.info, state=state, problem=problem, expires=format_utc(expires))
    return replace(opened, info=info)
