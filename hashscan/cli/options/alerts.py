"""Options for alerts: the channels, what is sent, and the metrics file; for all commands that send alerts."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import click

from hashscan.cli.options.base import TableOption
from hashscan.errors import UsageError
from hashscan.secret_files import secret_lines
from hashscan.settings.cases_and_alerts import NO_ALERTS, AlertSettings

F = TypeVar("F", bound=Callable[..., Any])

_option = partial(click.option, cls=TableOption, table="alerts")


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


def channel_options(command: F) -> F:
    """Add the options that name alert channels."""
    for option in reversed(
        (
            _option(
                "--notify",
                multiple=True,
                type=NotifyParam(),
                hide_input=True,
                metavar="URL|@FILE",
                help=(
                    "Send alerts to this Apprise URL (mailto://, slack://, json://…), or to each URL in FILE,"
                    " which `ps` doesn't show; repeatable."
                ),
            ),
            _option(
                "--exec",
                "hooks",
                multiple=True,
                type=CommandParam(),
                hide_input=True,
                metavar="COMMAND",
                help=(
                    "Run this program for each alert, with the alert as JSON on its standard input, without a"
                    " shell; repeatable."
                ),
            ),
            _option("--syslog", is_flag=True, help="Write alerts to the system log (syslog, journal)."),
        )
    ):
        command = option(command)
    return command


def alert_options(command: F) -> F:
    """Add all alert options (table `alerts` in settings files); `pop_alert_settings` takes their values."""
    for option in reversed(
        (
            _option(
                "--notify-on",
                type=click.Choice(["found", "trouble", "always"]),
                default="trouble",
                show_default=True,
                help=(
                    "Alerts to send: findings and overdue cases; also problems of scans and lists; or also "
                    "successful scans."
                ),
            ),
            _option(
                "--notify-details",
                is_flag=True,
                help="Include paths, customers and entries in alerts, not only counts and case numbers.",
            ),
            _option(
                "--metrics",
                type=click.Path(path_type=Path, dir_okay=False),
                metavar="FILE",
                help=(
                    "File for Prometheus metrics (textfile collector of node_exporter), such as "
                    "/var/lib/prometheus/node-exporter/hashscan.prom."
                ),
            ),
        )
    ):
        command = option(command)
    return channel_options(command)


def pop_alert_settings(options: dict[str, Any]) -> AlertSettings:
    """Take the alert options out of a command's options; the command may have `channel_options` alone.

    Raises:
        UsageError: the name of the metrics file is one that node_exporter ignores.
    """
    metrics: Path | None = options.pop("metrics", None)
    if metrics is not None and metrics.suffix != ".prom":
        raise UsageError(
            "--metrics: node_exporter reads only files whose name ends with .prom",
            advice="Name the file so.",
        )
    return AlertSettings(
        tuple(dict.fromkeys(url for urls in options.pop("notify") for url in urls)),
        tuple(dict.fromkeys(options.pop("hooks"))),
        options.pop("syslog"),
        options.pop("notify_on", NO_ALERTS.on),
        options.pop("notify_details", NO_ALERTS.details),
        metrics,
    )
