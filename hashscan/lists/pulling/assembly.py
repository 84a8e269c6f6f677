"""Assembles a new version of a signed list from local files and from what must be downloaded.

If every shard of a column was signed alike for an earlier version, the column is shared with that version by
a hard link, after its recorded checksum has been compared. Any other column is a new file, into which shards
are written as they arrive. Each shard is taken from what a killed pull left there, else from an earlier
version's columns, else from the list's source, and is always compared with its signed hash. So an interrupted
pull resumes where it stopped, except for the few shards that were being downloaded. No file that is in use is
ever written to.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from hashscan.atomic_files import PRIVATE_FILE, sync_file
from hashscan.errors import ListTrustError
from hashscan.lists.storage import manifest as manifests
from hashscan.lists.storage.column_writer import write_rows
from hashscan.lists.storage.columns import (
    ROW_DTYPE,
    ColumnError,
    check_ids,
    column_header,
    id_dtype,
    read_blocks,
)
from hashscan.lists.storage.layout import private_folder
from hashscan.lists.storage.manifest import MANIFEST_MAX, MANIFEST_NAME, Manifest, ManifestError
from hashscan.lists.storage.signed_list import (
    TARGETS,
    content_of,
    load_manifest,
    signed_target,
    stored_handle,
)
from hashscan.lists.storage.stored_version import (
    COLUMNS,
    JoinedColumn,
    JoinedColumns,
    RecordedFile,
    ShardRows,
    VersionRecord,
    checksum,
    count_entries,
    joined_columns,
    read_record,
    withdrawn_by_algorithm,
    withdrawn_of,
    write_record,
)

if TYPE_CHECKING:
    from hashscan.lists.storage.trust import SignedTarget, VerifiedMetadata

Download = Callable[["SignedTarget", Path], None]
"""Downloads a target to a path, complete and as signed, or raises; called by several threads at once."""

_DOWNLOAD = "download"


def assemble(
    folder: Path,
    verified: VerifiedMetadata,
    earlier_versions: Iterable[Path],
    download: Download,
    give_up: Callable[[], None],
    expect: Callable[[int], None] | None = None,
) -> int:
    """Assemble a version in a folder, where a killed call may have begun; its files are synced. Return the
    number of bytes of targets that were downloaded. Files of earlier, finished versions are shared where
    possible; `give_up` makes all running downloads end soon; `expect` gets the number of bytes before columns
    are downloaded."""
    earlier = [_EarlierVersion(version) for version in earlier_versions]
    return _Assembly(folder, verified, earlier, download, give_up).run(expect)


@dataclass
class _Assembly:
    folder: Path
    verified: VerifiedMetadata
    earlier: Sequence[_EarlierVersion]
    download: Download
    give_up: Callable[[], None]
    fetched: int = 0
    """Bytes of the targets that were downloaded."""
    files: dict[str, RecordedFile] = field(default_factory=dict)
    """The finished columns."""

    def run(self, expect: Callable[[int], None] | None) -> int:
        for part in (TARGETS, COLUMNS):
            private_folder(self.folder / part)
        self._stage_targets([MANIFEST_NAME])
        manifest = load_manifest(self.verified, self.folder)
        every = joined_columns(manifest)
        self._remove_all_but(manifest, every)
        self._stage_targets(withdrawal.file for withdrawal in manifest.withdrawals)
        own = [column for columns in every for column in columns if not self._linked(column)]
        missing = [(column, piece) for column in own for piece in self._prepared(column)]
        if expect is not None:
            expect(sum(column.shard_size(piece) for column, piece in missing))
        self._fill(missing)
        for column in own:
            sync_file(self._place(column))
            self.files[column.file] = RecordedFile(
                checksum(self._place(column)), content_of(column, self.verified)
            )
        try:
            self._finish(manifest, every, {column.file for column in own})
        except ColumnError as error:
            raise ListTrustError(
                f"the list's owner signed columns that can't be used: {error}; ask the owner"
            ) from error
        return self.fetched

    def _place(self, column: JoinedColumn) -> Path:
        return self.folder / COLUMNS / column.file

    def _target_place(self, name: str) -> Path:
        return self.folder / TARGETS / signed_target(self.verified, name).file_name

    def _remove_all_but(self, manifest: Manifest, every: Iterable[JoinedColumns]) -> None:
        """Remove the files that a killed pull of another version left."""
        targets = [MANIFEST_NAME, *(withdrawal.file for withdrawal in manifest.withdrawals)]
        wanted = {self._target_place(name) for name in targets}
        wanted |= {self._place(column) for columns in every for column in columns}
        for folder in (TARGETS, COLUMNS):
            for path in (self.folder / folder).iterdir():
                if path not in wanted:
                    path.unlink()

    def _stage_targets(self, names: Iterable[str]) -> None:
        """Obtain targets that are stored as they were published."""
        targets = (signed_target(self.verified, name) for name in names)
        missing = [target for target in targets if not self._shared(target)]
        with closing(self._arrivals(missing)) as arrivals:
            for target, data in arrivals:
                _write_target(self.folder / TARGETS / target.file_name, data)

    def _shared(self, target: SignedTarget) -> bool:
        """Return True if a target is here already, or was taken from an earlier version."""
        place = self.folder / TARGETS / target.file_name
        if _intact(place, target):
            return True
        place.unlink(missing_ok=True)
        for earlier in self.earlier:
            kept = earlier.folder / TARGETS / target.file_name
            if _intact(kept, target):
                try:
                    os.link(kept, place)
                except OSError:
                    _write_target(place, kept.read_bytes())
                return True
        return False

    def _arrivals(self, targets: Iterable[SignedTarget]) -> Generator[tuple[SignedTarget, bytes]]:
        """Download targets, several at a time; yield them in any order."""
        with closing(each_done(self._fetch, targets, self.give_up)) as done:
            for target in done:
                aside = self._aside(target)
                data = aside.read_bytes()
                aside.unlink()
                self.fetched += target.info.length
                yield target, data

    def _fetch(self, target: SignedTarget) -> None:
        self.download(target, self._aside(target))

    def _aside(self, target: SignedTarget) -> Path:
        return self.folder / f"{_DOWNLOAD}.{target.file_name}"

    def _linked(self, column: JoinedColumn) -> bool:
        """Share a whole column with an earlier version whose recorded file is intact; return True if done."""
        place, content = self._place(column), content_of(column, self.verified)
        with suppress(FileNotFoundError):
            if place.lstat().st_nlink > 1:
                # A file that a killed pull linked is linked again: its version may be gone, and the recorded
                # checksum with it.
                place.unlink()
        for earlier in self.earlier:
            recorded = earlier.record.files.get(column.file) if earlier.record else None
            if recorded is None or recorded.content != content:
                continue
            kept = earlier.folder / COLUMNS / column.file
            with suppress(OSError):
                if kept.stat().st_size == column.size and checksum(kept) == recorded.sum:
                    place.unlink(missing_ok=True)
                    os.link(kept, place)
                    self.files[column.file] = recorded
                    return True
        return False

    def _prepared(self, column: JoinedColumn) -> list[ShardRows]:
        """Give a column's file its length, copy the pieces that are here, and return the missing ones."""
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(self._place(column), flags, PRIVATE_FILE)
        try:
            begun = os.fstat(descriptor).st_size > 0
            os.ftruncate(descriptor, column.size)
            _reserve(descriptor, column.size)
            os.pwrite(descriptor, column.header, 0)
            return [
                piece
                for piece in column.pieces
                if not (begun and self._is_there(descriptor, column, piece))
                and not self._copied(descriptor, column, piece)
            ]
        finally:
            os.close(descriptor)

    def _is_there(self, descriptor: int, column: JoinedColumn, piece: ShardRows) -> bool:
        return signed_target(self.verified, piece.target).intact(column.shard(descriptor, piece))

    def _copied(self, descriptor: int, column: JoinedColumn, piece: ShardRows) -> bool:
        target = signed_target(self.verified, piece.target)
        for earlier in self.earlier:
            shard = earlier.shard(piece.target)
            if shard is not None and target.intact(shard):
                column.place(descriptor, piece, shard)
                return True
        return False

    def _fill(self, missing: Iterable[tuple[JoinedColumn, ShardRows]]) -> None:
        wanted = {piece.target: (column, piece) for column, piece in missing}
        with closing(self._arrivals(signed_target(self.verified, name) for name in wanted)) as arrivals:
            for target, shard in arrivals:
                column, piece = wanted[target.info.path]
                if not shard.startswith(column_header(piece.dtype, (piece.rows, *column.width))):
                    raise ListTrustError(
                        f"the list's owner signed columns that can't be used: {piece.target} is no column of"
                        f" {piece.dtype} with shape {(piece.rows, *column.width)}; ask the owner"
                    )
                descriptor = os.open(self._place(column), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
                try:
                    column.place(descriptor, piece, shard)
                finally:
                    os.close(descriptor)

    def _finish(self, manifest: Manifest, every: Iterable[JoinedColumns], own: set[str]) -> None:
        """Check the new rows, compute the withdrawn rows, and write the record."""
        gone = withdrawn_by_algorithm(manifest, self._target_place)
        numbers = {}
        for columns in every:
            rows = withdrawn_of(columns, manifest, gone)
            numbers[columns.place] = len(rows)
            if rows.size:
                self._write_withdrawn(columns, rows)
            if columns.ids.file in own:
                ids = self._place(columns.ids)
                check_ids(read_blocks(ids, id_dtype(columns.id_size), (columns.rows,)), columns.place)
        handle = stored_handle(manifest.name, self.folder, self.verified, manifest, numbers)
        counts = count_entries(handle.folder, handle.columns, handle.categories)
        write_record(self.folder, VersionRecord.of(self.files, counts))

    def _write_withdrawn(self, columns: JoinedColumns, rows: NDArray[np.int64]) -> None:
        path = self.folder / COLUMNS / columns.withdrawn
        path.unlink(missing_ok=True)
        write_rows(path, rows, ROW_DTYPE)
        self.files[columns.withdrawn] = RecordedFile(checksum(path))


@dataclass
class _EarlierVersion:
    """A finished version; only its record is trusted, and only for files that are intact."""

    folder: Path

    @cached_property
    def record(self) -> VersionRecord | None:
        try:
            return read_record(self.folder)
        except (ColumnError, OSError):
            return None

    @cached_property
    def _pieces(self) -> dict[str, tuple[JoinedColumn, ShardRows]]:
        """Position of the version's shards in its columns, by target name."""
        try:
            (path,) = (self.folder / TARGETS).glob(f"*.{MANIFEST_NAME}")
            with path.open("rb") as file:
                manifest = manifests.from_bytes(file.read(MANIFEST_MAX + 1))
        except (ManifestError, OSError, ValueError):
            return {}
        return {
            piece.target: (column, piece)
            for columns in joined_columns(manifest)
            for column in columns
            for piece in column.pieces
        }

    def shard(self, target: str) -> bytes | None:
        """Return a shard of that name, not yet compared with its signed hash; None if there is none."""
        found = self._pieces.get(target)
        if found is None:
            return None
        column, piece = found
        with suppress(OSError), (self.folder / COLUMNS / column.file).open("rb") as file:
            return column.shard(file.fileno(), piece)
        return None


def _write_target(place: Path, data: bytes) -> None:
    # Its hash is compared again when it is opened, so an incomplete file does no harm.
    descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE_FILE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _reserve(descriptor: int, size: int) -> None:
    """Reserve disk space for a file, so that a full disk is detected before anything is downloaded."""
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        # Some filesystems can't reserve space; then a write will fail.
        if error.errno not in {errno.EOPNOTSUPP, errno.EINVAL}:
            raise


def _intact(path: Path, target: SignedTarget) -> bool:
    try:
        with path.open("rb") as file:
            return target.intact(file)
    except FileNotFoundError:
        return False


T = TypeVar("T")

AT_ONCE = 4
"""Largest number of items in progress, including finished ones that were not yet yielded."""
GRACE = 1.0
"""Seconds to wait for the end of cancelled calls."""


def each_done(do: Callable[[T], None], items: Iterable[T], give_up: Callable[[], None]) -> Generator[T]:
    """Call `do` for each item in a thread, in this order, and yield the items as they finish; close the
    generator to stop early, for which `give_up` makes all calls end soon. Of several failures it raises a
    forgery, else that of the earliest item. The threads do not belong to an executor, for which the
    interpreter would wait at exit: a thread that looks up a host name can't be woken."""
    left = iter(items)
    under_way: dict[Future[None], T] = {}
    try:
        while True:
            for item in islice(left, AT_ONCE - len(under_way)):
                under_way[_begun(do, item)] = item
            if not under_way:
                return
            wait(under_way, return_when=FIRST_COMPLETED)
            for future in [each for each in under_way if each.done() and each.exception() is None]:
                yield under_way.pop(future)
            failures = [error for each in under_way if each.done() and (error := each.exception())]
            if failures:
                raise min(failures, key=lambda error: not isinstance(error, ListTrustError))
    finally:
        if under_way:
            give_up()
            wait(under_way, GRACE)


def _begun(do: Callable[[T], None], item: T) -> Future[None]:
    future: Future[None] = Future()

    def run() -> None:
        try:
            do(item)
        except BaseException as error:  # raised again when the result is read
            future.set_exception(error)
        else:
            future.set_result(None)

    threading.Thread(target=run, daemon=True).start()
    return future
