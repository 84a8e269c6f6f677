"""Numbers of examples that Hypothesis tries: a quarter, but for the profile `full` (`tests/conftest.py`)."""

from __future__ import annotations

import hypothesis

FULL_EXAMPLES = 100
QUICK_EXAMPLES = 25
LEAST_EXAMPLES = 5


def examples(number: int) -> int:
    """Return a test's number of examples, which is less where the profile in use has fewer than usual.

    Args:
        number: how many there are in the profile `full`.
    """
    fewer = number * hypothesis.settings().max_examples // FULL_EXAMPLES
    return min(number, max(fewer, LEAST_EXAMPLES))
