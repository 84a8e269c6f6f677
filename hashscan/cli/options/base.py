"""Base classes of commands (a variable for each option, exit codes in each help), and common options."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial, wraps
from itertools import chain
from logging import WARNING
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click
from click.core import ParameterSource

from hashscan import c_parts
from hashscan.cli.options.completion import list_names
from hashscan.cli.options.help_texts import EXAMPLES, MEANINGS, NO_SEARCH
from hashscan.cli.options.messages import MessageSettings, message_options
from hashscan.cli.options.output import RESULT_FILE, written_results
from hashscan.cli.options.privileges import RootRights, become_folder_owner
from hashscan.cli.output.logs import NOTICE, print_message
from hashscan.errors import EXIT_FOUND, EXIT_MEANINGS, UsageError
from hashscan.hashing.variants import VARIANTS
from hashscan.model import ContainerKind, MemberLimits
from hashscan.settings.matching import (
    SUGGESTED_REVIEW_THRESHOLD,
    MatchingSettings,
)
from hashscan.settings.option import Option, options_of
from hashscan.settings.values import (
    default_workers,
    max_workers,
    parse_duration,
    parse_size,
    require_positive,
)
from hashscan.state_dir import StateDir, default_state
from hashscan.text import closest_match

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

SETTINGS_FILE = "hashscan.settings_file"
"""Key of the settings file's path in a context; absent without a settings file."""
VARIABLE_PREFIX = "HASHSCAN_"
"""Beginning of the names of all variables that give options."""
VARIABLE_CHECK = "hashscan.variable_check"
"""Key of the function that yields messages about variables that a command does not know."""
WARNINGS = "hashscan.warnings"
"""Context key of the warnings that a command prints when it is known which messages are shown, and where."""


FILE = click.Path(path_type=Path, dir_okay=False)
"""The shared parameter type of a file's path."""


class AnyPathParam(click.ParamType[bytes]):
    """A parameter with a file, folder or URL; not checked here, as a customer's FUSE may never answer."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> bytes:
        if not isinstance(value, str | bytes | os.PathLike):
            self.fail(f"{value!r} is not a path", param, ctx)
        return os.fsencode(value)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem[str]]:
        from click.shell_completion import CompletionItem

        return [CompletionItem(incomplete, type="file")]


ANY_PATH = AnyPathParam()
"""The shared parameter type; reading is tried later, since a capability may permit it."""

_NO_SETTINGS = frozenset({"help", "version", "config", RESULT_FILE})
"""Options that are given neither by a variable nor by the settings file."""


MESSAGES = "Messages"
"""Heading of the options that every command has."""
HELP_SECTIONS: dict[str, tuple[str, ...]] = {
    "Targets": (
        "--inventory",
        "--shard",
        "--ignore-file",
        "--one-file-system",
        "--max-file-size",
        "--max-sparse",
    ),
    "Buckets": ("--endpoint", "--anonymous", "--all-versions", "--concurrency"),
    "Doors": (
        "--socket-mode",
        "--allow",
        "--answer",
        "--trust-owner",
        "--one-owner",
        "--show-entries",
        "--clamd-root",
        "--http-keys",
        "--filter",
        "--filter-root",
        "--tls-cert",
        "--tls-key",
    ),
    "Limits of doors": (
        "--max-connections",
        "--idle-time",
        "--request-time",
        "--max-upload",
        "--max-in-flight",
        "--max-queue",
        "--queue-time",
    ),
    "Signed lists": ("--root", "--root-fingerprint", "--mirror"),
    "Exchanges": ("--exchange", "--environment", "--credentials", "--stale-after"),
    "Matching services": (
        "--service",
        "--adapter",
        "--key-file",
        "--digests",
        "--variants",
        "--accept-answers",
        "--ask-again",
        "--in-flight",
        "--requests-per-second",
        "--patience",
        "--show-requests",
    ),
    "Access": (
        "--proxy",
        "--ca-file",
        "--token-file",
        "--token-variable",
        "--login-file",
        "--login-variable",
        "--client-certificate",
        "--client-key",
    ),
    "Load on this machine": ("--background", "--limit-rate", "--limit-files", "--max-load"),
    "Unchanged files": ("--reread", "--trust-ctime", "--weak-change-check"),
    "Matching": (
        "--skip-variant",
        "--review-threshold",
        "--video-listed-share",
        "--video-scanned-share",
        "--policy",
        "--act-on",
        "--photodna-distance",
    ),
    "Decoding of pictures": (
        "--sandbox",
        "--decoder-memory",
        "--large-decoder-memory",
        "--decoder-seconds",
        "--max-pixels",
        "--photodna",
        "--strict",
    ),
    "Opening of containers": (
        "--no-containers",
        "--no-archives",
        "--no-documents",
        "--no-videos",
        "--mail",
        "--container-members",
        "--container-size",
        "--member-size",
        "--container-ratio",
        "--container-depth",
        "--container-time",
    ),
    "Time stamps": ("--tsa", "--tsa-ca"),
    "Transparency reports": ("--year", "--by-terms", "--generated", "--complete"),
    "Findings": ("--baseline", "--accept-shrink", "--accept-cleared", "--with-digests", "--review-by"),
    "Customers and authorities": (
        "--customers",
        "--customer",
        "--site",
        "--sender-rule",
        "--reporter",
        "--basis",
    ),
    "Hub": ("--push", "--hub", "--server-name", "--send-names"),
    "Cluster": ("--cluster", "--cluster-ca", "--cluster-cert", "--cluster-key"),
    "Quarantine": (
        "--quarantine-state",
        "--retain-min",
        "--destroy-by",
        "--no-quarantine",
        "--quarantine-dir",
        "--leave-note",
        "--quarantine-containers",
        "--breaker-owners",
        "--breaker-files",
    ),
    "Records of uploads": ("--keep-refused", "--keep-refused-max", "--service-metrics"),
    "Alerts": (
        *("--notify", "--no-notify", "--digest"),
        *("--exec", "--syslog", "--escalate-to", "--notify-on", "--notify-details", "--metrics"),
    ),
    "Deadlines of cases": (
        "--deadline",
        "--category-deadline",
        "--review-deadline",
        "--kind-deadline",
        "--acknowledge-deadline",
    ),
    "Keys of the list": (
        "--root-keys",
        "--root-count",
        "--root-threshold",
        "--root-days",
        "--targets-days",
        "--snapshot-days",
        "--timestamp-days",
        "--root-passphrase-file",
        "--passphrase-file",
        "--no-passphrase",
    ),
    MESSAGES: ("--quiet", "--verbose", "--log-file", "--log-format"),
}
"""The options that a command with many options shows under these headings, below all others. Those of
messages have theirs in every command."""
FIRST_OPTIONS = 12
"""Options that are shown without headings at most."""
_SECTIONS = {option: title for title, options in HELP_SECTIONS.items() for option in options}

_FOLDERS = {"state": "state folder", "work": "working folder"}
"""Options that name a folder of one user, each with the name of this kind of folder."""


class HashscanCommand(click.Command):
    """A command whose options also come from `HASHSCAN_*` variables, and whose help lists its exit codes."""

    def __init__(
        self,
        *args: Any,
        exit_codes: Iterable[int] = (0, 2, 70),
        meanings: Mapping[int, str] | None = None,
        settings: bool = True,
        needs: RootRights = RootRights.NOTHING,
        level: int = NOTICE,
        hashes: bool = False,
        **kwargs: Any,
    ) -> None:
        """Make a command; the other arguments are those of `click.Command`. `meanings` are those of codes
        that differ from other commands; `settings` says if variables and the settings file also give its
        options; `needs` are root's rights that it needs if the state folder belongs to another user; `level`
        is that of messages without -v; `hashes` says if the command warns where the parts in C are
        missing."""
        super().__init__(*args, **kwargs)
        self.params += message_options()
        self.level = level
        self.hashes = hashes
        self.exit_codes = tuple(exit_codes)
        self.needs = needs
        self._meanings = meanings or {}
        if settings:
            name_variables(self.params)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments; errors have the context, whose command has the help that they name."""
        with _naming_command(ctx):
            return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, as the owner of its state or working folder if root calls it."""
        with _naming_command(ctx):
            return self._invoke(ctx)

    def _invoke(self, ctx: click.Context) -> Any:
        messages = MessageSettings.take(ctx)
        messages.apply(self.level)
        for name, kind in _FOLDERS.items():
            folder = ctx.params.get(name)
            if isinstance(folder, Path | StateDir) and not ctx.params.get("no_state"):
                needs = RootRights.CHANGING if ctx.params.get("quarantine") else self.needs
                become_folder_owner(ctx.command_path, Path(folder), needs, kind)
        # Only now, so that the log file belongs to the owner of the folder.
        messages.open_file()
        for text in chain(ctx.meta.pop(WARNINGS, ()), self._variable_warnings(ctx)):
            print_message(text, WARNING)
        if self.hashes and not c_parts.BUILT:
            print_message(c_parts.MISSING, WARNING)
        if RESULT_FILE in ctx.params:
            with written_results(ctx):
                return super().invoke(ctx)
        return super().invoke(ctx)

    def _variable_warnings(self, ctx: click.Context) -> Iterator[str]:
        """Yield a message for each variable that nothing reads, and that is similar to one of ours."""
        own = {str(option.envvar).removeprefix(VARIABLE_PREFIX) for option in settings_of(self)}
        set_ = (name for name in os.environ if name.startswith(VARIABLE_PREFIX))
        others = {name.removeprefix(VARIABLE_PREFIX) for name in set_} - own
        # Each may be another command's; to find out, all commands are imported.
        similar = [VARIABLE_PREFIX + name for name in others if closest_match(name, own) is not None]
        if similar and VARIABLE_CHECK in ctx.meta:
            yield from ctx.meta[VARIABLE_CHECK](sorted(similar))

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options; if there are many, the less common ones follow under headings."""
        shown = [
            (parameter, record)
            for parameter in self.get_params(ctx)
            if isinstance(parameter, click.Option) and (record := parameter.get_help_record(ctx)) is not None
        ]
        sections: dict[str, list[tuple[str, str]]] = {"Options": []}
        for parameter, record in shown:
            title = _SECTIONS.get(max(parameter.opts, key=len))
            if len(shown) <= FIRST_OPTIONS + len(HELP_SECTIONS[MESSAGES]) and title != MESSAGES:
                title = None
            sections.setdefault(title or "Options", []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)

    def meanings(self, words: str) -> dict[int, str]:
        """Return the meanings of the exit codes of the command that some words call."""
        usual = EXIT_MEANINGS if EXIT_FOUND in self.exit_codes else {**EXIT_MEANINGS, **NO_SEARCH}
        own = {**usual, **MEANINGS.get(words, {}), **self._meanings}
        return {code: own[code] for code in self.exit_codes}

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what the command does, and examples."""
        super().format_help_text(ctx, formatter)
        if examples := EXAMPLES.get(words_of(ctx)):
            with formatter.section("Examples"):
                for example in examples:
                    # In one line, so that it can be copied.
                    formatter.write(f"{'':{formatter.current_indent}}{example}\n")

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write below the options where else they are taken from, and the exit codes."""
        if named := settings_of(self):
            formatter.write_paragraph()
            formatter.write_text(
                f"Options are also taken from variables, such as {named[0].envvar}, and from the settings "
                "file; `hashscan config show` prints their values."
            )
        with formatter.section("Exit codes"):
            meanings = self.meanings(words_of(ctx))
            formatter.write_dl([(str(code), text) for code, text in meanings.items()])


@contextmanager
def _naming_command(ctx: click.Context) -> Iterator[None]:
    """Have errors of usage name the command."""
    try:
        yield
    except click.UsageError as error:
        error.ctx = error.ctx or ctx
        raise
    except UsageError as error:
        if not error.remedy:
            error.remedy = f"See `{ctx.command_path} --help`."
        raise


def words_of(ctx: click.Context) -> str:
    """Return the words that call a context's command, without the program."""
    return " ".join(ctx.command_path.split(" ")[1:])


class HashscanGroup(click.Group):
    """A group of `HashscanCommand`s."""

    command_class = HashscanCommand

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        name_variables(self.params)


HashscanGroup.group_class = HashscanGroup


class ArgumentOption(click.Option):
    """An option that is given only on the command line, by no variable and no settings file.

    For a consent, and for a name that means something else in other commands.
    """


argument_option = partial(click.option, cls=ArgumentOption)
"""The decorator that adds such an option."""


class SettingArgument(click.Argument):
    """An argument with any number of paths and URLs that variables and the settings file give, too.

    There, they must be absolute, since commands are started in different folders.
    """

    hide_input = False
    is_flag = False
    show_default = False

    def __init__(self, *args: Any, help: str, **kwargs: Any) -> None:  # noqa: A002 - click's name
        super().__init__(*args, nargs=-1, type=ANY_PATH, callback=_require_absolute, **kwargs)
        self.help = help


def _require_absolute(ctx: click.Context, param: click.Parameter, value: tuple[bytes, ...]) -> Any:
    if ctx.get_parameter_source(param.name or "") is not ParameterSource.COMMANDLINE:
        for path in value:
            if not path.startswith(b"/") and b"://" not in path:
                raise click.BadParameter(
                    f"{os.fsdecode(path)!r} is neither an absolute path nor a URL.", ctx, param
                )
    return value


Setting = click.Option | SettingArgument
"""A parameter that variables and the settings file can give."""


def name_variables(parameters: Iterable[click.Parameter]) -> None:
    """Give every option the variable of its name."""
    for parameter in parameters:
        if isinstance(parameter, ArgumentOption) or parameter.name in _NO_SETTINGS:
            continue
        if isinstance(parameter, Setting):
            parameter.envvar = f"HASHSCAN_{option_key(parameter).upper()}"


def settings_of(command: click.Command) -> list[Setting]:
    """Return the options and arguments of a command that variables and the settings file can give."""
    return [
        parameter
        for parameter in command.params
        if isinstance(parameter, Setting) and parameter.envvar is not None
    ]


def is_repeatable(option: Setting) -> bool:
    """Return True if an option or argument takes several values, which a settings file gives as a list."""
    return option.multiple or option.nargs == -1


def option_key(option: Setting) -> str:
    """Return an option's name in variables and settings files: the long name, with underscores."""
    return max(option.opts, key=len).removeprefix("--").replace("-", "_")


class TableOption(click.Option):
    """An option of several commands that has one table in the settings file for all of them."""

    def __init__(self, *args: Any, table: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.table = table


class ParsedParam(click.ParamType[T]):
    """A parameter whose text a function of the settings parses."""

    def __init__(self, name: str, parse: Callable[[str], T], parsed: type | UnionType = tuple) -> None:
        """Make a type; values of the types `parsed` need no parsing, such as numbers from the settings
        file."""
        self.name = name
        self._parse = parse
        self._parsed = parsed

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> T:
        if isinstance(value, self._parsed):
            return cast("T", value)
        try:
            return self._parse(str(value))
        except UsageError as error:
            self.fail(f"{error}. {error.remedy}", param, ctx)


SIZE = ParsedParam("size", parse_size, int)
"""A size in bytes, with an optional suffix K, M, G or T."""
DURATION = ParsedParam("duration", parse_duration, int | float)
"""A duration in seconds, with an optional suffix s, m, h or d."""


def positive(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
    """Refuse a number that is not above 0, or is infinite."""
    if value is not None:
        require_positive(max(param.opts, key=len), value)
    return value


def worker_count(ctx: click.Context, param: click.Parameter, value: int) -> int:
    """Bound a number of worker processes by what this machine can run, with a message."""
    positive(ctx, param, value)
    most = max_workers()
    if value > most:
        option = max(param.opts, key=len)
        ctx.meta.setdefault(WARNINGS, []).append(
            f"{option} {value} is more than this machine can run; {most} are used"
        )
    return min(value, most)


workers_option = click.option(
    "--workers",
    type=int,
    callback=worker_count,
    default=default_workers,
    show_default="one for each processor",
    help="Number of processes that read and digest files.",
)


def add_options(*options: Callable[[F], F]) -> Callable[[F], F]:
    """Return a decorator that adds options to a command; the help shows them in this order."""

    def add(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return add


_TYPES: dict[Any, Any] = {
    "size": SIZE,
    "time": DURATION,
    Path: FILE,
}


def click_option(option: Option, *names: str, **attributes: Any) -> Callable[[F], F]:
    """Return click's option of a setting; `names` and `attributes` are further ones of `click.option`."""
    kind: Any = option.kind
    if isinstance(kind, range):
        attributes["type"] = click.IntRange(kind[0], kind[-1])
    elif isinstance(kind, tuple):
        attributes["type"] = click.Choice(kind)
    elif kind is bool:
        attributes["is_flag"] = True
    else:
        attributes["type"] = _TYPES.get(kind, kind)
        if kind is not Path:
            attributes["callback"] = positive
    if option.default is not None and kind is not bool:
        shown = option.shown_default
        attributes["default"] = shown if option.bare else option.default
        attributes["show_default"] = option.bare or shown
    return click.option(option.name, *names, metavar=option.metavar, help=option.help, **attributes)


def value_option(*values: Any) -> Callable[[F], F]:
    """Return an option that no dataclass of the settings has; the arguments are those of `Option`."""
    return click_option(Option(*values))


def setting_options(settings: type, *fields: str, **attributes: Any) -> Callable[[F], F]:
    """Return a decorator that adds the options of some fields of a dataclass, whose names their values get;
    without fields, those of all."""
    options = options_of(settings)
    if fields:
        return add_options(*(click_option(options[name], name, **attributes) for name in fields))
    return add_options(*(click_option(option, **attributes) for option in options.values()))


def gather_options(name: str, make: Callable[..., Any], *options: Callable[[F], F]) -> Callable[[F], F]:
    """Return a decorator that adds options, and passes to the command as one parameter what `make` returns
    for their values, in their order."""

    def add(command: F) -> F:
        before = len(getattr(command, "__click_params__", ()))

        @wraps(command)
        def gathered(*args: Any, **values: Any) -> Any:
            value = make(*(values.pop(key) for key in keys))
            return command(*args, **values, **{name: value})

        made = add_options(*options)(cast("F", gathered))
        # Click keeps the options in the order in which they were added: the last one first.
        keys = [option.name for option in reversed(made.__click_params__[before:])]  # type: ignore[attr-defined]
        return made

    return add


work_option = click.option(
    "--work",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Working folder of the list: entries for the next release, and the root file for "
    "subscribers. Never publish it.",
)


class StateParam(click.Path):
    """A parameter with a state folder; never the current folder because a variable of the shell is unset."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("no folder is named; a variable of the shell in the command may be unset", param, ctx)
        return super().convert(value, param, ctx)


state_option = click.option(
    "--state",
    type=StateParam(path_type=StateDir, file_okay=False, readable=False),
    default=default_state,
    show_default="/var/lib/hashscan for root and the user hashscan, else ~/.local/state/hashscan",
    help="State folder: lists, reports and cached results of scans.",
)
list_option = click.option(
    "--list",
    "lists",
    multiple=True,
    metavar="NAME",
    shell_complete=list_names,
    help="Hash list to use; repeatable. Default: all lists except `demo`.",
)
endpoint_option = click.option(
    "--endpoint", metavar="URL", help="URL of the buckets' service, if it is not the provider's own."
)
fail_on_option = click.option(
    "--fail-on",
    type=click.Choice(["match", "review", "never"]),
    default="match",
    show_default=True,
    help="Least severe verdict that counts as found in the exit code.",
)


def _useful_threshold(ctx: click.Context, param: click.Parameter, value: int | None) -> int | None:
    return MatchingSettings(review_threshold=value).review_threshold


def _matching_settings(
    skipped: tuple[str, ...],
    review_threshold: int | None,
    video_listed_share: int,
    video_scanned_share: int,
) -> MatchingSettings:
    left_out = VARIANTS if "all" in skipped else skipped
    return MatchingSettings.without(left_out, review_threshold, video_listed_share, video_scanned_share)


matching_options = gather_options(
    "matching",
    _matching_settings,
    click.option(
        "--skip-variant",
        "skipped",
        multiple=True,
        type=click.Choice([*VARIANTS, "all"]),
        help="Don't compare this variant of pictures; repeatable. "
        f"{'; '.join(f'{name}: {summary}' for name, summary in VARIANTS.items())}.",
    ),
    click.option(
        "--review-threshold",
        type=int,
        callback=_useful_threshold,
        metavar="BITS",
        help="Report pictures within this PDQ distance of an entry for review, such as slight crops "
        f"and captions; {SUGGESTED_REVIEW_THRESHOLD} is a good value. Off by default.",
    ),
    setting_options(MatchingSettings),
)


def _member_limits(
    none: bool, no_archives: bool, no_documents: bool, no_videos: bool, mail: bool, *limits: Any
) -> MemberLimits | None:
    chosen = {
        ContainerKind.ARCHIVE: not no_archives,
        ContainerKind.DOCUMENT: not no_documents,
        ContainerKind.MAIL: mail,
        ContainerKind.VIDEO: not no_videos,
    }
    kinds = tuple(kind for kind, is_chosen in chosen.items() if is_chosen and not none)
    return MemberLimits(kinds, *limits) if kinds else None


_LIMITS = MemberLimits()
container_options = gather_options(
    "containers",
    _member_limits,
    click.option(
        "--no-containers",
        is_flag=True,
        help="Open no container. By default archives, documents and videos are opened, if the sandbox "
        "has all protections.",
    ),
    click.option(
        "--no-archives",
        is_flag=True,
        help="Don't open archives and compressed files, nor documents of Office and OpenDocument, which are "
        "archives. Opening them needs hashscan[archive].",
    ),
    click.option(
        "--no-documents",
        is_flag=True,
        help="Don't open PDF documents, older documents of Office, thumbnail stores, and pictures that pages "
        "contain. Opening the first three needs hashscan[document].",
    ),
    click.option(
        "--no-videos",
        is_flag=True,
        help="Don't open videos, nor music with a cover. Opening them needs hashscan[video].",
    ),
    click.option(
        "--mail",
        is_flag=True,
        help="Also open mails and mailboxes. The law of your country may forbid it: see docs/containers.md.",
    ),
    value_option(
        "--container-members",
        _LIMITS.members,
        "Open at most this many members of a container, with those of all containers in it.",
        int,
        "NUMBER",
    ),
    value_option("--container-size", _LIMITS.bytes, "Unpack at most this many bytes of a container.", "size"),
    value_option(
        "--member-size",
        _LIMITS.member_bytes,
        "Decode pictures and open containers of at most this size in a container; larger ones are only "
        "digested.",
        "size",
    ),
    value_option(
        "--container-ratio",
        _LIMITS.ratio,
        "Unpack at most this many bytes for each byte of a container; the first 10 MiB are free.",
        int,
        "NUMBER",
    ),
    value_option(
        "--container-depth",
        _LIMITS.depth,
        "Open at most this many containers within each other.",
        range(1, 33),
        "NUMBER",
    ),
    value_option(
        "--container-time",
        _LIMITS.seconds,
        "Processor time limit for opening a container, in scans 2 minutes more for each GiB of a video; "
        "for uploads also a thirtieth of --request-time.",
        "time",
        "TIME",
        "60s",
    ),
)
