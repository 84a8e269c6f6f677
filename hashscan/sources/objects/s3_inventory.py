"""The source for a bucket whose objects are listed by an S3 inventory, instead of a thousand per request."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from hashscan.errors import TargetError
from hashscan.model import DIRECT, Access, Batch, FileStat, FolderReason, Item
from hashscan.sources.base import FileError, Listing, NonFileCounts, SkippedFile, UnlistedFolder
from hashscan.sources.gathering import Gathering
from hashscan.sources.objects.inventory import DataFile, Manifest, check_sum, parse_manifest, rows
from hashscan.sources.objects.s3 import S3Source
from hashscan.sources.objects.sifting import Sieve
from hashscan.sources.objects.source import ObjectTarget, item_of, owner_of
from hashscan.sources.objects.store import UNKNOWN_SIZE, ListingError, StoredObject
from hashscan.sources.options import ListingOptions

_MANIFEST_BYTES = 64 << 20


class S3Inventory(S3Source):
    """The source for the objects that an inventory lists."""

    def __init__(
        self, targets: Sequence[bytes], options: ListingOptions, access: Access = DIRECT, *, manifest: bytes
    ) -> None:
        """Read the manifest.

        Args:
            targets: URLs in the inventory's bucket; none means the whole bucket.
            options: rules for leaving files out.
            access: how to reach the bucket, and the inventory.
            manifest: path or `s3://` URL of its `manifest.json`.

        Raises:
            TargetError: there is no such manifest, or a target is not in its bucket.
        """
        self._options = options
        self._access = access
        self._location = manifest
        shown = os.fsdecode(manifest)
        try:
            with self._opened(manifest, shown) as stream:
                content = stream.read(_MANIFEST_BYTES)
        except (FileError, OSError) as error:
            words = (error.detail or error.reason) if isinstance(error, FileError) else error.strerror
            raise TargetError(
                f"can't read the inventory {shown}: {words}", advice="Name the manifest.json that S3 wrote."
            ) from error
        self.manifest: Manifest = parse_manifest(content, shown)
        self._found = tuple(dict.fromkeys(self.parse(target) for target in targets)) or (
            ObjectTarget(self.manifest.bucket, b""),
        )
        for found in self._found:
            if found.container != self.manifest.bucket:
                raise TargetError(
                    f"the inventory {shown} is of s3://{self.manifest.bucket}, not of s3://{found.container}",
                    advice="Name URLs of its bucket, or none for all of it.",
                )

    def listings(self) -> Iterator[Listing]:
        """List the inventory's objects, data file by data file.

        A data file that can't be read to its end is reported as a closed folder, because its remaining
        objects stay unseen.
        """
        url = self.url(self.manifest.bucket)
        seen: set[bytes] = set()
        sieves = [(found.prefix, Sieve(found.prefix, self._options)) for found in self._found]
        for file in self.manifest.files:
            gathering = Gathering(self._options)
            head = Batch(self.name, url, b"", 0, 0, ())
            try:
                with self._data(file) as stream:
                    check_sum(stream, file)
                    for stored in rows(stream, self.manifest, all_versions=self._options.all_versions):
                        for prefix, sieve in sieves:
                            if stored.key.startswith(prefix):
                                seen.add(prefix)
                                yield from self._add(gathering, head, stored, sieve)
                                break
            except (ListingError, FileError, OSError) as error:
                reason = error.reason.name if isinstance(error, FileError) else "IO_ERROR"
                detail = error.detail if isinstance(error, ListingError | FileError) else str(error.strerror)
                yield UnlistedFolder(
                    self.url(self.manifest.destination, file.key.encode()),
                    b"",
                    FolderReason[reason] if reason in FolderReason.__members__ else FolderReason.IO_ERROR,
                    f"a file of the inventory: {detail}",
                )
            left = gathering.flush()
            if left is not None:
                yield left
            yield NonFileCounts()
        for prefix, _ in sieves:
            if prefix not in seen and seen:
                detail = "the inventory has nothing under this prefix"
                yield UnlistedFolder(url, prefix, FolderReason.VANISHED, detail)

    def _add(
        self, gathering: Gathering, head: Batch, stored: StoredObject, sieve: Sieve
    ) -> Iterator[Listing]:
        item = item_of(stored, owner_of(head.target))
        reason = sieve.reason(stored, head.target)
        if reason is not None:
            yield SkippedFile(head.target, b"", item, reason)
            return
        if not item.version:
            # The current object will be read, and its size may have changed.
            item = item._replace(stat=item.stat._replace(size=UNKNOWN_SIZE))
        full = gathering.add(head, item)
        if full is not None:
            yield full

    @contextmanager
    def _data(self, file: DataFile) -> Iterator[BinaryIO]:
        if self._location.startswith(b"s3://"):
            with self._opened(self.url(self.manifest.destination, file.key.encode()), file.key) as stream:
                yield stream
            return
        # A copy of the bucket, or of the manifest's folder and the `data` folder beside it.
        here = Path(os.fsdecode(self._location)).absolute().parent
        name = PurePosixPath(file.key).name
        places = [above / file.key.lstrip("/") for above in here.parents]
        places += [here.parent / "data" / name, here / "data" / name, here / name]
        for place in places:
            if place.is_file():
                with place.open("rb") as stream:
                    yield stream
                return
        raise ListingError(FolderReason.VANISHED, f"it is not beside {os.fsdecode(self._location)}")

    @contextmanager
    def _opened(self, location: bytes, shown: str) -> Iterator[BinaryIO]:
        """Open a path, or download an object as a scan does: with retries, and in bounded memory."""
        if not location.startswith(b"s3://"):
            try:
                # If `open` refuses a folder, the descriptor is closed only if `open` has opened it itself.
                opened = open(  # noqa: SIM115 - the trouble of opening alone is caught here
                    location, "rb", opener=lambda path, flags: os.open(path, flags | os.O_NOCTTY)
                )
            except OSError as error:
                raise TargetError(
                    f"can't open the inventory {shown}: {error.strerror}", advice="Name its manifest.json."
                ) from error
            with opened as stream:
                yield stream
            return
        found = self.parse(location)
        item = Item(found.prefix, FileStat(0, 0, UNKNOWN_SIZE, 0, 0, 1, 0))
        opener = S3Source.opener(self._access)
        try:
            with opener.reopen(Batch(self.name, self.url(found.container), b"", 0, 0, (item,))) as folder:
                folder.prefetch([item])
                file = folder.open(item)
                try:
                    with os.fdopen(os.dup(file.descriptor), "rb") as stream:
                        stream.seek(0)
                        yield stream
                finally:
                    file.close()
        finally:
            opener.close()
