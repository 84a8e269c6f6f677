"""`hashscan cases draft`: answers to notices and orders, from templates."""

from __future__ import annotations

import time
from pathlib import Path

import click

from hashscan.cli.options.base import HashscanCommand, TableOption, argument_option, state_option
from hashscan.cli.options.cases_and_alerts import deadline_options, notify_option
from hashscan.cli.options.completion import case_numbers
from hashscan.cli.options.tables import reporter_option
from hashscan.cli.output.ledger_sync import synced_ledger
from hashscan.cli.output.logs import print_message
from hashscan.errors import EXIT_CLEAN, EXIT_UNREACHABLE, UsageError
from hashscan.model import Reporter
from hashscan.settings.cases_and_alerts import AlertSettings, CaseSettings, email_address
from hashscan.state_dir import StateDir

_KINDS = ("acknowledgement", "receipt", "outcome", "statement", "recipient", "tco-removed", "tco-impossible")


@click.command(cls=HashscanCommand, exit_codes=(0, 2, 11, 12, 13, 70))
@click.argument("case", required=False, type=click.IntRange(min=1), shell_complete=case_numbers)
@argument_option("--notice", type=click.IntRange(min=1), metavar="NUMBER", help="The notice, by its number.")
@argument_option("--kind", type=click.Choice(_KINDS), required=True, help="The answer.")
@click.option(
    "--language", default="en", show_default=True, metavar="LANGUAGE", help="Language of the template."
)
@click.option(
    "--templates",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Folder with own templates, KIND.LANGUAGE.txt; they replace those of hashscan.",
)
@argument_option(
    "--to",
    metavar="ADDRESS",
    help="Send it to this mail address, by the first --notify URL of mail. Default: print it.",
)
@click.option(
    "--answers",
    cls=TableOption,
    table="cases",
    type=click.Choice(["draft", "send"]),
    default="draft",
    show_default=True,
    help="Allow answers to be sent, or only to be drafted.",
)
@reporter_option
@notify_option
@deadline_options
@state_option
def draft(
    case: int | None,
    notice: int | None,
    kind: str,
    language: str,
    templates: Path | None,
    to: str | None,
    answers: str,
    reporter: Reporter | None,
    deadlines: CaseSettings,
    state: StateDir,
    alerts: AlertSettings,
) -> int:
    """Print the draft of an answer to a notice or an order, or send it once with --to and --answers send.

    One answer is about all items of a notice. Answers to a customer are about one CASE: `statement` (DSA,
    article 17), or for orders `recipient` (article 9(5)); none is made while the case is withheld.
    """
    if case is None and notice is None:
        raise UsageError("no case and no notice is named", advice="Name a CASE, or use --notice.")
    if reporter is None:
        raise UsageError(
            "nobody is named who answers",
            advice="Add a table [reporter] to the settings, or name a file by --reporter.",
        )
    from hashscan.alerts.dispatcher import Notifier, host
    from hashscan.alerts.letter import letter_document, queue_answer
    from hashscan.cases.actions import operator
    from hashscan.cases.letters.answer import AnswerKind
    from hashscan.cases.letters.answer import draft as write
    from hashscan.cli.output.notifications import print_failed_deliveries

    notifier, now = Notifier(alerts, deadlines), time.time()
    address = None if to is None else email_address(to, "--to")
    if address is not None:
        if answers != "send":
            raise UsageError(
                "answers are drafted only",
                advice='Set answers = "send" in the table [cases], or leave out --to.',
            )
        notifier.check_letters()

    with synced_ledger(state, deadlines) as followed:
        made = write(
            followed.ledger, followed.queries, AnswerKind(kind), reporter, now,
            number=notice, case=case, language=language, templates=templates,
        )  # fmt: skip
        if address is None:
            click.echo(f"Subject: {made.subject}\n\n{made.text}")
            return followed.exit_code(EXIT_CLEAN)
        document = letter_document(made, address, reporter.email, host(), now, operator())
        if queue_answer(followed.ledger, document, kind, made.notice, now) is None:
            print_message("this answer was sent or queued before")
        delivered = notifier.deliver_letters(followed.ledger, state)
        print_failed_deliveries(delivered)
        return followed.exit_code(EXIT_UNREACHABLE if delivered.failures else EXIT_CLEAN)
