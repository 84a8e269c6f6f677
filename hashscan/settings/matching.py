"""The settings of decoding, of matching, and of actions on matches: policy, breaker, quarantine."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from hashscan.errors import UsageError
from hashscan.hashing.variants import VARIANTS
from hashscan.model import ALGORITHMS, DistanceRule, HashLibrary, PolicyRule, Weak
from hashscan.settings.option import Checked, setting

SUGGESTED_REVIEW_THRESHOLD = 52
"""The suggested distance in bits of PDQ. Four of five photos are within this distance after 5 % was
cropped from them or 15 % covered by a caption, and no unrelated ones are; see
`benchmarks/recall/recall.py`."""
SandboxMode = Literal["required", "auto", "off"]


@dataclass(frozen=True, slots=True)
class DecodingLimits(Checked):
    """The limits of time, memory and pixels for one picture."""

    sandbox: SandboxMode = setting(
        "--sandbox",
        "auto",
        "Sandbox for picture decoding: require all protections, use those that are available, or none.",
        get_args(SandboxMode),
    )
    memory_bytes: int = setting(
        "--decoder-memory",
        768 << 20,
        "Memory limit of each decoder. If workers are many, it is less: all together have three quarters "
        "of the machine's memory, but each has 384 MB.",
        "size",
        bare=True,
    )
    large_memory_bytes: int = setting(
        "--large-decoder-memory",
        3 << 30,
        "Memory limit for decoding one picture that exceeds --max-pixels. Only one is decoded at a time, "
        "with half of the machine's memory at most.",
        "size",
        bare=True,
    )
    seconds: float = setting(
        "--decoder-seconds",
        20.0,
        "Processor time limit for decoding one picture; the limit of elapsed time is 15 times as long.",
        float,
    )
    max_pixels: int = setting(
        "--max-pixels",
        64_000_000,
        "Colour pictures with more pixels are decoded one at a time, with --large-decoder-memory; "
        "greyscale pictures may be larger.",
        int,
    )
    photodna: HashLibrary | None = None
    """The licensee's library that computes PhotoDNA."""


@dataclass(frozen=True, slots=True)
class MatchingSettings:
    """The rules for comparing a picture with an entry."""

    variants: tuple[str, ...] = tuple(VARIANTS)
    """The variants in which pictures are compared, besides the plain one."""
    review_threshold: int | None = None
    """The distance in bits up to which a near miss of PDQ is for review."""
    video_listed_share: int = setting(
        "--video-listed-share",
        80,
        "A video matches a listed one (vPDQ) if it has at least this share of the listed frames.",
        range(1, 101),
        "PERCENT",
    )
    video_scanned_share: int = setting(
        "--video-scanned-share",
        0,
        "A video matches a listed one (vPDQ) only if at least this share of its own frames is in it; "
        "over 0, a video with much else in it is not found.",
        range(101),
        "PERCENT",
    )

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
class BreakerLimits(Checked):
    """The circuit breaker's limits: an entry that matches more files in a scan moves nothing any more.

    A picture that many customers have is more likely a theme's than a crime of all; one customer may well
    have thousands of thumbnails of one picture.
    """

    owners: int = setting(
        "--breaker-owners",
        20,
        "Hold matches of entries that match files of more owners (users or buckets), unless another entry "
        "matches too.",
        int,
        "NUMBER",
    )
    files: int = setting(
        "--breaker-files",
        10_000,
        "Hold matches of entries that match more files, unless another entry matches too.",
        int,
        "NUMBER",
    )


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
    note: Path | None = setting(
        "--leave-note",
        None,
        "Leave the text of this file in place of each moved file; it shows the customer that the file was "
        "found.",
        Path,
        "FILE",
    )
    containers: bool = setting(
        "--quarantine-containers",
        False,
        "Also move archives that match only by a member: a whole backup for one picture. Without this, they "
        "are reported and stay.",
        bool,
    )

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
