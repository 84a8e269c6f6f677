"""Sums up what a walk lists."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable

from hashscan.model import Batch
from hashscan.sources.base import Listing, ListingOptions, NonFileCounts, full_path
from hashscan.sources.filesystem.source import FilesystemSource


def walked(*targets: bytes, **options: object) -> list[Listing]:
    return list(FilesystemSource(targets, ListingOptions(**options)).listings())  # type: ignore[arg-type]


def files(listings: Iterable[Listing]) -> list[bytes]:
    """Paths of the files to be read, sorted."""
    return sorted(
        full_path(listing.target, listing.folder, item.name)
        for listing in listings
        if isinstance(listing, Batch)
        for item in listing.items
    )


def passed(listings: Iterable[Listing]) -> NonFileCounts:
    """The sum of everything passed by."""
    sums = Counter[str]()
    for listing in listings:
        if isinstance(listing, NonFileCounts):
            sums.update({name: getattr(listing, name) for name in NonFileCounts.__slots__})
    return NonFileCounts(**sums)


def others(listings: Iterable[Listing]) -> list[Listing]:
    """Everything that is not as it should be."""
    return [listing for listing in listings if not isinstance(listing, Batch | NonFileCounts)]


def identity(path: bytes) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino
