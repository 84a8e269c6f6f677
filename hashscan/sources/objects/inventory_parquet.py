"""Read the rows of an inventory in Parquet, with the column names of CSV."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, BinaryIO

from hashscan.errors import TargetError

COLUMNS = {
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

_ROWS = 8192


def require_parquet(shown: str) -> None:
    """Check that Parquet can be read.

    Raises:
        TargetError: the library is missing.
    """
    try:
        import pyarrow.parquet  # noqa: F401
    except ModuleNotFoundError as error:
        raise TargetError(
            f"the inventory {shown} is in Parquet, which needs the Python package pyarrow",
            advice="Install it with `pip install 'hashscan[parquet]'`, or have the inventory written as CSV.",
        ) from error


def parquet_rows(stream: BinaryIO) -> Iterator[tuple[dict[str, str], bytes]]:
    """Yield the rows of a file: cells by CSV names, and the key; some thousands are in memory at a time.

    Raises:
        ValueError: it is not a Parquet file of an inventory, or is damaged.
        OSError: it can't be read.
    """
    import pyarrow
    from pyarrow.parquet import ParquetFile

    try:
        file = ParquetFile(stream)
        names = [name for name in COLUMNS if name in file.schema_arrow.names]
        if not {"bucket", "key"} <= set(names):
            raise ValueError("it has no bucket and key")
        for batch in file.iter_batches(batch_size=_ROWS, columns=names, use_threads=False):
            columns = [batch.column(name).to_pylist() for name in names]
            for row in zip(*columns, strict=True):
                cells = {COLUMNS[name]: _text(cell) for name, cell in zip(names, row, strict=True)}
                key = row[names.index("key")]
                yield cells, key if isinstance(key, bytes) else str(key or "").encode()
    except pyarrow.ArrowException as error:
        raise ValueError(f"it is no Parquet that can be read ({type(error).__name__})") from error


def _text(cell: Any) -> str:
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
