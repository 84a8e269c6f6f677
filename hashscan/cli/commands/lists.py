"""`hashscan lists`: show, verify, import, export and remove the hash lists of this machine."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import click

from hashscan.cli.commands.feedback import feedback
from hashscan.cli.config.settings_file import uses_of_list
from hashscan.cli.lists.exceptions import except_
from hashscan.cli.lists.versions import activate, add, diff, pull
from hashscan.cli.options.base import HashscanCommand, HashscanGroup, argument_option, state_option
from hashscan.cli.options.completion import list_names
from hashscan.cli.options.entry_files import (
    EntriesCommand,
    algorithm_option,
    category_option,
    entry_format_option,
    open_entries,
    print_left_out,
)
from hashscan.cli.options.output import (
    choose_format,
    format_option,
    output_format_option,
    output_option,
    print_result,
    write_json_line,
)
from hashscan.cli.options.privileges import RootRights
from hashscan.cli.options.tables import photodna_option
from hashscan.cli.output.feedback import print_waiting
from hashscan.cli.output.list_changes import print_degenerate, print_exceptions, print_withdrawn_items
from hashscan.cli.output.logs import print_error, print_message
from hashscan.cli.output.terminal import show_lists
from hashscan.errors import (
    EXIT_CLEAN,
    EXIT_INCOMPLETE,
    EXIT_NO_LIST,
    NoUsableListError,
    OutputError,
    UsageError,
)
from hashscan.model import STAY_DOWN_LIST, HashLibrary, TrustState
from hashscan.registry import LIST_WRITERS
from hashscan.state_dir import StateDir
from hashscan.text import plural


@click.group(cls=HashscanGroup)
def command() -> None:
    """Add, pull, examine and export hash lists."""


for _command in (add, pull, diff, activate, except_, feedback):
    command.add_command(_command)


@command.command(cls=HashscanCommand, exit_codes=(0, 2, 3, 10, 12, 70), needs=RootRights.FILES)
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=list_names)
@format_option("table", "json", help="A table with lines below, or each list as JSON Lines.")
@photodna_option
@state_option
def status(names: tuple[str, ...], format_name: str, photodna: HashLibrary | None, state: StateDir) -> int:
    """Verify lists, and show their entries and the results of their last pulls; default: all.

    The exit code is 10 if a scan would have no usable list.
    """
    from hashscan.cli.output.list_status import status_lines, statuses_of
    from hashscan.lists.exceptions import exceptions_at
    from hashscan.lists.store import ListStore

    now = datetime.now(UTC)
    store = ListStore(state.lists)
    with store.open(names or None, now) as opened:
        exceptions = exceptions_at(state, {info.name for info in opened.infos}, now)
        excepted = Counter(entry.list_name for entry in exceptions.in_force)
        library = photodna is not None
        statuses = list(statuses_of(opened, store, state, excepted, library=library))
        if format_name == "json":
            for each in statuses:
                write_json_line(each)
        else:
            show_lists(opened.infos, library=library)
            for each in statuses:
                for line in status_lines(each):
                    print_result(f"list {each.name}: {line}")
        print_exceptions(exceptions)
        print_waiting(state)
        try:
            opened.require_usable(asking=True)
        except NoUsableListError as error:
            # The status stays, also that in a file.
            print_error(error)
            return error.exit_code
        refused = any(each.service is not None and each.service.refused for each in statuses)
        good = not refused and all(info.state.is_good for info in opened.infos)
        return EXIT_CLEAN if good else EXIT_INCOMPLETE


@command.command(cls=HashscanCommand, exit_codes=(0, 2, 3, 10, 12, 70))
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=list_names)
@state_option
def verify(names: tuple[str, ...], state: StateDir) -> int:
    """Check all stored data of lists: signatures, signed hashes, every entry, and the index.

    Default: all lists. A damaged index is compiled again, and this is reported.
    """
    from hashscan.lists.storage.stored_version import VerificationLevel
    from hashscan.lists.store import ListStore

    with ListStore(state.lists).open(names or None, datetime.now(UTC), VerificationLevel.SIGNED) as opened:
        for info in opened.infos:
            if info.state is TrustState.SERVICE:
                print_message(f"list {info.name} is a matching service: nothing of it is stored here")
                continue
            result = info.problem or f"version {info.version}: all {info.entries} entries are valid"
            print_result(f"list {info.name} is {info.state.value}: {result}")
        if not opened.handles:
            return EXIT_NO_LIST
        sound = all(info.problem is None for info in opened.infos)
        return EXIT_CLEAN if sound else EXIT_INCOMPLETE


@command.command(cls=HashscanCommand, exit_codes=(0, 2, 11, 12, 70), needs=RootRights.FILES)
@click.argument("name", shell_complete=list_names)
@state_option
def accept(name: str, state: StateDir) -> None:
    """Accept a list, hub or service as it is now: files may be moved because of it.

    Before, ten files are moved at most. Afterwards, entries that come later may match ten times as many files
    in 30 days as the list matches now, or ten where that is more; accept it again if they match more rightly.
    Nobody needs to look at a picture: compare some of the entries with the list's owner. The acceptance ends
    if the list is removed, or its source changes.
    """
    from hashscan.state.queries.list_acceptance import accept_list

    files, most = accept_list(state, name)
    print_result(
        f"list {name} is accepted: it matches {plural(files, 'file')}, and later entries may match "
        f"{most} more in 30 days"
    )


@command.command("import", cls=EntriesCommand, exit_codes=(0, 2, 11, 12, 70), needs=RootRights.FILES)
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@click.option("--name", required=True, help="Name of the list.")
@entry_format_option
@category_option
@algorithm_option
@state_option
def import_(
    file: Path,
    name: str,
    format_name: str,
    category: str | None,
    algorithm: str | None,
    state: StateDir,
) -> None:
    """Import a file of entries (- is standard input) as a local list, which is not signed; reports say so.

    If a line is wrong, it is named and nothing is imported.
    """
    from hashscan.lists.difference import import_list

    if name == STAY_DOWN_LIST:
        raise UsageError(
            f"the list {name} is made of confirmed cases",
            advice="Choose another name, or confirm cases with `hashscan cases confirm`.",
        )
    with open_entries(file, format_name, category, algorithm) as (entries, label):
        info = import_list(state.lists, name, entries, label)
    print_message(
        f"local list {name} version {info.version}: {plural(info.entries, 'entry', 'entries')}, not signed"
    )
    print_degenerate(info)
    print_withdrawn_items(state)


@command.command(cls=HashscanCommand, exit_codes=(0, 2, 11, 12, 70))
@click.argument("name", shell_complete=list_names)
@argument_option("--force", is_flag=True, help="Remove it although the settings or a variable name it.")
@state_option
@click.pass_context
def remove(ctx: click.Context, name: str, force: bool, state: StateDir) -> None:
    """Remove a list and everything that is stored of it.

    A list that the settings name, or that a scan or service uses, is not removed.
    """
    from hashscan.lists.store import ListStore
    from hashscan.state.findings.history import History

    store = ListStore(state.lists)
    if store.folder(name).path.exists() and (uses := uses_of_list(ctx, name)):
        if not force:
            raise UsageError(
                f"list {name} is named by {'; '.join(uses)}: commands that read this would fail without it",
                advice="Take its name out there, or use --force.",
            )
        print_message(f"list {name} is still named by {'; '.join(uses)}")
    store.remove(name)
    print_message(f"list {name} is removed")
    last = []
    # The list is removed, whatever state scans have left.
    with suppress(OutputError), History(state) as history:
        last = [scan for scan in history.scans(history.last) if scan.exit_code is None]
    if any(used["name"] == name for scan in last for used in json.loads(scan.lists)):
        print_message(
            "the last scan was stopped before its end, and used this list: files that it had not reached are "
            "not compared with the list any more"
        )


@command.command(cls=HashscanCommand, exit_codes=(0, 2, 10, 12, 70))
@click.argument("name", shell_complete=list_names)
@output_format_option(
    LIST_WRITERS, None, "File format; hsb is for ClamAV and has only sha1 and sha256 entries that can match."
)
@output_option()
@state_option
def export(name: str, format_name: str | None, output: Path | None, state: StateDir) -> None:
    """Export the entries of a list to a file; they are sensitive, so protect the file like the list."""
    from hashscan.lists.entries import entries_of_list, write_entries
    from hashscan.lists.store import ListStore

    chosen = choose_format(format_name, output, LIST_WRITERS, None)
    with ListStore(state.lists).open([name], datetime.now(UTC)) as opened:
        if not opened.handles:
            why = "it is a matching service" if opened.services else opened.infos[0].problem
            raise NoUsableListError(f"the list {name} can't be exported: {why}")
        writer = LIST_WRITERS[chosen](name)
        write_entries(entries_of_list(opened.handles[0]), writer, output)
    print_left_out(writer.left_out, "entry", "entries")
