"""`hashscan cases`: import notices, record what was done about cases, and check if files are gone."""

from __future__ import annotations

import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hashscan.cases.notices.reader import NOTICE_FORMATS
from hashscan.cli.cases.answers import draft
from hashscan.cli.cases.authorities import report_authority, withhold
from hashscan.cli.cases.form import form
from hashscan.cli.cases.listing import cases_argument, due, known_case, list_, show, times
from hashscan.cli.cases.mailbox import fetch, mails
from hashscan.cli.cases.notices import acknowledge, add
from hashscan.cli.cases.pages import serve
from hashscan.cli.cases.review import assign, queue, review
from hashscan.cli.cases.web_check import check_web, outside_option
from hashscan.cli.options.base import (
    DURATION,
    HashscanCommand,
    HashscanGroup,
    argument_option,
    endpoint_option,
    state_option,
)
from hashscan.cli.options.cases_and_alerts import deadline_options, notify_option
from hashscan.cli.options.completion import case_numbers
from hashscan.cli.options.hub_client import hub_client_options, hub_connection, require_hub
from hashscan.cli.options.privileges import RootRights
from hashscan.cli.options.stay_down import confirmation, stay_down_options
from hashscan.cli.options.tables import customer_options, reporter_option, sender_option, site_option
from hashscan.cli.output.ledger_sync import synced_ledger
from hashscan.cli.output.logs import print_message
from hashscan.errors import EXIT_CLEAN, EXIT_INCOMPLETE, UsageError
from hashscan.model import CustomerRule, Reporter, SenderRule, SiteRule
from hashscan.settings.cases_and_alerts import AlertSettings, CaseSettings, email_address
from hashscan.settings.hub_client import HubClientSettings
from hashscan.settings.outside import OutsideSettings
from hashscan.state_dir import StateDir
from hashscan.text import plural

if TYPE_CHECKING:
    from hashscan.cases.ledger import Ledger
    from hashscan.cases.notice_import import ImportCounts
    from hashscan.cases.notices.reader import Notices


_BATCH_SIZE = 200
"""Results that are stored in one transaction."""


@click.command(
    cls=HashscanCommand,
    exit_codes=(0, 2, 3, 12, 70),
    needs=RootRights.READING,
    meanings={
        0: "all cases were checked",
        3: "for some cases, it is not known whether the file is gone, or it was never seen here",
    },
)
@click.argument("cases", nargs=-1, type=click.IntRange(min=1), metavar="[CASE]...")
@click.option("--web", is_flag=True, help="Look at the web addresses instead, from outside; no case ends.")
@outside_option
@endpoint_option
@state_option
def check(
    cases: tuple[int, ...], web: bool, outside: OutsideSettings | None, endpoint: str | None, state: StateDir
) -> int:
    """Check the files and objects of open CASEs (default: all), and end the cases of those that are gone.

    A changed file is digested: if its content is different, the case ends too. A file that was only renamed
    is found by the next scan. Symlinks are not followed. A file that only a notice names, and that nobody
    here has ever seen, is not gone but `never_seen`: its case stays open until `close --not-found`.

    With --web, content is fetched from own networks, or under a mandate; else only HEAD is sent.
    """
    from hashscan.cases.presence_check import Presence, PresenceChecker
    from hashscan.cases.tracker import CaseTracker
    from hashscan.registry import SOURCES

    counts: Counter[Presence] = Counter()
    with synced_ledger(state) as followed:
        if web:
            for number in cases:
                known_case(followed.queries, number)
            return followed.exit_code(check_web(followed, cases, outside or OutsideSettings()))
        # Only their numbers are kept: there may be a million cases, and checking them takes a while.
        wanted = [case.id for case in followed.queries.open_cases() if not cases or case.id in cases]
        for number in set(cases) - set(wanted):
            known_case(followed.queries, number)
        checker = PresenceChecker(SOURCES, endpoint, followed.sightings)
        try:
            for start in range(0, len(wanted), _BATCH_SIZE):
                some = map(followed.queries.case, wanted[start : start + _BATCH_SIZE])
                checks = [checker.check(case) for case in some if case is not None and case.open]
                now = int(time.time())
                with followed.ledger.transaction() as database:
                    tracker = CaseTracker(database)
                    for check in checks:
                        if check.seen is not None:
                            tracker.see(check.case.id, check.seen)
                        tracker.record_presence(check.case.id, check.presence.value, now, check.device)
                for check in checks:
                    counts[check.presence] += 1
                    if check.presence is not Presence.THERE:
                        reason = f": {check.reason}" if check.reason else ""
                        print_message(f"case {check.case.id}: {check.presence.value}{reason}")
        finally:
            checker.close()
        outcomes = ", ".join(f"{number} {presence.value}" for presence, number in sorted(counts.items()))
        print_message(f"{plural(len(wanted), 'case')} checked" + (f": {outcomes}" if outcomes else ""))
        unended = counts[Presence.UNKNOWN] or counts[Presence.NEVER_SEEN]
        return followed.exit_code(EXIT_INCOMPLETE if unended else EXIT_CLEAN)


_HEAD = 1 << 16


@click.command(
    "import",
    cls=HashscanCommand,
    exit_codes=(0, 2, 3, 12, 70),
    needs=RootRights.FILES,
    meanings={0: "everything is imported", 3: "imported, but no rule maps some web addresses to paths"},
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
    type=click.Choice(list(NOTICE_FORMATS)),
    help="Format of the notices. Default: detected from the beginning of FILE.",
)
@sender_option
@site_option
@customer_options
@deadline_options
@state_option
def import_(
    files: tuple[Path, ...],
    format_name: str | None,
    senders: tuple[SenderRule, ...],
    sites: tuple[SiteRule, ...],
    customers: tuple[CustomerRule, ...],
    state: StateDir,
    deadlines: CaseSettings,
) -> int:
    """Make cases from notices (a CSV table, XARF, or an e-mail), or from the findings of a report.

    The [[site]] tables of the settings map the web addresses of notices to paths. A repeated notice makes no
    second case; a notice about a file that has a case is added to it. Reports (JSON Lines) are those of `scan
    --cluster`, of `report merge`, or of other machines.
    """
    from hashscan.attribution.customers import Customers
    from hashscan.attribution.sites import Sites
    from hashscan.cases.notice_import import ImportCounts, NoticeTerms, import_notices
    from hashscan.cases.notices.pictures import PictureDigester
    from hashscan.cases.notices.reader import Notices

    site_map, customer_map = Sites(sites), Customers(customers)
    unmapped = 0
    with synced_ledger(state) as followed, PictureDigester() as digester:
        for path in files:
            if format_name is None and _is_report(path):
                _import_report(followed.ledger, path)
                continue
            notices, counts = Notices(path, format_name, digester), ImportCounts()
            try:
                import_notices(
                    followed.ledger, notices, site_map.paths_of, int(time.time()), customer_map, counts,
                    followed.sightings, NoticeTerms(senders, deadlines),
                )  # fmt: skip
            finally:
                _print_imported(notices, counts)
            unmapped += counts.unmapped
        if unmapped:
            print_message(
                "no rule maps these addresses to paths; see `hashscan cases list`, and add [[site]] tables"
            )
        return followed.exit_code(EXIT_INCOMPLETE if unmapped else EXIT_CLEAN)


def _is_report(path: Path) -> bool:
    if str(path) == "-" or not path.is_file():
        return False
    with path.open("rb") as stream:
        return b'"type":"scan"' in stream.read(_HEAD).replace(b": ", b":").partition(b"\n")[0]


def _import_report(ledger: Ledger, path: Path) -> None:
    from hashscan.cases.report_import import import_report

    counts = import_report(ledger, path)
    if counts.known:
        print_message(f"{path}: this scan is already imported")
    else:
        print_message(
            f"{path}: {plural(counts.findings, 'finding')}, {plural(counts.new, 'new case')}, "
            f"{counts.removed} not found again"
        )


def _print_imported(notices: Notices, counts: ImportCounts) -> None:
    print_message(
        f"{notices.label}: {plural(counts.notices, 'notice')}: {plural(counts.new, 'new case')}, "
        f"{counts.joined} of known cases, {counts.known} known already, {counts.unmapped} without a path"
    )
    for skipped, number in notices.passed_over.items():
        print_message(f"{number} skipped: {skipped}")


@click.command(
    "sync",
    cls=HashscanCommand,
    exit_codes=(0, 2, 3, 12, 13, 70),
    needs=RootRights.FILES,
    meanings={
        0: "everything is exchanged",
        3: "exchanged, but some notices can't be used, or no rule maps their addresses to paths",
    },
)
@hub_client_options
@sender_option
@site_option
@customer_options
@deadline_options
@state_option
def sync_(
    hub: HubClientSettings | None,
    senders: tuple[SenderRule, ...],
    sites: tuple[SiteRule, ...],
    customers: tuple[CustomerRule, ...],
    state: StateDir,
    deadlines: CaseSettings,
) -> int:
    """Make cases of the notices of a hub, and tell it which cases have ended, and how.

    Run it regularly, such as every 15 minutes. The hub learns when a notice was stored, when its file was
    removed, and when its case was closed, disputed or reopened; no names and no reasons. A notice makes a
    case and moves no file.
    """
    from hashscan.attribution.customers import Customers
    from hashscan.attribution.sites import Sites
    from hashscan.cases.hub_notices import HubNotices
    from hashscan.cases.notice_import import NoticeTerms

    wanted = require_hub(hub)
    with synced_ledger(state, deadlines) as followed, hub_connection(wanted) as connection:
        notices = HubNotices(
            followed.ledger, wanted.url, f"hub {wanted.host}", partial(connection, may_be_empty=True)
        )
        counts = notices.counts
        try:
            notices.fetch(
                wanted.server, Sites(sites), int(time.time()), Customers(customers), followed.sightings,
                NoticeTerms(senders, deadlines),
            )  # fmt: skip
            notices.answer(wanted.server, int(time.time()))
        finally:
            imported = counts.imported
            print_message(
                f"{plural(imported.notices, 'notice')}: {plural(imported.new, 'new case')}, "
                f"{imported.joined} of known cases, {counts.withdrawn} withdrawn, "
                f"{imported.unmapped} without a path; {plural(counts.answered.total(), 'answer')} sent"
            )
            for reason, number in counts.refused.items():
                print_message(f"{number} can't be used: {reason}")
        incomplete = imported.unmapped or counts.refused
        return followed.exit_code(EXIT_INCOMPLETE if incomplete else EXIT_CLEAN)


_CODES = (0, 2, 12, 70)
_reason_option = click.option(
    "--reason", required=True, metavar="TEXT", help="Reason; recorded with the case."
)


@click.command(cls=HashscanCommand, exit_codes=_CODES)
@cases_argument
@argument_option(
    "--recipient",
    default="",
    metavar="TEXT",
    help="Recipient of the notification, and how it was sent; recorded with the case.",
)
@state_option
def tell(cases: tuple[int, ...], recipient: str, state: StateDir) -> int:
    """Record that the responsible person was notified of CASEs. Nothing is sent; deadlines stay."""
    return _act(state, cases, "told", recipient)


@click.command(cls=HashscanCommand, exit_codes=_CODES)
@cases_argument
@_reason_option
@state_option
def dispute(cases: tuple[int, ...], reason: str, state: StateDir) -> int:
    """Record a dispute: somebody says that the files of CASEs are lawful. Deadlines stay."""
    return _act(state, cases, "disputed", reason)


@click.command(cls=HashscanCommand, exit_codes=_CODES)
@cases_argument
@_reason_option
@argument_option(
    "--not-found",
    is_flag=True,
    help="You have looked, and the file was never seen here: answered, and not removed.",
)
@state_option
def close(cases: tuple[int, ...], reason: str, not_found: bool, state: StateDir) -> int:
    """Close CASEs whose files stay; they stay closed while the same content stays in place.

    The case of a removed file ends automatically. A closed case counts as not removed. Scans still report the
    file: see `hashscan lists except` for wrong entries.
    """
    return _act(state, cases, "not_found" if not_found else "closed", reason)


@click.command(cls=HashscanCommand, exit_codes=(0, 2, 11, 12, 70))
@cases_argument
@_reason_option
@state_option
def reopen(cases: tuple[int, ...], reason: str, state: StateDir) -> int:
    """Reopen closed CASEs, or end a dispute. Earlier decisions no longer count, and make no exceptions."""
    from hashscan.cases.reviews import end_exceptions

    code = _act(state, cases, "reopened", reason)
    end_exceptions(state, cases)
    return code


@click.command(cls=HashscanCommand, exit_codes=(0, 2, 11, 12, 70), needs=RootRights.CHANGING)
@cases_argument
@click.option("--reason", metavar="TEXT", help="Reason; recorded with the case and the content.")
@stay_down_options
@click.option(
    "--take-back", is_flag=True, help="End it: later scans no longer find the contents of these cases."
)
@state_option
def confirm(
    cases: tuple[int, ...],
    reason: str | None,
    until: str | None,
    category: str | None,
    take_back: bool,
    state: StateDir,
) -> int:
    """Confirm that the files of CASEs were removed rightly: later scans find their content by `stay-down`.

    That is a local list. It gets the file's sha256, md5 and sha1, and the PDQ of a picture with enough detail
    that is not near known-good content. If the file is not in quarantine, only those digests are known that
    the case has. The same content, and a picture of the same owner that is like it, are a `match`; one of
    another owner is for review, except with --act-on stay-down. `quarantine restore` takes it back.
    """
    from hashscan.cases.actions import operator
    from hashscan.cases.confirmation import record_confirmed, removed_cases
    from hashscan.cli.options.stay_down import keep_cases_down, take_cases_back

    if take_back:
        if reason is not None or until is not None or category is not None:
            raise UsageError("--take-back needs no other option", advice="Leave the others out.")
        print_message(f"{plural(take_cases_back(state, cases), 'content')} taken back")
        return EXIT_CLEAN
    if reason is None:
        raise UsageError("a confirmation needs a reason", advice="Add --reason TEXT.")
    confirmed = confirmation(reason, until, category)
    with synced_ledger(state) as followed:
        removed = removed_cases(followed.ledger, cases)
        keep_cases_down(state, removed, confirmed)
        record_confirmed(followed.ledger, cases, reason, operator(), int(time.time()))
        return followed.exit_code(EXIT_CLEAN)


def _act(state: StateDir, cases: tuple[int, ...], kind: str, text: str) -> int:
    from hashscan.cases.actions import operator, record_action

    with synced_ledger(state) as followed:
        changed = record_action(followed.ledger, cases, kind, text, operator(), int(time.time()))
        for number in sorted(set(cases)):
            print_message(f"case {number}: {kind if number in changed else 'no change'}")
        return followed.exit_code(EXIT_CLEAN)


@click.command(cls=HashscanCommand, exit_codes=_CODES)
@click.option(
    "--older-than",
    type=DURATION,
    required=True,
    metavar="TIME",
    help="Cases that ended longer ago than this, such as 365d.",
)
@state_option
def prune(older_than: float, state: StateDir) -> int:
    """Delete personal data of old cases: paths, addresses, digests, customers, reasons.

    Times, verdicts, categories and entries are kept, so statistics don't change.
    """
    from hashscan.cases.actions import prune_cases

    if older_than < 0:
        raise UsageError("--older-than must not be negative")
    now = int(time.time())
    with synced_ledger(state) as followed:
        pruned = prune_cases(followed.ledger, int(now - older_than), now)
        print_message(f"{plural(pruned, 'case')} pruned")
        return followed.exit_code(EXIT_CLEAN)


@click.command(
    cls=HashscanCommand,
    exit_codes=(0, 2, 11, 12, 13, 70),
    meanings={0: "the letter was printed or sent, or there is nothing to write about"},
)
@click.argument(
    "cases", nargs=-1, type=click.IntRange(min=1), metavar="[CASE]...", shell_complete=case_numbers
)
@argument_option(
    "--customer", metavar="CUSTOMER", help="Write about all open matches and notices of this customer."
)
@click.option(
    "--language",
    default="en",
    show_default=True,
    metavar="LANGUAGE",
    help="Language of the template: de, en, nl, or another one of --templates.",
)
@click.option(
    "--templates",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Folder with own templates, letter.LANGUAGE.txt; they replace those of hashscan.",
)
@click.option("--with-paths", is_flag=True, help="Name the files, by path and web address.")
@argument_option(
    "--to",
    metavar="ADDRESS",
    help="Send the letter to this mail address, by the first --notify URL of mail. Default: print it.",
)
@argument_option("--again", is_flag=True, help="Send it although these cases were in a letter before.")
@click.option("--dry-run", is_flag=True, help="Print the mail; send and store nothing.")
@reporter_option
@notify_option
@deadline_options
@state_option
def letter(
    cases: tuple[int, ...],
    customer: str | None,
    language: str,
    templates: Path | None,
    with_paths: bool,
    to: str | None,
    again: bool,
    dry_run: bool,
    reporter: Reporter | None,
    state: StateDir,
    alerts: AlertSettings,
    deadlines: CaseSettings,
) -> int:
    """Write the letter to a customer: the cases, their deadlines, and what to do.

    A letter is about the open matches and notices of one customer. With --to, it is kept until the mail
    server has accepted it, and its cases are then marked as told; `hashscan alerts send` tries again.
    """
    if not cases and not customer:
        raise UsageError("no case and no customer is named", advice="Name cases, or use --customer.")
    if reporter is None:
        raise UsageError(
            "nobody is named who writes the letter",
            advice="Add a table [reporter] to the settings, or name a file by --reporter.",
        )
    from hashscan.cli.output.mails import LetterOptions, letter_of

    address = "" if to is None else email_address(to, "--to")
    options = LetterOptions(cases, customer, language, templates, with_paths, address, again, dry_run)
    return letter_of(options, reporter, state, alerts, deadlines)


@click.group(cls=HashscanGroup)
def command() -> None:
    """Track findings and notices until the files are gone: deadlines, notifications, times until removal.

    Every finding becomes a case automatically. The case ends when a scan, the quarantine or `cases check`
    sees that its file is gone.
    """


for _command in (
    list_,
    due,
    show,
    letter,
    check,
    tell,
    dispute,
    close,
    reopen,
    confirm,
    review,
    queue,
    assign,
    serve,
    acknowledge,
    draft,
    withhold,
    report_authority,
    add,
    form,
    import_,
    fetch,
    mails,
    sync_,
    times,
    prune,
):
    command.add_command(_command)
