"""Checks raw entries many at a time, in the same words for all formats."""

from __future__ import annotations

import binascii
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from hashscan.lists.base import LineError, RawEntry, shown
from hashscan.lists.blocks import EntryBlock
from hashscan.model import ALGORITHMS, CATEGORIES, ENTRY_ID_MAX, Algorithm

_CATEGORY_INDEX = {category: index for index, category in enumerate(CATEGORIES)}


def checked_blocks(raws: Sequence[RawEntry], unit: str) -> Iterator[EntryBlock]:
    """Raw entries as blocks, one for each algorithm; all of one algorithm in their order.

    Raises:
        LineError: an entry is not what it should be; names the first one.
    """
    by_algorithm: dict[str, list[RawEntry]] = {}
    for raw in raws:
        # Quicker than setdefault, which makes a list each time.
        try:
            by_algorithm[raw[2]].append(raw)
        except KeyError:
            by_algorithm[raw[2]] = [raw]
    blocks = []
    for name, some in by_algorithm.items():
        algorithm = ALGORITHMS.get(name)
        block = _block(algorithm, some, unit) if algorithm else None
        if block is None:
            for raw in raws:
                _check(raw)
            raise AssertionError("one by one they are all right, but not together")
        blocks.append(block)
    yield from blocks


def _block(algorithm: Algorithm, raws: list[RawEntry], unit: str) -> EntryBlock | None:
    """Entries of one algorithm, or None when one of them is not what it should be."""
    lines, ids, _, values, categories = zip(*raws, strict=True)
    lengths = set(map(len, ids))
    together = "".join(ids)
    if min(lengths) < 1 or max(lengths) > ENTRY_ID_MAX or not (together.isascii() and together.isprintable()):
        return None
    id_column: NDArray[np.bytes_] = np.array(ids, dtype=f"S{max(lengths)}")
    if " " in together and (np.strings.strip(id_column, b" ") != id_column).any():
        return None
    if set(map(len, values)) != {2 * algorithm.size}:
        return None
    try:
        value = np.frombuffer(binascii.unhexlify("".join(values)), dtype=np.uint8)
        category = np.frombuffer(bytes(map(_CATEGORY_INDEX.__getitem__, categories)), dtype=np.uint8)
    except (ValueError, KeyError):
        return None
    places = np.array(lines, dtype=np.int64)
    return EntryBlock(algorithm.name, id_column, category, value.reshape(-1, algorithm.size), places, unit)


def _check(raw: RawEntry) -> None:
    """Say what is wrong with an entry, if anything is.

    Values never go into the words: lists are sensitive, and errors end in logs.
    """
    algorithm = ALGORITHMS.get(raw.algorithm)
    if algorithm is None:
        raise LineError(
            raw.line, f"unknown algorithm {shown(raw.algorithm)}", f"Use one of {', '.join(ALGORITHMS)}"
        )
    if raw.category not in _CATEGORY_INDEX:
        raise LineError(
            raw.line, f"unknown category {shown(raw.category)}", f"Use one of {', '.join(CATEGORIES)}"
        )
    if (
        not 0 < len(raw.id) <= ENTRY_ID_MAX
        or not (raw.id.isascii() and raw.id.isprintable())
        or raw.id != raw.id.strip(" ")
    ):
        raise LineError(
            raw.line,
            f"{shown(raw.id)} can't be an id",
            f"Use 1 to {ENTRY_ID_MAX} printable ASCII characters without a space at either end",
        )
    if len(raw.value) != 2 * algorithm.size:
        raise LineError(
            raw.line,
            f"the value has {len(raw.value)} characters; {algorithm.name} has {2 * algorithm.size} digits",
            "Write the whole value in hexadecimal, without prefix or spaces",
        )
    try:
        binascii.unhexlify(raw.value)
    except ValueError as error:
        raise LineError(
            raw.line,
            "the value is not hexadecimal",
            "Write the value with the digits 0-9 and a-f only",
        ) from error
