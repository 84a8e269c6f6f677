"""Mails that a command shows or sends: the digest of the day, and letters to customers."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click

from hashscan.alerts.channels.mail import mail_text
from hashscan.alerts.dispatcher import Notifier, host
from hashscan.alerts.letter import letter_document, queue_letter
from hashscan.alerts.metrics import collect_list_metrics
from hashscan.cases.actions import operator
from hashscan.cases.letters.letter import cases_of_letter, write_letter
from hashscan.cli.output.ledger_sync import synced_ledger
from hashscan.cli.output.logs import print_message
from hashscan.cli.output.notifications import print_failed_deliveries
from hashscan.errors import EXIT_CLEAN, EXIT_UNREACHABLE
from hashscan.model import Reporter
from hashscan.quarantine.withdrawn_items import last_known
from hashscan.settings.cases_and_alerts import AlertSettings, CaseSettings
from hashscan.state_dir import StateDir
from hashscan.text import plural


def print_digest(state: StateDir, alerts: AlertSettings, deadlines: CaseSettings) -> int:
    """Print the mail of the digest that would be sent now, and return the exit code."""
    lists = collect_list_metrics(state, datetime.now(UTC))
    with synced_ledger(state, deadlines) as followed:
        builder = Notifier(alerts, deadlines).builder(followed.ledger)
        click.echo(mail_text(builder.preview_digest(time.time(), lists, last_known(state))), nl=False)
        return followed.exit_code(EXIT_CLEAN)


@dataclass(frozen=True, slots=True)
class LetterOptions:
    """A letter as it is ordered."""

    cases: Sequence[int]
    customer: str | None
    language: str
    templates: Path | None
    with_paths: bool
    to: str
    """Mail address; empty to print the letter."""
    again: bool
    dry_run: bool


def letter_of(
    options: LetterOptions,
    reporter: Reporter,
    state: StateDir,
    alerts: AlertSettings,
    deadlines: CaseSettings,
) -> int:
    """Print or send a letter, and return the exit code; if another process takes long to deliver alerts, the
    letter is kept."""
    notifier = Notifier(alerts, deadlines)
    if options.to and not options.dry_run:
        notifier.check_letters()
    now = time.time()
    with synced_ledger(state, deadlines) as followed:
        chosen = cases_of_letter(followed.queries, options.cases, options.customer)
        if not chosen:
            print_message("the customer has no open match or notice")
            return followed.exit_code(EXIT_CLEAN)
        letter = write_letter(
            chosen,
            reporter,
            now,
            language=options.language,
            templates=options.templates,
            with_paths=options.with_paths,
        )
        if not options.to:
            click.echo(f"Subject: {letter.subject}\n\n{letter.text}")
            return followed.exit_code(EXIT_CLEAN)
        document = letter_document(letter, options.to, reporter.email, host(), now, operator())
        if options.dry_run:
            click.echo(mail_text(document), nl=False)
            return followed.exit_code(EXIT_CLEAN)
        again = uuid.uuid4().hex if options.again else ""
        if queue_letter(followed.ledger, document, now, again) is None:
            print_message("these cases were in a letter to this address before; --again sends another one")
        delivered = notifier.deliver_letters(followed.ledger, state)
        print_failed_deliveries(delivered)
        if delivered.sent:
            print_message(f"{plural(delivered.sent, 'letter')} sent")
        return followed.exit_code(EXIT_UNREACHABLE if delivered.failures else EXIT_CLEAN)
