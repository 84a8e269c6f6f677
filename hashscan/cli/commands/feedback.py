"""`hashscan lists feedback` tells a list's owner what is wrong or right; `publish feedback` reads it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from hashscan.cli.lists.exceptions import find_listed_entry
from hashscan.cli.options.base import (
    FILE,
    HashscanCommand,
    argument_option,
    list_option,
    state_option,
    work_option,
)
from hashscan.cli.options.tables import reporter_option
from hashscan.cli.output.feedback import give_feedback, send_waiting
from hashscan.cli.output.logs import print_line, print_message
from hashscan.cli.output.terminal import print_table
from hashscan.errors import EXIT_CLEAN, UsageError
from hashscan.model import Reporter
from hashscan.state_dir import StateDir
from hashscan.text import plural


@click.command("feedback", cls=HashscanCommand, exit_codes=(0, 2, 10, 11, 12, 13, 70))
@click.argument("entry", required=False, metavar="[ENTRY]")
@argument_option(
    "--wrong/--right",
    "wrong",
    default=None,
    help="The opinion: the entry matches what it must not, or it is confirmed.",
)
@click.option("--reason", metavar="TEXT", help="Reason of the opinion, for the list's owner.")
@argument_option("--remove", is_flag=True, help="Take back feedback that still waits.")
@argument_option("--send", is_flag=True, help="Send what waits now, also what an owner has refused before.")
@argument_option(
    "--output",
    type=FILE,
    metavar="FILE",
    help="File to write for the owner of a signed list: all that waits for this list, signed.",
)
@list_option
@reporter_option
@state_option
def feedback(
    entry: str | None,
    wrong: bool | None,
    reason: str | None,
    remove: bool,
    send: bool,
    output: Path | None,
    lists: tuple[str, ...],
    reporter: Reporter | None,
    state: StateDir,
) -> int:
    """Tell a list's owner that an entry is wrong or right; without ENTRY, show what waits to be sent.

    ENTRY is the id of an entry, as in reports; --list is needed if several lists have it. The owner gets the
    id, the opinion, the reason and the organisation of the table [reporter], and nothing else. An exchange
    knows who sends by the credentials. NCMEC takes no text, but one of its own reasons: name it with
    --reason. StopNCII takes no reason.

    Feedback is kept until it is sent; `hashscan lists pull` tries again. For a signed list, --output
    writes a file to give to the owner, who reads it with `hashscan publish feedback`.
    """
    if entry is None:
        if wrong is not None or reason is not None or remove:
            raise UsageError("no entry is named", advice="Name the id of an entry, as in reports.")
        if send:
            return send_waiting(state, lists or None, refused=True)
        if output is not None:
            _write(output, lists, reporter, state)
        else:
            _show(lists, state)
        return EXIT_CLEAN
    if remove:
        from hashscan.lists.feedback import take_back_feedback

        gone = take_back_feedback(state, entry, lists)
        print_message(f"feedback on entry {gone.entry_id} of list {gone.list_name} is taken back")
        return EXIT_CLEAN
    if wrong is None or reason is None:
        raise UsageError(
            "feedback needs an opinion and a reason", advice="Add --wrong or --right, and --reason TEXT."
        )
    found = find_listed_entry(entry, lists, state, datetime.now(UTC))
    code = give_feedback([found], state, wrong=wrong, reason=reason, reporter=reporter)
    if output is not None:
        _write(output, (found.list_name,), reporter, state)
    return code


def _show(lists: tuple[str, ...], state: StateDir) -> None:
    from hashscan.lists.feedback import read_feedback

    waiting = [each for each in read_feedback(state) if not lists or each.list_name in lists]
    if not waiting:
        print_message("no feedback waits")
        return
    print_table(
        ("entry", "list", "opinion", "reason", "since", "last try"),
        (
            (
                each.entry_id,
                each.list_name,
                each.opinion,
                each.reason,
                each.since,
                f"refused: {each.problem}" if each.refused else each.problem or "none",
            )
            for each in waiting
        ),
        "feedback that waits",
    )


def _write(output: Path, lists: tuple[str, ...], reporter: Reporter | None, state: StateDir) -> None:
    """Write what waits for a signed list into a file for its owner; it waits no longer."""
    from hashscan.lists.feedback import read_feedback, replace_feedback
    from hashscan.lists.publishing.feedback import write_feedback_file
    from hashscan.lists.store import ListStore

    waiting = [f for f in read_feedback(state) if not f.identity and (not lists or f.list_name in lists)]
    names = sorted({each.list_name for each in waiting})
    if len(names) != 1:
        raise UsageError(
            f"feedback for the signed lists {' and '.join(names)} waits"
            if names
            else "no feedback for a signed list waits",
            advice="Name one of them with --list." if names else "Name an entry with --wrong or --right.",
        )
    opened, hold = ListStore(state.lists).open_unindexed(names[0], datetime.now(UTC))
    if hold is not None:
        hold.close()
    if opened.manifest is None:
        raise UsageError(f"the list {names[0]} can't be used: {opened.info.problem}")
    hoster = reporter.organisation if reporter else next((f.hoster for f in waiting if f.hoster), "")
    fingerprint = write_feedback_file(state, output, opened.manifest.name, hoster, waiting)
    for each in waiting:
        replace_feedback(state, each, None)
    print_message(
        f"feedback on {plural(len(waiting), 'entry', 'entries')} is in {output}: give it to the owner"
    )
    print_line(f"  tell the owner the key's fingerprint by another channel: {fingerprint}")


@click.command("feedback", cls=HashscanCommand, exit_codes=(0, 2, 10, 11, 12, 70))
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=FILE)
@argument_option(
    "--key",
    "keys",
    multiple=True,
    metavar="FINGERPRINT",
    help="Accept only files that are signed with this key of a hoster; repeatable.",
)
@work_option
def publish_feedback(files: tuple[Path, ...], keys: tuple[str, ...], work: Path) -> None:
    """Show the feedback in files from hosters, after checking their signatures.

    Nothing is changed: withdraw an entry with `hashscan publish withdraw`. The column `key` has the
    fingerprint of the key that signed a file. Compare it with the one that the hoster has told you by
    another channel; with --key, files of other keys are refused.
    """
    from hashscan.lists.publishing.feedback import read_feedback_file
    from hashscan.lists.publishing.publisher import Publisher

    publisher = Publisher(work)
    name = publisher.status().state.name
    read = []
    for file in files:
        found = read_feedback_file(file)
        if found.list_name != name:
            raise UsageError(
                f"{file} is about the list {found.list_name!r}, and not {name!r}",
                advice="Name the working folder of that list.",
            )
        if keys and found.fingerprint not in keys:
            raise UsageError(
                f"{file} is signed with another key: {found.fingerprint}",
                advice="Ask the hoster for the fingerprint of the key, by another channel than the file.",
            )
        read.append(found)
    active = publisher.active_ids(entry for found in read for entry, _, _ in found.opinions)
    print_table(
        ("entry", "", "opinion", "reason", "hoster", "key"),
        (
            (
                entry,
                "active" if entry in active else "not in the list",
                "wrong" if wrong else "right",
                reason,
                found.hoster,
                found.fingerprint,
            )
            for found in read
            for entry, wrong, reason in found.opinions
        ),
    )
