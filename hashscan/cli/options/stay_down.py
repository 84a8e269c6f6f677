"""Options of commands that confirm removals, and the making of the list `stay-down` from them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

from hashscan.cli.options.base import add_options, argument_option
from hashscan.cli.output.logs import ERROR, print_error, print_message
from hashscan.errors import UsageError
from hashscan.model import ACTING_CATEGORIES, STAY_DOWN_LIST
from hashscan.settings.values import parse_future
from hashscan.state_dir import StateDir
from hashscan.text import is_printable_line, plural
from hashscan.timefmt import format_utc

if TYPE_CHECKING:
    from hashscan.cases.confirmation import RemovedCase
    from hashscan.quarantine.store import Quarantine
    from hashscan.scan.stay_down import Confirmation

_REASON_MAX = 500
_DAYS = 365

stay_down_options = add_options(
    argument_option(
        "--until",
        metavar="DATE",
        show_default=f"{_DAYS} days from now",
        help="Time up to which the content stays down: a day (to its end, UTC), or a time.",
    ),
    argument_option(
        "--category",
        type=click.Choice(sorted(ACTING_CATEGORIES)),
        show_default="the category of the entries that matched",
        help="Category of the content.",
    ),
)


def confirmation(reason: str, until: str | None, category: str | None) -> Confirmation:
    """Return the values of a confirmation from the options."""
    from hashscan.cases.actions import operator
    from hashscan.scan.stay_down import Confirmation

    reason = reason.strip()
    if not reason or not is_printable_line(reason, _REASON_MAX):
        raise UsageError(
            "the reason can't be used",
            advice=f"Say in one line of 1 to {_REASON_MAX} printable characters why the file was removed.",
        )
    now = datetime.now(UTC)
    end = now + timedelta(days=_DAYS) if until is None else parse_future(until, now)
    return Confirmation(reason, operator(), format_utc(end), category)


def keep_items_down(
    state: StateDir, quarantine: Quarantine, item_ids: Iterable[str], confirmed: Confirmation
) -> bool:
    """Put the content of items on the list `stay-down`; return False if that of some was left out."""
    from hashscan.quarantine.stay_down import add_stay_down
    from hashscan.scan.stay_down import StayDownMaker

    contents, complete = [], True
    with StayDownMaker(state, print_message) as maker:
        for item in item_ids:
            try:
                contents.append(maker.of_item(quarantine, quarantine.item(item), confirmed))
            except UsageError as error:
                print_error(error)
                complete = False
    if contents:
        add_stay_down(state, contents)
    _print_kept_down(len(contents), confirmed)
    return complete


def keep_cases_down(state: StateDir, cases: Iterable[RemovedCase], confirmed: Confirmation) -> None:
    """Put the content of removed cases on the list `stay-down`: of all, or of none. Content that is known to
    be good is an error."""
    from hashscan.cli.options.quarantine import opened_quarantine
    from hashscan.quarantine.stay_down import add_stay_down
    from hashscan.scan.stay_down import StayDownMaker

    contents = []
    with opened_quarantine(state) as quarantine, StayDownMaker(state, print_message) as maker:
        items = quarantine.items()
        for case in cases:
            if case.item in items:
                made = maker.of_item(quarantine, items[case.item], confirmed, case.number)
            elif case.sha256 is not None:
                print_message(f"case {case.number}: only its sha256 is known, since it is not in quarantine")
                digests = {"sha256": case.sha256.hex()}
                made = maker.of_digests(digests, case.categories, case.owner, confirmed, case.number)
            else:
                raise UsageError(
                    f"item {case.item} of case {case.number} is not in this quarantine",
                    advice="Leave the case out.",
                )
            contents.append(made)
    add_stay_down(state, contents)
    _print_kept_down(len(contents), confirmed)


def _print_kept_down(number: int, confirmed: Confirmation) -> None:
    contents = plural(number, "content stays", "contents stay")
    print_message(f"{contents} down until {confirmed.until}, by the local list {STAY_DOWN_LIST}")


def take_cases_back(state: StateDir, cases: Iterable[int]) -> int:
    """Remove the contents of cases from the list `stay-down`; return how many there were."""
    from hashscan.quarantine.stay_down import take_back

    meant = set(cases)
    return take_back(state, lambda content: content.case in meant)


def take_back_restored(state: StateDir) -> None:
    """Remove restored contents from the list `stay-down`; the next scan does, if it is not possible now."""
    from hashscan.quarantine.stay_down import refresh_stay_down

    if trouble := refresh_stay_down(state, datetime.now(UTC)):
        print_message(trouble, ERROR)
