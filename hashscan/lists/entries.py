"""Find, look up and export the entries of stored lists; the entries of the test picture.

The picture is drawn in `scan/selftest.py`, which this package must not import; a test compares the two. Each
published base contains these entries, so that `hashscan selftest` can prove for every list that the picture
would be found.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hashscan.atomic_files import output_errors, replace_stream
from hashscan.lists.formats.base import ListWriter
from hashscan.lists.storage.columns import (
    ActiveRows,
    ColumnError,
    ColumnFiles,
    ListHandle,
    id_dtype,
    open_columns,
    read_blocks,
    videos_with,
    withdrawn_rows,
)
from hashscan.lists.storage.layout import DEMO
from hashscan.lists.storage.manifest import LIST_NAME
from hashscan.lists.store import ListStore
from hashscan.model import TEST_CATEGORY, Entry

# Ids are as short as those of the shortest lists, since the longest id of a column sets its width. Other
# algorithms are left out, because a scan computes every algorithm that a list has entries of.
_CANARY_ENTRIES = (
    ("canary-1", "md5", "08e6e9389922ac7d5780e20dc274fa1a"),
    ("canary-2", "sha1", "fa60ffb42c90717ba231933795a6c237cb3d4e24"),
    ("canary-3", "sha256", "6cdb2fb7016755f2828f100c04e71f0dcb2937e272778ddc23421760987f519c"),
    ("canary-4", "pdq", "fd84aa4bfd0caa4baaaaff42201d2037fd0ca837dd8c603735559837a9d48a37"),
)


def canary_entries() -> tuple[Entry, ...]:
    """Return the test picture's digests: one entry for each algorithm that is always computed."""
    return tuple(
        Entry(entry_id, algorithm, bytes.fromhex(value), TEST_CATEGORY)
        for entry_id, algorithm, value in _CANARY_ENTRIES
    )


def find_entry(handle: ListHandle, entry_id: str) -> Entry | None:
    """Return the active entry of a verified list with this id, or None.

    Raises:
        ColumnError: a file is not as its handle describes it.
        OSError: a file can't be read.
    """
    return next(entries_with(handle, (entry_id,)), None)


def entries_with(handle: ListHandle, entry_ids: Iterable[str]) -> Iterator[Entry]:
    """Yield the active entries of a verified list that have any of the ids, and the videos that have. A video
    is one entry, as `columns.videos_with` makes it."""
    left = {entry_id for entry_id in entry_ids if entry_id.isascii()}
    wanted = sorted(entry_id.encode("ascii") for entry_id in left)
    for files in handle.columns:
        some = [raw for raw in wanted if 0 < len(raw) <= files.id_size]
        if not some:
            continue
        columns = open_columns(handle.folder, files)
        for row in _rows_with_ids(handle, files, np.array(some, dtype=id_dtype(files.id_size))):
            category = handle.categories[columns.category[row]]
            entry_id = bytes(columns.ids[row]).decode("ascii")
            left.discard(entry_id)
            yield Entry(entry_id, files.algorithm, bytes(columns.value[row]), category)
    yield from videos_with(handle, left)


def _rows_with_ids(handle: ListHandle, files: ColumnFiles, wanted: NDArray[np.bytes_]) -> Iterator[int]:
    """Yield the rows that have one of the sorted ids `wanted` and are not withdrawn."""
    withdrawn = withdrawn_rows(handle.folder, files)
    start = 0
    for ids in read_blocks(handle.folder / files.ids, id_dtype(files.id_size), (files.entries,)):
        at = np.minimum(np.searchsorted(wanted, ids), len(wanted) - 1)
        found = start + np.flatnonzero(wanted[at] == ids)
        yield from np.setdiff1d(found, withdrawn, assume_unique=True).tolist()
        start += len(ids)


def entries_of_list(handle: ListHandle) -> Iterator[Entry]:
    """Yield all active entries of a list, algorithm by algorithm."""
    for files in handle.columns:
        for ids, category, value in ActiveRows(handle.folder, files):
            for entry_id, number, digest in zip(ids.tolist(), category.tolist(), value, strict=True):
                yield Entry(
                    entry_id.decode("ascii"), files.algorithm, digest.tobytes(), handle.categories[number]
                )


def write_entries(entries: Iterable[Entry], writer: ListWriter, output: Path | None) -> None:
    """Write entries as they come; `output` None means standard output.

    A file is written atomically and is readable for its owner alone.

    Raises:
        OutputError: the file can't be written; an earlier file is unchanged.
    """
    with output_errors("the entries can't be written"):
        if output is None:
            sys.stdout.buffer.writelines(writer.lines(entries))
            sys.stdout.buffer.flush()
        else:
            replace_stream(output, writer.lines(entries))


@dataclass(frozen=True, slots=True)
class ActiveVersion:
    """The active version of a list, locked so that no writer removes it."""

    version: int
    _signers: frozenset[str]
    """Every key that could sign the list since its root was trusted; empty for an unsigned list."""
    _handle: ListHandle

    def is_later_version_of(self, version: int, key_ids: Iterable[str]) -> bool:
        """Return True if this is a later version of the list that had this version and these keys.

        A different list that got the same name later does not count, since its owner can't withdraw entries
        of the earlier one.
        """
        earlier = frozenset(key_ids)
        same_owner = bool(earlier & self._signers) if earlier or self._signers else True
        return same_owner and self.version > version

    def entries(self, entry_ids: Iterable[str]) -> list[Entry] | None:
        """Return the active entries with these ids; None if the list's files can't be read."""
        try:
            return list(entries_with(self._handle, entry_ids))
        except (ColumnError, OSError):
            return None


@contextmanager
def open_active_version(store: ListStore, name: str) -> Iterator[ActiveVersion | None]:
    """Yield the active version of a list; None if it is missing, damaged or expired and so can't be trusted.

    Nothing is written: the caller may be root while the lists belong to another user.
    """
    if not LIST_NAME.fullmatch(name) or name == DEMO:
        # Reports come from outside and may contain any name. The list that comes with hashscan is not pulled.
        yield None
        return
    opened, hold = store.open_unindexed(name, datetime.now(UTC))
    try:
        handle, info = opened.handle, opened.info
        if handle is None or not info.state.is_good:
            yield None
        else:
            signers = opened.verified.past_key_ids if opened.verified else frozenset[str]()
            yield ActiveVersion(info.version, signers, handle)
    finally:
        if hold is not None:
            hold.close()
