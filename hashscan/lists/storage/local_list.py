"""Local lists: entries imported by the administrator, stored without signatures but with checksums."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from msgspec import structs

from hashscan.atomic_files import is_refusal, replace_file, sync_folder
from hashscan.errors import ListFormatError
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
from hashscan.lists.storage.layout import private_folder
from hashscan.lists.storage.manifest import MANIFEST_NAME, Manifest, ManifestError, Part, PartColumns, Shard
from hashscan.lists.storage.published_columns import unsharded
from hashscan.lists.storage.signed_list import TARGETS, OpenedList, unreadable, unusable
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
            info, version=manifest.version, entries=manifest.entries, by_algorithm=manifest.by_algorithm
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
