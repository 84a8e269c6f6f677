"""What a list says today of entries that it had in an earlier version."""

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
class Latest:
    """The version of a list that is in use, held so that no writer removes it."""

    version: int
    _signers: frozenset[str]
    """Every key that could sign the list since its root was trusted; none where nobody signs it."""
    _handle: ListHandle

    def follows(self, version: int, key_ids: Iterable[str]) -> bool:
        """Whether this is a later version of the list that had this version and these keys.

        Another list that was given the same name later is none, since its owner can take nothing back.
        """
        earlier = frozenset(key_ids)
        same_owner = bool(earlier & self._signers) if earlier or self._signers else True
        return same_owner and self.version > version

    def entries(self, entry_ids: Iterable[str]) -> list[Entry] | None:
        """Its active entries with these ids; None where its files turn out to be unreadable."""
        try:
            return list(entries_with(self._handle, entry_ids))
        except (ColumnError, OSError):
            return None


@contextmanager
def latest(store: ListStore, name: str) -> Iterator[Latest | None]:
    """The version in use; None where it can't be relied on: missing, damaged, or past its expiry.

    Nothing is written; whoever asks may be root, and the lists another user's.
    """
    if not LIST_NAME.fullmatch(name):
        # Somebody's report may name any.
        yield None
        return
    opened, hold = store.look_at(name, datetime.now(UTC))
    try:
        yield _latest(store, name, opened)
    finally:
        if hold is not None:
            hold.close()


def _latest(store: ListStore, name: str, opened: OpenedList) -> Latest | None:
    info, handle = opened.info, opened.handle
    if handle is None or info.state not in (TrustState.FRESH, TrustState.LOCAL):
        return None
    signers = frozenset[str]()
    if info.state is TrustState.FRESH:
        try:
            signers = _signers(store, name, handle)
        except (ListTrustError, OSError):
            return None
    return Latest(info.version, signers, handle)


def _signers(store: ListStore, name: str, handle: ListHandle) -> frozenset[str]:
    from hashscan.lists import trust

    folder = handle.folder.parent
    root = store.folder(name).root.read_bytes()
    return trust.verify(root, lambda file: read_metadata(folder, file)).past_key_ids
