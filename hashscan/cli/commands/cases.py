"""`hashscan cases`: findings and notices as cases: who must act by which deadline, and the outcome."""

from __future__ import annotations

import click

from hashscan.cli.commands.cases_check import check
from hashscan.cli.commands.cases_import import import_
from hashscan.cli.commands.cases_list import due, list_, show, times
from hashscan.cli.commands.cases_update import close, dispute, prune, reopen, tell
from hashscan.cli.options.base import HashscanGroup


@click.group(cls=HashscanGroup)
def command() -> None:
    """Track findings and notices until the files are gone: deadlines, notifications, times until removal.

    Every finding becomes a case automatically. The case ends when a scan, the quarantine or `cases check`
    sees that its file is gone.
    """


for _command in (list_, due, show, check, tell, dispute, close, reopen, import_, times, prune):
    command.add_command(_command)
