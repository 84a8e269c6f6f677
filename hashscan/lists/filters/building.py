"""Build filters of digests with pyfusefilter (extra `hub`).

It is used through the C functions that it wraps, which take the keys as numbers: its classes take lists of
texts only, and fail with newer versions of xxhash. What it makes is not used before every digest was looked
up in it.

Importing this module imports pyfusefilter and numpy, so other modules import it on first use.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from hashscan.errors import UsageError
from hashscan.lists.filters.arrays import heads_of, keys_of, let_through_part
from hashscan.lists.filters.format import DIGESTS_MAX, FilterHeader, FilterPart, header_bytes
from hashscan.lists.storage.columns import ActiveRows, ListHandle
from hashscan.model import ALGORITHMS, MATCHED

try:
    from pyfusefilter._xorfilter import ffi, lib
except ImportError as error:
    raise UsageError(
        "filters are built by the package 'pyfusefilter'", advice="Run: pip install 'hashscan[hub]'"
    ) from error

EXACT: tuple[str, ...] = tuple(name for name in MATCHED if ALGORITHMS[name].metric == "exact")
"""The algorithms that a filter covers: also those of which the lists have no entry."""
_TRIES = 5
"""Salts to try; pyfusefilter itself tries a hundred seeds with each, of which nearly all will do."""

Heads = dict[str, NDArray[np.uint64]]
"""The part that is used of the digests of each algorithm in `EXACT`; see `heads_of`."""


class BuiltFilter(NamedTuple):
    """A filter in memory."""

    header: FilterHeader
    data: bytes


def heads_of_lists(handles: Iterable[ListHandle]) -> Heads:
    found: dict[str, list[NDArray[np.uint64]]] = {name: [] for name in EXACT}
    for handle in handles:
        for files in handle.columns:
            if files.algorithm in found:
                for _, _, values in ActiveRows(handle.folder, files):
                    found[files.algorithm].append(heads_of(values))
    return {name: np.concatenate([np.zeros(0, np.uint64), *blocks]) for name, blocks in found.items()}


def build(
    heads: Mapping[str, NDArray[np.uint64]], list_version: str, made: str, base: str = ""
) -> BuiltFilter:
    """Build a filter that lets all of these digests through, and covers their algorithms. `made` is in the
    form of RFC 3339; `base` is the SHA-256 of the filter to which this one adds, empty for a complete one."""
    digests = sum(map(len, heads.values()))
    if digests > DIGESTS_MAX:
        raise UsageError(
            f"a filter can't have {digests} digests", advice=f"Name lists of at most {DIGESTS_MAX}."
        )
    for _ in range(_TRIES):
        header = FilterHeader(
            list_version, sorted(heads), digests, base, made, secrets.token_hex(8), "0" * 16, 4, 1
        )
        built = _built(header, heads)
        if built is not None and _is_complete(built, heads):
            return built
    raise RuntimeError("pyfusefilter can't build a filter of these digests")


def not_in(part: FilterPart, heads: Heads) -> Heads:
    return {
        name: np.concatenate([np.zeros(0, np.uint64), *_held_back(part, name, values)])
        for name, values in heads.items()
    }


def _held_back(part: FilterPart, algorithm: str, heads: NDArray[np.uint64]) -> Iterator[NDArray[np.uint64]]:
    block = 1 << 18
    for start in range(0, len(heads), block):
        some = heads[start : start + block]
        yield some[~let_through_part(part, algorithm, some)]


def _built(header: FilterHeader, heads: Mapping[str, NDArray[np.uint64]]) -> BuiltFilter | None:
    """Return a filter with the salt of a header; None if there is none for these keys."""
    keys = np.unique(np.concatenate([keys_of(header, name, values) for name, values in heads.items()]))
    made = ffi.new("binary_fuse16_t *")
    if not lib.binary_fuse16_allocate(len(keys), made):
        raise MemoryError
    try:
        content = ffi.buffer(made.Fingerprints, 2 * made.ArrayLength)
        # The memory is as malloc gave it, and the places of no key are not written: it could have secrets.
        np.frombuffer(content, np.uint8)[:] = 0
        if not lib.binary_fuse16_populate(_pointer(keys), len(keys), made):
            return None
        header = structs.replace(
            header,
            seed=f"{made.Seed:016x}",
            segment_length=made.SegmentLength,
            segment_count=made.SegmentCount,
        )
        fingerprints = np.frombuffer(content, np.uint16).astype("<u2").tobytes()
        return BuiltFilter(header, header_bytes(header) + fingerprints)
    finally:
        lib.binary_fuse16_free(made)


def _pointer(keys: NDArray[np.uint64]) -> Any:
    return ffi.from_buffer("uint64_t[]", keys) if len(keys) else ffi.NULL


def _is_complete(built: BuiltFilter, heads: Mapping[str, NDArray[np.uint64]]) -> bool:
    """Return True if a filter is one that clients can read, and lets all its digests through."""
    part = FilterPart(built.data)
    return not any(any(map(len, _held_back(part, name, values))) for name, values in heads.items())
