"""The settings of policy: rules for matches, circuit breaker, quarantine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hashscan.errors import UsageError
from hashscan.model import PolicyRule, Weak
from hashscan.settings.values import require_positive


@dataclass(frozen=True, slots=True)
class PolicySettings:
    """The rules for matches."""

    rules: tuple[PolicyRule, ...] = ()
    """The rules; without any, matches are only reported."""
    act_on: tuple[Weak, ...] = ()
    """The kinds of weakly trusted matches for which files may be moved, besides matches with fresh signed
    lists."""


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
        """Return the settings from options that may be missing.

        Raises:
            UsageError: a term is missing, the terms contradict each other, or objects have several places.
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
            raise UsageError("objects are kept in one place", advice="Name one URL with --quarantine-dir.")
        folders = tuple(Path(place) for place in places if place not in urls)
        return cls(retain_min, destroy_by, folders, urls[0] if urls else None, note)
