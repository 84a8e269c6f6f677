"""The source for a bucket whose objects are listed by an S3 inventory, and the reader of inventories.

A manifest names data files, in gzipped CSV or in Parquet. The bucket's owner chose their columns; keys in CSV
are encoded as in URLs. This module sends and fetches nothing.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO
from urllib.parse import unquote_to_bytes

from hashscan.errors import TargetError
from hashscan.model import DIRECT, Access, Batch, FileStat, FolderReason, Item
from hashscan.sources.base import (
    FileError,
    Gathering,
    Listing,
    ListingOptions,
    NonFileCounts,
    SkippedFile,
    UnlistedFolder,
)
from hashscan.sources.objects.listing import Sieve
from hashscan.sources.objects.s3.source import S3Source
from hashscan.sources.objects.source import ObjectTarget, item_of, owner_of
from hashscan.sources.objects.store import UNKNOWN_SIZE, ListingError, StoredObject
from hashscan.timefmt import parse_utc, to_nanoseconds

PARQUET_COLUMNS = {
    "bucket": "Bucket",
    "key": "Key",
    "version_id": "VersionId",
    "is_latest": "IsLatest",
    "is_delete_marker": "IsDeleteMarker",
    "size": "Size",
    "last_modified_date": "LastModifiedDate",
    "e_tag": "ETag",
    "storage_class": "StorageClass",
    "intelligent_tiering_access_tier": "IntelligentTieringAccessTier",
}
"""Column names in Parquet, and the names in CSV."""

_PARQUET_ROWS = 8192


def require_parquet(shown: str) -> None:
    try:
        import pyarrow.parquet  # noqa: F401
    except ModuleNotFoundError as error:
        raise TargetError(
            f"the inventory {shown} is in Parquet, which needs the Python package pyarrow",
            advice="Install it with `pip install 'hashscan[parquet]'`, or have the inventory written as CSV.",
        ) from error


def parquet_rows(stream: BinaryIO) -> Iterator[tuple[dict[str, str], bytes]]:
    """Yield the rows of a file: cells by CSV names, and the key; some thousands are in memory at a time."""
    import pyarrow
    from pyarrow.parquet import ParquetFile

    try:
        file = ParquetFile(stream)
        names = [name for name in PARQUET_COLUMNS if name in file.schema_arrow.names]
        if not {"bucket", "key"} <= set(names):
            raise ValueError("it has no bucket and key")
        for batch in file.iter_batches(batch_size=_PARQUET_ROWS, columns=names, use_threads=False):
            columns = [batch.column(name).to_pylist() for name in names]
            for row in zip(*columns, strict=True):
                cells = {
                    PARQUET_COLUMNS[name]: _parquet_text(cell) for name, cell in zip(names, row, strict=True)
                }
                key = row[names.index("key")]
                yield cells, key if isinstance(key, bytes) else str(key or "").encode()
    except pyarrow.ArrowException as error:
        raise ValueError(f"it is no Parquet that can be read ({type(error).__name__})") from error


def _parquet_text(cell: Any) -> str:
    match cell:
        case None:
            return ""
        case bool():
            return "true" if cell else "false"
        case bytes():
            return cell.decode("utf-8", "replace")
        case datetime():
            return cell.isoformat()
    return str(cell)


_LONGEST = 1 << 16
"""Maximum characters of one row; an encoded key needs at most three thousand, and no other column is long."""

_BLOCK = 1 << 20
_ARCHIVED = frozenset({"GLACIER", "DEEP_ARCHIVE"})
_ARCHIVED_TIERS = frozenset({"ARCHIVE", "DEEP_ARCHIVE"})


@dataclass(frozen=True, slots=True)
class DataFile:
    """A data file of an inventory."""

    key: str
    """Its key in the bucket that inventories go to."""
    md5: bytes | None
    """MD5 of the file as it is stored; it protects against damage, not against forgery."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """The manifest of an inventory: the listed bucket and the data files."""

    bucket: str
    """The bucket that is listed."""
    destination: str
    """The bucket that inventories go to."""
    created: datetime
    columns: tuple[str, ...]
    """Columns of CSV files; Parquet files name their own."""
    parquet: bool
    files: tuple[DataFile, ...]


def parse_manifest(content: bytes, shown: str) -> Manifest:
    try:
        found = json.loads(content)
        form = str(found["fileFormat"])
        parquet = form.upper() == "PARQUET"
        if form.upper() not in {"CSV", "PARQUET"}:
            raise TargetError(
                f"the inventory {shown} is in the format {form[:40]!r}",
                advice="Have the bucket's inventory written as CSV or Parquet.",
            )
        if parquet:
            require_parquet(shown)
        columns = () if parquet else tuple(name.strip() for name in str(found["fileSchema"]).split(","))
        if not parquet and (not {"Bucket", "Key"} <= set(columns) or len(set(columns)) < len(columns)):
            raise ValueError("its schema has no bucket and key")
        bucket = str(found["sourceBucket"])
        if not bucket.isascii() or "/" in bucket or not bucket:
            raise ValueError("it is of no bucket")
        return Manifest(
            bucket,
            str(found["destinationBucket"]).removeprefix("arn:aws:s3:::"),
            datetime.fromtimestamp(int(found["creationTimestamp"]) / 1000, UTC),
            columns,
            parquet,
            tuple(_data_file(file) for file in found["files"]),
        )
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError, OSError, AttributeError) as error:
        raise TargetError(
            f"{shown} is no manifest of an S3 inventory ({type(error).__name__}: {error})",
            advice="Name the manifest.json that S3 wrote.",
        ) from error


def _data_file(file: Mapping[str, Any]) -> DataFile:
    md5 = file.get("MD5checksum")
    return DataFile(str(file["key"]), None if md5 is None else bytes.fromhex(md5))


def check_sum(stream: BinaryIO, file: DataFile) -> None:
    """Compare a data file with the checksum in the manifest, and seek back to its start."""
    if file.md5 is not None:
        digest = hashlib.md5(usedforsecurity=False)
        while block := stream.read(_BLOCK):
            digest.update(block)
        if digest.digest() != file.md5:
            raise ListingError(FolderReason.IO_ERROR, "its checksum is not the manifest's")
    stream.seek(0)


def rows(stream: BinaryIO, manifest: Manifest, *, all_versions: bool) -> Iterator[StoredObject]:
    """Yield the objects of one data file (gzipped CSV, or seekable Parquet) while it is read; delete markers
    are not objects. An inventory is days old, and so is its data on an object's current state: without
    versions, its size, etag and version are only used to select objects, and whoever reads an object gets its
    current content."""
    number = 0
    try:
        found = parquet_rows(stream) if manifest.parquet else _csv_rows(stream, manifest.columns)
        for number, (cells, key) in enumerate(found, start=1):
            if cells["Bucket"] != manifest.bucket or not key:
                raise ListingError(FolderReason.IO_ERROR, f"row {number} is of another bucket")
            if _wanted(cells, all_versions=all_versions):
                yield _stored(cells, key, all_versions=all_versions)
    except (ValueError, csv.Error, EOFError, zlib.error, OSError) as error:
        # The errors of gzip are OSErrors.
        raise ListingError(FolderReason.IO_ERROR, f"after row {number}: {error}") from error


def _csv_rows(stream: BinaryIO, columns: Sequence[str]) -> Iterator[tuple[dict[str, str], bytes]]:
    with gzip.open(stream, "rt", encoding="utf-8", newline="") as text:
        for row in csv.reader(_lines(text), strict=True):
            if len(row) != len(columns):
                raise ValueError(f"the next one has {len(row)} columns, not {len(columns)}")
            cells = dict(zip(columns, row, strict=True))
            yield cells, unquote_to_bytes(cells["Key"].replace("+", " "))


def _lines(text: Any) -> Iterator[str]:
    while line := text.readline(_LONGEST):
        if len(line) >= _LONGEST:
            raise ValueError("a row is too long")
        yield line


def _wanted(cells: Mapping[str, str], *, all_versions: bool) -> bool:
    if cells.get("IsDeleteMarker", "").lower() == "true":
        return False
    return all_versions or cells.get("IsLatest", "").lower() != "false"


def _stored(cells: Mapping[str, str], key: bytes, *, all_versions: bool) -> StoredObject:
    version = cells.get("VersionId", "") if all_versions else ""
    etag = cells.get("ETag", "").strip('"')
    return StoredObject(
        key,
        int(cells.get("Size") or UNKNOWN_SIZE),
        _nanoseconds(cells.get("LastModifiedDate", "")),
        # In the form that a request for the object needs.
        f'"{etag}"' if version and etag else "",
        version,
        archived=cells.get("StorageClass", "") in _ARCHIVED
        or cells.get("IntelligentTieringAccessTier", "") in _ARCHIVED_TIERS,
    )


def _nanoseconds(text: str) -> int:
    if not text:
        return 0
    if text.isascii() and text.isdigit():
        # From a Parquet file that doesn't declare these milliseconds as a timestamp.
        return int(text) * 1_000_000
    return to_nanoseconds(parse_utc(text))


_MANIFEST_BYTES = 64 << 20


class S3Inventory(S3Source):
    """The source for the objects that an inventory lists."""

    def __init__(
        self, targets: Sequence[bytes], options: ListingOptions, access: Access = DIRECT, *, manifest: bytes
    ) -> None:
        """Read the manifest.

        Args:
            targets: URLs in the inventory's bucket; none means the whole bucket.
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
            yield from gathering.flush()
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
        yield from gathering.add(head, item)

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
