"""The settings of picture decoding (limits, sandbox) and of picture matching (variants, review threshold)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from hashscan.errors import UsageError
from hashscan.hashing.variants import VARIANTS
from hashscan.model import ALGORITHMS
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
    memory_bytes: int = 1 << 30
    seconds: float = 20.0
    max_pixels: int = 64_000_000

    def __post_init__(self) -> None:
        require_positive("--decoder-memory", self.memory_bytes)
        require_positive("--decoder-seconds", self.seconds)
        require_positive("--max-pixels", self.max_pixels)


@dataclass(frozen=True, slots=True)
class MatchingSettings:
    """The rules for comparing a picture with an entry."""

    variants: tuple[str, ...] = tuple(VARIANTS)
    """The variants in which pictures are compared, besides the plain one."""
    review_threshold: int | None = None
    """The distance in bits up to which a near miss of PDQ is for review."""

    def __post_init__(self) -> None:
        pdq = ALGORITHMS["pdq"]
        if self.review_threshold is not None and not pdq.threshold < self.review_threshold < pdq.bits // 2:
            raise UsageError(
                f"--review-threshold must be more than {pdq.threshold}, where matches end, and less than "
                f"{pdq.bits // 2}, where chance begins, not {self.review_threshold}",
                advice=f"{SUGGESTED_REVIEW_THRESHOLD} finds most captions and slight crops.",
            )

    @classmethod
    def without(cls, skipped: Iterable[str], review_threshold: int | None) -> MatchingSettings:
        """Return the settings with all variants but some."""
        left_out = frozenset(skipped)
        return cls(tuple(name for name in VARIANTS if name not in left_out), review_threshold)


DEFAULT_MATCHING = MatchingSettings()
