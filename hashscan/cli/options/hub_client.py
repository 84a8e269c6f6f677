"""Options of the commands that talk to a hub, the connection that they use, and the sending of reports."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hashscan.cli.options.base import FILE, TableOption, gather_options
from hashscan.cli.output.logs import ERROR, print_error, print_message
from hashscan.errors import EXIT_CLEAN, HashscanError, OutputError, UnreachableError, UsageError
from hashscan.state_dir import StateDir
from hashscan.text import plural

if TYPE_CHECKING:
    from hashscan.service_client import ServiceClient
    from hashscan.settings.hub_client import HubClientSettings

_option = partial(click.option, cls=TableOption, table="hub")


def _settings(
    url: str | None, key_file: Path | None, ca_file: Path | None, server: str
) -> HubClientSettings | None:
    if url is None:
        return None
    # Its imports would take longer than those of a whole scan.
    from hashscan.settings.hub_client import hub_client_settings

    return hub_client_settings(url, key_file, ca_file, server)


hub_client_options = gather_options(
    "hub",
    _settings,
    _option("--hub", "hub_url", metavar="URL", help="Address of the hub."),
    _option(
        "--key-file",
        type=FILE,
        help="File whose first line is this server's key for the hub; for its owner only.",
    ),
    _option("--ca-file", type=FILE, help="The only authorities of the hub's certificate (PEM)."),
    _option(
        "--server-name",
        "server",
        metavar="NAME",
        default="",
        help="Name of this server at the hub. Default: its host name.",
    ),
)
"""The hub of this server; settings files have it in the table `hub`. Its value is None without --hub."""

send_names_option = _option(
    "--send-names",
    is_flag=True,
    help="Send paths and names of customers to the hub, too. Without it, it gets a SHA-256 of each path, by "
    "which whoever knows the path recognises it.",
)


def require_hub(hub: HubClientSettings | None) -> HubClientSettings:
    """Return the hub of a command that needs one."""
    if hub is None:
        raise UsageError(
            "no hub is named", advice="Add a table [hub] to the settings, or use --hub and --key-file."
        )
    return hub


@contextmanager
def hub_connection(hub: HubClientSettings) -> Iterator[ServiceClient]:
    """Open the connection to a hub."""
    from hashscan import service_client

    connection = service_client.ServiceClient(hub.connection, hub.key_headers())
    try:
        yield connection
    except service_client.ServiceBusyError as error:
        raise UnreachableError(
            f"the hub {hub.url} {error}", advice="Run the command again later; it goes on from there."
        ) from error
    except service_client.ServiceRefusedError as error:
        if error.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            raise UsageError(
                f"the hub {hub.url} refuses the key in {hub.key_file}",
                advice="Ask the hub's operator for a valid key, with the right that the command needs.",
            ) from error
        raise UnreachableError(f"the hub {hub.url} {error}", advice="Check its address.") from error
    finally:
        connection.close()


def push_reports(
    hub: HubClientSettings, reports: Iterable[Path], state: StateDir | None = None, *, names: bool
) -> int:
    """Send reports; return the exit code. Errors are printed, and other reports are still sent; after a
    hub that can't be reached, or that refuses the key, no other report is tried. Reports of the state
    folder are removed from it when the hub has them. With `names`, paths and names of customers may leave
    this server."""
    from hashscan.scan.reporting.report_push import PushRefusedError, ReportPusher

    code = EXIT_CLEAN
    waiting = list(reports)
    # A report that can't be read must not keep back all that wait after it.
    damaged = () if state is None else (UsageError, OutputError)
    try:
        with hub_connection(hub) as client:
            pusher = ReportPusher(client, names=names, host=hub.named)
            for path in list(waiting):
                try:
                    result = pusher.push(path)
                except (PushRefusedError, *damaged) as error:
                    if state is not None and not path.exists():
                        # Another process has sent it meanwhile.
                        waiting.remove(path)
                        continue
                    print_error(error, str(path))
                    code = error.exit_code
                    continue
                whole = "" if result.complete else "; its scan was killed, so that it has no end"
                print_message(f"{path}: {plural(result.sent, 'record')} sent to {hub.url}{whole}")
                waiting.remove(path)
                if state is not None:
                    path.unlink(missing_ok=True)
    except HashscanError as error:
        if state is None:
            raise
        print_error(error, "the report is kept for the hub")
        code = error.exit_code
    if state is not None and waiting:
        print_message(
            f"{plural(len(waiting), 'report waits', 'reports wait')} for the hub; the next scan with --push, "
            "or `hashscan report push`, sends what is missing",
            ERROR,
        )
    return code


def push_after_scan(
    hub: HubClientSettings, record: Path | None, state: StateDir | None, code: int, *, names: bool
) -> int:
    """Send the report of a scan that has ended, and those that wait; return the exit code of the command.

    A scan that found something, or that is incomplete, keeps its exit code.
    """
    from hashscan.scan.reporting.push_spool import keep_to_push, reports_to_push

    if record is None or state is None:
        print_message("the scan has no report in a file, so none is sent to the hub", ERROR)
        return code
    try:
        keep_to_push(state, record)
    except HashscanError as error:
        print_error(error, "the report is not sent to the hub")
        return code if code != EXIT_CLEAN else error.exit_code
    pushed = push_reports(hub, reports_to_push(state), state, names=names)
    return code if code != EXIT_CLEAN else pushed
