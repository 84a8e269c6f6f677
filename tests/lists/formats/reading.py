"""Reads documents into entries one by one, as tests compare them."""

from __future__ import annotations

import io

from hashscan.lists.formats.base import ListFormat
from hashscan.model import CATEGORIES, Entry
from hashscan.registry import LIST_FORMATS


def new(name: str) -> ListFormat:
    return LIST_FORMATS[name]("B2" if LIST_FORMATS[name].takes_category else None)


def read(name: str, data: bytes) -> list[Entry]:
    """The entries of a document by their places in it."""
    found = []
    for block in new(name).blocks(io.BytesIO(data), "file"):
        assert block.places is not None
        rows = zip(block.places, block.ids, block.value, block.category, strict=True)
        found += [
            (int(place), Entry(entry_id.decode(), block.algorithm, value.tobytes(), CATEGORIES[category]))
            for place, entry_id, value, category in rows
        ]
    return [entry for _, entry in sorted(found, key=lambda pair: pair[0])]
