"""Connect a scan with the quarantine of its state folder."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from hashscan.errors import OutputError
from hashscan.quarantine.log_checkpoint import checkpoint_fields
from hashscan.scan.reporting.observer import Observer
from hashscan.settings.scan import ScanSettings
from hashscan.sources.filesystem.quarantined_files import QuarantinedFile, QuarantineFolders
from hashscan.state_dir import StateDir

if TYPE_CHECKING:
    from hashscan.scan.mover import LimitPreview, Mover


def quarantined_urls(settings: ScanSettings, observer: Observer) -> frozenset[bytes]:
    """Return the URLs of items that are quarantined in buckets, if the scan may read buckets."""
    named = settings.files_from is not None or settings.inventory is not None
    if settings.state is None or not (named or any(b"://" in target for target in settings.targets)):
        return frozenset()
    from hashscan.quarantine.store import kept_in_buckets

    try:
        return kept_in_buckets(settings.state)
    except OutputError as error:
        # Quarantined objects are then found again, which does no harm.
        observer.message(f"what is in quarantine can't be left out: {error}")
        return frozenset()


def quarantined_files(settings: ScanSettings, observer: Observer) -> QuarantineFolders:
    """Return the files that the quarantines of this state and of other named states keep on this machine."""
    states = ([] if settings.state is None else [settings.state], settings.quarantine_states)

    def load() -> dict[bytes, dict[bytes, QuarantinedFile]]:
        from hashscan.quarantine.store import kept_in_folders

        folders: dict[bytes, dict[bytes, QuarantinedFile]] = {}
        for state in chain.from_iterable(states):
            try:
                for path, files in kept_in_folders(state).items():
                    folders.setdefault(path, {}).update(files)
            except (OSError, OutputError) as error:
                # Quarantined files are then found again, which hides nothing.
                observer.message(f"what the quarantine of {state} keeps can't be left out: {error}")
        return folders

    return QuarantineFolders(load, observer.message)


def mover_of(settings: ScanSettings, observer: Observer) -> Mover | None:
    """Return the mover that quarantines findings at the end of the scan, or None if this was not asked
    for."""
    if settings.quarantine is None or settings.state is None:
        return None
    from hashscan.scan.mover import Mover

    return Mover(
        settings.state,
        settings.quarantine,
        observer.message,
        settings.access,
        settings.policy,
        settings.targets,
    )


def limit_preview(settings: ScanSettings, observer: Observer) -> LimitPreview | None:
    """Return what says which matches `quarantine add` will hold, if a named state's quarantine takes them."""
    if settings.quarantine is not None or settings.state is None or not settings.quarantine_states:
        return None
    from hashscan.scan.mover import LimitPreview

    return LimitPreview(settings.state, settings.policy.act_on, observer.message)


def quarantine_fields(state: StateDir | None, mover: Mover | None) -> dict[str, Any]:
    """Return the state of the quarantine and the number of findings moved, as fields of the summary."""
    fields: dict[str, Any] = checkpoint_fields(state)
    if mover is not None:
        fields["quarantine"] = {**fields.get("quarantine", {}), **mover.fields()}
    return fields
