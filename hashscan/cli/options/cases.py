"""The options that say by when somebody must have acted."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import click

from hashscan.cli.options.base import Duration, TableOption
from hashscan.errors import UsageError
from hashscan.settings.cases import USUAL_DEADLINES, CaseSettings, parse_category_deadline

F = TypeVar("F", bound=Callable[..., Any])

_option = partial(click.option, cls=TableOption, table="cases")


class CategoryDeadline(click.ParamType[tuple[str, float]]):
    """`CATEGORY=TIME`."""

    name = "deadline"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, float]:
        """Read it."""
        if isinstance(value, tuple):
            return value
        try:
            return parse_category_deadline(str(value))
        except UsageError as error:
            self.fail(f"{error}. {error.remedy}", param, ctx)


def deadline_options(command: F) -> F:
    """The options; the settings file has them in its table `cases`. `deadlines_of` takes their values."""
    for option in reversed(
        (
            _option(
                "--deadline",
                type=Duration(),
                default=USUAL_DEADLINES.deadline,
                show_default="24h",
                metavar="TIME",
                help="How long after it was found, or told of, a match must be gone.",
            ),
            _option(
                "--category-deadline",
                "category_deadlines",
                multiple=True,
                type=CategoryDeadline(),
                metavar="CATEGORY=TIME",
                help="Another time for a category, such as A1=12h; repeatable.",
            ),
            _option(
                "--review-deadline",
                type=Duration(),
                default=USUAL_DEADLINES.review_deadline,
                show_default="7d",
                metavar="TIME",
                help="How long a review may wait. What is held has no clock.",
            ),
        )
    ):
        command = option(command)
    return command


def take_deadlines(options: dict[str, Any]) -> CaseSettings:
    """What the options say; they are taken out of a command's.

    Raises:
        UsageError: a time is none.
    """
    return deadlines_of(*(options.pop(key) for key in ("deadline", "category_deadlines", "review_deadline")))


def deadlines_of(
    deadline: float, category_deadlines: tuple[tuple[str, float], ...], review_deadline: float
) -> CaseSettings:
    """What the options say.

    Raises:
        UsageError: a time is none.
    """
    return CaseSettings(deadline, dict(category_deadlines), review_deadline)
