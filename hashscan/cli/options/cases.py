"""Options for the deadlines of cases."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import click

from hashscan.cli.options.base import DurationParam, TableOption
from hashscan.errors import UsageError
from hashscan.settings.cases_and_alerts import DEFAULT_DEADLINES, CaseSettings, parse_category_deadline

F = TypeVar("F", bound=Callable[..., Any])

_option = partial(click.option, cls=TableOption, table="cases")


class CategoryDeadlineParam(click.ParamType[tuple[str, float]]):
    """A parameter of the form `CATEGORY=TIME`."""

    name = "deadline"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, float]:
        """Return the category and its deadline in seconds."""
        if isinstance(value, tuple):
            return value
        try:
            return parse_category_deadline(str(value))
        except UsageError as error:
            self.fail(f"{error}. {error.remedy}", param, ctx)


def deadline_options(command: F) -> F:
    """Add the deadline options (table `cases` of the settings file); `deadlines_of` takes their values."""
    for option in reversed(
        (
            _option(
                "--deadline",
                type=DurationParam(),
                default=DEFAULT_DEADLINES.deadline,
                show_default="24h",
                metavar="TIME",
                help="Time within which a match must be removed after the finding or the notice.",
            ),
            _option(
                "--category-deadline",
                "category_deadlines",
                multiple=True,
                type=CategoryDeadlineParam(),
                metavar="CATEGORY=TIME",
                help="Different time for a category, such as A1=12h; repeatable.",
            ),
            _option(
                "--review-deadline",
                type=DurationParam(),
                default=DEFAULT_DEADLINES.review_deadline,
                show_default="7d",
                metavar="TIME",
                help="Time within which a `review` must be decided. `held` has no deadline.",
            ),
        )
    ):
        command = option(command)
    return command


def pop_deadlines(options: dict[str, Any]) -> CaseSettings:
    """Take the deadline options out of a command's options.

    Raises:
        UsageError: a value is not a valid time.
    """
    return deadlines_of(*(options.pop(key) for key in ("deadline", "category_deadlines", "review_deadline")))


def deadlines_of(
    deadline: float, category_deadlines: tuple[tuple[str, float], ...], review_deadline: float
) -> CaseSettings:
    """Return the values of the deadline options as settings.

    Raises:
        UsageError: a value is not a valid time.
    """
    return CaseSettings(deadline, dict(category_deadlines), review_deadline)
