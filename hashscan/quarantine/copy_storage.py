"""Store, open, verify and delete the kept copies of objects: in a folder of this machine, or in a bucket."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from hashscan.errors import OutputError
from hashscan.quarantine import system
from hashscan.quarantine.captured_file import Outcome, QuarantineSkipped
from hashscan.quarantine.file_facts import seal
from hashscan.quarantine.folder import OpenFolders, QuarantineFolder
from hashscan.quarantine.items import Item
from hashscan.quarantine.object_stores import Stores, call_with_retries, drop, fetch_object, store_new
from hashscan.quarantine.transfer import copy_content
from hashscan.sources.filesystem.quarantined_files import sha256_of
from hashscan.sources.filesystem.safe_open import FILE_FLAGS, open_child
from hashscan.sources.objects.changeable_store import ChangeableStore, ObjectDescription, unlisted_item


class CopyStorage:
    """The storage of kept copies."""

    def __init__(self, stores: Stores, places: OpenFolders, spare: bytes) -> None:
        """Remember how to open buckets and folders.

        Args:
            stores: opens buckets.
            places: opens folders.
            spare: a folder of ours with space for one object.
        """
        self._stores = stores
        self._places = places
        self._spare = spare

    def put(self, item: Item, file: int) -> Mapping[str, Any]:
        """Store the copy durably.

        Returns:
            Fields that identify the copy, for the log.

        Raises:
            QuarantineSkipped: the bucket doesn't accept it.
            OutputError: the copy can't be written to or verified in the folder.
        """
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
        place = self._place(item)
        try:
            copy = system.create(place.descriptor, item.id.encode(), 0o600)
            try:
                copy_content(file, copy, os.fstat(file).st_size)
                seal(copy)
                system.sync(copy)
                whole = sha256_of(copy) == item.sha256
            finally:
                os.close(copy)
            system.sync(place.descriptor)
        except OSError as error:
            raise OutputError(f"can't keep a copy in {os.fsdecode(place.path)}: {error.strerror}") from error
        if not whole:
            raise OutputError(f"the copy in {os.fsdecode(place.path)} is not what was written there")

    @contextmanager
    def opened(self, item: Item) -> Iterator[int]:
        """Open the copy for reading, after verifying that it is what was found.

        Raises:
            QuarantineSkipped: the copy is gone, was altered, or can't be read.
        """
        if item.in_bucket:
            store, key = self._there(item)
            described = call_with_retries(lambda: store.describe(_identified(item, key)))
            exact = unlisted_item(key, described.etag, described.version, described.size)
            with fetch_object(store, exact, self._spare) as file:
                _expect(item, file)
                yield file
            return
        place = self._place(item)
        try:
            file = open_child(place.descriptor, item.id.encode(), FILE_FLAGS)
        except OSError as error:
            outcome = Outcome.GONE if error.errno == errno.ENOENT else Outcome.REFUSED
            raise QuarantineSkipped(outcome, f"what was kept can't be opened: {error.strerror}") from error
        try:
            _expect(item, file)
            yield file
        finally:
            os.close(file)

    def drop(self, item: Item) -> None:
        """Destroy the copy if it exists.

        Raises:
            QuarantineSkipped: it can't be destroyed.
        """
        if item.in_bucket:
            store, key = self._there(item)
            known = item.copy and ObjectDescription(0, item.copy["etag"], item.copy["version"], "", {})
            drop(store, key, known or None)
            return
        place = self._place(item)
        try:
            with suppress(FileNotFoundError):
                system.unlink(place.descriptor, item.id.encode())
            system.sync(place.descriptor)
        except OSError as error:
            raise QuarantineSkipped(Outcome.REFUSED, f"it can't be removed: {error.strerror}") from error

    def secure(self, item: Item) -> Mapping[str, Any]:
        """Make durable and private a copy that exists and is not yet in the log.

        Returns:
            As `put`.

        Raises:
            QuarantineSkipped: the copy can't be read or changed.
        """
        if item.in_bucket:
            store, key = self._there(item)
            described = call_with_retries(lambda: store.describe(unlisted_item(key)))
            return {"etag": described.etag, "version": described.version}
        place = self._place(item)
        try:
            copy = open_child(place.descriptor, item.id.encode(), FILE_FLAGS)
            try:
                seal(copy)
                system.sync(copy)
            finally:
                os.close(copy)
            system.sync(place.descriptor)
        except OSError as error:
            raise QuarantineSkipped(Outcome.REFUSED, f"the copy can't be sealed: {error.strerror}") from error
        return {}

    def _there(self, item: Item) -> tuple[ChangeableStore, bytes]:
        store, above = self._stores.at(item.place, item.record["endpoint"])
        return store, above + b"/" + item.id.encode()

    def _place(self, item: Item) -> QuarantineFolder:
        try:
            return self._places.at(item.place)
        except OSError as error:
            where = os.fsdecode(item.place)
            # Perhaps its filesystem, with the copy on it, is only not mounted.
            raise QuarantineSkipped(
                Outcome.REFUSED, f"the folder {where} can't be opened: {error.strerror}"
            ) from error


def _identified(item: Item, key: bytes) -> Any:
    return unlisted_item(key, item.copy["etag"], item.copy["version"]) if item.copy else unlisted_item(key)


def _expect(item: Item, file: int) -> None:
    try:
        altered = sha256_of(file) != item.sha256
    except OSError as error:
        raise QuarantineSkipped(Outcome.REFUSED, f"what was kept can't be read: {error.strerror}") from error
    if altered:
        raise QuarantineSkipped(Outcome.CHANGED, "what was kept has been altered")
