"""Describe the set-up of a worker: lists, algorithms, limits and policy."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hashscan.errors import UsageError
from hashscan.hashing.variants import VARIANTS, Kind
from hashscan.lists.index.video_matching import VideoRule
from hashscan.lists.storage.columns import ListHandle
from hashscan.lists.storage.video_frames import ALGORITHM as VPDQ
from hashscan.matching.policy import ONLY_REPORT, Policy
from hashscan.model import (
    ALGORITHMS,
    ALWAYS_COMPUTED,
    DIRECT,
    MATCHED,
    Access,
    ContainerKind,
    DistanceRule,
    ExceptedEntry,
    HashLibrary,
    MemberLimits,
)
from hashscan.sandbox.client import SandboxOptions
from hashscan.sandbox.libraries import check_library
from hashscan.settings.matching import DecodingLimits, MatchingSettings
from hashscan.settings.values import MAX_SPARSE

if TYPE_CHECKING:
    from hashscan.lists.services.settings import StoredService

AUGMENTATIONS: dict[str, frozenset[Kind]] = {
    "crop": frozenset({Kind.CROP}),
    "shape": frozenset({Kind.SHAPE}),
    "trimmed": frozenset({Kind.TRIMMED}),
    "frames": frozenset({Kind.FRAME, Kind.PAGE, Kind.FURTHER}),
}
"""Additions to the entries of a file: parts of its first picture, and its further pictures."""

VPDQ_RULE = VideoRule()
"""The rule of vPDQ with its own numbers."""

_PHOTODNA = "photodna"

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
    distances: tuple[DistanceRule, ...] = ()
    """The distances of PhotoDNA; the first rule that names a list, or all, is for it."""
    videos: VideoRule | None = None
    """The rule by which videos are matched as a whole; None if they are not sampled for that."""
    members_unasked: bool = False
    """True if matching services are asked about files: they are not asked about members, so that no container
    is clean."""
    photodna: HashLibrary | None = None
    """The library that computes PhotoDNA, if that is among `algorithms`."""
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
            distances=other.distances,
            review_threshold=other.review_threshold,
            videos=other.videos if self.videos is not None and other.videos is not None else self.videos,
        )
        return like_other == other


def asked_algorithms(lists: Iterable[ListHandle], services: Iterable[StoredService] = ()) -> frozenset[str]:
    """Return the algorithms of which lists have entries, and those that matching services are asked about."""
    of_lists = (files.algorithm for handle in lists for files in handle.columns)
    return frozenset(of_lists).union(*(service.settings.algorithms for service in services))


def algorithms_to_compute(asked: Collection[str], licensed: Collection[str] = ()) -> tuple[str, ...]:
    """Return the algorithms that a scan computes: those that are always kept, and those that are asked.

    Args:
        asked: names that `asked_algorithms` returns.
        licensed: the licensed algorithms whose libraries the settings name.
    """
    return tuple(
        name
        for name in MATCHED
        if name in ALWAYS_COMPUTED or (name in asked and _can_compute(name, licensed))
    )


def library_for(asked: Collection[str], decoding: DecodingLimits) -> HashLibrary | None:
    """Return the library that computes PhotoDNA if that is asked, with its files checked.

    Raises:
        UsageError: a file is missing, or others than root can change it.
    """
    return checked_library(decoding) if _PHOTODNA in asked else None


def checked_library(decoding: DecodingLimits) -> HashLibrary | None:
    """Return the library that computes PhotoDNA if the settings name one, with its files checked.

    Raises:
        UsageError: as `library_for`.
    """
    library = decoding.photodna
    for path in () if library is None else library.files:
        check_library(path)
    return library


def require_computed(services: Iterable[StoredService], library: HashLibrary | None) -> None:
    """Require that all digests can be computed about which matching services are to be asked.

    Raises:
        UsageError: one is licensed, and the settings name no library.
    """
    for service in services:
        if library is None and _PHOTODNA in service.settings.algorithms:
            raise UsageError(
                f"the matching service {service.name} is asked about {_PHOTODNA}, which is not computed here",
                advice="Name the library in the settings (section [photodna]), or add the service with other "
                "--digests.",
            )


def licensed_by(library: HashLibrary | None) -> tuple[str, ...]:
    """Return the licensed algorithms that are computed with a library."""
    return () if library is None else (_PHOTODNA,)


def compare_pictures(lists: Iterable[ListHandle], licensed: Collection[str] = ()) -> bool:
    """Return True if any of the lists has digests of pictures that scans look for; see above."""
    found = {files.algorithm for handle in lists for files in handle.columns}
    return any(
        ALGORITHMS[name].of_picture and ALGORITHMS[name].scanned and _can_compute(name, licensed)
        for name in found
    )


def _can_compute(name: str, licensed: Collection[str]) -> bool:
    return name in licensed or not ALGORITHMS[name].licensed


def distance_rule(rules: Iterable[DistanceRule], list_name: str) -> DistanceRule:
    """Return the distances of PhotoDNA for a list: the first rule for it, or else the default."""
    return next((rule for rule in rules if not rule.lists or list_name in rule.lists), _ONLY_REVIEW)


_ONLY_REVIEW = DistanceRule()


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
