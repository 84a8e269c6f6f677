"""`hashscan cases fetch` and `mails`: notices from a mailbox, and its mails that a person has to read."""

from __future__ import annotations

import time

import click

from hashscan.cli.options.base import HashscanCommand, state_option
from hashscan.cli.options.cases_and_alerts import deadline_options
from hashscan.cli.options.output import format_option, write_json_line
from hashscan.cli.options.privileges import RootRights
from hashscan.cli.options.tables import TablesParam, customer_options, sender_option, site_option
from hashscan.cli.output.ledger_sync import synced_ledger
from hashscan.cli.output.logs import print_message
from hashscan.cli.output.terminal import print_table
from hashscan.errors import EXIT_CLEAN, EXIT_INCOMPLETE, UsageError
from hashscan.model import CustomerRule, SenderRule, SiteRule
from hashscan.settings.cases_and_alerts import CaseSettings
from hashscan.settings.mailbox import KEYS, MailboxSettings, mailbox_of
from hashscan.state_dir import StateDir
from hashscan.text import plural


class MailboxParam(TablesParam[MailboxSettings]):
    """A parameter with the mailbox that receives notices."""

    name = "mailbox"
    rows = False
    keys = KEYS
    example = 'host = "imap.example.org"\nuser = "abuse@example.org"\npassword_file = "/etc/hashscan/imap"'

    def read(self, tables: object, source: str) -> MailboxSettings:
        return mailbox_of(tables, source)


@click.command(
    cls=HashscanCommand,
    exit_codes=(0, 2, 3, 12, 13, 70),
    needs=RootRights.FILES,
    meanings={
        0: "all new mails are taken",
        3: "taken, but some mails hold no notice that can be used, or no rule maps their addresses to paths",
    },
)
@click.option(
    "--mailbox",
    type=MailboxParam(),
    metavar="FILE",
    help="Table [mailbox]: the IMAP server, the folder and the login. The settings file may contain it.",
)
@sender_option
@site_option
@customer_options
@deadline_options
@state_option
def fetch(
    mailbox: MailboxSettings | None,
    senders: tuple[SenderRule, ...],
    sites: tuple[SiteRule, ...],
    customers: tuple[CustomerRule, ...],
    state: StateDir,
    deadlines: CaseSettings,
) -> int:
    """Make cases from the notices in a mailbox (IMAP), as `cases import` does from files.

    Run it regularly, such as every 5 minutes. Each mail is taken once. The mailbox is not changed, unless
    `after` in [mailbox] is "seen" or "move:FOLDER". See `cases mails` for mails without a notice.
    """
    from hashscan.attribution.customers import Customers
    from hashscan.attribution.sites import Sites
    from hashscan.cases.mailbox.fetching import MailboxFetcher
    from hashscan.cases.notice_import import ImportCounts, NoticeImporter, NoticeTerms
    from hashscan.cases.notices.pictures import PictureDigester

    if mailbox is None:
        raise UsageError(
            "no mailbox is named",
            advice="Add a table [mailbox] to the settings, or name a file by --mailbox.",
        )
    counts = ImportCounts()
    with synced_ledger(state, deadlines) as followed, PictureDigester() as digester:
        importer = NoticeImporter(
            Sites(sites).paths_of, Customers(customers), counts, followed.sightings,
            NoticeTerms(senders, deadlines),
        )  # fmt: skip
        fetcher = MailboxFetcher(followed.ledger, mailbox, importer, digester)
        mails = fetcher.counts
        try:
            fetcher.fetch(int(time.time()))
        finally:
            print_message(
                f"{plural(mails.mails, 'new mail')}: {plural(counts.notices, 'notice')}, "
                f"{plural(counts.new, 'new case')}, {counts.joined} of known cases, {counts.known} known "
                f"already, {counts.unmapped} without a path; {mails.waiting} without a notice"
            )
            if mails.waiting:
                print_message("a person has to read mails without a notice; see `hashscan cases mails`")
        incomplete = mails.waiting or counts.unmapped
        return followed.exit_code(EXIT_INCOMPLETE if incomplete else EXIT_CLEAN)


@click.command(
    cls=HashscanCommand,
    exit_codes=(0, 2, 12, 70),
    meanings={0: "the mails were listed, or are taken off the list"},
)
@click.argument("mails", nargs=-1, type=click.IntRange(min=1), metavar="[MAIL]...")
@click.option("--done", is_flag=True, help="Take MAILs off the list: a person has read them.")
@format_option("table", "json", help="A table, or JSON Lines.")
@state_option
def mails(mails: tuple[int, ...], done: bool, format_name: str, state: StateDir) -> int:
    """List the fetched mails that brought no notice, and why, until a person has read them.

    They are still in the mailbox. For an address that one names otherwise, see `cases add`.
    """
    from hashscan.cases.mailbox.fetching import record_read, waiting_mails

    if done != bool(mails):
        raise UsageError("--done needs the numbers of mails, and they need it", advice="Add what is missing.")
    with synced_ledger(state) as followed:
        if done:
            found = record_read(followed.ledger, mails)
            print_message(f"{plural(len(found), 'mail')} taken off the list")
            return followed.exit_code(EXIT_CLEAN)
        waiting = waiting_mails(followed.ledger)
        if format_name == "json":
            for mail in waiting:
                write_json_line(mail)
        else:
            rows = [(str(m.number), m.fetched, m.sender, m.reference, m.reason, m.detail) for m in waiting]
            print_table(("mail", "fetched", "sender", "Message-ID", "reason", "detail"), rows)
        return followed.exit_code(EXIT_CLEAN)
