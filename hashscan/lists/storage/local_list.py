"""Lists without signatures, with checksums: those that the administrator imported, and those of exchanges.

Each version of an exchange's list has the time of the last complete pull that confirmed it. The list is stale
`stale_after` seconds later, since withdrawn entries would stay on it unnoticed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from msgspec import Struct, structs

from hashscan.atomic_files import is_refusal, replace_file, sync_folder
from hashscan.errors import ListFormatError, OutputError
from hashscan.lists.storage import manifest as manifests
from hashscan.lists.storage.column_writer import ColumnWriter
from hashscan.lists.storage.columns import (
    ColumnError,
    ColumnFiles,
    EntryBlock,
    ListHandle,
    check_ids,
    id_dtype,
    open_columns,
    read_blocks,
)
from hashscan.lists.storage.layout import ListFolder, private_folder
from hashscan.lists.storage.manifest import MANIFEST_NAME, Manifest, ManifestError, Part, PartColumns, Shard
from hashscan.lists.storage.published_columns import unsharded
from hashscan.lists.storage.signed_list import CLOCKS_MAY_DIFFER, TARGETS, OpenedList, unreadable, unusable
from hashscan.lists.storage.stored_version import (
    RecordedFile,
    VerificationLevel,
    VersionRecord,
    checksum,
    count_entries,
    read_record,
    with_counts,
    write_record,
)
from hashscan.model import CATEGORIES, Entry, ListInfo, TrustState
from hashscan.schema import Count, InvalidDocumentError, Text, decode_file, encode_file
from hashscan.timefmt import format_utc, parse_utc

FETCHED_NAME = "fetched.json"


def write_local(
    name: str,
    folder: Path,
    entries: Iterable[Entry | EntryBlock],
    label: str,
    version: int,
    now: datetime,
) -> Manifest:
    """Write a local list into an empty folder and sync its files."""
    targets = private_folder(folder / TARGETS)
    with ColumnWriter(targets, label=label) as writer:
        writer.add(entries)
        written = writer.finish()
    if not written:
        raise ListFormatError(
            f"{label}: no entries", advice="Check that it is the file you mean; nothing was imported."
        )
    columns = {
        files.algorithm: PartColumns(files.id_size, (Shard(files.entries, *files.names),))
        for files in written
    }
    manifest = Manifest(name, version, now, CATEGORIES, (Part(version, columns, {}),))
    sync_folder(targets)
    replace_file(folder / MANIFEST_NAME, manifests.to_bytes(manifest))
    paths = [folder / MANIFEST_NAME, *(targets / file for files in written for file in files.names)]
    sums = {path.name: RecordedFile(checksum(path)) for path in paths}
    write_record(folder, VersionRecord.of(sums, count_entries(targets, written, CATEGORIES)))
    return manifest


def open_local(
    name: str,
    folder: Path,
    thoroughness: VerificationLevel = VerificationLevel.CHECKSUMS,
    remedy: str = "import it again with `hashscan lists import`",
) -> OpenedList:
    """Open a local list, after comparing its files with their checksums, or only their sizes.

    `remedy` is the advice for a list that is damaged.
    """
    info = ListInfo(name, TrustState.DAMAGED)
    try:
        record = read_record(folder)
        record.check(MANIFEST_NAME, folder / MANIFEST_NAME)
        manifest = manifests.from_bytes((folder / MANIFEST_NAME).read_bytes())
        info = structs.replace(
            info,
            version=manifest.version,
            entries=manifest.entries,
            by_algorithm=manifest.by_algorithm,
            made=format_utc(manifest.created),
        )
        handle = ListHandle(
            name, manifest.version, folder / TARGETS, manifest.categories, _column_files(manifest, record)
        )
        for files in handle.columns:
            open_columns(handle.folder, files)
            if thoroughness is not VerificationLevel.SIZES:
                for file in files.names:
                    record.check(file, handle.folder / file)
            if thoroughness is VerificationLevel.SIGNED:
                ids = handle.folder / files.ids
                check_ids(read_blocks(ids, id_dtype(files.id_size), (files.entries,)), files.algorithm)
        if thoroughness is VerificationLevel.SIGNED:
            count_entries(handle.folder, handle.columns, handle.categories)
    except (ColumnError, ManifestError, OSError) as error:
        if is_refusal(error):
            return unreadable(info, error)
        problem = f"a stored file is damaged: {error}; {remedy}"
        return unusable(info, problem)
    info = with_counts(structs.replace(info, state=TrustState.LOCAL), manifest, record.entry_counts)
    return OpenedList(info, handle, manifest)


def _column_files(manifest: Manifest, record: VersionRecord) -> tuple[ColumnFiles, ...]:
    """Return the columns; a local list has one shard for each algorithm."""
    every = []
    for algorithm, columns in sorted(manifest.parts[0].algorithms.items()):
        value = record.files.get(columns.shards[0].value)
        files = unsharded(algorithm, columns, str, value.sum if value else "")
        if files is None or len(manifest.parts) > 1:
            raise ColumnError("the manifest has more parts or shards than a local list")
        every.append(files)
    return tuple(every)


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
    if time.year > 1:
        info = structs.replace(info, made=format_utc(time))
    return replace(opened, info=info)
