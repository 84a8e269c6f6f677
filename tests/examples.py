"""Limit what a quick run of the tests tries.

Hypothesis tries a quarter of a test's examples, unless its profile is `full` (`tests/conftest.py`); of some
tests with many cases only the first are run.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import hypothesis
import pytest
from _pytest.mark.structures import ParameterSet

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


def quick_first(cases: Iterable[Any], quick: int = 1) -> list[ParameterSet]:
    """Return a test's cases, of which all but the first few are slow.

    Args:
        cases: as `parametrize` takes them.
        quick: how many of them any run of the tests tries.
    """
    sets = [
        case
        if isinstance(case, ParameterSet)
        else pytest.param(*(case if isinstance(case, tuple) else (case,)))
        for case in cases
    ]
    return sets[:quick] + [each._replace(marks=[*each.marks, pytest.mark.slow]) for each in sets[quick:]]
