"""Fingerprints of lists, to check that two machines use the same list without sending its entries."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

from hashscan.errors import OutputError
from hashscan.lists.columns import ColumnError, ListHandle
from hashscan.lists.record import RECORD_NAME, VersionRecord, checksum, read_record
from hashscan.lists.store import OpenedLists
from hashscan.model import ListInfo


def content_fingerprint(handle: ListHandle) -> str:
    """Return a fingerprint of the entries of a verified list, as 64 hex digits.

    Two machines that pulled one version, or imported one file, get the same fingerprint. It is computed from
    the checksums that were recorded when the version was activated. Opening the list for a scan has just
    compared these, so nothing large is read again. The fingerprint guards against mix-ups, not against an
    attacker who can write to a state folder.

    Raises:
        ColumnError: the record of the list's files is damaged.
        OSError: a file can't be read.
    """
    folder = handle.folder.parent
    # The list that comes with the program has no record; its columns are small.
    record = read_record(folder) if (folder / RECORD_NAME).exists() else VersionRecord({}, {})
    columns = []
    for files in handle.columns:
        names = (*files.names, *([files.withdrawn] if files.withdrawn else ()))
        sums = [
            record.files[name].sum if name in record.files else checksum(handle.folder / name)
            for name in names
        ]
        columns.append([files.algorithm, files.entries, files.id_size, files.withdrawn_rows, sums])
    document = json.dumps([handle.name, list(handle.categories), columns])
    return hashlib.sha256(document.encode("ascii")).hexdigest()


def fingerprinted(opened: OpenedLists) -> tuple[ListInfo, ...]:
    """Return the infos of opened lists, with fingerprints for those that can be used.

    Raises:
        OutputError: a list can't be read.
    """
    fingerprints = {}
    for handle in opened.handles:
        try:
            fingerprints[handle.name] = content_fingerprint(handle)
        except (ColumnError, OSError) as error:
            raise OutputError(f"the list {handle.name} can't be read: {error}") from error
    return tuple(replace(info, fingerprint=fingerprints.get(info.name, "")) for info in opened.infos)
