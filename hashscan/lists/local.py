"""Entries imported by the administrator, kept without signatures but with checksums."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import xxhash

from hashscan.errors import ListFormatError
from hashscan.lists import manifest as manifests
from hashscan.lists.column_writer import ColumnWriter
from hashscan.lists.columns import ColumnError, ListHandle, categories_used, open_columns
from hashscan.lists.durable import replace_file, sync_folder
from hashscan.lists.layout import private_folder
from hashscan.lists.manifest import MANIFEST_NAME, Manifest, ManifestError
from hashscan.lists.repository import TARGETS, OpenedList
from hashscan.model import CATEGORIES, Entry, ListInfo, TrustState

_CHECKSUMS = "checksums.json"
_CHUNK = 1 << 20


def write_local(
    name: str, folder: Path, entries: Iterable[Entry], label: str, version: int, now: datetime
) -> Manifest:
    """Write a local list into an empty folder and sync its files.

    Raises:
        ListFormatError: the entries contradict each other, or there are none.
        OSError: they can't be written.
    """
    targets = private_folder(folder / TARGETS)
    with ColumnWriter(targets) as writer:
        writer.add(entries)
        try:
            columns = writer.finish()
        except ListFormatError as error:
            raise ListFormatError(f"{label}: {error}", advice=error.remedy) from error
    if not columns:
        raise ListFormatError(
            f"{label}: no entries", advice="Check that it is the file you mean; nothing was imported."
        )
    manifest = Manifest(name, version, now, CATEGORIES, columns)
    sums = {file: _checksum(targets / file) for files in columns for file in files.names}
    document = manifests.to_bytes(manifest)
    sums[MANIFEST_NAME] = xxhash.xxh3_128_hexdigest(document)
    sync_folder(targets)
    replace_file(folder / MANIFEST_NAME, document)
    replace_file(folder / _CHECKSUMS, json.dumps(sums, indent=1).encode())
    return manifest


def open_local(name: str, folder: Path) -> OpenedList:
    """Open a local list, after comparing its files with their checksums."""
    info = ListInfo(name, TrustState.DAMAGED)
    try:
        sums = _checksums(folder)
        document = (folder / MANIFEST_NAME).read_bytes()
        if sums.get(MANIFEST_NAME) != xxhash.xxh3_128_hexdigest(document):
            raise ColumnError(f"{MANIFEST_NAME} has changed")
        manifest = manifests.from_bytes(document)
        info = replace(
            info,
            version=manifest.version,
            entries=manifest.entries,
            by_algorithm=tuple((files.algorithm, files.entries) for files in manifest.columns),
        )
        handle = ListHandle(name, manifest.version, folder / TARGETS, manifest.categories, manifest.columns)
        used: frozenset[str] = frozenset()
        for files in manifest.columns:
            for file in files.names:
                if sums.get(file) != _checksum(handle.folder / file):
                    raise ColumnError(f"{file} has changed")
            used |= categories_used(open_columns(handle.folder, files), manifest.categories)
    except (ColumnError, ManifestError, OSError) as error:
        problem = f"a stored file is damaged: {error}; import it again with `hashscan lists import`"
        return OpenedList(replace(info, problem=problem))
    categories = tuple(category for category in manifest.categories if category in used)
    return OpenedList(replace(info, state=TrustState.LOCAL, categories=categories), handle)


def _checksums(folder: Path) -> dict[str, Any]:
    try:
        sums = json.loads((folder / _CHECKSUMS).read_bytes())
    except ValueError as error:
        raise ColumnError(f"{_CHECKSUMS} is not JSON") from error
    if not isinstance(sums, dict):
        raise ColumnError(f"{_CHECKSUMS} is not an object")
    return sums


def _checksum(path: Path) -> str:
    """xxh3_128 of a file: against decay, not against people."""
    running = xxhash.xxh3_128()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            running.update(chunk)
    return str(running.hexdigest())
