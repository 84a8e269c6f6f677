"""Filters let every digest of their list through, and are read as untrusted bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from numpy.typing import NDArray
from pyfusefilter._xorfilter import ffi, lib

from hashscan.lists.filters import building
from hashscan.lists.filters.arrays import heads_of, keys_of, let_through
from hashscan.lists.filters.building import BuiltFilter, build, not_in
from hashscan.lists.filters.format import (
    HEADER_SIZE,
    MAGIC,
    DigestFilter,
    FilterError,
    FilterHeader,
    FilterPart,
    header_bytes,
)
from hashscan.schema import decode_json, encode_json, validated

MADE = "2026-01-01T00:00:00Z"


def digests(number: int, size: int = 32, seed: int = 1) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (number, size), dtype=np.uint8)


def made(values: NDArray[np.uint8], base: str = "", version: str = "7") -> BuiltFilter:
    heads = {"sha256": heads_of(values), "md5": heads_of(values[: len(values) // 2, :16])}
    return build(heads, version, MADE, base)


BUILT = made(digests(300))


def changed(**fields: Any) -> bytes:
    """The filter with other fields in its header."""
    document = decode_json(BUILT.data[len(MAGIC) : HEADER_SIZE]) | fields
    return (MAGIC + encode_json(document)).ljust(HEADER_SIZE) + BUILT.data[HEADER_SIZE:]


@pytest.mark.parametrize("number", [0, 1, 2, 3, 5, 17, 1000])
def test_no_digest_of_the_list_is_held_back(number: int) -> None:
    values = digests(number, seed=number)
    found = DigestFilter(FilterPart(made(values).data))
    assert found.version == "7"
    assert found.algorithms == {"sha256", "md5"}
    assert all(found.lets_through("sha256", bytes(value)) for value in values)
    assert all(found.lets_through("md5", bytes(value[:16])) for value in values[: number // 2])


def test_equal_digests_are_one() -> None:
    values = np.repeat(digests(5), 20, axis=0)
    found = DigestFilter(FilterPart(made(values).data))
    assert all(found.lets_through("sha256", bytes(value)) for value in values)


def test_few_others_are_let_through_and_both_lookups_agree() -> None:
    found = DigestFilter(FilterPart(BUILT.data))
    others = digests(200_000, seed=9)
    many = let_through(found, "sha256", heads_of(others))
    # 3 are expected, with a standard deviation of 1.7.
    assert many.sum() <= 15
    some = np.concatenate([np.flatnonzero(many), np.arange(3000)])
    assert [found.lets_through("sha256", bytes(others[row])) for row in some] == many[some].tolist()


def test_it_is_the_filter_of_the_library() -> None:
    header = FilterPart(BUILT.data).header
    theirs = ffi.new("binary_fuse16_t *")
    theirs.Seed, theirs.Size = int(header.seed, 16), header.digests
    theirs.SegmentLength, theirs.SegmentLengthMask = header.segment_length, header.segment_length - 1
    theirs.SegmentCount, theirs.SegmentCountLength = header.segment_count, header.first_positions
    theirs.ArrayLength = (len(BUILT.data) - HEADER_SIZE) // 2
    fingerprints = np.frombuffer(BUILT.data, "<u2", offset=HEADER_SIZE).astype(np.uint16)
    theirs.Fingerprints = ffi.from_buffer("uint16_t[]", fingerprints)
    heads = heads_of(digests(30_000, seed=4))
    keys = keys_of(header, "sha256", heads)
    ours = let_through(DigestFilter(FilterPart(BUILT.data)), "sha256", heads)
    assert [lib.binary_fuse16_contain(int(key), theirs) for key in keys] == ours.tolist()


def test_an_algorithm_that_it_does_not_cover_is_let_through() -> None:
    found = DigestFilter(FilterPart(BUILT.data))
    assert found.lets_through("pdq", bytes(32))
    assert let_through(found, "pdq", np.zeros(3, np.uint64)).all()


def test_each_algorithm_has_other_keys() -> None:
    values = digests(200)
    found = DigestFilter(
        FilterPart(build({"sha256": heads_of(values), "md5": heads_of(values[:0])}, "1", MADE).data)
    )
    assert not any(found.lets_through("md5", bytes(value[:16])) for value in values)


def test_each_filter_has_other_keys() -> None:
    one, other = (FilterPart(made(digests(5)).data).header for _ in range(2))
    assert one.salt != other.salt
    heads = heads_of(digests(5))
    assert not np.intersect1d(keys_of(one, "sha256", heads), keys_of(other, "sha256", heads)).size


def test_memory_of_the_process_does_not_get_into_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    class Dirty:
        """Allocates memory with something in it, as malloc may."""

        def __getattr__(self, name: str) -> Any:
            return getattr(lib, name)

        def binary_fuse16_allocate(self, size: int, made: Any) -> bool:
            done = lib.binary_fuse16_allocate(size, made)
            ffi.buffer(made.Fingerprints, 2 * made.ArrayLength)[:] = b"\xab\xcd" * made.ArrayLength
            return bool(done)

    monkeypatch.setattr(building, "lib", Dirty())
    data = build({"sha256": heads_of(digests(2))}, "1", MADE).data[HEADER_SIZE:]
    assert sum(data[at : at + 2] != b"\0\0" for at in range(0, len(data), 2)) <= 2


def test_a_filter_that_can_not_be_built_is_tried_with_another_salt(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [None, None, BUILT]
    monkeypatch.setattr(building, "_built", lambda *_: answers.pop(0))
    values = digests(300)
    assert build({"sha256": heads_of(values), "md5": heads_of(values[:150, :16])}, "7", MADE) is BUILT


def test_a_filter_that_lacks_a_digest_is_never_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "_built", lambda *_: BUILT)
    with pytest.raises(RuntimeError):
        build({"sha256": heads_of(digests(9, seed=77))}, "1", MADE)


def test_additions_have_only_what_the_base_holds_back() -> None:
    base = FilterPart(BUILT.data)
    values = np.concatenate([digests(300), digests(10, seed=5)])
    more = not_in(base, {"sha256": heads_of(values), "md5": heads_of(values[:150, :16])})
    assert {name: len(heads) for name, heads in more.items()} == {"sha256": 10, "md5": 0}
    added = build(more, "8", MADE, "0" * 64)
    found = DigestFilter(base, FilterPart(added.data))
    assert found.version == "8"
    assert all(found.lets_through("sha256", bytes(value)) for value in values)
    assert let_through(found, "sha256", heads_of(values)).all()


def test_parts_that_do_not_belong_together() -> None:
    base = FilterPart(BUILT.data)
    added = FilterPart(made(digests(3), "0" * 64).data)
    other = FilterPart(build({"sha1": heads_of(digests(3, 20))}, "7", MADE, "0" * 64).data)
    for parts in ((added,), (base, base), (base, other)):
        with pytest.raises(FilterError):
            DigestFilter(*parts)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        MAGIC,
        BUILT.data[:HEADER_SIZE],
        BUILT.data[:-1],
        BUILT.data[:-2],
        BUILT.data + b"\0\0",
        b"\x93NUMPY\x01\x00" + BUILT.data[8:],
        MAGIC[:-1] + b"\x02" + BUILT.data[8:],
        changed(segment_length=12),
        changed(segment_length=2),
        changed(segment_length=0),
        changed(segment_length=1 << 62),
        changed(segment_count=0),
        changed(segment_count=-3),
        changed(segment_count=10**30),
        changed(digests=-1),
        changed(digests=10**30),
        changed(algorithms=[]),
        changed(algorithms=["pdq"]),
        changed(algorithms=["sha256", "phash"]),
        changed(algorithms="sha256"),
        changed(list_version="with a space"),
        changed(salt="0"),
        changed(seed="0" * 15 + "g"),
        changed(base="0" * 63),
    ],
)
def test_what_is_no_filter(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(FilterError):
        FilterPart(data)
    (tmp_path / "filter").write_bytes(data)
    with pytest.raises(FilterError):
        FilterPart.open(tmp_path / "filter")


def test_an_algorithm_of_a_newer_version_is_ignored() -> None:
    found = DigestFilter(FilterPart(changed(algorithms=["sha256", "md5", "sha3"])))
    assert found.lets_through("sha256", bytes(digests(300)[0]))


def test_it_can_be_mapped(tmp_path: Path) -> None:
    path = tmp_path / "filter"
    path.write_bytes(BUILT.data)
    found = DigestFilter(FilterPart.open(path))
    path.unlink()
    assert all(found.lets_through("sha256", bytes(value)) for value in digests(300))
    assert let_through(found, "sha256", heads_of(digests(300))).all()


GEOMETRY = st.fixed_dictionaries(
    {},
    optional={
        "segment_length": st.integers(-2, 1 << 19) | st.sampled_from([4, 8, 16, 64, 128]),
        "segment_count": st.integers(-2, 20),
        "digests": st.integers(-2, 1 << 70),
        "salt": st.text("0123456789abcdef", max_size=18),
        "seed": st.text("0123456789abcdef", min_size=15, max_size=17),
        "algorithms": st.lists(st.sampled_from(["sha256", "md5", "pdq", "new"]), max_size=3),
        "base": st.sampled_from(["", "0" * 64, "x"]),
        "made": st.text(max_size=5) | st.integers(),
    },
)


def check_usable(data: bytes) -> None:
    """Any bytes are no filter, or a filter that can be asked."""
    try:
        found = FilterPart(data)
    except FilterError:
        return
    for value in digests(50, seed=3):
        found.lets_through("sha256", bytes(value))
    if not found.header.base:
        let_through(DigestFilter(found), "sha256", heads_of(digests(50, seed=3)))


@given(st.binary(max_size=2000))
def test_any_bytes(data: bytes) -> None:
    check_usable(data)
    check_usable(MAGIC + data)
    check_usable((MAGIC + data[:900]).ljust(HEADER_SIZE) + data[900:])


@given(GEOMETRY, st.binary(max_size=4000))
def test_any_header_over_any_fingerprints(fields: dict[str, Any], fingerprints: bytes) -> None:
    head = changed(**fields)[:HEADER_SIZE]
    check_usable(head + fingerprints)
    try:
        header = validated(decode_json(head[len(MAGIC) :]), FilterHeader)
    except ValueError:
        return
    if header.size < 1 << 20:
        check_usable(head + (fingerprints + b"\xff").ljust(header.size, b"\xa5")[: header.size - HEADER_SIZE])


def test_a_header_that_is_too_long() -> None:
    header = structs.replace(FilterPart(BUILT.data).header, made="x" * 2000)
    with pytest.raises(FilterError):
        header_bytes(header)
