"""Look up files by the paths that a list names, without following symlinks in these paths."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from msgspec import structs

from hashscan.model import Batch, Item, Reason
from hashscan.sources.base import (
    FileError,
    Gathering,
    KeptFiles,
    Listing,
    ListingOptions,
    NonFileCounts,
    SkippedFile,
    UnreadableName,
)
from hashscan.sources.filesystem.mounts import is_pseudo, refuse_foreign_mount, seen
from hashscan.sources.filesystem.quarantined_files import FOLDER_NAME
from hashscan.sources.filesystem.regular_files import describe_file_type, file_stat, file_trouble
from hashscan.sources.filesystem.safe_open import PASS_FLAGS, open_child, stat_absolute, stat_child
from hashscan.sources.filesystem.targets import real_path
from hashscan.sources.patterns import PatternState

Parts = tuple[bytes, ...]
"""Components of a path from the root of the file system."""

_ON_THE_WAY = frozenset({errno.ELOOP, errno.ENOTDIR})
_SPECIAL = frozenset({b"", b".", b".."})


@dataclass(frozen=True, slots=True)
class _TargetPath:
    """A target, as its path may be written."""

    spelled: Parts
    real: Parts
    """The path with symlinks resolved."""
    is_file: bool


@dataclass(slots=True)
class _Folder:
    """A folder that contains named files."""

    head: Batch
    """A batch of this folder, without items."""
    descriptor: int = -1
    place: PatternState = ()
    trouble: FileError | None = None
    """The reason why the folder could not be entered."""
    skipped: Reason | None = None
    """The reason why everything in the folder is left out."""
    patterns: bool = True
    kept: KeptFiles | None = None
    """Files in the folder that a quarantine keeps; None if it is not a quarantine's folder."""

    def descend(self, name: bytes) -> None:
        """Go down into the subfolder of this name, and close the descriptor of the current one."""
        deeper = open_child(self.descriptor, name, PASS_FLAGS)
        try:
            refuse_foreign_mount(deeper, seen(self.descriptor))
        except OSError:
            os.close(deeper)
            raise
        os.close(self.descriptor)
        self.descriptor = deeper

    def close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


class NamedFiles:
    """A converter from the paths of a list to listings.

    Relative paths start in the current folder. If there are targets, a path must be beneath one of them, as
    the target was written or with its symlinks resolved; without targets, everything may be named. A folder,
    a symlink or a device gives an UnreadableName with its type. Everything that a walk leaves out is left out
    here, too: files excluded by patterns, large files, hashscan's own state, file systems that store no
    files.

    Consecutive names in the same folder share its descriptor and their batches.
    """

    def __init__(self, source: str, targets: Sequence[bytes], options: ListingOptions) -> None:
        self._source = source
        self._options = options
        try:
            self._here: Parts | None = _split(os.getcwdb())
        except FileNotFoundError:
            self._here = None
        roots = [root for target in targets for root in self._spellings(target)]
        # Files first: patterns don't apply to files that were named as targets.
        self._roots = sorted(roots, key=lambda root: not root.is_file)
        self._gathering = Gathering(options)
        self._folder: _Folder | None = None
        self._raw: bytes | None = None
        """The part before the last component of the last name; if the next name has the same, it is in the
        same folder."""

    def listings(self, names: Iterator[bytes]) -> Iterator[Listing]:
        """Look up the names; an empty name is a pause."""
        try:
            for name in names:
                if name:
                    yield from self._look_up(name)
                    continue
                # Close the folder first: while it is held open, nobody can unmount its file system.
                self._leave()
                yield from self._gathering.flush()
                yield NonFileCounts()
            yield from self._gathering.flush()
        finally:
            self._leave()

    def _spellings(self, target: bytes) -> Iterator[_TargetPath]:
        spelled = self._plain(target)
        try:
            real = real_path(target)
            is_file = not stat.S_ISDIR(stat_absolute(real).st_mode)
        except OSError:
            # Another user's FUSE is mounted on it, or it is gone: the same then applies to everything beneath
            # it.
            if spelled is not None:
                yield _TargetPath(spelled, spelled, False)
            return
        yield _TargetPath(_split(real), _split(real), is_file)
        if spelled is not None:
            yield _TargetPath(spelled, _split(real), is_file)

    def _plain(self, name: bytes) -> Parts | None:
        """Return the components of a path, or None if they can't be determined without the file system."""
        if name.startswith(b"/"):
            parts: list[bytes] = []
        elif self._here is not None:
            parts = list(self._here)
        else:
            return None
        below = False
        for part in _split(name):
            if part == b".":
                continue
            if part != b"..":
                parts.append(part)
                below = True
            elif below:
                # If the component before `..` is a symlink, only the file system knows the folder above its
                # target.
                return None
            elif parts:
                parts.pop()
        return tuple(parts)

    def _look_up(self, name: bytes) -> Iterator[Listing]:
        base = name.rpartition(b"/")[2]
        raw = name[: len(name) - len(base)]
        if b"\0" in name:
            yield UnreadableName(name, b"", b"", Reason.NO_NAME, "it holds a NUL")
            return
        if self._folder is None or raw != self._raw or base in _SPECIAL:
            self._leave()
            parts = self._plain(name)
            if parts is None:
                detail = "no current folder" if self._here is None else "`..` after another name"
                yield UnreadableName(name, b"", b"", Reason.NO_NAME, detail)
                return
            found = self._root_of(parts)
            if found is None:
                yield UnreadableName(_join(parts), b"", b"", Reason.OUTSIDE, "")
                return
            target, beneath, patterns = found
            if not beneath:
                yield UnreadableName(_join(target), b"", b"", Reason.NO_FILE, "it is a folder")
                return
            base = beneath[-1]
            self._folder = self._enter(target, beneath[:-1], patterns=patterns)
            # A folder that can't be entered now may exist when the next name arrives.
            if self._folder.trouble is None and not any(root.is_file for root in self._roots):
                self._raw = raw
        yield from self._listing_of(self._folder, base)

    def _root_of(self, parts: Parts) -> tuple[Parts, Parts, bool] | None:
        """Return the target that contains a path, the rest of the path, and True if patterns apply.

        Return None if no target contains it.
        """
        if not self._roots:
            return (), parts, True
        for root in self._roots:
            if root.is_file:
                if parts == root.spelled:
                    return root.real[:-1], root.real[-1:], False
            elif parts[: len(root.spelled)] == root.spelled:
                return root.real, parts[len(root.spelled) :], True
        return None

    def _enter(self, target: Parts, beneath: Parts, *, patterns: bool) -> _Folder:
        """Open a folder step by step, and collect what applies to all files in it."""
        exclude = self._options.exclude
        head = Batch(self._source, _join(target), b"/".join(beneath), 0, 0, ())
        folder = _Folder(head, place=exclude.start, patterns=patterns)
        try:
            folder.descriptor = os.open(b"/", PASS_FLAGS)
            status = self._see(folder, None)
            for part in target:
                folder.descend(part)
                status = self._see(folder, None)
            top = status.st_dev
            for part in beneath:
                folder.descend(part)
                status = self._see(folder, top)
                if patterns and exclude and exclude.excludes(folder.place, part, is_folder=True):
                    folder.skipped = folder.skipped or Reason.EXCLUDED
                folder.place = exclude.descend(folder.place, part)
            folder.head = structs.replace(head, device=status.st_dev, inode=status.st_ino)
            if self._options.kept is not None and (target + beneath)[-1:] == (FOLDER_NAME,):
                folder.kept = self._options.kept.kept_in(folder.descriptor, _join(target + beneath))
        except OSError as error:
            folder.close()
            folder.trouble = file_trouble(error)
            if error.errno in _ON_THE_WAY:
                folder.trouble = FileError(
                    Reason.NO_FILE, "what should be a folder on its way is none, or a link"
                )
        return folder

    def _see(self, folder: _Folder, top: int | None) -> os.stat_result:
        """Examine a folder on the path; `top` is the device of the target, None for folders down to the
        target itself."""
        status = os.fstat(folder.descriptor)
        if (status.st_dev, status.st_ino) in self._options.protected:
            folder.skipped = Reason.OWN
        elif top not in {None, status.st_dev} and (
            (self._options.one_file_system and self._roots) or is_pseudo(folder.descriptor)
        ):
            folder.skipped = folder.skipped or Reason.EXCLUDED
        return status

    def _listing_of(self, folder: _Folder, name: bytes) -> Iterator[Listing]:
        target, path = folder.head.target, folder.head.folder
        trouble, status = folder.trouble, None
        if trouble is None:
            try:
                status = stat_child(folder.descriptor, name)
            except OSError as error:
                trouble = file_trouble(error)
            else:
                if not stat.S_ISREG(status.st_mode):
                    trouble = FileError(Reason.NO_FILE, f"it is {describe_file_type(status.st_mode)}")
        if status is None or trouble is not None:
            assert trouble is not None
            yield UnreadableName(target, path, name, trouble.reason, trouble.detail)
            return
        item = Item(name, file_stat(status))
        skipped = self._skipped(folder, item)
        if skipped is not None:
            yield SkippedFile(target, path, item, skipped)
        else:
            yield from self._gathering.add(folder.head, item)

    def _skipped(self, folder: _Folder, item: Item) -> Reason | None:
        """Return the reason why a file is left out; None if it is not."""
        known = folder.kept.get(item.name) if folder.kept is not None else None
        if folder.skipped is not None:
            return folder.skipped
        if known is not None and known.matches(folder.descriptor, item.name, item.stat):
            return Reason.OWN
        options = self._options
        if folder.patterns and options.exclude.excludes(folder.place, item.name, is_folder=False):
            return Reason.EXCLUDED
        if options.max_file_size is not None and item.stat.size > options.max_file_size:
            return Reason.OVER_SIZE
        return None

    def _leave(self) -> None:
        if self._folder is not None:
            self._folder.close()
        self._raw = self._folder = None


def _split(path: bytes) -> Parts:
    return tuple(part for part in path.split(b"/") if part)


def _join(parts: Parts) -> bytes:
    return b"/" + b"/".join(parts)
