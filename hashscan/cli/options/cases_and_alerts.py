"""Options of all commands that follow cases or send alerts: deadlines, channels, and the metrics file."""

from __future__ import annotations

import shlex
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click

from hashscan.cli.options.base import ParsedParam, TableOption, add_options, gather_options, setting_options
from hashscan.cli.options.tables import legal_basis_option
from hashscan.errors import UsageError
from hashscan.secret_files import secret_lines
from hashscan.settings.cases_and_alerts import (
    KIND_DEADLINES,
    NO_ALERTS,
    AlertSettings,
    CaseSettings,
    NotifyOn,
    parse_category_deadline,
    parse_kind_deadline,
)

_option = partial(click.option, cls=TableOption, table="alerts")
_settings = partial(setting_options, cls=TableOption, table="alerts")


class NotifyParam(click.ParamType[tuple[str, ...]]):
    """A parameter with a URL of Apprise, or `@FILE` with such URLs; errors don't show the URL."""

    name = "notify"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        """Return the URL, or those of the file."""
        if isinstance(value, tuple):
            return value
        text = str(value).strip()
        if text.startswith("@"):
            try:
                urls = secret_lines(Path(text[1:]), "--notify")
            except UsageError as error:
                self.fail(f"{error}. {error.remedy}", param, ctx)
            if not urls:
                self.fail(f"{text[1:]} contains no URL.", param, ctx)
        else:
            urls = (text,)
        if not all("://" in url for url in urls):
            where = f"a line of {text[1:]}" if text.startswith("@") else "this"
            self.fail(f"{where} is not a URL such as mailto://… or json://….", param, ctx)
        return urls


class CommandParam(click.ParamType[tuple[str, ...]]):
    """A parameter with a program and its arguments, split as by a shell; no shell is started."""

    name = "command"
    envvar_list_splitter = "\n"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        """Split the value into a program and its arguments."""
        if isinstance(value, tuple):
            return value
        try:
            words = shlex.split(str(value))
        except ValueError as error:
            self.fail(f"it is not a valid command line: {str(error).lower()}.", param, ctx)
        if not words:
            self.fail("no program is named.", param, ctx)
        return tuple(words)


def _alert_settings(
    urls: tuple[tuple[str, ...], ...],
    hooks: tuple[tuple[str, ...], ...],
    syslog: bool,
    escalate_to: tuple[tuple[str, ...], ...] = (),
    on: NotifyOn = NO_ALERTS.on,
    details: bool = NO_ALERTS.details,
    metrics: Path | None = None,
) -> AlertSettings:
    if metrics is not None and metrics.suffix != ".prom":
        raise UsageError(
            "--metrics: node_exporter reads only files whose name ends with .prom",
            advice="Name the file so.",
        )
    notify, escalate = (
        tuple(dict.fromkeys(url for several in given for url in several)) for given in (urls, escalate_to)
    )
    hooks = tuple(dict.fromkeys(hooks))
    return AlertSettings(notify, hooks, escalate, syslog, on, details, metrics)


_notify = _option(
    "--notify",
    multiple=True,
    type=NotifyParam(),
    hide_input=True,
    metavar="URL|@FILE",
    help="Send alerts to this Apprise URL (mailto://, slack://, json://…), or to each URL in FILE,"
    " which `ps` doesn't show; repeatable.",
)
_channels = add_options(
    _notify,
    _option(
        "--exec",
        "hooks",
        multiple=True,
        type=CommandParam(),
        hide_input=True,
        metavar="COMMAND",
        help="Run this program for each alert, with the alert as JSON on its standard input, without a"
        " shell; repeatable.",
    ),
    _settings(AlertSettings, "syslog"),
    _option(
        "--escalate-to",
        multiple=True,
        type=NotifyParam(),
        hide_input=True,
        metavar="URL|@FILE",
        help="Also tell this Apprise URL, once for each case, when half of the time of an order is gone;"
        " repeatable.",
    ),
)
notify_option = gather_options("alerts", lambda urls: _alert_settings(urls, (), False), _notify)
channel_options = gather_options("alerts", _alert_settings, _channels)


def _with_bases(*values: Any) -> AlertSettings:
    *others, bases = values
    return replace(_alert_settings(*others), bases=bases)


alert_options = gather_options(
    "alerts",
    _with_bases,
    _channels,
    _settings(AlertSettings, "on", "details", "metrics"),
    legal_basis_option,
)
"""All options for alerts; settings files have them in the table `alerts`."""


CATEGORY_DEADLINE = ParsedParam("deadline", parse_category_deadline)
"""`CATEGORY=TIME`: a category and its deadline in seconds."""


KIND_DEADLINE = ParsedParam("deadline", parse_kind_deadline)
"""A parameter of the form `KIND=TIME`: a kind of order and its deadline in seconds."""


def _case_settings(
    deadline: float,
    category_deadlines: tuple[tuple[str, float], ...],
    review_deadline: float,
    kind_deadlines: tuple[tuple[str, float], ...],
    acknowledge_deadline: float,
    review_by: int,
) -> CaseSettings:
    return CaseSettings(
        deadline,
        dict(category_deadlines),
        review_deadline,
        {**KIND_DEADLINES, **dict(kind_deadlines)},
        acknowledge_deadline,
        review_by,
    )


deadline_options = gather_options(
    "deadlines",
    _case_settings,
    setting_options(CaseSettings, "deadline", cls=TableOption, table="cases"),
    click.option(
        "--category-deadline",
        "category_deadlines",
        cls=TableOption,
        table="cases",
        multiple=True,
        type=CATEGORY_DEADLINE,
        metavar="CATEGORY=TIME",
        help="Different time for a category, such as A1=12h; repeatable.",
    ),
    setting_options(CaseSettings, "review_deadline", cls=TableOption, table="cases"),
    click.option(
        "--kind-deadline",
        "kind_deadlines",
        cls=TableOption,
        table="cases",
        multiple=True,
        type=KIND_DEADLINE,
        metavar="KIND=TIME",
        help="Different time for orders of a kind that state none, such as order=6h; repeatable. Default: "
        "12h, of terrorist content 1h, to provide information 72h.",
    ),
    setting_options(CaseSettings, "acknowledge_deadline", cls=TableOption, table="cases"),
    setting_options(CaseSettings, "review_by", cls=TableOption, table="cases"),
)
"""Options for deadlines; settings files have them in the table `cases`."""
