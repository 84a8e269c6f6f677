"""Options that add context to findings: the customer, the web address, and the reporting organisation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from hashscan.attribution.hosting_panels import PANELS, rules_of_panels
from hashscan.cli.options.tables import TablesParam
from hashscan.model import CustomerRule, Reporter, SiteRule

F = TypeVar("F", bound=Callable[..., Any])


class CustomersParam(TablesParam[tuple[CustomerRule, ...]]):
    """A parameter with the rules that map files to customers."""

    name = "customer"
    example = 'path = "/srv/sites/{customer}/"'

    def read(self, tables: object, source: str) -> tuple[CustomerRule, ...]:
        """Return the rules."""
        from hashscan.attribution.customers import customer_rules

        return customer_rules(tables, source)


class SitesParam(TablesParam[tuple[SiteRule, ...]]):
    """A parameter with the rules that map folders and buckets to web addresses."""

    name = "site"
    example = 'url = "https://{customer}.example/"\npath = "/srv/sites/{customer}/htdocs"'

    def read(self, tables: object, source: str) -> tuple[SiteRule, ...]:
        """Return the rules."""
        from hashscan.attribution.sites import site_rules

        return site_rules(tables, source)


class ReporterParam(TablesParam[Reporter]):
    """A parameter with the organisation that reports findings to others."""

    name = "reporter"
    rows = False
    example = 'organisation = "Example Hosting"\nemail = "abuse@example.org"'

    def read(self, tables: object, source: str) -> Reporter:
        """Return the organisation."""
        from hashscan.settings.cases_and_alerts import reporter_of

        return reporter_of(tables, source)


def customer_options(command: F) -> F:
    """Add --customer and --customers; `effective_customer_rules` takes their values."""
    return click.option(
        "--customers",
        "layouts",
        multiple=True,
        type=click.Choice(list(PANELS)),
        metavar="LAYOUT",
        help="Name the customer of each finding, by the folders of a hosting panel; repeatable. "
        f"{', '.join(PANELS)}; see `hashscan customers`.",
    )(
        click.option(
            "--customer",
            "customer_rules",
            type=CustomersParam(),
            metavar="FILE",
            help=(
                "Tables [[customer]]: the paths, users and buckets of each customer. The settings file "
                "may contain them. They are tried before --customers."
            ),
        )(command)
    )


def site_option(command: F) -> F:
    """Add --site."""
    return click.option(
        "--site",
        "site_rules",
        type=SitesParam(),
        metavar="FILE",
        help=(
            "Tables [[site]]: the web address of each public folder or bucket. The settings file may "
            "contain them."
        ),
    )(command)


def reporter_option(command: F) -> F:
    """Add --reporter."""
    return click.option(
        "--reporter",
        type=ReporterParam(),
        metavar="FILE",
        help=(
            "Table [reporter]: the name and address of the provider that sends reports to "
            "authorities. The settings file may contain it."
        ),
    )(command)


def effective_customer_rules(
    rules: tuple[CustomerRule, ...] | None, layouts: tuple[str, ...]
) -> tuple[CustomerRule, ...]:
    """Return all rules that map files to customers, with the written ones before those of hosting panels."""
    return (*(rules or ()), *rules_of_panels(layouts))
