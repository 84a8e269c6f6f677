"""`hashscan check`: match single files and digests against the lists, without a scan."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from hashscan.cli.options.base import (
    ANY_PATH,
    HashscanCommand,
    container_options,
    fail_on_option,
    list_option,
    matching_options,
    state_option,
)
from hashscan.cli.options.output import format_option, write_json_line, write_stdout
from hashscan.cli.options.privileges import RootRights
from hashscan.cli.options.tables import decoding_options, policy_options
from hashscan.cli.output.logs import ERROR, print_message
from hashscan.cli.output.terminal import verdict_colours, verdict_line
from hashscan.model import MATCHES_MAX, MemberLimits, Reason
from hashscan.settings.matching import DecodingLimits, MatchingSettings, PolicySettings
from hashscan.state_dir import StateDir

if TYPE_CHECKING:
    from hashscan.matching.remote.single import SingleAsker
    from hashscan.reports.records import Record
    from hashscan.reports.summary import Summary
    from hashscan.scan.workers.worker import Worker


@click.command(cls=HashscanCommand, exit_codes=(0, 1, 2, 3, 4, 10, 12, 70), needs=RootRights.READING)
@click.argument("items", nargs=-1, required=True, metavar="ITEM...", type=ANY_PATH)
@list_option
@fail_on_option
@format_option("text", "json", help="A line for each ITEM, or its record as JSON Lines.")
@click.option("--strict", is_flag=True, help="A picture that can't be decoded makes the check incomplete.")
@matching_options
@policy_options
@decoding_options
@container_options
@state_option
def command(
    items: tuple[bytes, ...],
    lists: tuple[str, ...],
    fail_on: Any,
    format_name: str,
    strict: bool,
    state: StateDir,
    decoding: DecodingLimits,
    containers: MemberLimits | None,
    matching: MatchingSettings,
    policy: PolicySettings,
) -> int:
    """Check single files or digests against the lists, without a scan; write a line for each.

    An ITEM is a file, or a digest in hexadecimal. A digest may have its algorithm as a prefix (`sha256:…`);
    without it, all algorithms with digests of that length are tried. If a file of that name exists, the file
    is checked.

    Matching services are asked, and waited for up to their --patience; one that does not answer makes the
    check incomplete. Their answers are not stored.
    """
    from hashscan.cli.output.list_changes import print_exceptions
    from hashscan.lists.storage.stored_version import VerificationLevel
    from hashscan.reports.summary import Summary
    from hashscan.scan.opened_matching import open_matching
    from hashscan.scan.workers.worker import Worker

    now = datetime.now(UTC)
    opened = open_matching(
        *(state, lists or None, now, VerificationLevel.SIZES, decoding, matching, policy, print_message),
        containers=containers,
    )
    print_exceptions(opened.exceptions)
    in_force, services = opened.exceptions.in_force, opened.lists.services
    summary = Summary()
    incomplete = bool(opened.trouble)
    with ExitStack() as stack:
        stack.enter_context(opened)
        worker, asker = stack.enter_context(Worker(opened.setup)), None
        if services:
            # Only this needs what TLS does.
            from hashscan.matching.remote.single import SingleAsker

            asker = stack.enter_context(SingleAsker(services, in_force, opened.took))
            worker.consult = asker.consult
        colours = verdict_colours(sys.stdout)
        for item in items:
            record = _check(worker, asker, item, summary)
            if format_name == "json":
                write_json_line(record)
            else:
                write_stdout(verdict_line(record, colours))
        for shortcoming in asker.shortcomings() if asker else ():
            print_message(shortcoming.message, ERROR)
            incomplete = True
    return summary.exit_code(opened.lists.infos, fail_on=fail_on, strict=strict, incomplete=incomplete)


def _check(worker: Worker, asker: SingleAsker | None, item: bytes, summary: Summary) -> Record:
    """Check one file or digest, and add its verdict to the summary."""
    from hashscan.matching.evaluation import without_answer
    from hashscan.matching.policy import NO_SUBJECT, explained, judge, sort_key
    from hashscan.reports.records import digest_record, result_record
    from hashscan.scan.single_checks import check_file, digests_named, is_named, match_digest

    if is_named(item):
        result = check_file(worker, item)
        if asker is not None and asker.silent:
            result = without_answer(result, asker.silent)
        summary.add(result)
        return result_record(item, result, with_digests=False)
    text = os.fsdecode(item)
    values = digests_named(text)
    matches = [m for name, value in values.items() for m in match_digest(worker, name, value)]
    # A digest belongs to no file, but it identifies content that was restored from quarantine.
    subject = NO_SUBJECT._replace(sha256=values.get("sha256"))
    silent = False
    if asker is not None:
        matches += asker.matches(values)
        silent = bool(asker.silent)
    matches.sort(key=sort_key)
    policy = worker.setup.policy
    verdict, because, action = judge(matches, Reason.PENDING if silent else None, subject, policy)
    summary.count(verdict, Reason.PENDING if silent else None)
    shown = explained(matches, subject, policy)[:MATCHES_MAX]
    return digest_record(text, verdict, because, action, shown)
