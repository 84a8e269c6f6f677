"""Options whose values are tables of the settings file: customers, sites, the reporter, the policy, and the
hash library, with the limits of decoding."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import click

from hashscan.attribution.hosting_panels import PANELS, rules_of_panels
from hashscan.cli.options.base import SETTINGS_FILE, TableOption, gather_options, setting_options
from hashscan.errors import UsageError
from hashscan.model import (
    CustomerRule,
    DistanceRule,
    HashLibrary,
    PolicyRule,
    Reporter,
    SenderRule,
    SiteRule,
    Weak,
)
from hashscan.settings.file import read_file
from hashscan.settings.hash_library import hash_library_of
from hashscan.settings.matching import DecodingLimits, PolicySettings

if TYPE_CHECKING:
    from hashscan.settings.legal_basis import LegalBasis

T = TypeVar("T")


class TablesParam(click.ParamType[T]):
    """A parameter whose value the settings file has in tables of their own, named after the option.

    On the command line, the value is the name of a file that holds these tables alone.
    """

    rows: ClassVar[bool] = True
    """True if there may be several tables, each begun by [[name]]; False for one, begun by [name]."""
    keys: ClassVar[tuple[str, ...]] = ()
    """The keys of a table that is no rule: others are ignored with a warning."""
    example: ClassVar[str] = ""
    """Lines of an example table, for the settings file template that shows all options."""

    def read(self, tables: object, source: str) -> T:
        raise NotImplementedError

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> T:
        if isinstance(value, list | dict):
            assert ctx is not None
            return self.read(value, ctx.meta[SETTINGS_FILE])
        if isinstance(value, str):
            return self._of_file(Path(value))
        found: T = value
        return found

    def _of_file(self, path: Path) -> T:
        begin = f"[[{self.name}]]" if self.rows else f"[{self.name}]"
        _, _, tables = read_file(path, {})
        for key in tables:
            if key != self.name:
                raise UsageError(
                    f"{path}: {key!r} does not belong there", advice=f"It contains only {begin}."
                )
        if self.name not in tables:
            raise UsageError(f"{path} contains no {self.name}", advice=f"Begin with a line {begin}.")
        return self.read(tables[self.name], str(path))


class CustomersParam(TablesParam[tuple[CustomerRule, ...]]):
    """A parameter with the rules that map files to customers."""

    name = "customer"
    example = 'path = "/srv/sites/{customer}/"'

    def read(self, tables: object, source: str) -> tuple[CustomerRule, ...]:
        from hashscan.attribution.customers import customer_rules

        return customer_rules(tables, source)


class SitesParam(TablesParam[tuple[SiteRule, ...]]):
    """A parameter with the rules that map folders and buckets to web addresses."""

    name = "site"
    example = 'url = "https://{customer}.example/"\npath = "/srv/sites/{customer}/htdocs"'

    def read(self, tables: object, source: str) -> tuple[SiteRule, ...]:
        from hashscan.attribution.sites import site_rules

        return site_rules(tables, source)


class SendersParam(TablesParam[tuple[SenderRule, ...]]):
    """A parameter with the rules that say what the notices of a sender are."""

    name = "sender_rule"
    example = 'address = "@authority.example"\nkind = "order"\nmember_state = "NL"\ndeadline = "12h"'

    def read(self, tables: object, source: str) -> tuple[SenderRule, ...]:
        from hashscan.settings.notice_senders import sender_rules

        return sender_rules(tables, source)


class LegalBasesParam(TablesParam["tuple[LegalBasis, ...]"]):
    """A parameter with the legal bases of lists and doors."""

    name = "basis"
    example = 'door = "icap"\nlegal_basis = "Regulation (EU) 2021/1232"\nlegal_basis_until = 2026-04-03'

    def read(self, tables: object, source: str) -> tuple[LegalBasis, ...]:
        from hashscan.settings.legal_basis import legal_bases

        return legal_bases(tables, source)


class ReporterParam(TablesParam[Reporter]):
    """A parameter with the organisation that reports findings to others."""

    name = "reporter"
    rows = False
    keys = Reporter.__struct_fields__
    example = 'organisation = "Example Hosting"\nemail = "abuse@example.org"'

    def read(self, tables: object, source: str) -> Reporter:
        from hashscan.settings.cases_and_alerts import reporter_of

        return reporter_of(tables, source)


class HashLibraryParam(TablesParam[HashLibrary]):
    """A parameter with the library that computes PhotoDNA."""

    name = "photodna"
    rows = False
    keys = HashLibrary.__struct_fields__
    example = 'library = "/opt/photodna/lib.so"\nhash = "ComputeHash"'

    def read(self, tables: object, source: str) -> HashLibrary:
        return hash_library_of(tables, source)


class PolicyParam(TablesParam[tuple[PolicyRule, ...]]):
    """A parameter with the policy table, from a file of its own or from the settings file."""

    name = "policy"
    example = 'category = "A1"\naction = "report"'

    def read(self, tables: object, source: str) -> tuple[PolicyRule, ...]:
        found: tuple[PolicyRule, ...] = _effective_policy().rules_of(tables, source)
        return found


class DistancesParam(TablesParam[tuple[DistanceRule, ...]]):
    """A parameter with the distances of PhotoDNA by list."""

    name = "photodna_distance"
    example = 'list = "national"\nreview = 10000'

    def read(self, tables: object, source: str) -> tuple[DistanceRule, ...]:
        found: tuple[DistanceRule, ...] = _effective_policy().distances_of(tables, source)
        return found


def _effective_policy() -> ModuleType:
    from hashscan.matching import effective_policy

    return effective_policy


customer_options = gather_options(
    "customers",
    # The written rules come before those of hosting panels.
    lambda layouts, rules: (*(rules or ()), *rules_of_panels(layouts)),
    click.option(
        "--customers",
        "layouts",
        multiple=True,
        type=click.Choice(list(PANELS)),
        metavar="LAYOUT",
        help="Name the customer of each finding, by the folders of a hosting panel; repeatable. "
        f"{', '.join(PANELS)}; see `hashscan customers`.",
    ),
    click.option(
        "--customer",
        "customer_rules",
        type=CustomersParam(),
        metavar="FILE",
        help="Tables [[customer]]: the paths, users and buckets of each customer. The settings file "
        "may contain them. They are tried before --customers.",
    ),
)

site_option = gather_options(
    "sites",
    lambda rules: rules or (),
    click.option(
        "--site",
        "site_rules",
        type=SitesParam(),
        metavar="FILE",
        help="Tables [[site]]: the web address of each public folder or bucket. The settings file may "
        "contain them.",
    ),
)
sender_option = gather_options(
    "senders",
    lambda rules: rules or (),
    click.option(
        "--sender-rule",
        "sender_rules",
        type=SendersParam(),
        metavar="FILE",
        help=(
            "Tables [[sender_rule]]: what the notices of a sender are, and their deadline, where they don't "
            "state it. The settings file may contain them."
        ),
    ),
)
legal_basis_option = click.option(
    "--basis",
    "bases",
    type=LegalBasesParam(),
    default=(),
    show_default=False,
    metavar="FILE",
    help="Tables [[basis]]: until when lists and doors have a legal basis, and what is done after. The "
    "settings file may contain them.",
)
reporter_option = click.option(
    "--reporter",
    type=ReporterParam(),
    metavar="FILE",
    help="Table [reporter]: the name and address of the provider that sends reports to "
    "authorities. The settings file may contain it.",
)
_act_on = click.option(
    "--act-on",
    cls=TableOption,
    table="quarantine",
    multiple=True,
    type=click.Choice(list(map(str, Weak))),
    help="Also move files that match only local lists, lists of exchanges, lists past their expiry, or test "
    "entries; repeatable. Default: only fresh, signed lists. "
    "`stay-down` makes pictures of other owners that are like a removed one a match, and not for review.",
)


def _weak_trust(act_on: tuple[str, ...]) -> tuple[Weak, ...]:
    return tuple(weak for weak in Weak if weak in act_on)


act_on_option = gather_options("act_on", _weak_trust, _act_on)
_photodna_distance = click.option(
    "--photodna-distance",
    type=DistancesParam(),
    metavar="FILE",
    help="Tables [[photodna_distance]]: the squared distance up to which lists' entries of PhotoDNA are "
    f"for review, and that up to which they accuse. Default: {DistanceRule().review} and none.",
)
photodna_distance_option = gather_options("distances", lambda rules: rules or (), _photodna_distance)
policy_options = gather_options(
    "policy",
    lambda rules, act_on, distances: PolicySettings(rules or (), _weak_trust(act_on), distances or ()),
    click.option(
        "--policy",
        type=PolicyParam(),
        metavar="FILE",
        help="Tables [[policy]]: which matches are only reported, held, for review, or may be moved. "
        "The settings file may contain them. Default: all are reported, and moved by `scan --quarantine`.",
    ),
    _act_on,
    _photodna_distance,
)
photodna_option = click.option(
    "--photodna",
    type=HashLibraryParam(),
    metavar="FILE",
    help="Table [photodna]: a licensee's shared library that computes PhotoDNA, for lists that have it. The "
    "settings file may contain it.",
)

decoding_options = gather_options(
    "decoding",
    DecodingLimits,
    setting_options(DecodingLimits),
    photodna_option,
)
