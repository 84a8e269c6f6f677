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
from hashscan.quarantine.captured_file import NotDone, Outcome, UnsureError
from hashscan.quarantine.objects.stores import asked, not_done
from hashscan.sources.base import FileTrouble
from hashscan.sources.objects.changing import ChangeableStore, Description, Properties, TakenError, named
from hashscan.sources.objects.receiving import Receiver
from hashscan.sources.objects.store import Transient


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
        NotDone: the object can't be downloaded.
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
        except FileTrouble as trouble:
            raise not_done(trouble) from trouble
        yield descriptor


def digests_of(file: int) -> Mapping[str, str]:
    """Return md5, sha1 and sha256 of a file, in hex."""
    reader = ExactReader((MD5(), SHA1(), SHA256()))
    reader.begin(file, os.fstat(file).st_size)
    return {name: value.hex() for name, value in reader.finish()[0].items()}


def store_new(
    store: ChangeableStore, key: bytes, file: int, properties: Properties, sha256: str, folder: bytes
) -> Description:
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
        NotDone: the key is taken, or the object can't be stored; nothing of ours is left in the store.
        UnsureError: something of ours may be left in the store.
        OSError: a local file can't be written.
    """
    made = _create(store, key, file, properties, sha256, folder)
    try:
        found = whole(store, key, sha256, folder, made)
    except (NotDone, OSError):
        _take_back(store, key, made)
        raise
    if found is None:
        _take_back(store, key, made)
        raise NotDone(Outcome.REFUSED, "what was stored is not what was sent")
    return found


def _create(
    store: ChangeableStore, key: bytes, file: int, properties: Properties, sha256: str, folder: bytes
) -> Description:
    lost = False

    def create() -> Description:
        nonlocal lost
        try:
            return store.create(key, file, os.fstat(file).st_size, properties)
        except Transient:
            lost = True
            raise

    try:
        return asked(create)
    except TakenError as error:
        reason = NotDone(Outcome.REFUSED, "its name is taken")
        reason.__cause__ = error
    except NotDone as error:
        reason = error
    # If an answer was lost, the object that is there may be our own.
    try:
        there = whole(store, key, sha256, folder) if lost else None
    except NotDone as error:
        raise UnsureError(error) from error
    if there is None:
        raise reason
    return there


def _take_back(store: ChangeableStore, key: bytes, made: Description) -> None:
    """Delete the object that was just stored; an object that has replaced it stays."""
    try:
        drop(store, key, made)
    except NotDone as error:
        if error.outcome is not Outcome.RACED:
            raise UnsureError(error) from error


def whole(
    store: ChangeableStore, key: bytes, sha256: str, folder: bytes, known: Description | None = None
) -> Description | None:
    """Read an object; return its description if its content has the expected sha256, else None.

    Args:
        store: the store of the object.
        key: key of the object.
        sha256: the expected digest, in hex.
        folder: see `fetched`.
        known: its etag and version; None for the current object.

    Raises:
        NotDone: it can't be read, or is replaced again and again.
    """
    item = named(key) if known is None else named(key, known.etag, known.version)
    try:
        told = asked(lambda: store.describe(item))
        with fetched(store, named(key, told.etag, told.version, told.size), folder) as file:
            return told if digests_of(file)["sha256"] == sha256 else None
    except NotDone as error:
        if error.outcome is Outcome.REFUSED:
            raise
        return None


def drop(store: ChangeableStore, key: bytes, known: Description | None = None) -> None:
    """Delete an object of our own if it still exists.

    Args:
        store: the store of the object.
        key: key of the object.
        known: its etag and version; None for the current object.

    Raises:
        NotDone: it can't be deleted.
    """
    try:
        told = known if known is not None else asked(lambda: store.describe(named(key)))
        asked(lambda: store.delete(named(key, told.etag, told.version)))
    except NotDone as error:
        if error.outcome is not Outcome.GONE:
            raise
