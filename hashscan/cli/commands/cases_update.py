"""`hashscan cases tell`, `dispute`, `close`, `reopen` and `prune`: record what people did about cases."""

from __future__ import annotations

import time
from pathlib import Path

import click

from hashscan.cli.options.base import ArgumentOption, DurationParam, HashscanCommand, state_option
from hashscan.cli.options.completion import case_numbers
from hashscan.cli.output.ledger_sync import synced_ledger
from hashscan.cli.output.terminal import print_message
from hashscan.errors import EXIT_CLEAN, UsageError
from hashscan.text import plural

_CODES = (0, 2, 12, 70)
_cases_argument = click.argument(
    "cases",
    nargs=-1,
    required=True,
    type=click.IntRange(min=1),
    metavar="CASE...",
    shell_complete=case_numbers,
)
_reason_option = click.option("--reason", required=True, metavar="TEXT", help="Why; recorded with the case.")


@click.command(cls=HashscanCommand, exit_codes=_CODES)
@_cases_argument
@click.option(
    "--recipient",
    cls=ArgumentOption,
    default="",
    metavar="TEXT",
    help="Who was notified, and how; recorded with the case.",
)
@state_option
def tell(cases: tuple[int, ...], recipient: str, state: Path) -> int:
    """Record that the responsible person was notified of CASEs. Nothing is sent; deadlines stay."""
    from hashscan.cases.actions import TOLD

    return _act(state, cases, TOLD, recipient)


@click.command(cls=HashscanCommand, exit_codes=_CODES)
@_cases_argument
@_reason_option
@state_option
def dispute(cases: tuple[int, ...], reason: str, state: Path) -> int:
    """Record a dispute: somebody says that the files of CASEs are lawful. Deadlines stay."""
    from hashscan.cases.actions import DISPUTED

    return _act(state, cases, DISPUTED, reason)


@click.command(cls=HashscanCommand, exit_codes=_CODES)
@_cases_argument
@_reason_option
@state_option
def close(cases: tuple[int, ...], reason: str, state: Path) -> int:
    """Close CASEs whose files stay; they stay closed while the same content stays in place.

    The case of a removed file ends automatically. A closed case counts as not removed. Scans still report the
    file: see `hashscan lists except` for wrong entries.
    """
    from hashscan.cases.actions import CLOSED

    return _act(state, cases, CLOSED, reason)


@click.command(cls=HashscanCommand, exit_codes=_CODES)
@_cases_argument
@_reason_option
@state_option
def reopen(cases: tuple[int, ...], reason: str, state: Path) -> int:
    """Reopen closed CASEs, or end a dispute."""
    from hashscan.cases.actions import REOPENED

    return _act(state, cases, REOPENED, reason)


def _act(state: Path, cases: tuple[int, ...], kind: str, words: str) -> int:
    from hashscan.cases.actions import operator, record_action

    with synced_ledger(state) as followed:
        news = record_action(followed.ledger, cases, kind, words, operator(), int(time.time()))
        for number in sorted(set(cases)):
            print_message(f"hashscan: case {number}: {kind if number in news else 'no change'}")
        return followed.exit_code(EXIT_CLEAN)


@click.command(cls=HashscanCommand, exit_codes=_CODES)
@click.option(
    "--older-than",
    type=DurationParam(),
    required=True,
    metavar="TIME",
    help="Cases that ended longer ago than this, such as 365d.",
)
@state_option
def prune(older_than: float, state: Path) -> int:
    """Delete personal data of old cases: paths, addresses, digests, customers, reasons.

    Times, verdicts, categories and entries are kept, so statistics don't change.
    """
    from hashscan.cases.actions import prune_cases as forget

    if older_than < 0:
        raise UsageError("--older-than must not be negative")
    now = int(time.time())
    with synced_ledger(state) as followed:
        print_message(
            f"hashscan: {plural(forget(followed.ledger, int(now - older_than), now), 'case')} pruned"
        )
        return followed.exit_code(EXIT_CLEAN)
