"""Checks raw entries in batches, with the same error messages for all formats."""

from __future__ import annotations

import binascii
from collections.abc import Iterable, Iterator, Mapping
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from hashscan.lists.formats.text import LineError, RawEntry, shown
from hashscan.lists.storage.columns import EntryBlock
from hashscan.lists.storage.video_frames import ALGORITHM as VPDQ
from hashscan.lists.storage.video_frames import parse_id
from hashscan.model import ALGORITHMS, CATEGORIES, ENTRY_ID_MAX

_CATEGORY_INDEX = {category: index for index, category in enumerate(CATEGORIES)}
_VALUE_MAX = max(2 * algorithm.size for algorithm in ALGORITHMS.values())


class RawColumns:
    """Raw entries that wait to be checked, stored field by field for each algorithm.

    The fields are kept in lists, not the entries: the garbage collector would traverse millions of tuples.
    """

    def __init__(self, unit: str) -> None:
        """Accept entries whose positions are counted in `unit`."""
        self._unit = unit
        self._of: dict[str, tuple[list[int], list[str], list[str], list[str]]] = {}

    def take(self, raws: Iterable[RawEntry], most: int) -> int:
        """Take up to `most` entries, or up to a value too long to be one; return how many were taken."""
        of = self._of
        count = 0
        for line, entry_id, name, value, category in raws:
            try:
                lines, ids, values, categories = of[name]
            except KeyError:
                lines, ids, values, categories = of[name] = ([], [], [], [])
            lines.append(line)
            ids.append(entry_id)
            values.append(value)
            categories.append(category)
            count += 1
            if count == most or len(value) > _VALUE_MAX:
                break
        return count

    def checked(self) -> Iterator[EntryBlock]:
        """Yield the waiting entries in blocks, one for each algorithm; afterwards none wait."""
        taken, self._of = self._of, {}
        blocks = [self._block(name, *columns) for name, columns in taken.items()]
        for block in blocks:
            if block is None:
                raise _fault(taken)
            yield block

    def _block(
        self, name: str, lines: list[int], ids: list[str], values: list[str], categories: list[str]
    ) -> EntryBlock | None:
        """Return the entries of one algorithm, or None if one of them is not valid."""
        algorithm = ALGORITHMS.get(name)
        lengths = set(map(len, ids))
        together = "".join(ids)
        if (
            algorithm is None
            or min(lengths) < 1
            or max(lengths) > ENTRY_ID_MAX
            or not (together.isascii() and together.isprintable())
            or (name == VPDQ and None in map(parse_id, ids))
        ):
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
        return EntryBlock(name, id_column, category, value.reshape(-1, algorithm.size), places, self._unit)


def _fault(taken: Mapping[str, tuple[list[int], list[str], list[str], list[str]]]) -> LineError:
    """Return the error of the first invalid entry; at least one of the given entries is invalid."""
    faults = (
        problem
        for name, (lines, ids, values, categories) in taken.items()
        for raw in zip(lines, ids, repeat(name), values, categories, strict=False)
        if (problem := _problem(raw))
    )
    return min(faults, key=lambda problem: problem.line)


def _problem(raw: RawEntry) -> LineError | None:
    """Return the error of an entry, or None if it is valid.

    Values never appear in the message: lists are sensitive, and errors end up in logs.
    """
    line, entry_id, name, value, category = raw
    algorithm = ALGORITHMS.get(name)
    if algorithm is None:
        return LineError(line, f"unknown algorithm {shown(name)}", f"Use one of {', '.join(ALGORITHMS)}")
    if category not in _CATEGORY_INDEX:
        return LineError(line, f"unknown category {shown(category)}", f"Use one of {', '.join(CATEGORIES)}")
    if (
        not 0 < len(entry_id) <= ENTRY_ID_MAX
        or not (entry_id.isascii() and entry_id.isprintable())
        or entry_id != entry_id.strip(" ")
    ):
        return LineError(
            line,
            f"{shown(entry_id)} can't be an id",
            f"Use 1 to {ENTRY_ID_MAX} printable ASCII characters without a space at either end",
        )
    if name == VPDQ and parse_id(entry_id) is None:
        return LineError(
            line,
            f"{shown(entry_id)} can't be the id of a frame of a video",
            "Write VIDEO@FRAME/FRAMES: id of the video, number of the frame, number of entries of the video",
        )
    if len(value) != 2 * algorithm.size:
        return LineError(
            line,
            f"the value has {len(value)} characters; {algorithm.name} has {2 * algorithm.size} digits",
            "Write the whole value in hexadecimal, without prefix or spaces",
        )
    try:
        binascii.unhexlify(value)
    except ValueError:
        return LineError(
            line, "the value is not hexadecimal", "Write the value with the digits 0-9 and a-f only"
        )
    return None
