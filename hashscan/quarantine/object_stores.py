"""Open the stores (buckets) of objects and copies; copy and verify content between them, with retries."""

from __future__ import annotations

import errno
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TypeVar

from hashscan.errors import HashscanError, UsageError
from hashscan.model import Access, Item
from hashscan.quarantine import system
from hashscan.quarantine.captured_file import Outcome, OutcomeUnknown, QuarantineSkipped, to_skipped
from hashscan.sources.base import FileError, Source, strip_secrets
from hashscan.sources.filesystem.quarantined_files import FOLDER_NAME, sha256_of
from hashscan.sources.objects.changeable_store import (
    ChangeableStore,
    ObjectDescription,
    ObjectExistsError,
    Properties,
    unlisted_item,
)
from hashscan.sources.objects.receiver import Receiver, Tries
from hashscan.sources.objects.source import ObjectSource
from hashscan.sources.objects.store import RetryableError

T = TypeVar("T")


def make_changeable(source: str, container: str, access: Access) -> ChangeableStore:
    """Return the store of a container; import the provider's libraries only now."""
    match source:
        case "s3":
            from hashscan.sources.objects.s3.changeable import ChangeableS3Store

            return ChangeableS3Store(container, access)
        case "gs":
            from hashscan.sources.objects.gs.changeable import ChangeableGoogleStore
            from hashscan.sources.objects.gs.source import clients_of as google_clients

            return ChangeableGoogleStore(container, google_clients(container, access, changing=True))
        case "az":
            from hashscan.sources.objects.az.changeable import ChangeableAzureStore
            from hashscan.sources.objects.az.source import clients_of as azure_clients

            return ChangeableAzureStore(azure_clients(container, access))
    raise ValueError(source)


class Stores:
    """The open stores, one for each container and service, each with the provider's own credentials."""

    def __init__(
        self,
        sources: Mapping[str, type[Source]],
        endpoint: str | None = None,
        place: str | None = None,
    ) -> None:
        """Check the arguments; open no store yet.

        Args:
            sources: source classes by URL scheme.
            endpoint: endpoint of the service that holds the objects; None for the provider's default.
            place: URL of a bucket, or of a prefix in one, beneath which copies are kept; None for a folder of
                this machine.

        Raises:
            UsageError: the place is invalid, or the endpoint holds a secret.
        """
        if endpoint is not None and set("@?#") & set(endpoint):
            # The endpoint is written to the log.
            raise UsageError(
                "--endpoint must hold no credentials", advice="Give them by the provider's own variables."
            )
        self._sources = sources
        self.endpoint = endpoint
        self._open: dict[tuple[bytes, str | None], ChangeableStore] = {}
        self.place: bytes | None = None
        """URL under which copies are kept, without a slash at its end."""
        if place is not None:
            try:
                source, container, prefix = self._parsed(place.encode())
            except (QuarantineSkipped, HashscanError) as error:
                raise UsageError(
                    f"evidence can't be kept there: {error}",
                    advice="Name a bucket: --quarantine-dir s3://BUCKET/PREFIX.",
                ) from error
            above = prefix.strip(b"/")
            self.place = source.url(container, above + b"/" + FOLDER_NAME if above else FOLDER_NAME)

    def at(self, url: bytes, endpoint: str | None) -> tuple[ChangeableStore, bytes]:
        """Return the store of an object, and the object's key.

        Raises:
            QuarantineSkipped: the store can't be opened: credentials are missing, or it is read-only.
        """
        source, container, key = self._parsed(url)
        name = (source.url(container), endpoint)
        if name not in self._open:
            try:
                self._open[name] = make_changeable(source.name, container, Access(endpoint=endpoint))
            except HashscanError as error:
                raise to_skipped(error) from error
        return self._open[name], key

    def container_of(self, url: bytes) -> bytes:
        """Return the URL of the container of an object."""
        source, container, _ = self._parsed(url)
        return source.url(container)

    def keep_apart(self, urls: Iterable[bytes]) -> None:
        """Check that no URL lies in the container in which copies are kept.

        Raises:
            UsageError: one does; a person who can write there could reach the evidence.
        """
        if self.place is None:
            return
        own = self.container_of(self.place)
        for url in urls:
            with suppress(QuarantineSkipped):  # nothing can be moved from there in any case
                if self.container_of(url) == own:
                    raise UsageError(
                        f"evidence must lie in another bucket than what is found in {own.decode()}",
                        advice="Name a bucket with --quarantine-dir that only you can access.",
                    )

    def _parsed(self, url: bytes) -> tuple[type[ObjectSource], str, bytes]:
        scheme = url.partition(b"://")[0].decode("ascii", errors="replace").lower()
        source = self._sources.get(scheme)
        if source is None or not issubclass(source, ObjectSource):
            shown = strip_secrets(url).decode(errors="replace").partition("://")[0]
            raise QuarantineSkipped(
                Outcome.REFUSED, f"files at {shown}:// can't be moved: remove it on its server"
            )
        try:
            found = source.parse(url)
        except HashscanError as error:
            raise QuarantineSkipped(Outcome.REFUSED, str(error)) from error
        return source, found.container, found.prefix

    def close(self) -> None:
        """Close all stores."""
        for store in self._open.values():
            store.close()
        self._open.clear()


def call_with_retries(call: Callable[[], T]) -> T:
    """Call a store, and retry while it is busy."""
    tries, lost_answer = Tries(time.sleep), False
    try:
        while True:
            try:
                return call()
            except RetryableError as trouble:
                lost_answer = True
                tries.failed(trouble)
    except ObjectExistsError as error:
        skipped = QuarantineSkipped(Outcome.REFUSED, "its name is taken")
        skipped.__cause__ = error
    except (FileError, HashscanError) as error:  # also credentials, or an unreachable server
        skipped = to_skipped(error)
        skipped.__cause__ = error
    skipped.lost_answer = lost_answer
    raise skipped


@contextmanager
def fetch_object(store: ChangeableStore, item: Item, folder: bytes) -> Iterator[int]:
    """Download an object, which must keep its etag and version until the download ends, to a file without a
    name, which is gone when the block ends or the process dies. `folder` is one of ours, on whose filesystem
    there must be space for the object; without, the object is skipped."""
    with tempfile.TemporaryFile(dir=os.fsdecode(folder)) as file:
        descriptor = file.fileno()

        def restart() -> None:
            os.lseek(descriptor, 0, os.SEEK_SET)
            system.truncate(descriptor, 0)

        receiver = Receiver(store, item, time.sleep, restart)
        try:
            with skipped_without_space(descriptor, item.stat.size, folder):
                for chunk in receiver.chunks():
                    system.write(descriptor, chunk)
            receiver.check()
        except FileError as trouble:
            raise to_skipped(trouble) from trouble
        yield descriptor


@contextmanager
def skipped_without_space(descriptor: int, size: int, folder: bytes) -> Iterator[None]:
    """Leave an object where it is (QuarantineSkipped) if a folder of ours has no space for a file of this
    size, open for writing; before anything is written, or while it is."""
    try:
        space = os.fstatvfs(descriptor)
        if size > space.f_bavail * space.f_frsize:
            # Checked now, before the disk that others use is full.
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        yield
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            raise
        raise QuarantineSkipped(
            Outcome.REFUSED,
            f"{os.fsdecode(folder)} has no space for it: free some there, or name a folder on a larger disk "
            "with --quarantine-dir",
        ) from error


def store_new(
    store: ChangeableStore, key: bytes, file: int, properties: Properties, sha256: str, folder: bytes
) -> ObjectDescription:
    """Store a file as a new object, and read it again, into a folder of ours, to verify its sha256 (hex).
    Nothing is left in the store if the key is taken or the object can't be stored; something may be after
    OutcomeUnknown."""
    try:
        made = call_with_retries(lambda: store.create(key, file, os.fstat(file).st_size, properties))
    except QuarantineSkipped as error:
        if not error.lost_answer:
            raise
        # The object that is there may be our own.
        try:
            there = describe_if_unaltered(store, key, sha256, folder)
        except QuarantineSkipped as unknown:
            raise OutcomeUnknown(unknown) from unknown
        if there is None:
            raise
        made = there
    try:
        found = describe_if_unaltered(store, key, sha256, folder, made)
        if found is None:
            raise QuarantineSkipped(Outcome.REFUSED, "the stored object differs from what was sent")
    except (QuarantineSkipped, OSError):
        # An object that has replaced it meanwhile stays.
        try:
            drop(store, key, made)
        except QuarantineSkipped as error:
            if error.outcome is not Outcome.RACED:
                raise OutcomeUnknown(error) from error
        raise
    return found


def describe_if_unaltered(
    store: ChangeableStore, key: bytes, sha256: str, folder: bytes, known: ObjectDescription | None = None
) -> ObjectDescription | None:
    """Read an object; return its description if its content has the expected sha256 (hex), else None. `known`
    has its etag and version; None means the current object. An object that is replaced again and again is
    skipped."""
    item = unlisted_item(key) if known is None else unlisted_item(key, known.etag, known.version)
    try:
        described = call_with_retries(lambda: store.describe(item))
        with fetch_object(
            store, unlisted_item(key, described.etag, described.version, described.size), folder
        ) as file:
            return described if sha256_of(file) == sha256 else None
    except QuarantineSkipped as error:
        if error.outcome is Outcome.REFUSED:
            raise
        return None


def drop(store: ChangeableStore, key: bytes, known: ObjectDescription | None = None) -> None:
    """Delete an object of our own if it still exists: the `known` one, or else the current one."""
    try:
        described = known or call_with_retries(lambda: store.describe(unlisted_item(key)))
        call_with_retries(lambda: store.delete(unlisted_item(key, described.etag, described.version)))
    except QuarantineSkipped as error:
        if error.outcome is not Outcome.GONE:
            raise
