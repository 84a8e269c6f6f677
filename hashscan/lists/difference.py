"""The staged version of a list: compare it with the active version, activate it, or discard it.

Shards that both versions have are not read, except for rows that only one version has withdrawn. All other
entries are compared by a keyed hash of 64 bits, with a new random key each time. So no entries can be
prepared that pass for others. With ten million entries in each version, the probability that one passes by
accident is one in 200,000. This takes 24 bytes of memory for each compared entry.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hashscan.atomic_files import output_errors
from hashscan.errors import ListTrustError, NoUsableListError, UsageError
from hashscan.lists.acceptance import record_added
from hashscan.lists.storage.columns import (
    BLOCK,
    BYTE,
    HEADER_SIZE,
    ColumnBlock,
    ColumnError,
    ColumnFiles,
    EntryBlock,
    ListHandle,
    id_dtype,
    withdrawn_rows,
)
from hashscan.lists.storage.layout import ListFolder
from hashscan.lists.storage.manifest import Manifest
from hashscan.lists.storage.signed_list import signed_target
from hashscan.lists.storage.stored_version import (
    JoinedColumn,
    JoinedColumns,
    VerificationLevel,
    between,
    joined_columns,
)
from hashscan.lists.store import ListStore, open_version
from hashscan.locking import ReadLock
from hashscan.model import ALGORITHMS, CATEGORIES, USABLE_STATES, Entry, ListInfo

if TYPE_CHECKING:
    from hashscan.lists.storage.trust import VerifiedMetadata

_Key = tuple[str, str, str]
"""The signed hashes of a shard's three files; shards with equal keys have the same rows."""


@dataclass(frozen=True, slots=True)
class EntryChange:
    """Entries of one algorithm and category that one version has and the other has not."""

    came: bool
    """True if the staged version has them, False if the active version has them."""
    algorithm: str
    category: str
    raw_ids: NDArray[np.bytes_]
    values: NDArray[np.uint8]
    """Shape (entries, size)."""

    def __len__(self) -> int:
        return len(self.raw_ids)

    @property
    def ids(self) -> list[str]:
        """Ids of the entries."""
        return [raw.decode("ascii") for raw in self.raw_ids.tolist()]


@dataclass(frozen=True, slots=True)
class Difference:
    """The active and the staged version of a list, locked so that no writer removes them."""

    old: ListInfo | None
    """The active version; None before the first activation."""
    new: ListInfo
    """The staged version."""
    _old: _Version | None
    _new: _Version

    def changes(self) -> Iterator[EntryChange]:
        """Yield the removed, then the added entries, by algorithm; an entry changed under its id is in both.

        Iterating raises:
            ColumnError: a stored file is not valid.
            OSError: a stored file can't be read.
        """
        key = secrets.token_bytes(32)
        versions = [version for version in (self._old, self._new) if version]
        for algorithm in sorted({name for version in versions for name in version.algorithms}):
            old = self._old.shards(algorithm) if self._old else []
            new = self._new.shards(algorithm)
            went, came = _Candidates(old, new), _Candidates(new, old)
            gone, arrived = went.hashes(key), came.hashes(key)
            yield from went.without(arrived, gone, algorithm, came=False)
            yield from came.without(gone, arrived, algorithm, came=True)


@contextmanager
def difference(store: ListStore, name: str) -> Iterator[Difference]:
    """Yield the active and the staged version of a list, after comparing both with their checksums.

    Raises:
        UsageError: no version is staged.
        NoUsableListError: a version can't be trusted; this may be detected only while the body runs.
        OutputError: the list's folder can't be read.
    """
    with difference_in(store.folder(name), name) as compared:
        yield compared


@contextmanager
def difference_in(
    folder: ListFolder,
    name: str,
    *,
    from_nothing: bool = False,
    thoroughness: VerificationLevel = VerificationLevel.CHECKSUMS,
) -> Iterator[Difference]:
    """Yield the active and the staged version of a list's folder, after verifying both; `from_nothing`
    ignores an active version that can't be trusted."""
    with output_errors(f"the versions of {name!r} can't be read"), ExitStack() as stack:
        staged = folder.hold_staged()
        if staged is None:
            raise UsageError(
                f"no version of the list {name!r} is staged, so there is nothing to compare",
                advice="Stage one with `hashscan lists pull --stage`.",
            )
        active = None if from_nothing else folder.hold_active()
        new, new_info = _version(name, folder, staged, thoroughness, stack)
        old, old_info = _version(name, folder, active, thoroughness, stack) if active else (None, None)
        try:
            yield Difference(old_info, new_info, old, new)
        except ColumnError as error:
            raise NoUsableListError(f"a version of the list {name!r} can't be relied on: {error}") from error


def record_new_entries(folder: ListFolder, name: str, *, from_nothing: bool) -> None:
    """Record which entries the staged version adds to a list that was accepted; the caller activates it."""
    if folder.accepted.exists():
        sizes = VerificationLevel.SIZES  # the caller has compared the rest
        with difference_in(folder, name, from_nothing=from_nothing, thoroughness=sizes) as compared:
            record_added(folder, ((each.algorithm, each.ids) for each in compared.changes() if each.came))


def import_list(lists: Path, name: str, entries: Iterable[Entry | EntryBlock], label: str) -> ListInfo:
    """Import entries as `ListStore.import_entries`, and record what they add to a list that was accepted."""
    return ListStore(lists).import_entries(name, entries, label, record_new_entries)


ActivationCheck = Callable[[Difference], bool]
"""Decides from the changes of a version if it may be activated."""


@dataclass(frozen=True, slots=True)
class _Shard:
    """One shard of a stored version."""

    key: _Key
    folder: Path
    columns: JoinedColumns
    number: int
    withdrawn: NDArray[np.int64]
    """Withdrawn rows of the shard, ascending."""
    categories: tuple[str, ...]

    @property
    def rows(self) -> int:
        return self.columns.value.pieces[self.number].rows

    def block(self) -> ColumnBlock:
        return self._read(self.columns.ids), self._read(self.columns.category), self._read(self.columns.value)

    def _read(self, column: JoinedColumn) -> NDArray[Any]:
        piece = column.pieces[self.number]
        with (self.folder / column.file).open("rb") as file:
            shard = column.shard(file.fileno(), piece)
        return np.frombuffer(shard, piece.dtype, offset=HEADER_SIZE).reshape(piece.rows, *column.width)


@dataclass(frozen=True, slots=True)
class _Rows:
    """Some rows of an unsigned version, which has no shards; they are compared with all of the other's."""

    key: _Key
    folder: Path
    files: ColumnFiles
    start: int
    rows: int
    categories: tuple[str, ...]

    @property
    def withdrawn(self) -> NDArray[np.int64]:
        return np.zeros(0, dtype=np.int64)

    def block(self) -> ColumnBlock:
        files, size = self.files, ALGORITHMS[self.files.algorithm].size
        return (
            self._read(files.ids, id_dtype(files.id_size)),
            self._read(files.category, BYTE),
            self._read(files.value, np.dtype((BYTE, size))),
        )

    def _read(self, file: str, dtype: np.dtype[Any]) -> NDArray[Any]:
        offset = HEADER_SIZE + self.start * dtype.itemsize
        return np.fromfile(self.folder / file, dtype, count=self.rows, offset=offset)


@dataclass(frozen=True, slots=True)
class _Version:
    """A stored version that was verified."""

    handle: ListHandle
    manifest: Manifest
    verified: VerifiedMetadata | None
    """None for a list of an exchange."""

    @property
    def algorithms(self) -> frozenset[str]:
        return frozenset(files.algorithm for files in self.handle.columns)

    def shards(self, algorithm: str) -> list[_Shard | _Rows]:
        found: list[_Shard | _Rows] = []
        handle = self.handle
        if self.verified is None:
            for files in handle.columns:
                if files.algorithm == algorithm:
                    for start in range(0, files.entries, BLOCK):
                        key = (str(handle.folder), files.ids, str(start))
                        rows = min(BLOCK, files.entries - start)
                        found.append(_Rows(key, handle.folder, files, start, rows, handle.categories))
            return found
        for columns, files in zip(joined_columns(self.manifest), handle.columns, strict=True):
            if columns.algorithm != algorithm:
                continue
            withdrawn = withdrawn_rows(handle.folder, files)
            for number, piece in enumerate(columns.value.pieces):
                targets = (signed_target(self.verified, column.pieces[number].target) for column in columns)
                ids, category, value = (target.sha256 for target in targets)
                key = ids, category, value
                gone = between(withdrawn, piece.start, piece.start + piece.rows)
                found.append(_Shard(key, handle.folder, columns, number, gone, handle.categories))
        return found


class _Candidates:
    """Entries of one version that the other version may lack."""

    def __init__(self, mine: Sequence[_Shard | _Rows], others: Sequence[_Shard | _Rows]) -> None:
        # A shard that a version has twice (its entries were removed and added again) can't be distinguished
        # from its copy.
        counts = [Counter(shard.key for shard in shards) for shards in (mine, others)]
        shared = {shard.key: shard for shard in others if all(count[shard.key] == 1 for count in counts)}
        self._rows: list[tuple[_Shard | _Rows, NDArray[np.int64]]] = []
        for shard in mine:
            other = shared.get(shard.key)
            if other is None:
                rows = np.delete(np.arange(shard.rows), shard.withdrawn)
            else:
                rows = np.setdiff1d(other.withdrawn, shard.withdrawn, assume_unique=True)
            if rows.size:
                self._rows.append((shard, rows))

    def hashes(self, key: bytes) -> NDArray[np.uint64]:
        hashed = np.empty(sum(len(rows) for _, rows in self._rows), dtype=np.uint64)
        start = 0
        for shard, rows in self._rows:
            hashed[start : start + len(rows)] = _hashes(key, shard, rows)
            start += len(rows)
        return hashed

    def without(
        self, others: NDArray[np.uint64], own: NDArray[np.uint64], algorithm: str, *, came: bool
    ) -> Iterator[EntryChange]:
        """Yield the candidates whose hashes, `own`, are not among those of the other version."""
        known = np.sort(others)
        start = 0
        for shard, rows in self._rows:
            hashes = own[start : start + len(rows)]
            start += len(rows)
            if known.size:
                at = np.minimum(np.searchsorted(known, hashes), len(known) - 1)
                rows = rows[known[at] != hashes]  # noqa: PLW2901 - the remaining rows
            if rows.size:
                ids, category, value = shard.block()
                numbers = category[rows]
                for number in np.unique(numbers).tolist():
                    chosen = rows[numbers == number]
                    yield EntryChange(came, algorithm, shard.categories[number], ids[chosen], value[chosen])


def _hashes(key: bytes, shard: _Shard | _Rows, rows: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return a hash of id, category and value of each entry."""
    ids, category, value = shard.block()
    # Versions may number categories differently.
    names = [bytes([CATEGORIES.index(name)]) for name in shard.categories]
    values = np.ascontiguousarray(value[rows]).view(f"V{value.shape[1]}").ravel().tolist()
    hashed = [
        hashlib.blake2b(b"%s\0%s%s" % (each, names[number], content), digest_size=8, key=key).digest()
        for each, number, content in zip(ids[rows].tolist(), category[rows].tolist(), values, strict=True)
    ]
    return np.frombuffer(b"".join(hashed), dtype=np.uint64)


def _version(
    name: str,
    folder: ListFolder,
    held: tuple[Path, ReadLock],
    thoroughness: VerificationLevel,
    stack: ExitStack,
) -> tuple[_Version, ListInfo]:
    """Open a version until the stack is closed; `NoUsableListError` if it can't be trusted."""
    version, hold = held
    stack.callback(hold.close)
    opened = open_version(name, folder, version, datetime.now(UTC), thoroughness)
    if opened.handle is None or opened.manifest is None:
        raise NoUsableListError(
            f"version {opened.info.version} of the list {name!r} can't be relied on: {opened.info.problem}",
            advice="Pull the list again with `hashscan lists pull`.",
        )
    return _Version(opened.handle, opened.manifest, opened.verified), opened.info


@dataclass(frozen=True, slots=True)
class Activated:
    """The result of an activation."""

    info: ListInfo
    previous: int | None
    """The version that was active before; None if there was none that could be trusted."""


def staged_info(store: ListStore, name: str) -> ListInfo | None:
    """Return the info of the staged version; None if no version is staged.

    Raises:
        UsageError: the name is not valid.
        OutputError: the list's folder can't be read.
    """
    with output_errors(f"the staged version of {name!r} can't be read"):
        folder = store.folder(name)
        held = folder.hold_staged()
        if held is None:
            return None
        version, hold = held
        try:
            opened = open_version(name, folder, version, datetime.now(UTC), VerificationLevel.SIZES)
        finally:
            hold.close()
        return opened.info


def activate(
    store: ListStore, name: str, admits: ActivationCheck | None = None, *, only: int | None = None
) -> Activated | None:
    """Activate the staged version, after comparing all of it with what was signed.

    Args:
        admits: if given, decides first whether the version may be activated.
        only: the version that a person has reviewed; another version stays staged.

    Returns:
        The result; None if the version was not admitted and stays staged.

    Raises:
        UsageError: no version is staged, or another one.
        ListTrustError: the staged files are no longer what was signed; the last good version stays active.
        LockedError: another process is writing this list.
        OutputError: the list's folder can't be written.
    """
    with _staged(store, name) as folder:
        staged, active = folder.staged(), folder.active()
        assert staged is not None
        now = datetime.now(UTC)
        opened = open_version(name, folder, staged, now)
        if opened.handle is None:
            raise ListTrustError(
                f"the staged version of {name!r} can't be used: {opened.info.problem}",
                advice="The last good version stays in use. Stage it anew: `hashscan lists pull --stage`.",
            )
        if only not in (None, opened.info.version):
            raise UsageError(
                f"version {opened.info.version} of the list {name!r} is staged, and not {only}",
                advice=f"Look at it with `hashscan lists diff {name} --would-hit` first.",
            )
        before = open_version(name, folder, active, now, VerificationLevel.SIZES) if active else None
        usable = before is not None and before.info.state in USABLE_STATES
        if admits is not None:
            sizes = VerificationLevel.SIZES  # all of it was compared just now
            with difference_in(folder, name, from_nothing=not usable, thoroughness=sizes) as compared:
                if not admits(compared):
                    return None
        record_new_entries(folder, name, from_nothing=not usable)
        folder.activate(staged)
        folder.remove_superseded()
        return Activated(opened.info, before.info.version if before and usable else None)


def discard(store: ListStore, name: str) -> None:
    """Discard the staged version; the next pull fetches again what it needs.

    Raises:
        UsageError: no version is staged.
        LockedError: another process is writing this list.
        OutputError: the list's folder can't be written.
    """
    with _staged(store, name) as folder:
        folder.drop_staged()
        folder.remove_superseded()


@contextmanager
def _staged(store: ListStore, name: str) -> Iterator[ListFolder]:
    """Yield the folder of a list with a staged version, under its writer lock; `UsageError` without one."""
    with store.writing(name) as folder:
        if folder.staged() is None:
            raise UsageError(
                f"no version of the list {name!r} is staged",
                advice="Stage one with `hashscan lists pull --stage`.",
            )
        folder.make()
        yield folder
