"""Looks up in the active version of a list the entries that an earlier version had."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from hashscan.errors import ListTrustError
from hashscan.lists.columns import ColumnError, ListHandle
from hashscan.lists.entry_search import entries_with
from hashscan.lists.manifest import LIST_NAME
from hashscan.lists.repository import OpenedList, read_metadata
from hashscan.lists.store import ListStore
from hashscan.model import Entry, TrustState


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
def latest(store: ListStore, name: str) -> Iterator[ActiveVersion | None]:
    """Yield the active version of a list; None if it is missing, damaged or expired and so can't be trusted.

    Nothing is written: the caller may be root while the lists belong to another user.
    """
    if not LIST_NAME.fullmatch(name):
        # Reports come from outside and may contain any name.
        yield None
        return
    opened, hold = store.look_at(name, datetime.now(UTC))
    try:
        yield _latest(store, name, opened)
    finally:
        if hold is not None:
            hold.close()


def _latest(store: ListStore, name: str, opened: OpenedList) -> ActiveVersion | None:
    info, handle = opened.info, opened.handle
    if handle is None or info.state not in (TrustState.FRESH, TrustState.LOCAL):
        return None
    signers = frozenset[str]()
    if info.state is TrustState.FRESH:
        try:
            signers = _signers(store, name, handle)
        except (ListTrustError, OSError):
            return None
    return ActiveVersion(info.version, signers, handle)


def _signers(store: ListStore, name: str, handle: ListHandle) -> frozenset[str]:
    from hashscan.lists import trust

    folder = handle.folder.parent
    root = store.folder(name).root.read_bytes()
    return trust.verify(root, lambda file: read_metadata(folder, file)).past_key_ids
