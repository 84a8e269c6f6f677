"""Checks the compiled index of a verified list, and compiles what is missing or damaged."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from hashscan.lists.index.base import DamagedIndexError
from hashscan.lists.index.compiled_index import (
    compile_list,
    compiled_columns,
    link_segment,
    open_list,
    segment_folder,
)
from hashscan.lists.storage.atomic_files import is_refusal
from hashscan.lists.storage.columns import ColumnFiles, ListHandle
from hashscan.lists.storage.layout import belongs_to_another

INDEX = "index"
"""Name of the index folder in a version's folder."""


class TemporaryIndex:
    """A temporary folder for an index that could not be stored; removed with this object."""

    def __init__(self) -> None:
        """Create the folder.

        Raises:
            OSError: the folder can't be created.
        """
        self.folder = Path(tempfile.mkdtemp(prefix="hashscan-index-"))
        self._finalizer = weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)

    def close(self) -> None:
        """Remove the folder."""
        self._finalizer()


def compile_new(handle: ListHandle, folder: Path, earlier_versions: Iterable[Path] = ()) -> None:
    """Compile the index of a version before its activation, as far as disk space allows.

    What an earlier version has compiled from the same values is shared by hard links. Its checksums are
    compared when the list is opened for a scan. A version is useful without an index too: what is missing is
    compiled, and reported, when the list is opened.

    Args:
        handle: a verified list.
        folder: the version's folder; what a killed call compiled there is reused.
        earlier_versions: folders of other versions of the list.

    Raises:
        ColumnError: a column is not as the handle describes it.
    """
    index = folder / INDEX
    handle = replace(handle, index=index)
    wanted = compiled_columns(handle)
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
    """Share a segment that another index has compiled; return True if it can be used."""
    assert handle.index is not None
    try:
        link_segment(segment_folder(other, files), segment_folder(handle.index, files), files.algorithm)
    except (DamagedIndexError, OSError):
        return False
    return _is_compiled(handle, files)


@dataclass(frozen=True, slots=True)
class PreparedList:
    """A list with its index."""

    handle: ListHandle
    remark: str | None = None
    """A message for the user about what was wrong with the index."""
    temporary: TemporaryIndex | None = None


def prepared(handle: ListHandle, folder: Path, *, thorough: bool) -> PreparedList:
    """Check the index of a list and compile what is missing or can't be used.

    Args:
        handle: a verified list.
        folder: folder of the list's version, which contains its index.
        thorough: compare the index with its checksums.

    Raises:
        ColumnError: a column is not as the handle describes it.
    """
    wanted = compiled_columns(handle)
    if not wanted:
        return PreparedList(handle)
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
        return PreparedList(handle)
    return PreparedList(handle, f"{reasons[0]}, and has been compiled again")


def _elsewhere(handle: ListHandle, trouble: str) -> PreparedList:
    """Compile all of a list in a temporary folder; if that fails, the list is searched without an index."""
    try:
        temporary = TemporaryIndex()
        elsewhere = replace(handle, index=temporary.folder)
        for files in compiled_columns(handle):
            compile_list(elsewhere, files)
    except OSError:
        return PreparedList(replace(handle, index=None), f"{trouble}; it is searched without, which is slow")
    return PreparedList(elsewhere, f"{trouble}; a temporary one is used", temporary)
