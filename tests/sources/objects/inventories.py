"""Inventories as S3 writes them, of what a test's bucket holds."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import quote_plus

from tests.sources.objects.buckets import TestBucket

COLUMNS = "Bucket, Key, VersionId, IsLatest, IsDeleteMarker, Size, LastModifiedDate, ETag, StorageClass"


def data_file(rows: Iterable[Sequence[object]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows)
    return gzip.compress(text.getvalue().encode())


def manifest(bucket: str, stored: dict[str, bytes], *, columns: str = COLUMNS, **more: Any) -> bytes:
    return json.dumps(
        {
            "sourceBucket": bucket,
            "destinationBucket": "arn:aws:s3:::reports",
            "version": "2016-11-30",
            "creationTimestamp": "1795564800000",
            "fileFormat": "CSV",
            "fileSchema": columns,
            "files": [
                {"key": key, "size": len(content), "MD5checksum": hashlib.md5(content).hexdigest()}
                for key, content in stored.items()
            ],
            **more,
        }
    ).encode()


def rows_of(bucket: TestBucket) -> list[list[object]]:
    """Return the rows that an inventory of all versions has for the bucket of this moment."""
    found = bucket.client.list_object_versions(Bucket=bucket.name)
    rows: list[list[object]] = [
        [
            bucket.name, quote_plus(entry["Key"], safe="/"), entry["VersionId"],
            str(entry["IsLatest"]).lower(), "false", entry["Size"],
            entry["LastModified"].strftime("%Y-%m-%dT%H:%M:%S.000Z"), entry["ETag"].strip('"'),
            entry["StorageClass"],
        ]
        for entry in found.get("Versions", ())
    ]  # fmt: skip
    for entry in found.get("DeleteMarkers", ()):
        latest = str(entry["IsLatest"]).lower()
        rows.append(
            [bucket.name, quote_plus(entry["Key"], safe="/"), entry["VersionId"], latest, "true", *[""] * 4]
        )
    return rows
