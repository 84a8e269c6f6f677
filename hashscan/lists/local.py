"""Entries imported by the administrator, kept without signatures but with checksums."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from hashscan.errors import ListFormatError
from hashscan.lists import manifest as manifests
from hashscan.lists.blocks import EntryBlock
from hashscan.lists.column_writer import ColumnWriter
from hashscan.lists.columns import ColumnError, ListHandle, categories_used, open_columns
from hashscan.lists.durable import replace_file, sync_folder
from hashscan.lists.layout import private_folder
from hashscan.lists.manifest import MANIFEST_NAME, Manifest, ManifestError
from hashscan.lists.record import Thoroughness, read_record, write_record
from hashscan.lists.repository import TARGETS, OpenedList
from hashscan.model import CATEGORIES, Entry, ListInfo, TrustState


def write_local(
    name: str,
    folder: Path,
    entries: Iterable[Entry | EntryBlock],
    label: str,
    version: int,
    now: datetime,
) -> Manifest:
    """Write a local list into an empty folder and sync its files.

    Raises:
        ListFormatError: the entries contradict each other, or there are none.
        OSError: they can't be written.
    """
    targets = private_folder(folder / TARGETS)
    with ColumnWriter(targets, label=label) as writer:
        writer.add(entries)
        columns = writer.finish()
    if not columns:
        raise ListFormatError(
            f"{label}: no entries", advice="Check that it is the file you mean; nothing was imported."
        )
    manifest = Manifest(name, version, now, CATEGORIES, columns)
    sync_folder(targets)
    replace_file(folder / MANIFEST_NAME, manifests.to_bytes(manifest))
    used = {category for _, category in writer.counts}
    names = [targets / file for files in columns for file in files.names]
    write_record(folder, [folder / MANIFEST_NAME, *names], used)
    return manifest


def open_local(name: str, folder: Path, thoroughness: Thoroughness = Thoroughness.CHECKSUMS) -> OpenedList:
    """Open a local list, after comparing its files with their checksums, or only their sizes."""
    info = ListInfo(name, TrustState.DAMAGED)
    try:
        record = read_record(folder)
        record.check(MANIFEST_NAME, folder / MANIFEST_NAME)
        manifest = manifests.from_bytes((folder / MANIFEST_NAME).read_bytes())
        info = replace(
            info,
            version=manifest.version,
            entries=manifest.entries,
            by_algorithm=tuple((files.algorithm, files.entries) for files in manifest.columns),
        )
        handle = ListHandle(name, manifest.version, folder / TARGETS, manifest.categories, manifest.columns)
        used = record.categories
        for files in manifest.columns:
            columns = open_columns(handle.folder, files)
            if thoroughness is not Thoroughness.SIZES:
                for file in files.names:
                    record.check(file, handle.folder / file)
            if thoroughness is Thoroughness.SIGNED:
                categories_used(columns, manifest.categories)
    except (ColumnError, ManifestError, OSError) as error:
        problem = f"a stored file is damaged: {error}; import it again with `hashscan lists import`"
        return OpenedList(replace(info, problem=problem))
    categories = tuple(category for category in manifest.categories if category in used)
    return OpenedList(replace(info, state=TrustState.LOCAL, categories=categories), handle)
