"""`hashscan cases check --web`: the URLs of cases as the world sees them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from hashscan.cli.options.tables import TablesParam
from hashscan.cli.output.logs import print_message
from hashscan.errors import EXIT_CLEAN, EXIT_INCOMPLETE
from hashscan.settings.outside import KEYS, OutsideSettings, outside_of
from hashscan.text import plural, printable

if TYPE_CHECKING:
    from hashscan.cli.output.ledger_sync import SyncedLedger


class OutsideParam(TablesParam[OutsideSettings]):
    """A parameter with what may be fetched from the outside."""

    name = "outside"
    rows = False
    keys = KEYS
    example = (
        'own_networks = ["198.51.100.0/24"]\nmandate_by = "the authority"\n'
        'mandate_legal_basis = "the law"\nmandate_until = 2027-12-31'
    )

    def read(self, tables: object, source: str) -> OutsideSettings:
        return outside_of(tables, source)


outside_option = click.option(
    "--outside",
    type=OutsideParam(),
    metavar="FILE",
    help="Table [outside]: own networks, a mandate to fetch content of others, a proxy. The settings file "
    "may contain it.",
)


def check_web(followed: SyncedLedger, numbers: Sequence[int], settings: OutsideSettings) -> int:
    """Look at the URLs of cases, and store and print what they show; return the exit code.

    Args:
        numbers: see `cases_with_addresses`.
    """
    from hashscan.cases.actions import operator
    from hashscan.cases.notices.pictures import PictureDigester
    from hashscan.cases.web_looks import baseline_of, cases_with_addresses, record_looks, record_run
    from hashscan.outside.looking import Looker, Outcome

    now, mandate = int(time.time()), settings.mandate
    cases = cases_with_addresses(followed.ledger, numbers, now)
    if cases and mandate is not None and mandate.holds(now):
        record_run(followed.ledger, mandate, "cases check --web", operator(), len(cases), now)
        print_message(f"by the mandate of {printable(mandate.by)} ({printable(mandate.legal_basis)})")
    elif cases and mandate is not None:
        print_message(f"the mandate has ended on {mandate.until}: content of others is not fetched")
    counts: Counter[Outcome] = Counter()
    with PictureDigester() as digester, Looker(settings, digester) as looker:
        for number, url, sha256 in cases:
            now = int(time.time())
            looks = looker.look(url, baseline_of(followed.ledger, number, sha256), now)
            outcome = record_looks(followed.ledger, number, looks, now)
            counts[outcome] += 1
            causes = ", ".join(dict.fromkeys(look.cause for look in looks if look.outcome is outcome))
            print_message(f"case {number}: {outcome}{f' ({causes})' if causes else ''}")
    outcomes = ", ".join(f"{number} {outcome}" for outcome, number in sorted(counts.items()))
    print_message(
        f"{plural(len(cases), 'address', 'addresses')} looked at" + (f": {outcomes}" if outcomes else "")
    )
    return EXIT_INCOMPLETE if counts[Outcome.UNCLEAR] else EXIT_CLEAN
