from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashscan.lists.storage import manifest as manifests
from hashscan.lists.storage.manifest import Manifest, ManifestError, Part, PartColumns, Shard, Withdrawal
from hashscan.model import ALGORITHMS, CATEGORIES
from tests.lists.builders import NOW


def part_columns(part: int, algorithm: str, *entries: int, id_size: int = 8) -> PartColumns:
    stems = [f"{part}.{algorithm}.{number:04d}" for number in range(len(entries))]
    shards = tuple(
        Shard(rows, f"{stem}.ids.npy", f"{stem}.category.npy", f"{stem}.value.npy")
        for rows, stem in zip(entries, stems, strict=True)
    )
    return PartColumns(id_size, shards)


def withdrawal(part: int, algorithm: str, rows: int) -> Withdrawal:
    return Withdrawal(rows, f"{part}.{algorithm}.withdrawn.npy")


GOOD = Manifest(
    "test",
    4,
    NOW,
    CATEGORIES,
    (
        Part(1, {"md5": part_columns(1, "md5", 3), "pdq": part_columns(1, "pdq", 2**31, 2**31 - 9)}, {}),
        Part(2, {}, {"pdq": withdrawal(2, "pdq", 7)}),
        Part(
            4,
            {"md5": part_columns(4, "md5", 2, 2, 1), "sha1": part_columns(4, "sha1", 1)},
            {"md5": withdrawal(4, "md5", 3)},
        ),
    ),
)


def document(**changes: Any) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(manifests.to_bytes(GOOD))
    return made | changes


def refused(made: Any, message: str | None = None) -> None:
    with pytest.raises(ManifestError, match=message):
        manifests.from_bytes(json.dumps(made).encode())


def test_counts_are_of_active_entries() -> None:
    assert GOOD.by_algorithm == (("md5", 5), ("pdq", 2**32 - 9 - 7), ("sha1", 1))
    assert GOOD.entries == 5 + 2**32 - 16 + 1
    assert GOOD.rows(slice(1)) == {"md5": 3, "pdq": 2**32 - 9}
    assert len(list(GOOD.names)) == len(set(GOOD.names)) == 3 * (3 + 4) + 2


@given(data=st.data())
def test_reads_back_what_it_wrote(data: st.DataObject) -> None:
    parts: list[Part] = []
    left: dict[str, int] = {}
    for version in sorted(data.draw(st.sets(st.integers(1, 2**53 - 1), min_size=1, max_size=4))):
        withdrawn = {
            algorithm: data.draw(st.integers(0, rows)) for algorithm, rows in left.items() if len(parts)
        }
        columns = {}
        for algorithm in sorted(data.draw(st.sets(st.sampled_from(sorted(ALGORITHMS)), max_size=4))):
            full = data.draw(st.integers(1, 2**20))
            lengths = [full] * data.draw(st.integers(0, 3)) + [data.draw(st.integers(1, full))]
            id_size = data.draw(st.integers(1, 64))
            columns[algorithm] = part_columns(version, algorithm, *lengths, id_size=id_size)
        parts.append(
            Part(
                version,
                columns,
                {name: withdrawal(version, name, rows) for name, rows in sorted(withdrawn.items()) if rows},
            )
        )
        left = {name: rows - withdrawn.get(name, 0) for name, rows in left.items()}
        for algorithm, added in columns.items():
            left[algorithm] = left.get(algorithm, 0) + added.entries
    name = data.draw(st.from_regex(r"[a-z0-9][a-z0-9._-]{0,63}", fullmatch=True))
    made = Manifest(name, parts[-1].version, NOW, CATEGORIES, tuple(parts))
    assert manifests.from_bytes(manifests.to_bytes(made)) == made
    assert dict(made.by_algorithm) == left


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_give_the_one_kind_of_error(data: bytes) -> None:
    with pytest.raises(ManifestError):
        manifests.from_bytes(data)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every way from the whole to something in it."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in inner:
        yield (*path, key)
        yield from places(below, (*path, key))


@given(path=st.sampled_from(list(places(document()))), value=JSON)
def test_no_field_takes_just_anything(path: tuple[Any, ...], value: Any) -> None:
    made: Any = document()
    holder = made
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value
    try:
        read = manifests.from_bytes(json.dumps(made).encode())
    except ManifestError:
        return
    assert read.version >= 1
    assert set(read.categories) <= set(CATEGORIES)
    assert all("/" not in name and not name.startswith(".") for name in read.names)
    assert all(count >= 0 for _, count in read.by_algorithm)


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
        "1.md5.0000.value.npy",
        "1.pdq.0000.ids.npy",
        "2.pdq.withdrawn.npy",
    ],
)
def test_target_names_play_no_tricks(name: str) -> None:
    for make in (shard_of, withdrawal_of):
        made = document()
        make(made)["value" if make is shard_of else "file"] = name
        if make(made) != make(document()):
            refused(made)


def shard_of(made: dict[str, Any]) -> dict[str, Any]:
    shard: dict[str, Any] = made["parts"][0]["algorithms"]["pdq"]["shards"][0]
    return shard


def withdrawal_of(made: dict[str, Any]) -> dict[str, Any]:
    withdrawn: dict[str, Any] = made["parts"][1]["withdrawn"]["pdq"]
    return withdrawn


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([], "parts: Expected array of length"),
        ([1, 0], "order of their versions"),
        ([0, 0], "order of their versions"),
        ([1], "withdraws more"),
        ([0] * 1001, "parts: Expected array of length"),
    ],
)
def test_parts_stand_in_their_order(parts: list[int], message: str) -> None:
    every = document()["parts"]
    refused(document(parts=[every[number] for number in parts]), message)


def test_parts_come_from_no_later_version() -> None:
    refused(document(version=3), "order of their versions")


@pytest.mark.parametrize(
    ("lengths", "good"),
    [([2, 2, 1], True), ([2, 1, 2], False), ([1, 2], False), ([2**32], False), ([2**31, 2**31], False)],
)
def test_shards_are_of_equal_length(lengths: list[int], good: bool) -> None:
    made = Manifest("test", 1, NOW, CATEGORIES, (Part(1, {"pdq": part_columns(1, "pdq", *lengths)}, {}),))
    try:
        manifests.from_bytes(manifests.to_bytes(made))
    except ManifestError:
        assert not good
    else:
        assert good


@pytest.mark.parametrize(("rows", "good"), [(3, True), (2, True), (4, False), (6, False)])
def test_no_more_is_withdrawn_than_there_is(rows: int, good: bool) -> None:
    """Three rows came before; the part's own can't be withdrawn by itself."""
    base = Part(1, {"md5": part_columns(1, "md5", 3)}, {})
    more = Part(2, {"md5": part_columns(2, "md5", 3)}, {"md5": withdrawal(2, "md5", rows)})
    made = Manifest("test", 2, NOW, CATEGORIES, (base, more))
    if good:
        assert manifests.from_bytes(manifests.to_bytes(made)).entries == 6 - rows
    else:
        refused(json.loads(manifests.to_bytes(made)), "withdraws more")


@pytest.mark.parametrize("key", ["version", "algorithms", "withdrawn"])
def test_what_a_part_lacks_or_has_too_much_is_refused(key: str) -> None:
    made = document()
    del made["parts"][0][key]
    refused(made, f"missing required field {key}")
    made = document()
    made["parts"][0][f"{key}2"] = {}
    refused(made, "upgrade")


@pytest.mark.parametrize("schema", [-1, 0, 2, 10**6])
def test_another_schema_asks_for_an_upgrade(schema: int) -> None:
    refused(document(schema=schema, parts="whatever comes then"), "upgrade hashscan")


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
        {"parts": {}},
        {"parts": [[]]},
        {"parts": [{"version": 1, "algorithms": [], "withdrawn": {}}]},
        {"parts": [{"version": 1, "algorithms": {"md5": []}, "withdrawn": {}}]},
        {"parts": [{"version": 1, "algorithms": {"md5": {"id_size": 65, "shards": []}}, "withdrawn": {}}]},
        {"parts": [{"version": 1, "algorithms": {"md5": {"id_size": 0, "shards": []}}, "withdrawn": {}}]},
        {"extra": 1},
    ],
)
def test_wrong_types_and_ranges_are_refused(changes: dict[str, Any]) -> None:
    refused(document(**changes))


def test_unknown_algorithms_and_categories_ask_for_an_upgrade() -> None:
    refused(document(categories=["A1", "Z9"]), "upgrade")
    for place in ("algorithms", "withdrawn"):
        made = document()
        made["parts"][0][place] = {"sha3": made["parts"][0]["algorithms"]["md5"]}
        refused(made, "upgrade")


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
