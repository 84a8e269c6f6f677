"""Read S3 inventories: lists of a bucket's objects that the store writes every day or week.

A manifest names data files, in gzipped CSV or in Parquet. The bucket's owner chose their columns; keys in CSV
are encoded as in URLs. This module sends and fetches nothing.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, BinaryIO
from urllib.parse import unquote_to_bytes

from hashscan.errors import TargetError
from hashscan.model import FolderReason
from hashscan.sources.objects.inventory_parquet import parquet_rows, require_parquet
from hashscan.sources.objects.store import UNKNOWN_SIZE, ListingError, StoredObject
from hashscan.timefmt import parse_utc, to_nanoseconds

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
    """Parse a `manifest.json`.

    Args:
        content: of the file.
        shown: its name, for messages.

    Raises:
        TargetError: it is not a manifest, or has a format that can't be read.
    """
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
    """Compare a data file with the checksum in the manifest, and seek back to its start.

    Raises:
        ListingError: the checksum differs.
        OSError: the file can't be read.
    """
    if file.md5 is not None:
        digest = hashlib.md5(usedforsecurity=False)
        while block := stream.read(_BLOCK):
            digest.update(block)
        if digest.digest() != file.md5:
            raise ListingError(FolderReason.IO_ERROR, "its checksum is not the manifest's")
    stream.seek(0)


def rows(stream: BinaryIO, manifest: Manifest, *, all_versions: bool) -> Iterator[StoredObject]:
    """Yield the objects of one data file while it is read.

    An inventory is days old, and so is its data on an object's current state: without versions, its size,
    etag and version are only used to select objects, and whoever reads an object gets its current content.

    Args:
        stream: of gzipped CSV, or of Parquet; it must be seekable.
        manifest: the manifest that names the file.
        all_versions: yield every version instead of the latest. Delete markers are not objects.

    Raises:
        ListingError: the rest can't be read or is not valid.
    """
    number = 0
    wanted = partial(_wanted, all_versions=all_versions)
    try:
        if manifest.parquet:
            for number, (cells, key) in enumerate(parquet_rows(stream), start=1):
                _check_row(number, cells, key, manifest)
                if wanted(cells):
                    yield _stored(cells, key, all_versions=all_versions)
            return
        with gzip.open(stream, "rt", encoding="utf-8", newline="") as text:
            for number, row in enumerate(csv.reader(_lines(text), strict=True), start=1):
                if len(row) != len(manifest.columns):
                    raise ListingError(
                        FolderReason.IO_ERROR,
                        f"row {number} has {len(row)} columns, not {len(manifest.columns)}",
                    )
                cells = dict(zip(manifest.columns, row, strict=True))
                key = unquote_to_bytes(cells["Key"].replace("+", " "))
                _check_row(number, cells, key, manifest)
                if wanted(cells):
                    yield _stored(cells, key, all_versions=all_versions)
    except (ValueError, csv.Error, EOFError, zlib.error, OSError) as error:
        # The errors of gzip are OSErrors.
        raise ListingError(FolderReason.IO_ERROR, f"after row {number}: {error}") from error


def _check_row(number: int, cells: Mapping[str, str], key: bytes, manifest: Manifest) -> None:
    if cells["Bucket"] != manifest.bucket or not key:
        raise ListingError(FolderReason.IO_ERROR, f"row {number} is of another bucket")


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
        cells.get("StorageClass", "") in _ARCHIVED
        or cells.get("IntelligentTieringAccessTier", "") in _ARCHIVED_TIERS,
    )


def _nanoseconds(text: str) -> int:
    if not text:
        return 0
    if text.isascii() and text.isdigit():
        # From a Parquet file that doesn't declare these milliseconds as a timestamp.
        return int(text) * 1_000_000
    return to_nanoseconds(parse_utc(text))
