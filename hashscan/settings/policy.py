"""What is done about matches."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hashscan.errors import UsageError
from hashscan.model import PolicyRule, Weak
from hashscan.settings.values import require_positive


@dataclass(frozen=True, slots=True)
class PolicySettings:
    """What is to be done about matches."""

    rules: tuple[PolicyRule, ...] = ()
    """Without any, all that is done is to report them."""
    act_on: tuple[Weak, ...] = ()
    """On whose word files may be moved, besides that of fresh, signed lists."""


NO_RULES = PolicySettings()


@dataclass(frozen=True, slots=True)
class BreakerLimits:
    """How much one entry may hit in a sweep before nothing is moved on its word any more."""

    owners: int = 20
    """A picture that so many customers have is more likely a theme's than a crime of all of them."""
    files: int = 10_000
    """One customer may well have thousands of thumbnails of one picture."""

    def __post_init__(self) -> None:
        require_positive("--breaker-owners", self.owners)
        require_positive("--breaker-files", self.files)


USUAL_LIMITS = BreakerLimits()


@dataclass(frozen=True, slots=True)
class QuarantineSettings:
    """How findings are kept once they are moved."""

    retain_min: float
    """Seconds for which evidence must be kept."""
    destroy_by: float
    """Seconds after which it must be gone."""
    places: tuple[Path, ...] = ()
    """Folders to keep it beneath, one for each file system."""
    bucket: str | None = None
    """URL to keep objects beneath; None for a folder of this machine."""
    note: Path | None = None
    """Text to leave in place of what is moved."""

    def __post_init__(self) -> None:
        if self.destroy_by < self.retain_min:
            raise UsageError(
                "--destroy-by is shorter than --retain-min", advice="Give the longer term to the former."
            )

    @classmethod
    def of(
        cls,
        retain_min: float | None,
        destroy_by: float | None,
        places: tuple[str, ...] = (),
        note: Path | None = None,
    ) -> QuarantineSettings:
        """From what may not have been said.

        Raises:
            UsageError: a term is missing, they contradict each other, or objects have several places.
        """
        if retain_min is None or destroy_by is None:
            raise UsageError(
                "how long evidence is kept differs by country, so --retain-min and --destroy-by have no "
                "default",
                advice="Ask your counsel how long this must be kept for the authorities, and by when it must "
                "be destroyed; then say both, such as --retain-min 90d --destroy-by 365d.",
            )
        urls = [place for place in places if "://" in place]
        if len(urls) > 1:
            raise UsageError("objects are kept in one place", advice="Name one URL with --place.")
        folders = tuple(Path(place) for place in places if place not in urls)
        return cls(retain_min, destroy_by, folders, urls[0] if urls else None, note)
