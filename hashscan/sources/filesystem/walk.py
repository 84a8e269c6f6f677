"""Walk one target depth first, and yield its files in batches and everything that is left out."""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Iterator, Sequence

from hashscan.model import Batch, FolderReason, Item, Reason
from hashscan.sources.base import (
    FileError,
    Gathering,
    KeptFiles,
    Listing,
    ListingOptions,
    NonFileCounts,
    SkippedFile,
    UnlistedFolder,
    UnreadableName,
    full_path,
)
from hashscan.sources.filesystem.folder_listing import ItemColumns, ListingChunk, looks
from hashscan.sources.filesystem.mounts import is_pseudo
from hashscan.sources.filesystem.quarantined_files import FOLDER_NAME
from hashscan.sources.filesystem.regular_files import (
    closed_folder,
    describe_file_type,
    file_trouble,
    open_known_folder,
    stat_regular,
)
from hashscan.sources.filesystem.safe_open import LIST_FLAGS, PASS_FLAGS, open_child
from hashscan.sources.filesystem.targets import Target
from hashscan.sources.filesystem.walk_stack import PendingFolders, Trail
from hashscan.sources.patterns import PatternState


def _single_file(source: str, target: Target, name: bytes, options: ListingOptions) -> Iterator[Listing]:
    """List a target that is a single file; patterns don't apply, because it was named explicitly."""
    device, inode = target.identity
    try:
        folder = open_known_folder(target.path, PASS_FLAGS, device, inode)
        try:
            item = Item(name, stat_regular(folder, name))
        finally:
            os.close(folder)
    except FileError as trouble:
        yield UnreadableName(target.path, b"", name, trouble.reason, trouble.detail)
        return
    if options.max_file_size is not None and item.stat.size > options.max_file_size:
        yield SkippedFile(target.path, b"", item, Reason.OVER_SIZE)
    else:
        yield Batch(source, target.path, b"", device, inode, (item,))


_GONE = frozenset({FolderReason.VANISHED, FolderReason.REPLACED})


class Walk:
    """The walk of one target: first the folders that an earlier walk did not reach, then all others.

    Memory and descriptors are bounded for any tree: waiting folders go to a temporary file, the current path
    is stored once, and names are processed as the system returns them.

    All methods may raise OutputError if the temporary file failed.
    """

    def __init__(
        self, source: str, target: Target, options: ListingOptions, first: Sequence[bytes] = ()
    ) -> None:
        """Prepare a walk that begins with the folders `first`; an empty path is the target itself."""
        self._source = source
        self._target = target
        self._options = options
        self._exclude = options.exclude
        self._waiting = deque(dict.fromkeys(first))
        """Folders of `first` that have not been started yet."""
        self._apart = set(first)
        """Folders that are never entered from their parent folder, because the walk starts in each of
        them."""
        self._trail: Trail | None = None
        self._pending = PendingFolders(options.pending_in_memory)
        self._listing = b""
        """The folder that is being listed, if `in_folder` is true."""
        self.in_folder = False
        self._went = self._began = False

    @property
    def path(self) -> bytes:
        return self._target.path

    def first(self) -> Iterator[Listing]:
        """List the folders of `first`; exhaust this iterator before `rest` is called."""
        while self._waiting:
            path = self._waiting.popleft()
            self._went = True
            if not path:
                yield from self.rest()
            else:
                yield from self._from(path)

    def rest(self) -> Iterator[Listing]:
        if self._began:
            return
        self._began = True
        if self._target.name is not None:
            yield from _single_file(self._source, self._target, self._target.name, self._options)
        else:
            yield from self._from(b"")

    def left(self) -> list[bytes]:
        """Return the folders to begin with next time, if the walk is abandoned now; empty if it is complete.

        If one of these folders is beneath another one, it is listed by itself, and not with that one. The
        folder that is being listed now comes last, so that a folder whose listing never ends does not keep
        all others waiting.
        """
        if self._target.name is not None:
            return []
        found = []
        if self._trail is not None:
            while (entry := self._pending.pop()) is not None:
                depth, name = entry
                found.append(self._trail.child(name, depth))
        found += self._waiting
        if not (self._began or self._went):
            found.append(b"")
        if self.in_folder:
            found.append(self._listing)
        return list(dict.fromkeys(found))

    def close(self) -> None:
        """Drop the waiting folders and close the temporary file."""
        self._pending.close()

    def _from(self, path: bytes) -> Iterator[Listing]:
        """List a folder beneath the target, and everything beneath it except the folders of `first`."""
        device, inode = self._target.identity
        try:
            root = open_known_folder(self._target.path, LIST_FLAGS, device, inode)
        except FileError as trouble:
            if not path:
                yield closed_folder(self._target.path, b"", trouble)
            return
        with Trail(root, device, inode, self._exclude.start) as trail:
            self._trail = trail
            if path:
                yield from self._go_down(trail, path)
                if trail.folder != path:
                    return
                root, inode = trail.descriptor(), trail.inode
            yield from self._list(root, inode, trail)
            while (entry := self._pending.pop()) is not None:
                depth, name = entry
                trail.cut(depth)
                if self._apart and trail.child(name) in self._apart:
                    continue
                refusal = self._step(trail, name)
                if refusal is not None:
                    yield refusal
                    continue
                yield from self._list(trail.descriptor(), trail.inode, trail)
        self._trail = None

    def _go_down(self, trail: Trail, path: bytes) -> Iterator[Listing]:
        """Enter the folders of a path one after another, as far as possible."""
        for name in path.split(b"/"):
            if self._exclude and self._exclude.excludes(trail.place, name, is_folder=True):
                break
            refusal = self._step(trail, name)
            if refusal is None:
                continue
            gone = isinstance(refusal, UnlistedFolder) and refusal.reason in _GONE
            if gone or trail.child(name) != path:
                break
            yield refusal
            return
        else:
            return
        # Whatever is in its place now will be found when its parent folder is listed.
        self._apart.discard(path)

    def _step(self, trail: Trail, name: bytes) -> Listing | None:
        """Go down into a folder; return a listing with the reason if that is not possible."""
        try:
            descriptor, status, refusal = self._enter(trail, name)
        except FileError as trouble:
            if trouble.reason is Reason.FUSE and self._options.one_file_system:
                return NonFileCounts(excluded_folders=1)
            return closed_folder(self._target.path, trail.child(name), trouble)
        if refusal is not None:
            os.close(descriptor)
            return refusal
        place = self._exclude.descend(trail.place, name)
        trail.push(name, descriptor, status.st_dev, status.st_ino, place)
        return None

    def _enter(self, trail: Trail, name: bytes) -> tuple[int, os.stat_result, Listing | None]:
        """Open a folder for listing; if it must not be listed, return a listing with the reason."""
        try:
            descriptor = open_child(trail.descriptor(), name, LIST_FLAGS)
            try:
                status = os.fstat(descriptor)
            except OSError:
                os.close(descriptor)
                raise
        except OSError as error:
            raise file_trouble(error) from error
        identity = (status.st_dev, status.st_ino)
        refusal: Listing | None = None
        crossed = status.st_dev != trail.device
        if (
            identity in self._options.protected
            or (crossed and self._options.one_file_system)
            or (crossed and is_pseudo(descriptor))
        ):
            refusal = NonFileCounts(excluded_folders=1)
        elif identity in trail:
            # A folder can be mounted beneath itself.
            refusal = UnlistedFolder(self._target.path, trail.child(name), FolderReason.LOOP, "")
        return descriptor, status, refusal

    def _list(self, descriptor: int, inode: int, trail: Trail) -> Iterator[Listing]:
        """List the files of the current folder, and add its subfolders to the waiting ones."""
        target, options, exclude = self._target.path, self._options, self._exclude
        folder, device, depth, place = trail.folder, trail.device, trail.depth, trail.place
        head = Batch(self._source, target, folder, device, inode, ())
        self._listing, self.in_folder = folder, True
        named = (folder or target).endswith(FOLDER_NAME)
        kept = self._kept_in(descriptor, folder) if named else None
        links = specials = excluded = 0
        for found in looks(descriptor, options.batch_files):
            links += found.links
            specials += found.specials
            for name in found.folders.split(b"/") if found.folders else ():
                if exclude and exclude.excludes(place, name, is_folder=True):
                    excluded += 1
                else:
                    self._pending.push(depth, name)
            for name, number, mode in found.odd:
                if number == errno.EXDEV:
                    yield from self._mounted(head, descriptor, name, place)
                elif number:
                    trouble = file_trouble(OSError(number, os.strerror(number)))
                    yield UnreadableName(target, folder, name, trouble.reason, trouble.detail)
                else:
                    yield UnreadableName(
                        target, folder, name, Reason.REPLACED, f"it is {describe_file_type(mode)} now"
                    )
            if found.files and kept is not None:
                items = ItemColumns.from_look(found)
                others = [item for item in items if not _is_kept(kept, descriptor, item)]
                yield from self._chosen(head, others, place)
            elif found.files:
                yield from self._batches(head, found, place)
            if found.error:
                yield UnlistedFolder(target, folder, FolderReason.IO_ERROR, os.strerror(found.error))
        self.in_folder = False
        yield NonFileCounts(folders=1, links=links, specials=specials, excluded_folders=excluded)

    def _mounted(self, head: Batch, descriptor: int, name: bytes, place: PatternState) -> Iterator[Listing]:
        """List a file over which something is mounted."""
        try:
            item = Item(name, stat_regular(descriptor, name))
        except FileError as trouble:
            yield UnreadableName(head.target, head.folder, name, trouble.reason, trouble.detail)
        else:
            yield from self._chosen(head, (item,), place)

    def _kept_in(self, descriptor: int, folder: bytes) -> KeptFiles | None:
        """Return the files of a folder that a quarantine keeps; None if it is not a quarantine's folder."""
        evidence = self._options.kept
        path = full_path(self._target.path, folder)
        if evidence is None or path.rpartition(b"/")[2] != FOLDER_NAME:
            return None
        return evidence.kept_in(descriptor, path)

    def _batches(self, head: Batch, found: ListingChunk, place: PatternState) -> Iterator[Listing]:
        """Yield batches of files that were examined."""
        options = self._options
        columns = ItemColumns.from_look(found)
        if self._exclude or options.max_file_size is not None:
            yield from self._chosen(head, columns, place)
        elif found.files <= options.batch_files and found.size <= options.batch_bytes:
            yield _filled(head, columns)
        else:
            for part in columns.parts(options.batch_files, options.batch_bytes):
                yield _filled(head, part)

    def _chosen(self, head: Batch, items: Sequence[Item], place: PatternState) -> Iterator[Listing]:
        """Yield files, each of which may be left out."""
        max_size, exclude = self._options.max_file_size, self._exclude
        gathering = Gathering(self._options)
        for item in items:
            if exclude and exclude.excludes(place, item.name, is_folder=False):
                yield SkippedFile(head.target, head.folder, item, Reason.EXCLUDED)
            elif max_size is not None and item.stat.size > max_size:
                yield SkippedFile(head.target, head.folder, item, Reason.OVER_SIZE)
            else:
                yield from gathering.add(head, item)
        yield from gathering.flush()


def _is_kept(kept: KeptFiles, folder: int, item: Item) -> bool:
    known = kept.get(item.name)
    return known is not None and known.matches(folder, item.name, item.stat)


def _filled(head: Batch, items: Sequence[Item]) -> Batch:
    return Batch(head.source, head.target, head.folder, head.device, head.inode, items)
