"""The settings of case deadlines: the time to act on a finding or a notice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hashscan.errors import UsageError
from hashscan.model import CATEGORIES
from hashscan.settings.values import parse_duration, require_positive

DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class CaseSettings:
    """The time that each case may take, in seconds."""

    deadline: float = DAY
    """The time for a match or a notice, unless its category has a deadline of its own."""
    deadlines: Mapping[str, float] = field(default_factory=dict)
    """The times by category."""
    review_deadline: float = 7 * DAY
    """The time for a finding that a person must review first."""

    def __post_init__(self) -> None:
        require_positive("--deadline", self.deadline)
        require_positive("--review-deadline", self.review_deadline)
        for category, seconds in self.deadlines.items():
            if category not in CATEGORIES:
                raise UsageError(
                    f"there is no category {category!r}", advice=f"There is {', '.join(CATEGORIES)}."
                )
            require_positive("--category-deadline", seconds)


DEFAULT_DEADLINES = CaseSettings()


def parse_category_deadline(text: str) -> tuple[str, float]:
    """Return a category and its deadline in seconds, from text such as `A1=12h`.

    Raises:
        UsageError: the text is not valid.
    """
    category, separator, duration = text.partition("=")
    if not separator or category not in CATEGORIES:
        raise UsageError(
            f"{text!r} is no deadline of a category",
            advice=f"Write one of {', '.join(CATEGORIES)}, an equals sign and a time, such as A1=12h.",
        )
    return category, parse_duration(duration)
