"""Copy the content of objects between stores and files, with retries, and verify its sha256."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from hashscan.hashing.exact import MD5, SHA1, SHA256, ExactReader
from hashscan.model import Item
from hashscan.quarantine import system
from hashscan.quarantine.captured_file import Outcome, OutcomeUnknown, QuarantineSkipped
from hashscan.quarantine.objects.stores import call_with_retries, to_skipped
from hashscan.sources.base import FileError
from hashscan.sources.objects.changing import (
    ChangeableStore,
    ObjectDescription,
    ObjectExistsError,
    Properties,
    unlisted_item,
)
from hashscan.sources.objects.receiving import Receiver
from hashscan.sources.objects.store import RetryableError


@contextmanager
def fetched(store: ChangeableStore, item: Item, folder: bytes) -> Iterator[int]:
    """Download an object to a file without a name, which is gone when the block ends or the process dies.

    Args:
        store: the store of the object.
        item: the object, with the etag and version that it must have until the download ends.
        folder: a folder of ours, on whose filesystem there must be space for the object.

    Yields:
        A descriptor.

    Raises:
        QuarantineSkipped: the object can't be downloaded.
        OSError: the file can't be written.
    """
    with tempfile.TemporaryFile(dir=os.fsdecode(folder)) as file:
        descriptor = file.fileno()

        def restart() -> None:
            os.lseek(descriptor, 0, os.SEEK_SET)
            system.truncate(descriptor, 0)

        receiver = Receiver(store, item, time.sleep, restart)
        try:
            for chunk in receiver.chunks():
                system.write(descriptor, chunk)
            receiver.check()
        except FileError as trouble:
            raise to_skipped(trouble) from trouble
        yield descriptor


def digests_of(file: int) -> Mapping[str, str]:
    """Return md5, sha1 and sha256 of a file, in hex."""
    reader = ExactReader((MD5(), SHA1(), SHA256()))
    reader.begin(file, os.fstat(file).st_size)
    return {name: value.hex() for name, value in reader.finish()[0].items()}


def store_new(
    store: ChangeableStore, key: bytes, file: int, properties: Properties, sha256: str, folder: bytes
) -> ObjectDescription:
    """Store a file as a new object, and read it again to verify it.

    Args:
        store: the store of the new object.
        key: key of the object.
        file: descriptor of the file.
        properties: the properties to store with the object.
        sha256: sha256 of the file, in hex.
        folder: see `fetched`.

    Returns:
        The store's description of the new object.

    Raises:
        QuarantineSkipped: the key is taken, or the object can't be stored; nothing is left in the store.
        OutcomeUnknown: something of ours may be left in the store.
        OSError: a local file can't be written.
    """
    made = _create(store, key, file, properties, sha256, folder)
    try:
        found = describe_if_unaltered(store, key, sha256, folder, made)
    except (QuarantineSkipped, OSError):
        _take_back(store, key, made)
        raise
    if found is None:
        _take_back(store, key, made)
        raise QuarantineSkipped(Outcome.REFUSED, "what was stored is not what was sent")
    return found


def _create(
    store: ChangeableStore, key: bytes, file: int, properties: Properties, sha256: str, folder: bytes
) -> ObjectDescription:
    lost = False

    def create() -> ObjectDescription:
        nonlocal lost
        try:
            return store.create(key, file, os.fstat(file).st_size, properties)
        except RetryableError:
            lost = True
            raise

    try:
        return call_with_retries(create)
    except ObjectExistsError as error:
        reason = QuarantineSkipped(Outcome.REFUSED, "its name is taken")
        reason.__cause__ = error
    except QuarantineSkipped as error:
        reason = error
    # If an answer was lost, the object that is there may be our own.
    try:
        there = describe_if_unaltered(store, key, sha256, folder) if lost else None
    except QuarantineSkipped as error:
        raise OutcomeUnknown(error) from error
    if there is None:
        raise reason
    return there


def _take_back(store: ChangeableStore, key: bytes, made: ObjectDescription) -> None:
    """Delete the object that was just stored; an object that has replaced it stays."""
    try:
        drop(store, key, made)
    except QuarantineSkipped as error:
        if error.outcome is not Outcome.RACED:
            raise OutcomeUnknown(error) from error


def describe_if_unaltered(
    store: ChangeableStore, key: bytes, sha256: str, folder: bytes, known: ObjectDescription | None = None
) -> ObjectDescription | None:
    """Read an object; return its description if its content has the expected sha256, else None.

    Args:
        store: the store of the object.
        key: key of the object.
        sha256: the expected digest, in hex.
        folder: see `fetched`.
        known: its etag and version; None for the current object.

    Raises:
        QuarantineSkipped: it can't be read, or is replaced again and again.
    """
    item = unlisted_item(key) if known is None else unlisted_item(key, known.etag, known.version)
    try:
        described = call_with_retries(lambda: store.describe(item))
        with fetched(
            store, unlisted_item(key, described.etag, described.version, described.size), folder
        ) as file:
            return described if digests_of(file)["sha256"] == sha256 else None
    except QuarantineSkipped as error:
        if error.outcome is Outcome.REFUSED:
            raise
        return None


def drop(store: ChangeableStore, key: bytes, known: ObjectDescription | None = None) -> None:
    """Delete an object of our own if it still exists.

    Args:
        store: the store of the object.
        key: key of the object.
        known: its etag and version; None for the current object.

    Raises:
        QuarantineSkipped: it can't be deleted.
    """
    try:
        described = (
            known if known is not None else call_with_retries(lambda: store.describe(unlisted_item(key)))
        )
        call_with_retries(lambda: store.delete(unlisted_item(key, described.etag, described.version)))
    except QuarantineSkipped as error:
        if error.outcome is not Outcome.GONE:
            raise
