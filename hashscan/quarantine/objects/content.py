"""Carries the content of objects between stores and files, and sees that it is what it should be."""

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
    """Download an object to a file without a name, which is gone when this ends or the process dies.

    Args:
        store: where it is.
        item: with its etag and version, which it must have to the end.
        folder: one of ours, on whose file system there must be room for it.

    Yields:
        A descriptor.

    Raises:
        NotDone: it can't be had.
        OSError: it can't be written.
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
    """md5, sha1 and sha256 of a file, in hex."""
    reader = ExactReader((MD5(), SHA1(), SHA256()))
    reader.begin(file, os.fstat(file).st_size)
    return {name: value.hex() for name, value in reader.finish()[0].items()}


def store_new(
    store: ChangeableStore, key: bytes, file: int, properties: Properties, sha256: str, folder: bytes
) -> Description:
    """Store a file as a new object, and read it again to see that it is whole.

    Args:
        store: where to.
        key: of the object.
        file: descriptor of what it is to hold.
        properties: what is to be kept with it.
        sha256: of the file, in hex.
        folder: see `fetched`.

    Returns:
        What the store says of it now.

    Raises:
        NotDone: something is there already, or it can't be stored; nothing of ours is left there.
        UnsureError: something of ours may be left there.
        OSError: nothing can be written here.
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
    # What is there, and whose answer was lost, may be our own.
    try:
        there = whole(store, key, sha256, folder) if lost else None
    except NotDone as error:
        raise UnsureError(error) from error
    if there is None:
        raise reason
    return there


def _take_back(store: ChangeableStore, key: bytes, made: Description) -> None:
    """Delete what was stored just now; what has taken its place stays."""
    try:
        drop(store, key, made)
    except NotDone as error:
        if error.outcome is not Outcome.RACED:
            raise UnsureError(error) from error


def whole(
    store: ChangeableStore, key: bytes, sha256: str, folder: bytes, known: Description | None = None
) -> Description | None:
    """Read an object, and say what the store says of it if its content is as expected.

    Args:
        store: where it is.
        key: of the object.
        sha256: expected, in hex.
        folder: see `fetched`.
        known: its etag and version; None for whatever is there.

    Raises:
        NotDone: it can't be read, or something keeps being put in its place.
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
    """Delete an object of our own, where it is still there.

    Args:
        store: where it is.
        key: of the object.
        known: its etag and version; None for whatever is there.

    Raises:
        NotDone: it can't be deleted.
    """
    try:
        told = known if known is not None else asked(lambda: store.describe(named(key)))
        asked(lambda: store.delete(named(key, told.etag, told.version)))
    except NotDone as error:
        if error.outcome is not Outcome.GONE:
            raise
