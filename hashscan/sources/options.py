"""Options for listing targets, common to all sources."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hashscan.sources.patterns import Patterns

if TYPE_CHECKING:
    from hashscan.sources.evidence import QuarantineFolders


@dataclass(frozen=True)
class ListingOptions:
    """The rules for leaving files out when targets are listed, and the size of batches."""

    exclude: Patterns = field(default_factory=Patterns)
    """Patterns for names and paths beneath the target that are left out; a target itself is never left
    out."""
    one_file_system: bool = False
    """Stay on each target's own file system."""
    max_file_size: int | None = None
    """Maximum size in bytes; larger files are skipped."""
    all_versions: bool = False
    """List every version of an object, not only the current ones."""
    protected: frozenset[tuple[int, int]] = frozenset()
    """Device and inode of folders that are never entered: hashscan's own state."""
    kept: QuarantineFolders | None = None
    """Files that a quarantine keeps in folders of this machine, which are left out."""
    evidence: frozenset[bytes] = frozenset()
    """URLs of objects that a quarantine keeps, which are left out."""
    batch_files: int = 256
    """Maximum number of files in a batch. For small files, one batch of 256 takes a tenth less time than four
    of 64."""
    batch_bytes: int = 32 * 1024 * 1024
    """Maximum number of bytes in a batch; a larger file is a batch by itself."""
    pending_in_memory: int = 16_384
    """Maximum number of folders waiting to be walked that are kept in memory; further ones go to a temporary
    file."""
