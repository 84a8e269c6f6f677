"""What every source is told about listing its targets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hashscan.sources.patterns import Patterns

if TYPE_CHECKING:
    from hashscan.sources.evidence import Evidence


@dataclass(frozen=True)
class ListingOptions:
    """What is left out when targets are listed, and how much goes into a batch."""

    exclude: Patterns = field(default_factory=Patterns)
    """Names and paths beneath the target that are left out; a target itself never is."""
    one_file_system: bool = False
    """Stay on each target's own file system."""
    max_file_size: int | None = None
    """Bytes; larger files are skipped."""
    all_versions: bool = False
    """Of objects, every version and not only the current ones."""
    protected: frozenset[tuple[int, int]] = frozenset()
    """Device and inode of folders that are never entered: our own state."""
    kept: Evidence | None = None
    """Files that a quarantine keeps in folders of this machine, which are left out."""
    evidence: frozenset[bytes] = frozenset()
    """URLs of objects that a quarantine keeps, which are left out."""
    batch_files: int = 256
    """Files in a batch at most; of small files, 256 take a tenth less time than four times 64."""
    batch_bytes: int = 32 * 1024 * 1024
    """Bytes in a batch at most; a larger file makes a batch of its own."""
    pending_in_memory: int = 16_384
    """Folders waiting to be walked that are kept in memory; more than these go to a temporary file."""
