"""Describe the set-up of a worker: lists, algorithms, limits and policy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from hashscan.hashing.variants import VARIANTS, Kind
from hashscan.lists.index.video_matching import VideoRule
from hashscan.lists.storage.columns import ListHandle
from hashscan.lists.storage.video_frames import ALGORITHM as VPDQ
from hashscan.matching.policy import ONLY_REPORT, Policy
from hashscan.model import (
    ALGORITHMS,
    ALWAYS_COMPUTED,
    COMPUTED,
    DIRECT,
    Access,
    ContainerKind,
    ExceptedEntry,
    MemberLimits,
)
from hashscan.sandbox.client import SandboxOptions
from hashscan.settings.matching import DecodingLimits, MatchingSettings
from hashscan.settings.values import MAX_SPARSE

AUGMENTATIONS: dict[str, frozenset[Kind]] = {
    "crop": frozenset({Kind.CROP}),
    "frames": frozenset({Kind.FRAME, Kind.PAGE, Kind.FURTHER}),
}
"""Additions to the entries of a file: crops of its first picture, and its further pictures."""

VPDQ_RULE = VideoRule()
"""The rule of vPDQ with its own numbers."""

DECODER = "hashscan.hashing.media.decoder:load"


@dataclass(frozen=True, slots=True)
class WorkerSetup:
    """The settings of a worker; they travel to other processes, so they hold no open file or connection."""

    lists: tuple[ListHandle, ...]
    sandbox: SandboxOptions
    algorithms: tuple[str, ...]
    """Every algorithm to compute, for bytes and for pictures."""
    max_pixels: int
    max_sparse: int = MAX_SPARSE
    """Bytes of holes up to which a file is read."""
    access: Access = DIRECT
    excepted: tuple[ExceptedEntry, ...] = ()
    """Entries of the lists whose matches are withheld."""
    policy: Policy = ONLY_REPORT
    variants: tuple[str, ...] = tuple(VARIANTS)
    """Variants, besides the plain picture, in which pictures are hashed."""
    review_threshold: int | None = None
    """Distance in bits up to which a near miss of PDQ is for review; None leaves near misses out."""
    with_digests: bool = False
    """True to return the digests of all files, not only of findings."""
    keep: bool = False
    """True to return for every file the data from which its verdict is derived, for the state."""
    trust_ctime: tuple[str, ...] = ()
    """Filesystem types whose ctimes are trusted by the operator's option; see `sources.filesystem.ctime`."""
    augment: tuple[str, ...] = ()
    """Names from `AUGMENTATIONS`, whose digests are returned besides."""
    decoder: str = DECODER
    containers: MemberLimits | None = None
    """Limits within which containers are opened; None to open none."""
    videos: VideoRule | None = None
    """The rule by which videos are matched as a whole; None if they are not sampled for that."""
    members_unasked: bool = False
    """True if matching services are asked about files: they are not asked about members, so that no container
    is clean."""
    pictures_compared: bool = True
    """False if digests of pictures are neither compared nor shown. Pictures are then checked by their bytes,
    as other files are; only one that matches is decoded, since a finding has all digests."""

    @property
    def exact(self) -> tuple[str, ...]:
        """The algorithms over bytes."""
        return tuple(name for name in self.algorithms if not ALGORITHMS[name].of_picture)

    @property
    def pictures(self) -> tuple[str, ...]:
        """The algorithms over pictures, in the order of a decoder's reply."""
        return tuple(name for name in self.algorithms if ALGORITHMS[name].of_picture)

    @property
    def augmented(self) -> frozenset[Kind]:
        """The kinds of pictures whose digests are returned besides."""
        return frozenset[Kind]().union(*(AUGMENTATIONS[name] for name in self.augment))

    def decodes_as(self, other: WorkerSetup) -> bool:
        """Return True if the setups differ in nothing but lists, exceptions and policy."""
        like_other = replace(
            self,
            lists=other.lists,
            excepted=other.excepted,
            policy=other.policy,
            review_threshold=other.review_threshold,
            videos=other.videos if self.videos is not None and other.videos is not None else self.videos,
        )
        return like_other == other


def algorithms_to_compute(lists: Iterable[ListHandle]) -> tuple[str, ...]:
    """Return the algorithms that a scan computes: those that are always kept, and those of its lists."""
    asked = {files.algorithm for handle in lists for files in handle.columns}
    return tuple(name for name in COMPUTED if name in asked or name in ALWAYS_COMPUTED)


def compare_pictures(lists: Iterable[ListHandle]) -> bool:
    """Return True if any of the lists has digests of pictures that scans look for."""
    found = (ALGORITHMS[files.algorithm] for handle in lists for files in handle.columns)
    return any(algorithm.of_picture and algorithm.scanned for algorithm in found)


def video_rule_of(
    lists: Iterable[ListHandle], containers: MemberLimits | None, matching: MatchingSettings
) -> VideoRule | None:
    """Return the rule of vPDQ if lists have such entries and videos are opened, which are then sampled."""
    opened = containers is not None and ContainerKind.VIDEO in containers.kinds
    asked = any(files.algorithm == VPDQ for handle in lists for files in handle.columns)
    if not (opened and asked):
        return None
    return VideoRule(listed_percent=matching.video_listed_share, scanned_percent=matching.video_scanned_share)


def sandbox_options(limits: DecodingLimits) -> SandboxOptions:
    """Return the sandbox's options from the settings."""
    return SandboxOptions(
        mode=limits.sandbox,
        memory_bytes=limits.memory_bytes,
        seconds=limits.seconds,
        large_memory_bytes=limits.large_memory_bytes,
    )
