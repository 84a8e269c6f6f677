"""`hashscan lists add`, `pull`, `activate` and `diff`: get versions of lists that are signed or come from an
exchange, compare them and put them in use.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
from msgspec import Struct

from hashscan.cli.options.base import (
    DURATION,
    FILE,
    HashscanCommand,
    argument_option,
    gather_options,
    state_option,
)
from hashscan.cli.options.cases_and_alerts import alert_options, deadline_options
from hashscan.cli.options.completion import list_names
from hashscan.cli.options.output import write_json_line
from hashscan.cli.options.privileges import RootRights
from hashscan.cli.options.services import ServiceMaker, service_options
from hashscan.cli.options.tables import photodna_distance_option
from hashscan.cli.output.feedback import send_waiting
from hashscan.cli.output.list_changes import (
    ActivationCheck,
    confirm_share_option,
    print_degenerate,
    print_hits,
    print_withdrawn_items,
)
from hashscan.cli.output.logs import print_error, print_message
from hashscan.cli.output.notifications import send_pull_alerts
from hashscan.cli.output.terminal import show_table
from hashscan.errors import (
    EXIT_CLEAN,
    EXIT_DEFECT,
    EXIT_INCOMPLETE,
    EXIT_LOCKED,
    EXIT_NO_LIST,
    EXIT_OUTPUT,
    EXIT_UNREACHABLE,
    EXIT_USAGE,
    HashscanError,
    UsageError,
)
from hashscan.model import CATEGORIES, DistanceRule
from hashscan.registry import EXCHANGES, MATCHING_SERVICES
from hashscan.secret_files import CredentialSources
from hashscan.settings.cases_and_alerts import AlertSettings, CaseSettings
from hashscan.state_dir import StateDir
from hashscan.text import plural

if TYPE_CHECKING:
    from hashscan.lists.difference import Difference, EntryChange
    from hashscan.lists.pulling.client import Pulled
    from hashscan.lists.services.settings import ServiceSettings
    from hashscan.lists.store import ListStore


_EXIT_CODES_BY_SEVERITY = (
    EXIT_DEFECT,
    EXIT_NO_LIST,
    EXIT_OUTPUT,
    EXIT_USAGE,
    EXIT_LOCKED,
    EXIT_INCOMPLETE,
    EXIT_UNREACHABLE,
)
"""Exit codes of a pull, the gravest first; a server that can't be reached today is the least grave."""


_credential_options = gather_options(
    "credentials",
    lambda *values: [str(value) if isinstance(value, Path) else value for value in values],
    # None takes a secret itself, since `ps` would show it.
    *(
        click.option(option, type=kind, help=text)
        for option, kind, text in (
            ("--token-file", FILE, "File whose first line is a bearer token; readable by its owner only."),
            ("--token-variable", str, "Name of the environment variable with a bearer token."),
            ("--login-file", FILE, "File whose first line is USER:PASSWORD; readable by its owner only."),
            ("--login-variable", str, "Name of the environment variable with USER:PASSWORD."),
            ("--client-certificate", FILE, "Client certificate for the server (PEM)."),
            (
                "--client-key",
                FILE,
                "Key of the client certificate (PEM, not encrypted), if it is in a separate file.",
            ),
        )
    ),
)


@dataclass(frozen=True)
class _ExchangeOptions:
    """The options of `lists add` for a list of an exchange."""

    name: str | None = None
    environment: str | None = None
    credentials: Path | None = None
    stale_after: float | None = None


_exchange_options = gather_options(
    "exchange",
    _ExchangeOptions,
    click.option(
        "--exchange", "exchange_name", type=click.Choice(list(EXCHANGES)), help="Exchange to pull from."
    ),
    click.option(
        "--environment",
        metavar="NAME",
        help="Database of the exchange, such as Industry for ncmec, or a privacy group of threatexchange.",
    ),
    click.option(
        "--credentials",
        "credentials_file",
        type=FILE,
        help="File with your credentials for the exchange; readable by its owner only.",
    ),
    click.option(
        "--stale-after",
        type=DURATION,
        metavar="TIME",
        help="Time without a complete pull after which the list is stale, such as 36h. Default: 3d.",
    ),
)


def _add_exchange(
    store: ListStore, name: str, exchange: _ExchangeOptions, proxy: str | None, ca_file: Path | None
) -> None:
    from hashscan.lists.exchanges import pulling

    if exchange.credentials is None:
        raise UsageError("no credentials are named", advice="Add --credentials FILE.")
    stale_after = pulling.STALE_AFTER if exchange.stale_after is None else exchange.stale_after
    assert exchange.name is not None
    source = pulling.checked_source(
        EXCHANGES,
        exchange.name,
        exchange.environment,
        exchange.credentials,
        proxy=proxy,
        ca_file=ca_file,
        stale_after=stale_after,
    )
    pulling.add(store, name, source)


def _read(root: Path) -> bytes:
    try:
        return root.read_bytes()
    except OSError as error:
        raise UsageError(
            f"can't read the root file {root}: {error.strerror}",
            advice="Name the root file of the list's owner.",
        ) from error


@click.command(cls=HashscanCommand, exit_codes=(0, 2, 10, 11, 12, 13, 70), needs=RootRights.FILES)
@click.argument("name")
@click.argument("source", metavar="[URL|FOLDER]", required=False)
@click.option("--root", type=FILE, help="Root file of the list, as you got it from the owner.")
@click.option(
    "--root-fingerprint",
    metavar="SHA256",
    help="SHA-256 of the list's 1.root.json, as you got it from the owner; the file is then "
    "fetched from the source.",
)
@click.option(
    "--mirror",
    "mirrors",
    multiple=True,
    metavar="URL|FOLDER",
    help="Mirror to pull from if the source fails; repeatable, tried in order.",
)
@click.option(
    "--proxy", metavar="URL", help="Proxy for this list. Default: the one of the environment (https_proxy)."
)
@click.option(
    "--ca-file", type=FILE, help="The only certificate authorities that are accepted for the servers (PEM)."
)
@_exchange_options
@_credential_options
@service_options
@state_option
def add(
    name: str,
    source: str | None,
    root: Path | None,
    root_fingerprint: str | None,
    mirrors: tuple[str, ...],
    proxy: str | None,
    ca_file: Path | None,
    exchange: _ExchangeOptions,
    credentials: list[str | None],
    service: ServiceMaker | None,
    state: StateDir,
) -> None:
    """Add a signed list, with its source and root key; or one of an exchange; or a matching service.

    Get the root, or its fingerprint, by another channel than the list itself. Credentials are read for each
    pull, and are sent only to the source and its mirrors, over https or to this machine.

    Lists of exchanges are authenticated by TLS and your credentials, but not signed: files that match only
    them are moved only with `--act-on exchange`. With --exchange, only --environment, --credentials,
    --stale-after, --proxy and --ca-file apply.

    With --service, nothing is downloaded: scans send digests of files to the service, and nothing else.
    """
    if service is not None:
        if source or root or root_fingerprint or mirrors or any(credentials) or exchange.name:
            raise UsageError("--service takes no source, root, mirror or credentials but --key-file")
        _add_service(name, service(proxy, ca_file), state)
        return
    from hashscan.lists.pulling import client
    from hashscan.lists.pulling.origin import checked_origin
    from hashscan.lists.store import ListStore

    if exchange.name is not None:
        if source or root or root_fingerprint or mirrors or any(credentials):
            raise UsageError(
                "an exchange has its own address and credentials, and no root",
                advice="With --exchange name only --environment, --credentials, --stale-after, --proxy and "
                "--ca-file.",
            )
        _add_exchange(ListStore(state.lists), name, exchange, proxy, ca_file)
        print_message(f"list {name} is added; fetch it with `hashscan lists pull {name}`")
        return
    if exchange != _ExchangeOptions():
        raise UsageError("no exchange is named", advice="Add --exchange NAME.")
    if source is None:
        raise UsageError(
            "no source is named",
            advice="Name the list's URL or FOLDER and its --root, an --exchange or a --service.",
        )
    if (root is None) is (root_fingerprint is None):
        raise UsageError(
            "a list is trusted by its root: name either --root or --root-fingerprint",
            advice="Ask the list's owner for one, by another channel than the list's own server.",
        )
    sources = CredentialSources(*credentials)
    origin = checked_origin(source, mirrors, proxy=proxy, ca_file=ca_file, credentials=sources)
    trusted = _read(root) if root else client.fetch_first_root(origin, root_fingerprint or "")
    client.add(ListStore(state.lists), name, origin, trusted)
    print_message(f"list {name} is added; fetch it with `hashscan lists pull {name}`")


def _add_service(name: str, settings: ServiceSettings, state: StateDir) -> None:
    from hashscan.lists.services.settings import checked_settings
    from hashscan.lists.store import ListStore

    adapter = MATCHING_SERVICES[settings.adapter]
    checked = checked_settings(settings, adapter)
    ListStore(state.lists).add_service(name, checked)
    print_message(f"matching service {name} is added; the next scan sends to {checked.host}: {adapter.sends}")


@click.command(cls=HashscanCommand, exit_codes=(0, 2, 3, 10, 11, 12, 13, 70))
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=list_names)
@click.option(
    "--jitter",
    type=click.FloatRange(0, 86_400),
    default=0.0,
    metavar="SECONDS",
    help="First wait a random time up to this, so that cron jobs of many servers don't contact the"
    " list server at once.",
)
@click.option(
    "--stage",
    is_flag=True,
    help="Stage the new version: examine it with `lists diff`, activate it with `lists activate`.",
)
@confirm_share_option
@photodna_distance_option
@alert_options
@deadline_options
@state_option
def pull(
    names: tuple[str, ...],
    alerts: AlertSettings,
    deadlines: CaseSettings,
    state: StateDir,
    **options: Any,
) -> int:
    """Fetch, verify and activate the newest version of signed lists and lists of exchanges; default: all.

    A busy server is asked again a few times, after the time that it names, if that is at most two minutes. A
    server that sends less than 10 kB per second for one minute is given up. Then the list's mirrors are
    tried. A version whose new entries would match too many known files is staged as with --stage until `lists
    activate --confirm`, and the exit code is 3; this applies to a list's first version too. If several lists
    fail, the exit code is that of the most severe failure: a forgery before an unreachable server.
    At the end, feedback that waits for the lists' owners is sent.
    """
    troubles: list[tuple[str, HashscanError]] = []
    try:
        return _pull(names, state, troubles, **options)
    finally:
        send_pull_alerts(state, alerts, deadlines, troubles)
        _send_feedback(state, names)


def _send_feedback(state: StateDir, lists: tuple[str, ...]) -> None:
    """Send the feedback that waits; trouble with it is not one of the pull, and tried again by the next."""
    try:
        send_waiting(state, lists or None)
    except HashscanError as error:
        print_error(error, "feedback")


def _pull(
    names: tuple[str, ...],
    state: StateDir,
    troubles: list[tuple[str, HashscanError]],
    *,
    jitter: float,
    stage: bool,
    confirm_share: float,
    distances: tuple[DistanceRule, ...],
) -> int:
    """Pull the lists, add those whose pull failed to `troubles`, and return the exit code."""
    from hashscan.cli.output.progress import PullProgress
    from hashscan.lists.exchanges import pulling
    from hashscan.lists.pulling import client
    from hashscan.lists.store import ListStore

    store = ListStore(state.lists)
    chosen = names or tuple(n for n in store.names() if store.folder(n).is_pulled)
    if not chosen:
        raise UsageError(
            "there is no list to pull",
            advice="Add one with `hashscan lists add NAME URL --root FILE`.",
        )
    time.sleep(random.uniform(0, jitter))  # noqa: S311 - no secret
    codes: list[int] = []
    for name in chosen:
        check = ActivationCheck(name, state, store.folder(name), confirm_share, distances)
        try:
            with PullProgress(name) as transfer:
                signed = pulling.source_of(store, name) is None
                if signed:
                    done = client.pull(store, name, stage=stage, admits=check, watch=transfer)
                else:
                    done = pulling.pull(store, name, EXCHANGES, stage=stage, admits=check, watch=transfer)
        except HashscanError as error:
            troubles.append((name, error))
            if len(chosen) == 1:
                raise
            # An error with one list must not keep the others from being pulled.
            print_error(error, f"list {name}")
            codes.append(error.exit_code)
            continue
        skipped = "skipped, another source was used: " if signed else ""
        for problem in done.problems:
            print_message(f"list {name}: {skipped}{problem}")
        print_message(
            f"list {name} version {done.info.version} ({_change(done)}): "
            f"{plural(done.info.entries, 'entry', 'entries')}, {done.fetched} bytes fetched"
        )
        if done.changed:
            print_degenerate(done.info)
        for message in check.messages:
            print_message(message)
        if done.withheld:
            codes.append(EXIT_INCOMPLETE)
    print_withdrawn_items(state)
    return min(codes, key=_EXIT_CODES_BY_SEVERITY.index, default=EXIT_CLEAN)


def _change(done: Pulled) -> str:
    if done.staged:
        return f"staged; {done.previous or 'none'} is active"
    return f"before: {done.previous or 'none'}" if done.changed else "is up to date"


@click.command(cls=HashscanCommand, exit_codes=(0, 2, 3, 10, 11, 12, 70))
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=list_names)
@click.option("--discard", "drop", is_flag=True, help="Delete the staged version instead.")
@click.option(
    "--confirm", is_flag=True, help="Activate the version even if its new entries match many known files."
)
@argument_option(
    "--only",
    "version",
    type=int,
    metavar="VERSION",
    help="Activate only if the staged version of the one named list is this one: a pull may have "
    "staged a newer version.",
)
@confirm_share_option
@photodna_distance_option
@state_option
def activate(
    names: tuple[str, ...],
    drop: bool,
    confirm: bool,
    version: int | None,
    confirm_share: float,
    distances: tuple[DistanceRule, ...],
    state: StateDir,
) -> int:
    """Activate versions that a pull has staged, after verifying them again; default: all.

    No server is contacted. If verification fails, the active version stays active. A version whose new
    entries would match too many known files is activated only with --confirm; without it, the version stays
    staged and the exit code is 3.
    """
    from hashscan.lists import difference
    from hashscan.lists.store import ListStore

    store = ListStore(state.lists)
    if version is not None and (drop or len(names) != 1):
        raise UsageError("--only applies to one list", advice="Name one list, without --discard.")
    for name in names:
        store.require(name)
    code = EXIT_CLEAN
    for name in names or _staged(store):
        if drop:
            difference.discard(store, name)
            print_message(f"list {name}: the staged version is deleted")
            continue
        check = ActivationCheck(name, state, store.folder(name), confirm_share, distances)
        done = difference.activate(store, name, None if confirm else check, only=version)
        for message in check.messages:
            print_message(message)
        if done is None:
            code = EXIT_INCOMPLETE
            continue
        if confirm:
            store.folder(name).recent_hits.unlink(missing_ok=True)
        print_message(
            f"list {name} version {done.info.version} is active "
            f"(before: {done.previous or 'none'}): {plural(done.info.entries, 'entry', 'entries')}"
        )
        if done.info.problem:
            print_message(f"list {name} is {done.info.state.value}: {done.info.problem}")
    print_withdrawn_items(state)
    return code


@click.command(cls=HashscanCommand, exit_codes=(0, 2, 10, 12, 70))
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=list_names)
@click.option(
    "--entries", is_flag=True, help="Write added and removed entries to standard output, one JSON line each."
)
@click.option(
    "--would-hit",
    is_flag=True,
    help="Show which known files the new entries would match; the first ones on standard output, "
    "one JSON line each.",
)
@photodna_distance_option
@state_option
def diff(
    names: tuple[str, ...],
    entries: bool,
    would_hit: bool,
    distances: tuple[DistanceRule, ...],
    state: StateDir,
) -> None:
    """Compare the active version with the version that `pull --stage` has staged; default: all.

    Shows the added and removed entries by algorithm and category. An entry changed under its id counts as
    both. For --would-hit, similarity is that of pictures and videos as they are stored; a scan tries other
    variants too.
    """
    from hashscan.lists.difference import difference
    from hashscan.lists.store import ListStore

    store = ListStore(state.lists)
    for name in names:
        store.require(name)
    for name in names or _staged(store):
        with difference(store, name) as compared:
            _show(name, compared, write_entries=entries)
            if would_hit:
                print_hits(name, compared, state, distances)


def _staged(store: ListStore) -> tuple[str, ...]:
    from hashscan.lists.difference import staged_info

    names = tuple(name for name in store.names() if staged_info(store, name) is not None)
    if not names:
        raise UsageError(
            "no version of any list is staged", advice="Stage one with `hashscan lists pull --stage`."
        )
    return names


class ChangedEntry(Struct):
    """An entry that came into a list or went out of it."""

    list: str
    change: Literal["came", "went"]
    algorithm: str
    category: str
    entry: str


def _show(name: str, compared: Difference, *, write_entries: bool) -> None:
    counts: dict[str, Counter[tuple[str, str]]] = {"came": Counter(), "went": Counter()}
    for change in compared.changes():
        word: Literal["came", "went"] = "came" if change.came else "went"
        counts[word][change.algorithm, change.category] += len(change)
        if write_entries:
            _write(name, word, change)
    old = f"version {compared.old.version}" if compared.old else "nothing"
    title = f"list {name}: from {old} to version {compared.new.version}"
    came, went = (counts[word].total() for word in ("came", "went"))
    if came or went:
        kinds = sorted(counts["came"] | counts["went"], key=lambda kind: (kind[0], CATEGORIES.index(kind[1])))
        show_table(
            title,
            ("algorithm", "category", "added", "removed"),
            ((*kind, str(counts["came"][kind]), str(counts["went"][kind])) for kind in kinds),
        )
    print_message(f"{title}: {plural(came, 'entry', 'entries')} added, {went} removed")


def _write(name: str, word: Literal["came", "went"], change: EntryChange) -> None:
    for entry in change.ids:
        write_json_line(ChangedEntry(name, word, change.algorithm, change.category, entry))
