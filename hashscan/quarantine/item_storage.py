"""Open, verify and delete kept files and copies, in folders of this machine or in buckets; store copies."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any

from hashscan.errors import OutputError
from hashscan.quarantine import system
from hashscan.quarantine.captured_file import Outcome, QuarantineSkipped
from hashscan.quarantine.file_facts import seal
from hashscan.quarantine.folder import OpenFolders, QuarantineFolder
from hashscan.quarantine.items import Item
from hashscan.quarantine.object_stores import (
    Stores,
    call_with_retries,
    drop,
    fetch_object,
    skipped_without_space,
    store_new,
)
from hashscan.quarantine.transfer import copy_content
from hashscan.sources.filesystem.quarantined_files import sha256_of
from hashscan.sources.filesystem.safe_open import FILE_FLAGS, closing_descriptor, open_child
from hashscan.sources.objects.changeable_store import ChangeableStore, ObjectDescription, unlisted_item


class ItemStorage:
    """The storage of kept files and of copies of objects."""

    def __init__(self, stores: Stores, places: OpenFolders, spare: bytes) -> None:
        """Store how to open buckets and folders; `spare` is a folder of ours with space for one object."""
        self._stores = stores
        self._places = places
        self._spare = spare

    def put(self, item: Item, file: int) -> Mapping[str, Any]:
        """Store the copy durably, and return the fields that identify it, for the log. A bucket that doesn't
        accept it, or a folder without space for it, skips the item."""
        if not item.in_bucket:
            self._put_in_folder(item, file)
            return {}
        store, key = self._there(item)
        # Store none of the object's properties: they could make the copy public.
        try:
            made = store_new(store, key, file, {}, item.sha256, self._spare)
        except OSError as error:
            raise OutputError(f"a copy can't be read again: {error.strerror}") from error
        return {"etag": made.etag, "version": made.version}

    def _put_in_folder(self, item: Item, file: int) -> None:
        place = self.folder_of(item)
        size = os.fstat(file).st_size
        try:
            with closing_descriptor(system.create(place.descriptor, item.id.encode(), 0o600)) as copy:
                try:
                    with skipped_without_space(copy, size, place.path):
                        copy_content(file, copy, size)
                except QuarantineSkipped:
                    system.unlink(place.descriptor, item.id.encode())
                    raise
                seal(copy)
                system.sync(copy)
                whole = sha256_of(copy) == item.sha256
            system.sync(place.descriptor)
        except OSError as error:
            raise OutputError(f"can't keep a copy in {os.fsdecode(place.path)}: {error.strerror}") from error
        if not whole:
            raise OutputError(f"the copy in {os.fsdecode(place.path)} is not what was written there")

    @contextmanager
    def opened(self, item: Item) -> Iterator[int]:
        """Open the kept file or copy for reading, after verifying that its content is what was found."""
        opening: AbstractContextManager[int]
        if item.in_bucket:
            store, key = self._there(item)
            known = item.copy or {"etag": "", "version": ""}
            named = unlisted_item(key, known["etag"], known["version"])
            described = call_with_retries(lambda: store.describe(named))
            exact = unlisted_item(key, described.etag, described.version, described.size)
            opening = fetch_object(store, exact, self._spare)
        else:
            opening = self._open_file(item)
        with opening as file:
            try:
                altered = sha256_of(file) != item.sha256
            except OSError as error:
                raise QuarantineSkipped(Outcome.REFUSED, f"it can't be read: {error.strerror}") from error
            if altered:
                raise QuarantineSkipped(Outcome.CHANGED, "it was altered in quarantine")
            yield file

    def _open_file(self, item: Item) -> AbstractContextManager[int]:
        place = self.folder_of(item)
        try:
            return closing_descriptor(open_child(place.descriptor, item.id.encode(), FILE_FLAGS))
        except OSError as error:
            outcome = Outcome.GONE if error.errno == errno.ENOENT else Outcome.REFUSED
            detail = f"it can't be opened in quarantine: {error.strerror}"
            raise QuarantineSkipped(outcome, detail) from error

    def drop(self, item: Item) -> None:
        """Destroy the kept file or copy if it exists."""
        if item.in_bucket:
            store, key = self._there(item)
            known = item.copy and ObjectDescription(0, item.copy["etag"], item.copy["version"], "", {})
            drop(store, key, known or None)
            return
        place = self.folder_of(item)
        try:
            with suppress(FileNotFoundError):
                system.unlink(place.descriptor, item.id.encode())
            system.sync(place.descriptor)
        except OSError as error:
            raise QuarantineSkipped(Outcome.REFUSED, f"it can't be removed: {error.strerror}") from error

    def secure(self, item: Item) -> Mapping[str, Any]:
        """Make durable and private a copy that exists and is not yet in the log; return what `put` does."""
        if item.in_bucket:
            store, key = self._there(item)
            described = call_with_retries(lambda: store.describe(unlisted_item(key)))
            return {"etag": described.etag, "version": described.version}
        place = self.folder_of(item)
        try:
            with closing_descriptor(open_child(place.descriptor, item.id.encode(), FILE_FLAGS)) as copy:
                seal(copy)
                system.sync(copy)
            system.sync(place.descriptor)
        except OSError as error:
            raise QuarantineSkipped(Outcome.REFUSED, f"the copy can't be sealed: {error.strerror}") from error
        return {}

    def _there(self, item: Item) -> tuple[ChangeableStore, bytes]:
        store, above = self._stores.at(item.place, item.record["endpoint"])
        return store, above + b"/" + item.id.encode()

    def folder_of(self, item: Item) -> QuarantineFolder:
        try:
            return self._places.at(item.place)
        except OSError as error:
            where = os.fsdecode(item.place)
            raise QuarantineSkipped(
                Outcome.REFUSED, f"the folder {where} can't be opened: {error.strerror}"
            ) from error
