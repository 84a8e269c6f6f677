"""Sees to it that a verified list has a compiled index that can be relied on."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from hashscan.lists.columns import ColumnFiles, ListHandle
from hashscan.lists.durable import is_refusal
from hashscan.lists.index.base import DamagedIndexError
from hashscan.lists.index.lists import compile_list, compiled, open_list, segment_folder
from hashscan.lists.index.segments import link_segment
from hashscan.lists.layout import belongs_to_another

INDEX = "index"
"""The folder in a version's folder."""


class TemporaryIndex:
    """A folder for an index that could not be kept; gone with this object."""

    def __init__(self) -> None:
        """Make the folder.

        Raises:
            OSError: it can't be made.
        """
        self.folder = Path(tempfile.mkdtemp(prefix="hashscan-index-"))
        self._finalizer = weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)

    def close(self) -> None:
        """Remove the folder."""
        self._finalizer()


def compile_new(handle: ListHandle, folder: Path, earlier_versions: Iterable[Path] = ()) -> None:
    """Compile the index of a version about to be put in use, as far as there is room.

    What an earlier version has compiled from the same values is shared with it; its checksums are compared
    when the list is opened for a sweep. A version is worth having without an index too: what is missing is
    compiled, and said, when the list is opened.

    Args:
        handle: a verified list.
        folder: of the version; what a killed call compiled there is used.
        earlier_versions: folders of other versions of the list.

    Raises:
        ColumnError: a column is not what the handle says.
    """
    index = folder / INDEX
    handle = replace(handle, index=index)
    wanted = compiled(handle)
    if index.is_dir():
        for leftover in set(index.iterdir()) - {segment_folder(index, files) for files in wanted}:
            shutil.rmtree(leftover)
    for files in wanted:
        if not _is_compiled(handle, files) and not any(
            _shared(handle, files, version / INDEX) for version in earlier_versions
        ):
            with suppress(OSError):
                compile_list(handle, files)


def _is_compiled(handle: ListHandle, files: ColumnFiles) -> bool:
    try:
        open_list(handle, files, thorough=False)
    except (DamagedIndexError, OSError):
        return False
    return True


def _shared(handle: ListHandle, files: ColumnFiles, other: Path) -> bool:
    """Share what is compiled in another index, if it is there."""
    assert handle.index is not None
    try:
        link_segment(segment_folder(other, files), segment_folder(handle.index, files), files.algorithm)
    except (DamagedIndexError, OSError):
        return False
    return _is_compiled(handle, files)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A list with its index."""

    handle: ListHandle
    remark: str | None = None
    """What was out of order, for a person."""
    temporary: TemporaryIndex | None = None


def prepared(handle: ListHandle, folder: Path, *, thorough: bool) -> Prepared:
    """Check the index of a list and compile what is missing or can't be used.

    Args:
        handle: a verified list.
        folder: of the list's version; its index is in there.
        thorough: compare the index with its checksums.

    Raises:
        ColumnError: a column is not what the handle says.
    """
    wanted = compiled(handle)
    if not wanted:
        return Prepared(handle)
    handle = replace(handle, index=folder / INDEX)
    if belongs_to_another(folder) and not all(_is_compiled(handle, files) for files in wanted):
        return _elsewhere(handle, "its index is missing, and root writes none among another user's files")
    reasons = []
    for files in wanted:
        try:
            open_list(handle, files, thorough=thorough)
        except (DamagedIndexError, OSError) as error:
            if is_refusal(error):
                return _elsewhere(handle, f"its index can't be read: {error}")
            reasons.append(
                "its index was missing"
                if isinstance(error, FileNotFoundError)
                else f"its index was damaged ({error})"
            )
            try:
                compile_list(handle, files)
            except OSError as trouble:
                return _elsewhere(handle, f"{reasons[-1]} and can't be written: {trouble}")
    if not reasons:
        return Prepared(handle)
    return Prepared(handle, f"{reasons[0]}, and has been compiled again")


def _elsewhere(handle: ListHandle, trouble: str) -> Prepared:
    """Compile all of a list in a temporary folder, or leave it to be scanned."""
    try:
        temporary = TemporaryIndex()
        elsewhere = replace(handle, index=temporary.folder)
        for files in compiled(handle):
            compile_list(elsewhere, files)
    except OSError:
        return Prepared(replace(handle, index=None), f"{trouble}; it is searched without, which is slow")
    return Prepared(elsewhere, f"{trouble}; a temporary one is used", temporary)
