"""`hashscan setup`: set this machine up for nightly scans, or undo that."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path

import click

from hashscan.cli.options.base import HashscanCommand
from hashscan.cli.output.logs import print_message
from hashscan.cli.setup.choices import Choices, Given, Terms, addresses, ask, check_targets, chosen, new_lists
from hashscan.cli.setup.files import planned_files
from hashscan.cli.setup.machine import Machine, check_program, own_program
from hashscan.cli.setup.steps import Removal, Setup, Step, read_record, run_steps, write_record
from hashscan.errors import EXIT_CLEAN, LockedError, UsageError
from hashscan.locking import claimed_for_removal
from hashscan.text import printable

_SCHEDULERS = ("systemd", "cron", "none")


@click.command(cls=HashscanCommand, settings=False, exit_codes=(0, 2, 11, 12, 70))
@click.argument("targets", nargs=-1, metavar="[TARGET]...")
@click.option(
    "--list",
    "lists",
    nargs=3,
    multiple=True,
    metavar="NAME ADDRESS ROOTFILE",
    help="Signed list to add, with the root file that its owner gave you; repeatable.",
)
@click.option("--demo/--no-demo", default=None, help="Use the harmless list `demo`, to try hashscan.")
@click.option("--schedule", metavar="HH:MM", help="Time of the nightly scan; 02:17 by default.")
@click.option(
    "--notify",
    multiple=True,
    metavar="URL",
    help="Address that gets alerts, in Apprise's notation; @FILE for a file of them; repeatable.",
)
@click.option("--no-notify", is_flag=True, help="Send no alerts.")
@click.option(
    "--digest",
    metavar="HH:MM",
    help="Time of the digest of each day, which the same addresses get; 07:00 by default; `off` sends none.",
)
@click.option(
    "--retain-min", metavar="TIME", help="Move matches into quarantine, and keep them so long, such as 90d."
)
@click.option("--destroy-by", metavar="TIME", help="End of the time in quarantine, such as 365d.")
@click.option("--no-quarantine", is_flag=True, help="Move nothing.")
@click.option(
    "--keep-reports",
    metavar="TIME",
    help="Remove reports that are older after each scan, such as 90d; `all` removes none.",
)
@click.option(
    "--scheduler",
    type=click.Choice(_SCHEDULERS),
    help="Program that starts scans; systemd if it runs here, else cron.",
)
@click.option("--force", is_flag=True, help="Replace files that setup has not written; keep them as .bak.")
@click.option("--remove", is_flag=True, help="Remove what setup has made, and name what stays.")
@click.option("--dry-run", is_flag=True, help="Only show what would be done.")
@click.option("--yes", is_flag=True, help="Ask nothing.")
@click.option(
    "--image",
    "root",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default="/",
    metavar="DIR",
    help="Set the system in this folder up, such as an image that is being built, instead of this one.",
)
def command(
    *,
    targets: tuple[str, ...],
    lists: tuple[tuple[str, str, str], ...],
    demo: bool | None,
    schedule: str | None,
    notify: tuple[str, ...],
    no_notify: bool,
    digest: str | None,
    retain_min: str | None,
    destroy_by: str | None,
    no_quarantine: bool,
    keep_reports: str | None,
    scheduler: str | None,
    force: bool,
    remove: bool,
    dry_run: bool,
    yes: bool,
    root: Path,
) -> int:
    """Set this machine up to scan TARGETs every night: user, folders, settings, and timers or cron.

    On a terminal, it asks for what no option says. It shows all files and commands before it does anything. A
    second run changes only what other options ask for; --remove undoes it.
    """
    if os.geteuid() != 0 and not dry_run:
        raise UsageError("only root can set a machine up", advice="Use sudo, or --dry-run to see the steps.")
    if (retain_min is None) != (destroy_by is None):
        raise UsageError("--retain-min and --destroy-by belong together", advice="Give both.")
    if no_notify and notify:
        raise UsageError("--notify and --no-notify exclude each other")
    if no_quarantine and retain_min:
        raise UsageError("--retain-min and --no-quarantine exclude each other")
    given = Given(
        targets=targets or None,
        lists=lists,
        demo=demo,
        schedule=schedule,
        notify=() if no_notify else notify or None,
        digest=digest,
        quarantine=Terms(retain_min, destroy_by) if retain_min and destroy_by else None,
        quarantine_off=no_quarantine,
        keep_reports=keep_reports,
    )
    machine = Machine(root)
    asks = sys.stdin.isatty() and not yes
    if not (machine.root / "etc").is_dir():
        raise UsageError(f"there is no folder etc in {machine.root}", advice="Name the root of a system.")
    with claimed_for_removal(machine.root / "etc") as free:
        if not free:
            raise LockedError(f"another `hashscan setup` changes {machine.root}")
        if remove:
            return _remove(machine, dry_run=dry_run, asks=asks, yes=yes)
        return _set_up(machine, given, scheduler, force=force, dry_run=dry_run, asks=asks, yes=yes)


def _set_up(
    machine: Machine,
    given: Given,
    scheduler: str | None,
    *,
    force: bool,
    dry_run: bool,
    asks: bool,
    yes: bool,
) -> int:
    before = read_record(machine)
    earlier = before.choices if before else None
    if asks:
        ask(given, earlier, machine.root)
    choices = chosen(given, earlier, _scheduler(machine, scheduler, earlier))
    notes = list(check_targets(choices.targets, machine.root))
    packaged = machine.packaged_program()
    program = packaged or own_program()
    if choices.scheduler != "none" and not machine.is_image:
        check_program(program)
    if choices.alerts and not machine.is_image and find_spec("apprise") is None:
        raise UsageError(
            "alerts need Apprise, which is not installed",
            advice="Install it: pip install 'hashscan[alerts]'.",
        )
    added = list(new_lists(given))
    files = planned_files(
        choices,
        program,
        packaged=packaged is not None,
        lists=added,
        notify=None if not given.notify else addresses(given.notify),
    )
    setup = Setup(machine, choices, list(files), added, before, force)
    steps = setup.steps()
    if not choices.lists and not choices.demo:
        notes.append("no list is named: scans use those that you add with `hashscan lists add`")
    if choices.quarantine is not None:
        notes.append("at most ten files are moved because of a list until `hashscan lists accept NAME`")
    for note in notes:
        print_message(note)
    if not steps:
        if not dry_run:
            write_record(machine, setup.ended(setup.begun()))
        print_message("nothing is to be done: this machine is set up as the options say")
        return EXIT_CLEAN
    if not _agreed(steps, dry_run=dry_run, asks=asks, yes=yes):
        return EXIT_CLEAN
    begun = setup.begun()
    write_record(machine, begun)
    run_steps(steps)
    write_record(machine, setup.ended(begun))
    pulled = "`hashscan lists pull` fetches the lists, and then " if added else ""
    print_message(f"done; the next scan is at {choices.schedule}; {pulled}`hashscan scan` starts one now")
    return EXIT_CLEAN


def _remove(machine: Machine, *, dry_run: bool, asks: bool, yes: bool) -> int:
    record = read_record(machine)
    if record is None:
        print_message("nothing is to be removed: setup has made nothing here")
        return EXIT_CLEAN
    removal = Removal(machine, record)
    steps, staying = list(removal.steps()), list(removal.staying())
    agreed = _agreed(steps, dry_run=dry_run, asks=asks, yes=yes)
    if agreed:
        run_steps(steps)
    for text in staying:
        print_message(text)
    return EXIT_CLEAN


def _scheduler(machine: Machine, named: str | None, before: Choices | None) -> str:
    known = None if before is None else before.scheduler
    found = "systemd" if machine.has_systemd else "cron" if machine.has_cron else None
    if (taken := named or known or found) is None:
        raise UsageError(
            "this machine has neither systemd nor a folder /etc/cron.d",
            advice="Install cron, or give --scheduler none, and start `hashscan scan` by other means.",
        )
    return taken


def _agreed(steps: Sequence[Step], *, dry_run: bool, asks: bool, yes: bool) -> bool:
    """Show the steps, and return True if they are to be done."""
    for line in _lines(steps):
        click.echo(line)
    if dry_run:
        print_message("nothing was changed (--dry-run)")
        return False
    if asks:
        return click.confirm("Do this?", default=True, err=True)
    if not yes:
        raise UsageError("nothing was changed, because nobody can be asked here", advice="Give --yes.")
    return True


def _lines(steps: Iterable[Step]) -> Iterable[str]:
    for step in steps:
        yield printable(step.text)
        for line in step.content.splitlines():
            yield f"    {printable(line)}"
