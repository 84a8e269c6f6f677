"""Verifies and opens the folder of a published list, whose columns are cut into shards."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hashscan.lists.columns import ListHandle
from hashscan.lists.manifest import Manifest
from hashscan.lists.record import EntryCounts
from hashscan.lists.repository import (
    TARGETS,
    CountsAndHandle,
    OpenedList,
    intact_target,
    open_signed,
    signed_target,
)
from hashscan.lists.rows import check_ids, count_categories
from hashscan.lists.shards import PublishedRows, unsharded
from hashscan.lists.withdrawals import withdrawn_by_algorithm

if TYPE_CHECKING:
    from hashscan.lists.trust import VerifiedMetadata


def open_published(name: str, folder: Path, trusted_root: bytes, now: datetime, *, remedy: str) -> OpenedList:
    """Verify a published folder and open its list, if its shards can be opened directly.

    Args:
        name: local name of the list.
        folder: contains `metadata/` and `targets/`.
        trusted_root: root metadata that the administrator trusts.
        now: the time to compare expiries with.
        remedy: advice for when the list is damaged or stale.

    Returns:
        Always an info. A handle if the list can be used and has only a base, with one shard for each
        algorithm. A manifest if the list can be used, fresh or stale.
    """

    def contents(verified: VerifiedMetadata, manifest: Manifest) -> CountsAndHandle:
        return _contents(name, folder, verified, manifest)

    return open_signed(name, folder, trusted_root, now, remedy, contents)


def file_names(verified: VerifiedMetadata) -> dict[str, str]:
    """Return the file name of each target by target name, as in a repository with consistent snapshots."""
    return {name: target.file_name for name, target in verified.targets.items()}


def _contents(name: str, folder: Path, verified: VerifiedMetadata, manifest: Manifest) -> CountsAndHandle:
    for target in manifest.names:
        intact_target(signed_target(verified, target), folder)
    targets, names = folder / TARGETS, file_names(verified)
    gone = withdrawn_by_algorithm(manifest, lambda target: targets / names[target])
    counts: EntryCounts = {}
    for algorithm, _ in manifest.by_algorithm:
        rows = PublishedRows(targets, manifest, names, algorithm)
        check_ids((ids for ids, _, _ in rows), algorithm)
        withdrawn = gone.get(algorithm, np.zeros(0, dtype=np.int64))
        counts[algorithm] = count_categories(
            (category for _, category, _ in rows), manifest.categories, withdrawn
        )
    return counts, _handle(name, targets, manifest, names)


def _handle(name: str, targets: Path, manifest: Manifest, names: dict[str, str]) -> ListHandle | None:
    every = [unsharded(columns, names.__getitem__) for columns in manifest.parts[0].columns]
    files = tuple(columns for columns in every if columns is not None)
    if len(manifest.parts) > 1 or len(files) < len(every):
        return None
    return ListHandle(name, manifest.version, targets, manifest.categories, files)
