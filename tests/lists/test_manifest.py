from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashscan.lists import manifest as manifests
from hashscan.lists.columns import ColumnFiles
from hashscan.lists.manifest import Manifest, ManifestError
from hashscan.model import ALGORITHMS, CATEGORIES

from .builders import NOW


def column_files(algorithm: str, entries: int = 3) -> ColumnFiles:
    return ColumnFiles(
        algorithm, entries, f"{algorithm}.ids.npy", f"{algorithm}.category.npy", f"{algorithm}.value.npy"
    )


GOOD = Manifest("test", 4, NOW, CATEGORIES, (column_files("md5"), column_files("pdq", 2**40)))


def document(**changes: Any) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(manifests.to_bytes(GOOD))
    return made | changes


def refused(made: Any, words: str | None = None) -> None:
    with pytest.raises(ManifestError, match=words):
        manifests.from_bytes(json.dumps(made).encode())


@given(
    algorithms=st.sets(st.sampled_from(sorted(ALGORITHMS))),
    version=st.integers(1, 2**53 - 1),
    entries=st.integers(1, 2**53 - 1),
    name=st.from_regex(r"[a-z0-9][a-z0-9._-]{0,63}", fullmatch=True),
)
def test_reads_back_what_it_wrote(algorithms: set[str], version: int, entries: int, name: str) -> None:
    files = tuple(column_files(algorithm, entries) for algorithm in sorted(algorithms))
    made = Manifest(name, version, NOW, CATEGORIES, files)
    assert manifests.from_bytes(manifests.to_bytes(made)) == made


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_give_the_one_kind_of_error(data: bytes) -> None:
    with pytest.raises(ManifestError):
        manifests.from_bytes(data)


@given(path=st.sampled_from(["schema", "list", "version", "created", "categories", "algorithms"]), value=JSON)
def test_no_field_takes_just_anything(path: str, value: Any) -> None:
    try:
        read = manifests.from_bytes(json.dumps(document(**{path: value})).encode())
    except ManifestError:
        return
    assert read.version >= 1
    assert set(read.categories) <= set(CATEGORIES)


@given(field=st.sampled_from(["entries", "ids", "category", "value"]), value=JSON)
def test_no_field_of_an_algorithm_takes_just_anything(field: str, value: Any) -> None:
    made = document()
    made["algorithms"]["pdq"][field] = value
    try:
        read = manifests.from_bytes(json.dumps(made).encode())
    except ManifestError:
        return
    assert all("/" not in name and not name.startswith(".") for files in read.columns for name in files.names)


@given(st.data())
@settings(deadline=None)
def test_one_byte_changed_never_surprises(data: st.DataObject) -> None:
    raw = bytearray(manifests.to_bytes(GOOD))
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        manifests.from_bytes(bytes(raw))
    except ManifestError:
        return


@pytest.mark.parametrize(
    "name",
    [
        "../pdq.value.npy",
        "/etc/passwd",
        "a/b",
        "a\\b",
        "..",
        ".hidden",
        "",
        "a\0b",
        "a\n",
        "A",
        "é",
        "%2e%2e",
        "x" * 129,
        "manifest.json",
        "md5.value.npy",
    ],
)
def test_target_names_play_no_tricks(name: str) -> None:
    made = document()
    made["algorithms"]["pdq"]["value"] = name
    refused(made)


@pytest.mark.parametrize("schema", [2, 10**6])
def test_a_later_schema_asks_for_an_upgrade(schema: int) -> None:
    refused(document(schema=schema, algorithms="whatever comes then"), "upgrade hashscan")


@pytest.mark.parametrize(
    "changes",
    [
        {"schema": True},
        {"schema": 1.0},
        {"version": 0},
        {"version": -1},
        {"version": True},
        {"version": 1.5},
        {"version": "3"},
        {"version": 2**53},
        {"version": 10**400},
        {"list": "Upper"},
        {"list": "a/b"},
        {"list": "a\n"},
        {"created": "yesterday"},
        {"created": "2026-13-01T00:00:00Z"},
        {"created": "2026-11-24T00:00:00+01:00"},
        {"created": "٢٠٢٦-11-24T00:00:00Z"},
        {"categories": []},
        {"categories": ["A1", "A1"]},
        {"categories": [["A1"]]},
        {"categories": "A1"},
        {"algorithms": []},
        {"algorithms": {"md5": []}},
        {"extra": 1},
    ],
)
def test_wrong_types_and_ranges_are_refused(changes: dict[str, Any]) -> None:
    refused(document(**changes))


def test_unknown_algorithms_and_categories_ask_for_an_upgrade() -> None:
    refused(document(categories=["A1", "Z9"]), "upgrade")
    refused(document(algorithms={"sha3": document()["algorithms"]["md5"]}), "upgrade")


@pytest.mark.parametrize(
    "data",
    [
        b'{"schema": 1, "schema": 1}',
        b'{"schema": NaN}',
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b"\xff\xfe",
        b" " * (manifests.MANIFEST_MAX + 1),
        b'{"schema": ' + b"1" * 10_000 + b"}",
    ],
)
def test_hostile_json_is_refused(data: bytes) -> None:
    with pytest.raises(ManifestError):
        manifests.from_bytes(data)
