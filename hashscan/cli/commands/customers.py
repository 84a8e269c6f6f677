"""`hashscan customers`: try the rules that map files to customers and web addresses."""

from __future__ import annotations

import os
from typing import Any

import click
from msgspec import UNSET, Struct, UnsetType

from hashscan.cli.options.base import ANY_PATH, HashscanCommand
from hashscan.cli.options.output import format_option, write_json_line, write_stdout
from hashscan.cli.options.tables import customer_options, site_option
from hashscan.cli.output.logs import print_message
from hashscan.cli.output.terminal import print_table
from hashscan.errors import EXIT_CLEAN, EXIT_INCOMPLETE
from hashscan.model import CustomerRule, SiteRule
from hashscan.sources.filesystem.targets import owner_at
from hashscan.text import path_fields, printable


@click.command(cls=HashscanCommand, exit_codes=(0, 2, 3, 12, 70))
@click.argument("items", nargs=-1, metavar="[ITEM]...", type=ANY_PATH)
@format_option("text", "json", help="One line of fields separated by tabs for each file, or JSON Lines.")
@customer_options
@site_option
def command(
    items: tuple[bytes, ...],
    format_name: str,
    customers: tuple[CustomerRule, ...],
    sites: tuple[SiteRule, ...],
) -> int:
    """Test the rules that map files to customers and web addresses; write one line for each ITEM.

    An ITEM is a path, an object's URL such as s3://bucket/key, or a web address, for which the files behind
    it are shown. A file need not exist; if it does, its user counts too. The exit code is 3 if no rule gives
    the customer of an ITEM.

    Without ITEM, the rules are shown in the order in which they are tried, and the hosting panels for
    --customers.
    """
    if not items:
        _show(customers, sites)
        return EXIT_CLEAN
    from hashscan.attribution.customers import Customers
    from hashscan.attribution.sites import Sites

    lookup = CustomerLookup(Customers(customers), Sites(sites))
    answers = [answer for item in items for answer in lookup.about(item)]
    for answer in answers:
        _write(answer, as_json=format_name == "json")
    return EXIT_CLEAN if all(answer.customer for answer in answers) else EXIT_INCOMPLETE


class Answer(Struct, kw_only=True):
    """A file that an item may be, with its customer: empty if no rule gives one."""

    item: str
    path: str | UnsetType = UNSET
    path_b64: str | UnsetType = UNSET
    customer: str
    rule: str | UnsetType = UNSET
    url: str | UnsetType = UNSET


class CustomerLookup:
    """A lookup of the customer and the web address of items, by the rules."""

    def __init__(self, customers: Any, sites: Any) -> None:
        self._customers = customers
        self._sites = sites

    def about(self, item: bytes) -> list[Answer]:
        """Return the files that an item may be, with their customers; one answer without a path if none."""
        text = os.fsdecode(item)
        if text.startswith(("https://", "http://")):
            found = [self._file(text, path) for path in self._sites.paths_of(text)]
            return found or [Answer(item=text, customer="")]
        path = item if b"://" in item else os.path.abspath(item)
        return [self._file(text, path)]

    def _file(self, text: str, path: bytes) -> Answer:
        user = None if b"://" in path else owner_at(path)
        customer, rule = self._customers.answer(path, user)
        return Answer(
            item=text,
            **path_fields(path),
            customer=customer,
            rule=UNSET if rule is None else rule.origin,
            url=self._sites.url_of(path) or UNSET,
        )


def _write(answer: Answer, *, as_json: bool) -> None:
    if as_json:
        write_json_line(answer)
        return
    rule = "no rule" if answer.rule is UNSET else answer.rule
    path = answer.item if answer.path is UNSET else answer.path
    fields = (answer.customer or "-", rule, path, *([] if answer.url is UNSET else [answer.url]))
    write_stdout("\t".join(map(printable, fields)))


def _show(rules: tuple[CustomerRule, ...], sites: tuple[SiteRule, ...]) -> None:
    from hashscan.attribution.hosting_panels import PANELS

    if rules:
        print_table(
            ("rule", "paths", "users", "customer"),
            (
                (
                    rule.origin,
                    ", ".join(rule.paths),
                    ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in rule.owners),
                    rule.name or "(no customer)",
                )
                for rule in rules
            ),
            "rules for customers; the first that matches applies",
        )
    else:
        print_message("there are no rules for customers")
    if sites:
        print_table(
            ("rule", "address", "folder"),
            ((site.origin, site.url, site.path) for site in sites),
            "rules for web addresses",
        )
    print_table(
        ("name", "of", "paths"),
        ((name, panel.summary, ", ".join((*panel.within, *panel.paths))) for name, panel in PANELS.items()),
        "hosting panels for --customers",
    )
