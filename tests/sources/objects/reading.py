"""Lists and reads what a source finds, as a scan and its workers do."""

from __future__ import annotations

import os
from contextlib import closing

from hashscan.model import DIRECT, Access, Batch, Item, Reason
from hashscan.sources.base import FileError, OpenFolder, Source, full_path


def batches_of(source: Source) -> list[Batch]:
    return [listing for listing in source.listings() if isinstance(listing, Batch)]


def read_all(
    kind: type[Source], batches: list[Batch], access: Access = DIRECT
) -> dict[bytes, bytes | Reason]:
    """Return the content of each object, or the reason for none, by path and version."""
    found: dict[bytes, bytes | Reason] = {}
    with closing(kind.opener(access)) as opener:
        for batch in batches:
            with opener.reopen(batch) as folder:
                folder.prefetch(batch.items)
                for item in batch.items:
                    path = full_path(batch.target, batch.folder, item.name)
                    found[path + (b"@" + item.version.encode() if item.version else b"")] = _read(
                        folder, item
                    )
    return found


def _read(folder: OpenFolder, item: Item) -> bytes | Reason:
    try:
        with closing(folder.open(item)) as file:
            content = os.pread(file.descriptor, 10_000_000, 0)
            assert len(content) == file.stat.size
            file.check_unchanged()
            return content
    except FileError as trouble:
        return trouble.reason
