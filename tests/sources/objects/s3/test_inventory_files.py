"""Inventories from bytes: manifests, rows, and what is wrong with either."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import sys
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote_plus

import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow.parquet import write_table

from hashscan.errors import TargetError
from hashscan.sources.objects.s3.inventory import DataFile, Manifest, check_sum, parse_manifest, rows
from hashscan.sources.objects.store import UNKNOWN_SIZE, ListingError, StoredObject
from tests.sources.objects.inventories import COLUMNS, data_file, manifest


def of(columns: str = COLUMNS) -> Manifest:
    return parse_manifest(manifest("b", {}, columns=columns), "m")


def row(
    key: str, *, version: str = "", latest: str = "true", marker: str = "false", **more: Any
) -> list[object]:
    cells = {"size": 5, "time": "2026-11-24T10:00:00.000Z", "etag": "abc", "storage": "STANDARD"} | more
    return ["b", quote_plus(key, safe="/"), version, latest, marker, *cells.values()]


def read(content: bytes, found: Manifest | None = None, *, all_versions: bool = False) -> list[StoredObject]:
    return list(rows(io.BytesIO(content), found or of(), all_versions=all_versions))


def test_a_manifest() -> None:
    found = parse_manifest(manifest("uploads", {"inv/data/x.csv.gz": b"abc"}), "m")
    assert (found.bucket, found.destination) == ("uploads", "reports")
    assert found.created.isoformat() == "2026-11-25T00:00:00+00:00"
    assert found.columns[:3] == ("Bucket", "Key", "VersionId")
    assert found.files == (DataFile("inv/data/x.csv.gz", bytes.fromhex("900150983cd24fb0d6963f7d28e17f72")),)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b"[" * 10_000,
        b"\xff",
        manifest("b", {}, columns="Key, Size"),
        manifest("b", {}, columns="Bucket, Key, Key"),
        manifest("a/b", {}),
        manifest("b", {}, creationTimestamp="x"),
        manifest("b", {}, creationTimestamp=10**30),
        manifest("b", {}, files=[{"key": "x", "MD5checksum": "zz"}]),
        manifest("b", {}, files=["x"]),
        manifest("b", {}, files=3),
    ],
)
def test_what_is_no_manifest(content: bytes) -> None:
    with pytest.raises(TargetError, match="here/m is no manifest"):
        parse_manifest(content, "here/m")


def test_other_formats_are_named() -> None:
    with pytest.raises(TargetError, match="'ORC'"):
        parse_manifest(manifest("b", {}, fileFormat="ORC"), "m")


@given(st.lists(st.text(min_size=1).filter(lambda key: key.isprintable() or "\n" in key), max_size=20))
def test_any_key(keys: list[str]) -> None:
    assert [stored.key for stored in read(data_file(row(key) for key in keys))] == [
        key.encode() for key in keys
    ]


def test_keys_as_they_are_encoded() -> None:
    encoded = {
        "a+b": b"a b",
        "a%2Bb": b"a+b",
        "%2Flead": b"/lead",
        "a//b": b"a//b",
        "%0A%00": b"\n\0",
        "%zz%2": b"%zz%2",
    }
    content = data_file(["b", key, "", "", "", "", "", "", ""] for key in encoded)
    assert [stored.key for stored in read(content)] == list(encoded.values())


def test_versions_and_delete_markers() -> None:
    content = data_file(
        [
            row("k", version="v2"),
            row("k", version="v1", latest="false"),
            row("gone", version="v9", marker="true"),
            row("gone", version="v8", latest="false"),
        ]
    )
    # Of what is there now, whatever it is, it is read as it is.
    assert [(s.key, s.version, s.etag) for s in read(content)] == [(b"k", "", "")]
    assert [(s.key, s.version, s.etag) for s in read(content, all_versions=True)] == [
        (b"k", "v2", '"abc"'),
        (b"k", "v1", '"abc"'),
        (b"gone", "v8", '"abc"'),
    ]


def test_columns_in_any_order_and_number() -> None:
    found = of("Size, Key, Bucket")
    assert read(data_file([[7, "k", "b"], ["", "l", "b"]]), found) == [
        StoredObject(b"k", 7, 0),
        StoredObject(b"l", UNKNOWN_SIZE, 0),
    ]
    found = of("Bucket, Key, LastModifiedDate, StorageClass, IntelligentTieringAccessTier")
    content = data_file(
        [
            ["b", "1", "2026-11-24T10:00:00.000Z", "STANDARD", ""],
            ["b", "2", "", "GLACIER", ""],
            ["b", "3", "", "INTELLIGENT_TIERING", "DEEP_ARCHIVE"],
            ["b", "4", "", "GLACIER_IR", ""],
        ]
    )
    assert [(s.archived, s.modified_ns) for s in read(content, found)] == [
        (False, 1795514400 * 10**9),
        (True, 0),
        (True, 0),
        (False, 0),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no gzip", "after row 0"),
        (data_file([row("a")] * 1000)[:-20], "after row"),
        (data_file([row("a"), ["b", "k"]]), "after row 1: the next one has 2 columns, not 9"),
        (data_file([["other", *row("a")[1:]]]), "row 1 is of another bucket"),
        (data_file([row("a", size="many")]), "after row 1"),
        (data_file([row("a", time="yesterday")]), "after row 1"),
        (gzip.compress(b'"b","\xff"'), "after row 0"),
        (gzip.compress(b'"b","k'), "after row 0"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_damaged_data(content: bytes, message: str) -> None:
    with pytest.raises(ListingError) as caught:
        read(content)
    assert message in caught.value.detail


def test_a_bomb() -> None:
    with pytest.raises(ListingError) as caught:
        read(gzip.compress(b'"b","' + b"x" * (64 << 20)))
    assert "a row is too long" in caught.value.detail


def test_a_checksum() -> None:
    stream = io.BytesIO(b"content")
    check_sum(stream, DataFile("k", bytes.fromhex("9a0364b9e99bb480dd25e1f0284c8555")))
    assert stream.read() == b"content"
    check_sum(stream, DataFile("k", None))
    with pytest.raises(ListingError, match="checksum"):
        check_sum(io.BytesIO(b"other"), DataFile("k", bytes(16)))


def spoiled(change: Callable[[dict[str, Any]], None]) -> bytes:
    found = json.loads(manifest("b", {}))
    change(found)
    return json.dumps(found).encode()


def test_no_key_may_lack() -> None:
    for name in (
        "sourceBucket",
        "destinationBucket",
        "creationTimestamp",
        "fileFormat",
        "fileSchema",
        "files",
    ):
        with pytest.raises(TargetError):
            parse_manifest(spoiled(lambda found, name=name: found.pop(name)), "m")  # type: ignore[misc]


def parquet(**columns: Any) -> bytes:
    stream = io.BytesIO()
    write_table(pyarrow.table(columns), stream, row_group_size=7)
    return stream.getvalue()


def of_parquet() -> Manifest:
    return parse_manifest(
        manifest("b", {}, fileFormat="Parquet", fileSchema="message s3.inventory {...}"), "m"
    )


KEYS = [b"a b+c%2F", b"/lead//x", b"new\nline", "\u20ac".encode(), b"gone"]


@pytest.mark.parametrize("kind", [pyarrow.binary(), pyarrow.string()])
def test_parquet(kind: Any) -> None:
    """Keys stand there as they are."""
    when = [datetime(2026, 11, 24, 10, tzinfo=UTC)] * 5
    content = parquet(
        bucket=pyarrow.array([b"b"] * 5, kind),
        key=pyarrow.array(KEYS, kind),
        version_id=["v1", "v2", "v3", "v4", "v5"],
        is_latest=[True, True, False, True, True],
        is_delete_marker=[False, False, False, False, True],
        size=pyarrow.array([1, 2, 3, 4, None], pyarrow.int64()),
        last_modified_date=pyarrow.array(when, pyarrow.timestamp("ms", tz="UTC")),
        e_tag=["e1", "e2", "e3", "e4", None],
        storage_class=["STANDARD", "GLACIER", "STANDARD", "STANDARD", None],
        encryption_status=["SSE-S3"] * 5,
    )
    modified = 1795514400 * 10**9
    assert read(content, of_parquet()) == [
        StoredObject(KEYS[0], 1, modified),
        StoredObject(KEYS[1], 2, modified, archived=True),
        StoredObject(KEYS[3], 4, modified),
    ]
    assert [(s.key, s.version, s.etag) for s in read(content, of_parquet(), all_versions=True)] == [
        (key, f"v{number}", f'"e{number}"') for number, key in enumerate(KEYS[:4], start=1)
    ]


def test_parquet_with_few_columns_and_many_rows() -> None:
    keys = [b"%d" % number for number in range(20_000)]
    content = parquet(
        key=keys, bucket=["b"] * len(keys), last_modified_date=pyarrow.array([1795514400000] * len(keys))
    )
    found = read(content, of_parquet())
    assert [stored.key for stored in found] == keys
    assert {(s.size, s.modified_ns) for s in found} == {(UNKNOWN_SIZE, 1795514400 * 10**9)}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no parquet", "after row 0"),
        (parquet(bucket=["b"], key=[b"k"])[:-10], "after row 0"),
        (parquet(bucket=["b"]), "it has no bucket and key"),
        (parquet(bucket=["b", "other"], key=["k", "l"]), "row 2 is of another bucket"),
        (parquet(bucket=["b"], key=pyarrow.array([None], pyarrow.string())), "row 1 is of another bucket"),
        (parquet(bucket=["b"], key=["k"], size=["many"]), "after row 1"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_damaged_parquet(content: bytes, message: str) -> None:
    with pytest.raises(ListingError) as caught:
        read(content, of_parquet())
    assert message in caught.value.detail


def test_parquet_spoiled_in_the_middle_costs_no_more_than_itself() -> None:
    content = bytearray(parquet(bucket=["b"] * 500, key=[b"%d" % number for number in range(500)]))
    for place in range(4, len(content), 97):
        spoiled = bytearray(content)
        spoiled[place] ^= 0xFF
        with contextlib.suppress(ListingError):
            read(bytes(spoiled), of_parquet())


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(TargetError, match="needs the Python package pyarrow"):
        of_parquet()


def test_rows_are_streamed() -> None:
    content = data_file(row(f"folder/{number:012d}.jpg") for number in range(50_000))
    tracemalloc.start()
    try:
        number = sum(1 for _ in rows(io.BytesIO(content), of(), all_versions=False))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert number == 50_000
    # All rows at once would take tens of MB.
    assert peak < 3_000_000
