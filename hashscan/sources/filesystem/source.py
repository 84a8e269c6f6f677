"""The source for files in folders of this machine."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

from hashscan.model import DIRECT, Access, Batch, CtimeTrust, FileStat, Item, Reason
from hashscan.sources.base import (
    Acquire,
    FileError,
    Listing,
    ListingOptions,
    Opener,
    OpenFile,
    OpenFolder,
    Source,
    full_path,
    no_rate_limit,
)
from hashscan.sources.filesystem.ctime import FilesystemTypes, ctime_trust
from hashscan.sources.filesystem.file_ranges import BLOCK_BYTES, absent_ranges, drop_from_cache, holes_exceed
from hashscan.sources.filesystem.name_lookup import NamedFiles
from hashscan.sources.filesystem.regular_files import (
    file_trouble,
    is_unchanged,
    open_known_folder,
    open_listed,
)
from hashscan.sources.filesystem.safe_open import PASS_FLAGS
from hashscan.sources.filesystem.targets import resolve
from hashscan.sources.filesystem.walk import Walk


class FilesystemSource(Source):
    """The source for files and folders by path."""

    name = "file"

    def __init__(self, targets: Sequence[bytes], options: ListingOptions, access: Access = DIRECT) -> None:
        """Find the targets by their paths; relative ones start in the current folder.

        Raises:
            TargetError: a path does not exist, can't be opened, is neither folder nor file, or is protected.
        """
        self._options = options
        self._first: Mapping[bytes, Sequence[bytes]] = {}
        self._walks: list[Walk] | None = None
        self._targets = resolve(
            targets,
            exclude=options.exclude,
            one_file_system=options.one_file_system,
            protected=options.protected,
        )
        # Create it here, so that symlinks in the targets' own paths are not followed later than above.
        self._named = NamedFiles(self.name, targets, options)

    @property
    def targets(self) -> tuple[bytes, ...]:
        """The targets, in the form that listings use: for a single file, the folder that contains it."""
        return tuple(target.path for target in self._targets)

    @property
    def paths(self) -> tuple[bytes, ...]:
        """The scanned folders and single files, in a form for people.

        Like `targets` this leaves out targets that the scan of another target reaches.
        """
        return tuple(full_path(target.path, b"", target.name or b"") for target in self._targets)

    def listings(self) -> Iterator[Listing]:
        """List the targets one after another; first the folders that were given to `resume_with`.

        Raises:
            OutputError: the temporary file for a very large tree failed.
        """
        walks = self._walks = [
            Walk(
                self.name,
                target,
                self._options,
                self._first.get(target.path, ()) if target.name is None else (),
            )
            for target in self._targets
        ]
        with ExitStack() as stack:
            for walk in walks:
                stack.callback(walk.close)
            order = {target: place for place, target in enumerate(self._first)}
            for walk in sorted(walks, key=lambda walk: order.get(walk.path, len(order))):
                yield from walk.first()
            for walk in walks:
                yield from walk.rest()
        self._walks = []

    def resume_with(self, folders: Mapping[bytes, Sequence[bytes]]) -> None:
        """Set the folders to begin with."""
        self._first = folders

    def unlisted_folders(self) -> Mapping[bytes, Sequence[bytes]]:
        """Return by target the folders to begin with next time, if the listing is abandoned now."""
        if self._walks is None:
            return self._first
        # Otherwise a folder whose listing never ends would keep the other targets waiting, too.
        ordered = sorted(self._walks, key=lambda walk: walk.in_folder)
        return {walk.path: left for walk in ordered if (left := walk.left())}

    def listings_by_name(self, names: Iterator[bytes]) -> Iterator[Listing]:
        """Look up files by path, without following symlinks; see `NamedFiles`."""
        return self._named.listings(names)

    @classmethod
    def opener(cls, access: Access, spend: Acquire = no_rate_limit) -> Opener:  # noqa: ARG003
        """Return an object that opens files by descriptor."""
        return _Opener(spend)


class _Opener(Opener):
    """An opener that keeps nothing between batches."""

    def __init__(self, spend: Acquire) -> None:
        self._spend = spend

    def close(self) -> None:
        pass

    @contextmanager
    def reopen(self, batch: Batch) -> Iterator[OpenFolder]:
        """Open a batch's folder.

        The path is opened from the root of the file system without following any symlink: the symlinks in the
        paths that the administrator named were resolved when the targets were found.
        """
        path = full_path(batch.target, batch.folder)
        descriptor = open_known_folder(path, PASS_FLAGS, batch.device, batch.inode)
        try:
            yield _Folder(descriptor, batch.device, self._spend)
        finally:
            os.close(descriptor)


class _Folder(OpenFolder):
    """A folder held open by descriptor."""

    def __init__(self, descriptor: int, device: int, spend: Acquire) -> None:
        self._descriptor = descriptor
        self._types = FilesystemTypes(device)
        self._spend = spend

    def prefetch(self, items: Sequence[Item]) -> None:
        pass

    def open(self, item: Item) -> OpenFile:
        self._spend(1, 0)
        return _File(
            *open_listed(self._descriptor, item.name, item.stat.device, item.stat.inode), self._types
        )


class _File(OpenFile):
    """A regular file held open by descriptor."""

    def __init__(self, descriptor: int, status: FileStat, blocks: int, types: FilesystemTypes) -> None:
        self._descriptor = descriptor
        self._types = types
        self.stat = status
        self.hole_bytes = status.size - blocks * BLOCK_BYTES
        self._absent = absent_ranges(descriptor, status.size)

    @property
    def descriptor(self) -> int:
        return self._descriptor

    def ctime_trust(self, on_trust: Collection[str]) -> CtimeTrust:
        return ctime_trust(self._descriptor, self._types.of(self._descriptor, self.stat.device), on_trust)

    def holes_exceed(self, limit: int) -> bool:
        return self.hole_bytes > limit and holes_exceed(self._descriptor, self.stat.size, limit)

    def check_unchanged(self) -> None:
        try:
            # The link count and the owner may change without the content.
            unchanged = is_unchanged(self._descriptor, *self.stat[:5])
        except OSError as error:
            raise file_trouble(error) from error
        if not unchanged:
            raise FileError(Reason.CHANGED)

    def close(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            drop_from_cache(descriptor, self._absent)
            os.close(descriptor)
