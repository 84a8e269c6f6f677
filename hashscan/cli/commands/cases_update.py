"""`hashscan cases tell`, `dispute`, `close`, `reopen` and `prune`: record what people did about cases."""

from __future__ import annotations

import time
from pathlib import Path

import click

from hashscan.cli.config.completion import case_numbers
from hashscan.cli.options.base import DurationParam, HashscanCommand, state_option
from hashscan.cli.output.ledger_sync import synced_ledger
from hashscan.cli.output.terminal import print_message
from hashscan.errors import EXIT_CLEAN, UsageError

_CODES = (0, 2, 12, 70)
_cases_argument = click.argument(
    "cases",
    nargs=-1,
    required=True,
    type=click.IntRange(min=1),
    metavar="CASE...",
    shell_complete=case_numbers,
)
_because_option = click.option(
    "--because", required=True, metavar="TEXT", help="Why, in your own words; it stays with the case."
)


@click.command(cls=HashscanCommand, exit_codes=_CODES)
@_cases_argument
@click.option("--whom", default="", metavar="TEXT", help="Who was told, and how; it stays with the case.")
@state_option
def tell(cases: tuple[int, ...], whom: str, state: Path) -> int:
    """Put down that whoever must act was told of CASEs. Nothing is sent; the clock goes on."""
    from hashscan.cases.actions import TOLD

    return _act(state, cases, TOLD, whom)


@click.command(cls=HashscanCommand, exit_codes=_CODES)
@_cases_argument
@_because_option
@state_option
def dispute(cases: tuple[int, ...], because: str, state: Path) -> int:
    """Put down that somebody says CASEs are no such material. They are marked; the clock goes on."""
    from hashscan.cases.actions import DISPUTED

    return _act(state, cases, DISPUTED, because)


@click.command(cls=HashscanCommand, exit_codes=_CODES)
@_cases_argument
@_because_option
@state_option
def close(cases: tuple[int, ...], because: str, state: Path) -> int:
    """Close CASEs whose files stay; they stay closed while the same content stays in place.

    What is removed ends its case by itself. A closed case counts as not removed. Sweeps go on reporting the
    file: see `hashscan lists except` for what a list wrongly accuses.
    """
    from hashscan.cases.actions import CLOSED

    return _act(state, cases, CLOSED, because)


@click.command(cls=HashscanCommand, exit_codes=_CODES)
@_cases_argument
@_because_option
@state_option
def reopen(cases: tuple[int, ...], because: str, state: Path) -> int:
    """Open CASEs again that were closed, or end a dispute."""
    from hashscan.cases.actions import REOPENED

    return _act(state, cases, REOPENED, because)


def _act(state: Path, cases: tuple[int, ...], kind: str, words: str) -> int:
    from hashscan.cases.actions import operator, record_action

    with synced_ledger(state) as followed:
        news = record_action(followed.ledger, cases, kind, words, operator(), int(time.time()))
        for number in sorted(set(cases)):
            print_message(f"hashscan: case {number}: {kind if number in news else 'nothing new'}")
        return followed.exit_code(EXIT_CLEAN)


@click.command(cls=HashscanCommand, exit_codes=_CODES)
@click.option(
    "--older-than",
    type=DurationParam(),
    required=True,
    metavar="TIME",
    help="Cases that have been over for this time, such as 365d.",
)
@state_option
def prune(older_than: float, state: Path) -> int:
    """Forget what old cases say of people: paths, addresses, digests, customers, reasons.

    Their times, verdicts, categories and entries stay, so that statistics stay as they are.
    """
    from hashscan.cases.pruning import prune as forget

    if older_than < 0:
        raise UsageError("--older-than must not be negative")
    now = int(time.time())
    with synced_ledger(state) as followed:
        print_message(f"hashscan: {forget(followed.ledger, int(now - older_than), now)} cases pruned")
        return followed.exit_code(EXIT_CLEAN)
