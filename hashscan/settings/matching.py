"""The settings of decoding, of matching, and of actions on matches: policy, breaker, quarantine."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hashscan.errors import UsageError
from hashscan.hashing.variants import VARIANTS
from hashscan.model import ALGORITHMS, DistanceRule, HashLibrary, PolicyRule, Weak
from hashscan.settings.values import require_positive

SUGGESTED_REVIEW_THRESHOLD = 52
"""The suggested distance in bits of PDQ. Four of five photos are within this distance after 5 % was
cropped from them or 15 % covered by a caption, and no unrelated ones are; see
`benchmarks/recall/recall.py`."""
SandboxMode = Literal["required", "auto", "off"]


@dataclass(frozen=True, slots=True)
class DecodingLimits:
    """The limits of time, memory and pixels for one picture."""

    sandbox: SandboxMode = "auto"
    memory_bytes: int = 768 << 20
    large_memory_bytes: int = 3 << 30
    """The memory limit for one picture over the pixel limit; only one such picture is decoded at a time."""
    seconds: float = 20.0
    max_pixels: int = 64_000_000
    photodna: HashLibrary | None = None
    """The licensee's library that computes PhotoDNA."""

    def __post_init__(self) -> None:
        require_positive("--decoder-memory", self.memory_bytes)
        require_positive("--large-decoder-memory", self.large_memory_bytes)
        require_positive("--decoder-seconds", self.seconds)
        require_positive("--max-pixels", self.max_pixels)


@dataclass(frozen=True, slots=True)
class MatchingSettings:
    """The rules for comparing a picture with an entry."""

    variants: tuple[str, ...] = tuple(VARIANTS)
    """The variants in which pictures are compared, besides the plain one."""
    review_threshold: int | None = None
    """The distance in bits up to which a near miss of PDQ is for review."""
    video_listed_share: int = 80
    """The least share, in percent, of a listed video's frames that a video must have."""
    video_scanned_share: int = 0
    """The least share of its own frames that must be in the listed video."""

    def __post_init__(self) -> None:
        pdq = ALGORITHMS["pdq"]
        if self.review_threshold is not None and not pdq.threshold < self.review_threshold < pdq.bits // 2:
            raise UsageError(
                f"--review-threshold must be more than {pdq.threshold}, where matches end, and less than "
                f"{pdq.bits // 2}, where chance begins, not {self.review_threshold}",
                advice=f"{SUGGESTED_REVIEW_THRESHOLD} finds most captions and slight crops.",
            )

    @classmethod
    def without(
        cls,
        skipped: Iterable[str],
        review_threshold: int | None,
        video_listed_share: int,
        video_scanned_share: int,
    ) -> MatchingSettings:
        """Return the settings with all variants but some."""
        left_out = frozenset(skipped)
        variants = tuple(name for name in VARIANTS if name not in left_out)
        return cls(variants, review_threshold, video_listed_share, video_scanned_share)


DEFAULT_MATCHING = MatchingSettings()


@dataclass(frozen=True, slots=True)
class PolicySettings:
    """The rules for matches."""

    rules: tuple[PolicyRule, ...] = ()
    """The rules; without any, matches are only reported."""
    act_on: tuple[Weak, ...] = ()
    """The kinds of weakly trusted matches for which files may be moved, besides matches with fresh signed
    lists."""
    distances: tuple[DistanceRule, ...] = ()
    """The distances of PhotoDNA by list, up to which entries are named and accuse."""


NO_RULES = PolicySettings()


@dataclass(frozen=True, slots=True)
class BreakerLimits:
    """The circuit breaker's limits: an entry that matches more files in a scan moves nothing any more."""

    owners: int = 20
    """The number of owners; a picture that so many customers have is more likely a theme's than a crime of
    all."""
    files: int = 10_000
    """The number of files; one customer may well have thousands of thumbnails of one picture."""

    def __post_init__(self) -> None:
        require_positive("--breaker-owners", self.owners)
        require_positive("--breaker-files", self.files)


DEFAULT_BREAKER_LIMITS = BreakerLimits()


@dataclass(frozen=True, slots=True)
class QuarantineSettings:
    """The rules for files that were moved into quarantine."""

    retain_min: float
    """The seconds for which evidence must be kept."""
    destroy_by: float
    """The seconds after which it must be destroyed."""
    places: tuple[Path, ...] = ()
    """The folders for quarantined files, one for each file system."""
    bucket: str | None = None
    """The URL for quarantined objects; None for a folder of this machine."""
    note: Path | None = None
    """The file with the text that replaces a moved file."""
    containers: bool = False
    """True to move a container, with all that is in it, for the match of one member."""

    def __post_init__(self) -> None:
        if self.destroy_by < self.retain_min:
            raise UsageError(
                "--destroy-by is shorter than --retain-min", advice="Give --destroy-by the longer time."
            )

    @classmethod
    def of(
        cls,
        retain_min: float | None,
        destroy_by: float | None,
        places: tuple[str, ...] = (),
        note: Path | None = None,
        containers: bool = False,
    ) -> QuarantineSettings:
        """Return the settings from options that may be missing.

        Raises:
            UsageError: a term is missing, the terms contradict each other, or objects have several places.
        """
        if retain_min is None or destroy_by is None:
            raise UsageError(
                "how long evidence is kept differs by country, so --retain-min and --destroy-by have no "
                "default",
                advice="Ask your counsel how long this must be kept for the authorities, and by when it must "
                "be destroyed; then give both, such as --retain-min 90d --destroy-by 365d.",
            )
        urls = [place for place in places if "://" in place]
        if len(urls) > 1:
            raise UsageError("objects are kept in one place", advice="Name one URL with --quarantine-dir.")
        folders = tuple(Path(place) for place in places if place not in urls)
        return cls(retain_min, destroy_by, folders, urls[0] if urls else None, note, containers)
