"""Verify the checksums of many contents at once."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hashscan.hashing.formats import FORMATS
from hashscan.state.store.stored_contents import (
    COLUMN_DIGESTS,
    FIELDS,
    FURTHER,
    NONE,
    NOTHING,
    Column,
    StoredContents,
)

Mask = NDArray[np.bool_]
Rows = NDArray[np.int64]

_GAP = 64
"""Unwanted rows between two wanted ones up to which they are read rather than skipped."""
_SPAN = 4 << 20
_MARGIN = 1 << 16
_PDQ_BYTES = 32


def rows_of(column: Column, rows: Rows) -> NDArray[Any]:
    """Return some rows of a column, in any order."""
    if rows.size and not 0 <= int(rows.min()) <= int(rows.max()) < column.rows:
        raise ValueError("something has a content that isn't there")
    wanted, back = np.unique(rows, return_inverse=True)
    runs = np.split(wanted, np.flatnonzero(np.diff(wanted) > _GAP) + 1)
    found = [column.read(int(run[0]), int(run[-1] - run[0]) + 1)[run - run[0]] for run in runs if run.size]
    return np.concatenate(found)[back.reshape(-1)] if found else column.read(0, 0)


def digests_hold(about: NDArray[Any], digests: Mapping[str, NDArray[Any]]) -> Mask:
    """Return a mask of the contents whose checksum over `about`, shape (n,), and the digests in other
    columns, by their names, is right."""
    parts = [digests[name].view(np.uint8).reshape(len(about), -1) for name in COLUMN_DIGESTS]
    width = sum(part.shape[1] for part in parts)
    whole = memoryview(np.concatenate(parts, axis=1).tobytes())
    fields = zip(*(about[name].tolist() for name in FIELDS), strict=True)
    crc32 = zlib.crc32
    sums = [
        crc32(whole[at : at + width], crc32(repr(each).encode("ascii")))
        for at, each in zip(range(0, len(whole), width), fields, strict=True)
    ]
    good: Mask = np.array(sums, np.uint32) == about["crc"]
    return good


def sound(contents: StoredContents, start: int, count: int) -> Mask:
    """Return a mask of the contents that are proven to be undamaged; others may be undamaged, too."""
    columns = contents.columns
    about = columns["about"].read(start, count)
    digests = {name: columns[name].read(start, len(about)) for name in COLUMN_DIGESTS}
    good = np.zeros(len(about), bool)
    most = min(len(values) for values in digests.values())
    about = about[:most]
    good[:most] = digests_hold(about, {name: values[:most] for name, values in digests.items()})
    good[:most] &= np.isin(about["profile"], list(contents.profiles)) & (about["kind"] < len(FORMATS))
    places = np.flatnonzero(good[:most] & (about["further"] != NOTHING))
    begins = about["further"][places]
    inside = begins < columns["further"].rows
    good[places[~inside]] = False
    places, at = places[inside], begins[inside].astype(np.int64)
    order = np.argsort(at, kind="stable")
    places, at = places[order], at[order]
    while places.size:
        some = max(1, int(np.searchsorted(at, at[0] + _SPAN)))
        good[places[:some]] = _further_holds(contents, at[:some])
        places, at = places[some:], at[some:]
    return good


def _further_holds(contents: StoredContents, begins: Rows) -> Mask:
    """Return a mask of the records of `further` with a right checksum; False also for unusually long ones."""
    data = contents.columns["further"].read(int(begins[0]), int(begins[-1] - begins[0]) + _MARGIN)
    at = begins - begins[0]
    good: Mask = at + FURTHER.size <= len(data)
    heads = data[np.minimum(at, len(data) - 1)[:, None] + np.arange(FURTHER.size) * good[:, None]]
    picture, known, before, rest, others = heads.view("<u4").reshape(-1, 5).T
    length = sum((part.astype(np.int64) for part in (before & 0xFF, before >> 8, rest, others)), start=at * 0)
    begin, end = at + FURTHER.size, at + FURTHER.size + length
    pdq = contents.columns["pdq"]
    apart = picture != NONE
    good &= (end + 4 <= len(data)) & (~apart | (picture < pdq.rows))
    good &= np.isin(known, [NONE, *contents.all_heads])
    chosen = np.flatnonzero(good)
    values = np.zeros((len(begins), _PDQ_BYTES), np.uint8)
    inline = chosen[apart[chosen]]
    if inline.size:
        found = rows_of(pdq, picture[inline].astype(np.int64))
        values[inline] = found.view(np.uint8).reshape(-1, _PDQ_BYTES)
    view, whole, crc32 = memoryview(data.data), values.tobytes(), zlib.crc32
    sums = [
        crc32(whole[place * _PDQ_BYTES : (place + 1) * _PDQ_BYTES] if elsewhere else b"", crc32(view[a:b]))
        for place, a, b, elsewhere in zip(
            *(part.tolist() for part in (chosen, begin[chosen], end[chosen], apart[chosen])), strict=True
        )
    ]
    stored = data[end[chosen, None] + np.arange(4)].view("<u4").reshape(-1)
    good[chosen] = stored == np.array(sums, np.uint32)
    return good
