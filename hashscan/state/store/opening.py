"""Open the state for a scan, by its settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hashscan.matching.setup import WorkerSetup
from hashscan.settings.scan import ScanSettings
from hashscan.sources.base import Source
from hashscan.sources.filesystem import FilesystemSource
from hashscan.sources.objects.source import ObjectSource
from hashscan.state.findings.quarantined import QuarantinedFiles
from hashscan.state.inventory.scopes import Container, Scopes
from hashscan.state.memory import ScanState


def open_memory(
    settings: ScanSettings, setup: WorkerSetup, sources: Sequence[Source], notify: Callable[[str], None]
) -> ScanState:
    """Open the state of files and objects from earlier scans.

    Args:
        settings: of the scan, with a state folder.
        setup: of its workers.
        sources: of its targets.
        notify: called with messages for the operator.

    Raises:
        OutputError: it can't be used.
    """
    assert settings.state is not None
    files = [source for source in sources if isinstance(source, FilesystemSource)]
    lone = [t for source in files for t, p in zip(source.targets, source.paths, strict=True) if t != p]
    shard = settings.shard
    left_out = {
        "exclude": settings.exclude,
        "ignore_file": None if settings.ignore_file is None else str(settings.ignore_file),
        "one_file_system": settings.one_file_system,
        "max_file_size": settings.max_file_size,
    }
    containers: dict[bytes, list[bytes]] = {}
    if settings.inventory is None:
        # An inventory is days old, and does not show what has changed since.
        for source in sources:
            if isinstance(source, ObjectSource):
                for target, path in zip(source.containers, source.paths, strict=True):
                    containers.setdefault(target, []).append(path)
    scopes = Scopes(
        [target for source in files for target in source.targets],
        "" if shard is None else f"{shard.index}/{shard.count}",
        left_out,
        lone=lone,
        named=settings.files_from is not None,
        containers={
            target: Container(
                tuple(sorted(paths)), all_versions=settings.all_versions, endpoint=settings.access.endpoint
            )
            for target, paths in containers.items()
        },
        taken=QuarantinedFiles(settings.state, notify),
    )
    return ScanState(
        settings.state,
        setup,
        scopes,
        with_digests=settings.with_digests,
        weak=settings.weak_change_check,
        reread=settings.reread,
        accept_cleared=settings.accept_cleared,
        notify=notify,
    )
