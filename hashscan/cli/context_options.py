"""The options that explain what is found: whose it is, where the world sees it, who tells others of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from hashscan.cli.base import SETTINGS_FILE
from hashscan.cli.settings_file import TablesParam
from hashscan.errors import UsageError
from hashscan.model import CustomerRule, Reporter, SiteRule
from hashscan.scan.panels import PANELS, rules_of_panels
from hashscan.settings.file import read_file

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


def _tables(
    key: str, value: Any, ctx: click.Context | None, read: Callable[[object, str], T], begin: str
) -> T:
    """What tables of a file say: of one that is named, or as they stand in the settings file.

    Args:
        key: the tables' name.
        value: the file's path, or the tables.
        ctx: of the command.
        read: takes the tables and the name of the file.
        begin: the line that begins one.

    Raises:
        UsageError: the file can't be read, holds something else, or says nothing useful.
    """
    if not isinstance(value, str):
        assert ctx is not None
        return read(value, ctx.meta[SETTINGS_FILE])
    path = Path(value)
    _, _, tables = read_file(path, {})
    for other in tables:
        if other != key:
            raise UsageError(f"{path}: {other!r} has no place there", advice=f"It holds {begin} alone.")
    if key not in tables:
        raise UsageError(f"{path} holds no {key}", advice=f"Begin with a line {begin}.")
    return read(tables[key], str(path))


class CustomersParam(TablesParam[tuple[CustomerRule, ...]]):
    """The rules that say whose files are."""

    name = "customer"
    example = 'path = "/srv/sites/{customer}/"'

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[CustomerRule, ...]:
        """Read them."""
        from hashscan.scan.customer_table import customer_rules

        return (
            value
            if isinstance(value, tuple)
            else _tables("customer", value, ctx, customer_rules, "[[customer]]")
        )


class SitesParam(TablesParam[tuple[SiteRule, ...]]):
    """The rules that say where the world sees files."""

    name = "site"
    example = 'url = "https://{customer}.example/"\npath = "/srv/sites/{customer}/htdocs"'

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[SiteRule, ...]:
        """Read them."""
        from hashscan.scan.site_table import site_rules

        return value if isinstance(value, tuple) else _tables("site", value, ctx, site_rules, "[[site]]")


class ReporterParam(TablesParam[Reporter]):
    """Who tells others of what was found."""

    name = "reporter"
    rows = False
    example = 'organisation = "Example Hosting"\nemail = "abuse@example.org"'

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Reporter:
        """Read it."""
        from hashscan.scan.reporter_table import reporter_of

        return (
            value
            if isinstance(value, Reporter)
            else _tables("reporter", value, ctx, reporter_of, "[reporter]")
        )


def customer_options(command: F) -> F:
    """The options --customer and --customers; `customers_of` takes their values."""
    return click.option(
        "--customers",
        "layouts",
        multiple=True,
        type=click.Choice(list(PANELS)),
        metavar="LAYOUT",
        help="Say of each finding whose it is, by the folders of a hosting panel; repeatable. "
        f"{', '.join(PANELS)}; see `hashscan customers`.",
    )(
        click.option(
            "--customer",
            "customer_rules",
            type=CustomersParam(),
            metavar="FILE",
            help="Tables [[customer]] that say which paths, users and buckets are whose; the settings file "
            "may hold them, too. They come before --customers.",
        )(command)
    )


def site_option(command: F) -> F:
    """The option --site."""
    return click.option(
        "--site",
        "site_rules",
        type=SitesParam(),
        metavar="FILE",
        help="Tables [[site]] that say at which web address the world sees which folder or bucket; the "
        "settings file may hold them, too.",
    )(command)


def reporter_option(command: F) -> F:
    """The option --reporter."""
    return click.option(
        "--reporter",
        type=ReporterParam(),
        metavar="FILE",
        help="A table [reporter] that says who tells others of what was found; the settings file may hold "
        "it, too.",
    )(command)


def customers_of(
    rules: tuple[CustomerRule, ...] | None, layouts: tuple[str, ...]
) -> tuple[CustomerRule, ...]:
    """All rules that say whose files are, those that somebody wrote first."""
    return (*(rules or ()), *rules_of_panels(layouts))
