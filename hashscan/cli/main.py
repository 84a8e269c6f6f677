"""The command line `hashscan`: subcommands, each imported only when it is called; help and exit codes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import partial
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hashscan import __version__
from hashscan.cli.options.base import VARIABLE_CHECK, HashscanGroup
from hashscan.cli.options.help_texts import SECTIONS
from hashscan.cli.output.logs import end_log, log_defect, print_error
from hashscan.errors import EXIT_CLEAN, EXIT_INTERRUPTED, EXIT_OUTPUT, EXIT_USAGE, HashscanError
from hashscan.plugins import INSTALLED
from hashscan.text import printable

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

COMMANDS: dict[str, str] = {
    "scan": "Scan folders and files against hash lists.",
    "check": "Check single files or digests against the lists.",
    "serve": "Check uploads before they are stored, for clients of clamd, ICAP and HTTP.",
    "hash": "Print the digests that a scan would compute.",
    "lookup": "Look up files of earlier scans by digest or similarity.",
    "hub": "Run a hash-check service for organisations, and see many servers in one place.",
    "lists": "Add, pull, examine and export hash lists.",
    "publish": "Publish a hash list: create, sign and update it.",
    "state": "Show, check, export and vacuum the cached results of scans.",
    "quarantine": "Move matching files into quarantine, keep them as evidence, restore or destroy them.",
    "cases": "Track findings and notices until the files are gone: deadlines, notices, times.",
    "care": "Make and verify a proof of care for authorities.",
    "report": "Show, convert, accept, merge and prune reports.",
    "alerts": "Send alerts to people and programs, and test the channels.",
    "customers": "Test the rules that map files to customers.",
    "stats": "Count checks and detections per day, week or month.",
    "keys": "Add, list and revoke the keys of HTTP clients.",
    "worker": "Run a worker of a cluster that distributes scans.",
    "setup": "Set this machine up for nightly scans, or undo that.",
    "config": "Create, check and show the settings file and the effective settings.",
    "schema": "Print the JSON Schema of what a command writes.",
    "completion": "Print a script for bash, zsh or fish that completes commands.",
    "manual": "Print the manual page, hashscan(1).",
    "selftest": "Scan a harmless test picture and show which parts work.",
}
"""Help line of each command; kept here so that the help needs no import."""

COMMANDS_ABOUT = frozenset({"schema", "completion", "manual"})
"""Commands that share a module; each of the others has one of its name."""
COMMANDS_WITHOUT_SETTINGS = COMMANDS_ABOUT | {"config", "setup"}
"""Commands that take no value from the settings file, and that must also work if the file is invalid."""


class RootGroup(HashscanGroup):
    """A command group that imports a subcommand only when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(chain.from_iterable(SECTIONS.values()))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; return None if there is none of this name."""
        if cmd_name not in COMMANDS:
            return None
        if cmd_name in COMMANDS_ABOUT:
            about: click.Command = import_module("hashscan.cli.commands.about").COMMANDS[cmd_name]
            return about
        command: click.Command = import_module(f"hashscan.cli.commands.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, COMMANDS))
        for title, names in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), COMMANDS[name]) for name in names])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        """Return completions of commands, without importing them, and of options."""
        from click.shell_completion import CompletionItem

        names = [name for name in self.list_commands(ctx) if name.startswith(incomplete)]
        items = [CompletionItem(name, help=COMMANDS[name]) for name in names]
        return [*items, *click.Command.shell_complete(self, ctx, incomplete)]


@click.group(cls=RootGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=lambda ctx, _, asked: _show_version(ctx) if asked else None,
    help="Show the version, the implementations that match and hash pictures, and the libraries that "
    "open archives, documents and videos, and exit.",
)
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Settings file (TOML). Default: /etc/hashscan/hashscan.toml, if it exists.",
)
@click.pass_context
def cli(ctx: click.Context, config: Path | None) -> None:
    """Find known child-abuse material by hash, without looking at a picture."""
    if ctx.invoked_subcommand not in COMMANDS_WITHOUT_SETTINGS:
        from hashscan.cli.config.settings_file import apply_settings_file
        from hashscan.cli.config.validation import misspelt_variables

        apply_settings_file(ctx, config, os.environ)
        ctx.meta[VARIABLE_CHECK] = partial(misspelt_variables, ctx)


def _show_version(ctx: click.Context) -> None:
    from hashscan.hashing import container_kinds, formats
    from hashscan.hashing import kernel as hashing
    from hashscan.hashing.archives.library import installed_version
    from hashscan.lists.index import kernel as matching

    loops = f"matching: {matching.best_kernel().name}\nhashing: {hashing.best_kernel().name}"
    hint = formats.counting_hint()
    loops += f"\njpeg and tiff: {'undecoded' + hint if hint else 'decoded'}"
    loops += f"\narchives: {installed_version() or 'not opened'}"
    loops += f"\ndocuments: {', '.join(container_kinds.document_libraries()) or 'pages and mails'}"
    loops += f"\nvideos: {container_kinds.video_version() or 'not opened'}"
    click.echo(f"hashscan, version {__version__}\n{loops}")
    if INSTALLED:
        for line in _plugin_lines():
            click.echo(printable(line))
    ctx.exit()


def _plugin_lines() -> Iterator[str]:
    """Yield a line for each plug-in: what it adds, after importing all of it, or why it is left out."""
    from hashscan import registry
    from hashscan.cases.notices.reader import NOTICE_FORMATS

    tables: list[registry.Registry[Any]] = [
        *(table for table in vars(registry).values() if isinstance(table, registry.Registry)),
        NOTICE_FORMATS,
    ]
    for installed in INSTALLED:
        added = []
        for table in tables:
            for name in table.of_plugin(installed):
                try:
                    table[name]
                except HashscanError as error:
                    installed.trouble = installed.trouble or str(error)
                else:
                    added.append(f"{table.kind} {name}")
        trouble = f"; left out: {installed.trouble}" if installed.trouble else ""
        yield f"plug-in {installed.name} ({installed.package}): {', '.join(added) or 'nothing'}{trouble}"


def run(arguments: Sequence[str]) -> int:
    """Run one command, report errors on standard error, and return the exit code."""
    code = EXIT_CLEAN
    try:
        code = _run(arguments)
    except BaseException as error:
        log_defect(error)
        raise
    finally:
        code = end_log(code)
    return code


def _run(arguments: Sequence[str]) -> int:
    try:
        result: Any = cli.main(list(arguments), prog_name="hashscan", standalone_mode=False)
    except HashscanError as error:
        print_error(error)
        return error.exit_code
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.Abort as abort:
        if isinstance(abort.__cause__, EOFError):
            # Not an interrupt by the user: for example, the bytecode file of a module is truncated.
            raise abort.__cause__ from None
        return EXIT_INTERRUPTED
    except SystemExit as end:
        # Click exits in this way when a completion is done. If the reader of our output has closed the pipe,
        # click exits with code 1, which would mean that something was found.
        return EXIT_OUTPUT if end.code else EXIT_CLEAN
    except click.ClickException as error:
        from hashscan.cli.config.usage_errors import explained

        print_error(explained(error))
        return EXIT_USAGE
    return result if isinstance(result, int) else 0
