"""What a worker must be told before it can check files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from hashscan.hashing.variants import VARIANTS, Kind
from hashscan.lists.columns import ListHandle
from hashscan.matching.policy import ONLY_REPORT, Policy
from hashscan.model import ALGORITHMS, ALWAYS_COMPUTED, COMPUTED, DIRECT, Access, ExceptedEntry
from hashscan.sandbox.client import SandboxOptions
from hashscan.settings.values import MAX_SPARSE

AUGMENTATIONS: dict[str, frozenset[Kind]] = {
    "crop": frozenset({Kind.CROP}),
    "frames": frozenset({Kind.FRAME, Kind.PAGE, Kind.FURTHER}),
}
"""What may be added to the entries of a file: crops of its first picture, and its further pictures."""

DECODER = "hashscan.hashing.decoder:load"


@dataclass(frozen=True, slots=True)
class WorkerSetup:
    """All a worker needs to know; travels to other processes, so it holds no open thing."""

    lists: tuple[ListHandle, ...]
    sandbox: SandboxOptions
    algorithms: tuple[str, ...]
    """Every algorithm to compute, exact and picture ones."""
    max_pixels: int
    max_sparse: int = MAX_SPARSE
    """Bytes of holes up to which a file is read."""
    access: Access = DIRECT
    """How to reach what is not on this machine."""
    excepted: tuple[ExceptedEntry, ...] = ()
    """Entries of the lists whose matches are withheld."""
    policy: Policy = ONLY_REPORT
    """What is to be done about matches."""
    variants: tuple[str, ...] = tuple(VARIANTS)
    """The ways besides the plain one in which pictures are hashed."""
    review_threshold: int | None = None
    """Distance in bits up to which a near miss of PDQ is for review; None leaves near misses out."""
    with_digests: bool = False
    """Send the digests of all files back, not only of findings."""
    keep: bool = False
    """Send back of every file what its verdict follows from, for the state."""
    trust_ctime: tuple[str, ...] = ()
    """Filesystem types whose ctimes are trusted on the operator's word; see `sources.ctime`."""
    augment: tuple[str, ...] = ()
    """Some of `AUGMENTATIONS`, whose digests to send back with those."""
    decoder: str = DECODER
    """The parser to load in the sandbox, by dotted name."""

    @property
    def exact(self) -> tuple[str, ...]:
        """The algorithms over bytes."""
        return tuple(name for name in self.algorithms if not ALGORITHMS[name].of_picture)

    @property
    def pictures(self) -> tuple[str, ...]:
        """The algorithms over pictures, in the order in which a decoder answers."""
        return tuple(name for name in self.algorithms if ALGORITHMS[name].of_picture)


def algorithms_of_lists(lists: Iterable[ListHandle]) -> tuple[str, ...]:
    """The algorithms a sweep computes: those whose digests are always kept, and those its lists ask for."""
    asked = {files.algorithm for handle in lists for files in handle.columns}
    return tuple(name for name in COMPUTED if name in asked or name in ALWAYS_COMPUTED)
