"""Whether a list on another machine is the same as one here, told without sending what it holds."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

from hashscan.errors import OutputError
from hashscan.lists.columns import ColumnError, ListHandle
from hashscan.lists.record import RECORD_NAME, Record, checksum, read_record
from hashscan.lists.store import OpenedLists
from hashscan.model import ListInfo


def content_fingerprint(handle: ListHandle) -> str:
    """Tells the entries of a verified list from all others, in 64 hex digits.

    Two machines that pulled one version, or imported one file, come to the same. Made from the checksums that
    were recorded when the version was put in use, which opening it for a sweep has just compared; so nothing
    large is read again. It guards against mix-ups, not against somebody who may write to a state folder.

    Raises:
        ColumnError: the record of its files is damaged.
        OSError: a file can't be read.
    """
    folder = handle.folder.parent
    # What comes with the program has no record; its columns are small.
    record = read_record(folder) if (folder / RECORD_NAME).exists() else Record({}, {})
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
    """What is known of opened lists, with the fingerprints of those that can be used.

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
