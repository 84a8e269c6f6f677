"""`hashscan care`: make and verify the proof of care that an authority can be given."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hashscan import __version__
from hashscan.cli.options.base import (
    DURATION,
    FILE,
    HashscanGroup,
    ParsedParam,
    argument_option,
    state_option,
)
from hashscan.cli.options.cases_and_alerts import deadline_options
from hashscan.cli.options.output import format_option, write_output
from hashscan.cli.options.tables import legal_basis_option, reporter_option
from hashscan.cli.output.logs import print_line, print_message
from hashscan.errors import EXIT_CLEAN, EXIT_OUTPUT, UsageError
from hashscan.model import Reporter
from hashscan.settings.cases_and_alerts import CaseSettings
from hashscan.state_dir import StateDir
from hashscan.text import is_printable_line, printable
from hashscan.timefmt import format_utc, format_utc_seconds

if TYPE_CHECKING:
    from hashscan.cases.care.document import CareDocument
    from hashscan.cases.care.figures import CareFacts
    from hashscan.settings.legal_basis import LegalBasis

_INTERVAL = 25 * 3600.0
_LABEL_MAX = 100


def _parse_label(text: str) -> tuple[bytes, str]:
    path, separator, label = text.rpartition("=")
    if not path or not separator or not label or not is_printable_line(label, _LABEL_MAX):
        raise UsageError(f"{text!r} is no label of a target", advice="Write /var/www=Shared hosting.")
    return os.fsencode(path), label


@click.group(cls=HashscanGroup)
def command() -> None:
    """Make and verify a proof of care: what was scanned when, and how long findings took."""


@command.command(exit_codes=(0, 2, 12, 13, 70))
@argument_option("--from", "first", required=True, metavar="DATE", help="First day (UTC), or month or year.")
@argument_option("--to", "last", required=True, metavar="DATE", help="Last day, in the same syntax.")
@argument_option("--output", required=True, type=FILE, metavar="FILE", help="The signed file to write.")
@argument_option("--page", type=FILE, metavar="FILE", help="Page (HTML) of it to write, to read and print.")
@click.option(
    "--interval", type=DURATION, default=_INTERVAL, show_default="25h", metavar="TIME",
    help="Planned interval between scans of a target; longer times are shown as gaps.",
)  # fmt: skip
@click.option(
    "--label", "labels", multiple=True, type=ParsedParam("label", _parse_label), metavar="TARGET=LABEL",
    help="Name of a target in the proof; repeatable. Other targets are numbered: paths are never shown.",
)  # fmt: skip
@click.option(
    "--server-label", default="", metavar="TEXT", help="Name of this server. Default: its host name."
)
@click.option(
    "--organisation", default="", metavar="NAME",
    help="Add the servers of this organisation of the hub that runs here.",
)  # fmt: skip
@click.option(
    "--database",
    default="",
    metavar="URL",
    help="PostgreSQL database of the hub. Default: SQLite, in the state.",
)
@click.option(
    "--key", "key_file", type=FILE, metavar="FILE",
    help="Ed25519 key that signs (PEM, not encrypted). Default: one that is made in the state folder.",
)  # fmt: skip
@click.option("--tsa", default="", metavar="URL", help="Time-stamping authority (RFC 3161) that stamps it.")
@click.option(
    "--tsa-ca", type=FILE, metavar="FILE", help="Its root certificates (PEM), to verify the answer."
)
@reporter_option
@legal_basis_option
@deadline_options
@state_option
def make(
    first: str,
    last: str,
    output: Path,
    page: Path | None,
    interval: float,
    labels: tuple[tuple[bytes, str], ...],
    server_label: str,
    organisation: str,
    database: str,
    key_file: Path | None,
    tsa: str,
    tsa_ca: Path | None,
    reporter: Reporter | None,
    bases: tuple[LegalBasis, ...],
    deadlines: CaseSettings,
    state: StateDir,
) -> int:
    """Write a proof of care for a period: a signed file for an authority, and a page to read.

    It says which targets were scanned when, with which versions of lists and how old they were, gaps, the
    share of files that were not decoded or not read and why, how long findings, notices and orders took, and
    what is overdue. It names no path, URL, digest, customer or sender. A file is replaced.
    """
    from hashscan.cases.care.figures import TargetLabels, ledger_facts
    from hashscan.cases.care.page import html_parts
    from hashscan.cases.care.signing import signed_care, verify_care
    from hashscan.cases.deadlines import DeadlineCalculator
    from hashscan.cases.statistics.periods import bounds_of
    from hashscan.cli.output.ledger_sync import require_state, synced_ledger
    from hashscan.lists.publishing.envelope import fingerprint_of
    from hashscan.lists.publishing.keys import own_key, read_key
    from hashscan.reports.report_file import require_destination

    now = int(time.time())
    begin, end = bounds_of(first, last)
    if begin >= min(end, now):
        raise UsageError("the period has not begun, or ends before it", advice="Give --from before --to.")
    end = min(end, now)
    for path in filter(None, (output, page)):
        require_destination(path)
    require_state(state)
    names = TargetLabels(dict(labels))
    signer = own_key(state.care / "key.pem") if key_file is None else read_key(key_file, None)
    with synced_ledger(state, deadlines) as followed:
        facts = ledger_facts(
            followed.ledger,
            DeadlineCalculator(deadlines),
            server_label or socket.gethostname(),
            names,
            begin,
            end,
        )
        code = followed.exit_code(EXIT_CLEAN)
    if organisation:
        _add_hub(facts, database, state, organisation, end)
    document = _document(
        facts,
        bases,
        reporter.organisation if reporter else "",
        fingerprint_of(signer),
        begin,
        end,
        now,
        interval,
    )
    stamp = None
    if tsa:
        from hashscan.cases.care.timestamps import request_timestamp

        def stamp(data: bytes) -> bytes:
            return request_timestamp(data, tsa, tsa_ca)

    data = signed_care(document, signer, stamp)
    write_output(output, (data,))
    if page is not None:
        stamped = verify_care(data, (), tsa_ca).stamped
        write_output(page, html_parts(document, "" if stamped is None else format_utc(stamped)))
    _say(document, names.numbered)
    return code


def _document(
    facts: CareFacts,
    bases: tuple[LegalBasis, ...],
    organisation: str,
    key: str,
    begin: int,
    end: int,
    now: int,
    interval: float,
) -> CareDocument:
    from hashscan.cases.care.document import VERSION, CareBasis, CareDocument
    from hashscan.cases.care.figures import durations, overdue, server_of

    return CareDocument(
        VERSION,
        organisation,
        key,
        format_utc_seconds(now),
        __version__,
        format_utc_seconds(begin),
        format_utc_seconds(end),
        round(interval / 3600, 3),
        [server_of(each, begin, end, interval) for each in facts.servers],
        durations(facts.cases, begin, end),
        overdue(facts.cases, end),
        facts.orders,
        [
            CareBasis(
                one.subject,
                one.legal_basis,
                str(one.legal_basis_until),
                end >= one.end,
                one.after_legal_basis,
            )
            for one in bases
        ],
    )


def _add_hub(facts: CareFacts, database: str, state: StateDir, organisation: str, end: int) -> None:
    from hashscan.hub.statistics.care import hub_facts
    from hashscan.hub.storage.database import HubAddress

    with HubAddress(database, state).reading() as connection:
        found = hub_facts(connection, organisation, end)
    facts.servers += found.servers
    facts.cases += found.cases


def _say(document: CareDocument, numbered: dict[bytes, str]) -> None:
    print_message(f"signed with the key {document.key}: tell the recipient by another channel")
    for path, label in numbered.items():
        name = printable(os.fsdecode(path))
        print_line(f"  {label} is {name}; --label '{name}=LABEL' gives it a name")


@command.command(exit_codes=(0, 2, 12, 70))
@click.argument("file", type=FILE)
@argument_option(
    "--key", "keys", multiple=True, metavar="FINGERPRINT", help="Key that must have signed it; repeatable."
)
@click.option(
    "--tsa-ca",
    type=FILE,
    metavar="FILE",
    help="Root certificates (PEM) of the TSA that must have stamped it.",
)
@format_option("text", "json", help="A line, or the document.")
def verify(file: Path, keys: tuple[str, ...], tsa_ca: Path | None, format_name: str) -> int:
    """Check signature and time-stamp of a proof of care.

    A problem is named by its code: invalid (not such a file, or changed), wrong_key, no_timestamp,
    bad_timestamp (of other bytes or of another authority), unverified_timestamp (no --tsa-ca).
    """
    from hashscan.cases.care.document import CheckedCare
    from hashscan.cases.care.signing import verify_care
    from hashscan.lists.publishing.envelope import SIZE_MAX
    from hashscan.schema import encode_json

    try:
        with file.open("rb") as stream:
            data = stream.read(SIZE_MAX + 1)
    except OSError as error:
        raise UsageError(f"{file} can't be read: {error.strerror}", advice="Name the file.") from error
    found = verify_care(data, keys, tsa_ca)
    stamped = "" if found.stamped is None else format_utc(found.stamped)
    if format_name == "json":
        checked = CheckedCare(found.problem, found.fingerprint, stamped, found.document)
        write_output(None, (encode_json(checked) + b"\n",))
    if found.problem is not None:
        print_message(f"{file}: {found.problem.value}: {printable(found.why)}")
        return EXIT_OUTPUT
    if format_name != "json":
        assert found.document is not None
        period = f"{found.document.begin} to {found.document.end}"
        click.echo(f"valid: {period}, time-stamp {stamped or 'none'}, key {found.fingerprint}")
    return EXIT_CLEAN
