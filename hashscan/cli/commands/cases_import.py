"""`hashscan cases import`: make cases of notices from others, and of the findings of reports."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hashscan.cli.options.base import HashscanCommand, state_option
from hashscan.cli.options.context import customer_options, effective_customer_rules, site_option
from hashscan.cli.output.ledger_sync import synced_ledger
from hashscan.cli.output.terminal import escape_control, print_message
from hashscan.errors import EXIT_CLEAN, EXIT_INCOMPLETE
from hashscan.model import CustomerRule, SiteRule
from hashscan.text import plural

if TYPE_CHECKING:
    from hashscan.attribution.customers import Customers
    from hashscan.attribution.sites import Sites
    from hashscan.cases.ledger import Ledger

_HEAD = 1 << 16


@click.command(
    "import",
    cls=HashscanCommand,
    exit_codes=(0, 2, 3, 12, 70),
    meanings={0: "all is taken in", 3: "taken in, but of some nobody knows where the file lies"},
)
@click.argument(
    "files",
    nargs=-1,
    required=True,
    metavar="FILE...",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
)
@click.option(
    "--format",
    "format_name",
    type=click.Choice(["csv", "xarf", "mail"]),
    help="Format of the notices. Default: detected from the beginning of FILE.",
)
@site_option
@customer_options
@state_option
def import_(
    files: tuple[Path, ...],
    format_name: str | None,
    site_rules: tuple[SiteRule, ...] | None,
    customer_rules: tuple[CustomerRule, ...] | None,
    layouts: tuple[str, ...],
    state: Path,
) -> int:
    """Make cases from notices (a CSV table, XARF, or an e-mail with XARF), or from the findings of a report.

    The [[site]] tables of the settings map the web addresses of notices to paths. A repeated notice makes no
    second case; a notice about a file that has a case is added to it. Reports (JSON Lines) are those of `scan
    --cluster`, of `report merge`, or of other machines.
    """
    from hashscan.attribution.customers import Customers
    from hashscan.attribution.sites import Sites

    sites = Sites(site_rules or ())
    customers = Customers(effective_customer_rules(customer_rules, layouts))
    unmapped = 0
    with synced_ledger(state) as followed:
        for path in files:
            if format_name is None and _is_report(path):
                _take_report(followed.ledger, path)
            else:
                unmapped += _take_notices(followed.ledger, path, format_name, sites, customers)
        if unmapped:
            print_message(
                "hashscan: no rule maps these addresses to paths; see `hashscan cases list`, and add "
                "[[site]] tables"
            )
        return followed.exit_code(EXIT_INCOMPLETE if unmapped else EXIT_CLEAN)


def _is_report(path: Path) -> bool:
    if str(path) == "-" or not path.is_file():
        return False
    with path.open("rb") as stream:
        return b'"type":"sweep"' in stream.read(_HEAD).replace(b": ", b":").partition(b"\n")[0]


def _take_report(ledger: Ledger, path: Path) -> None:
    from hashscan.cases.report_import import import_report

    came = import_report(ledger, path)
    shown = escape_control(str(path))
    if came.known:
        print_message(f"hashscan: {shown}: this scan is already imported")
    else:
        print_message(
            f"hashscan: {shown}: {plural(came.findings, 'finding')}, {plural(came.new, 'new case')}, "
            f"{came.removed} not found again"
        )


def _take_notices(
    ledger: Ledger, path: Path, format_name: str | None, sites: Sites, customers: Customers
) -> int:
    from hashscan.cases.notice_import import ImportCounts, import_notices
    from hashscan.cases.notices.reader import read_notices

    notices, taken = read_notices(path, format_name), ImportCounts()
    try:
        import_notices(ledger, notices, sites.paths_of, int(time.time()), customers, taken)
    finally:
        print_message(
            f"hashscan: {escape_control(notices.label)}: {taken.notices} notices: {taken.new} new cases, "
            f"{taken.joined} of known cases, {taken.known} known already, {taken.unmapped} without a path"
        )
    for reason, number in notices.passed_over.items():
        print_message(f"hashscan: {number} skipped: {escape_control(reason)}")
    return taken.unmapped
