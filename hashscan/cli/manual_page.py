"""The manual page, in the format of man(7), made from the commands.

click-man 0.6 doesn't replace this: it finds no commands that are loaded on use, writes a page for each
command, groups nothing, leaves out exit codes, environment and files, and mandoc's lint warns of its output.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator

import click

from hashscan import __version__
from hashscan.cli.config.settings_file import Catalogue, Command
from hashscan.cli.options.base import HELP_SECTIONS, MESSAGES, HashscanCommand
from hashscan.cli.options.help_texts import EXAMPLES, SECTIONS
from hashscan.cli.options.messages import message_options
from hashscan.errors import EXIT_MEANINGS

PROGRAM = "hashscan"
_DATE = "2026-11-27"
"""Date of the sentences below; text made from the commands has no date."""
_CODE = re.compile(r"`([^`]+)`")
_SIGNS = {"\\": r"\e", "-": r"\-", "'": r"\(aq", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti"}

_WIDTH = 78
"""Width of lines, as is usual for manual pages; the longest lines of man's own page have 80 characters."""

_DESCRIPTION = """\
hashscan walks a filesystem or lists a bucket, computes exact and perceptual hashes of what is there,
compares them with signed hash lists that were downloaded before, and writes a report. Nobody looks at a
picture, and no report holds one. A scan reads; it moves files only with --quarantine, and deletes nothing.

Every option can be given as a variable or in the settings file, too; see ENVIRONMENT and FILES."""
_EXAMPLES = (
    ("Check that hashscan works on this machine:", "hashscan selftest"),
    (
        "Get a list, and scan:",
        "hashscan lists add national https://lists.example.org/national --root national-root.json\n"
        "hashscan lists pull national\n"
        "hashscan scan /var/www",
    ),
    ("Write a settings file, and check it:", "hashscan config init\nhashscan config check"),
)
_ENVIRONMENT = (
    (
        "HASHSCAN_OPTION",
        "The value of an option, by its name in capitals with _ for -, such as HASHSCAN_MAX_PIXELS for "
        "--max-pixels. Values of repeatable options are separated by spaces, those that are paths by colons.",
    ),
    ("HASHSCAN_CONFIG", "The settings file, instead of the system's."),
    ("HASHSCAN_PASSPHRASE, HASHSCAN_ROOT_PASSPHRASE", "Passphrases of a list owner's keys."),
    ("TMPDIR", "Folder for objects that are too large for memory, while they are read."),
)
_FILES = (
    ("/etc/hashscan/hashscan.toml", "The settings file if no other is named; see `hashscan config init`."),
    ("/var/lib/hashscan", "The state folder of root: lists, reports, cached results of scans, quarantine."),
    ("~/.local/state/hashscan", "The state folder of other users."),
)
_PRECEDENCE = """\
The command line comes first, then variables, then the settings file, then defaults. In the file, a
value in a command's table comes before one at the top. `hashscan config show` shows the effective values and
their origin."""


def manual(catalogue: Catalogue, root: click.Command) -> str:
    ctx = click.Context(root, info_name=PROGRAM, **root.context_settings)
    messages = click.Command(None, params=list(message_options()))
    lines = [
        f'.TH HASHSCAN 1 {_DATE} "hashscan {__version__}" "User Commands"',
        ".SH NAME",
        r"hashscan \- find known child\-abuse material by hash",
        ".SH SYNOPSIS",
        r"\fBhashscan\fR [\fIOPTIONS\fR] \fICOMMAND\fR [\fIARGS\fR]...",
        ".SH DESCRIPTION",
        *_prose(_DESCRIPTION),
        ".SH OPTIONS",
        *_options(root, ctx),
        ".SH OPTIONS OF EVERY COMMAND",
        *_options(messages, click.Context(messages)),
    ]
    for title, names in SECTIONS.items():
        chosen = {words: one for words, one in catalogue.commands.items() if words[0] in names}
        lines.append(f".SH {_text(title.upper())}")
        for words, command in sorted(chosen.items(), key=lambda item: names.index(item[0][0])):
            lines += _command(words, command)
    lines += [".SH EXIT STATUS", *_defined((str(code), text) for code, text in EXIT_MEANINGS.items())]
    lines += [".SH ENVIRONMENT", *_defined(_ENVIRONMENT)]
    lines += [".SH FILES", *_defined(_FILES), ".PP", *_prose(_PRECEDENCE)]
    lines.append(".SH EXAMPLES")
    for number, (words_of_it, example) in enumerate(_EXAMPLES):
        lines += [*([".PP"] if number else []), _text(words_of_it), ".PP", ".RS 4", ".nf"]
        lines += [*map(_text, example.splitlines()), ".fi", ".RE"]
    return "\n".join(lines) + "\n"


def _command(words: Command, command: click.Command) -> Iterator[str]:
    name = " ".join((PROGRAM, *words))
    yield f'.SS "{_text(name)}"'
    if isinstance(command, click.Group):
        yield from _prose(command.help or "")
        return
    ctx = click.Context(command, info_name=name)
    yield f"{_bold(name)} {_text(' '.join(command.collect_usage_pieces(ctx)))}"
    yield ".PP"
    yield from _prose(command.help or "")
    yield from _options(command, ctx)
    if isinstance(command, HashscanCommand):
        yield ".PP"
        codes = [str(code) for code in command.exit_codes]
        yield _text(f"Exit status: {', '.join(codes[:-1])} or {codes[-1]}.")
        yield from (".PP", "Examples:", ".PP", ".RS 4", ".nf")
        yield from map(_text, EXAMPLES.get(" ".join(words), ()))
        yield from (".fi", ".RE")


def _options(command: click.Command, ctx: click.Context) -> Iterator[str]:
    for option in command.params if ctx.info_name != PROGRAM else command.get_params(ctx):
        common = max(option.opts, key=len) in HELP_SECTIONS[MESSAGES]
        if isinstance(option, click.Option) and not option.hidden and (not common or not ctx.info_name):
            yield ".TP"
            yield _signature(option, ctx)
            extra = option.get_help_extra(ctx)
            notes = [
                f"One of {', '.join(_choices(option))}." if _is_long(option, ctx) else "",
                f"Default: {str(extra['default']).strip('()')}." if "default" in extra else "",
                f"Range: {extra['range']}." if "range" in extra else "",
                "It must be given." if "required" in extra else "",
            ]
            help_ = " ".join(" ".join([option.help or "", *notes]).split())
            yield from _prose(help_)


def _signature(option: click.Option, ctx: click.Context) -> str:
    names = ", ".join(map(_bold, sorted(option.opts, key=len)))
    if option.secondary_opts:
        names += f" | {', '.join(map(_bold, option.secondary_opts))}"
    if option.is_flag or option.count:
        return names
    return f"{names} {_italic('NAME' if _is_long(option, ctx) else option.make_metavar(ctx))}"


def _choices(option: click.Option) -> list[str]:
    return list(map(str, option.type.choices)) if isinstance(option.type, click.Choice) else []


def _is_long(option: click.Option, ctx: click.Context) -> bool:
    """Return True if an option has too many choices for the line that begins its paragraph."""
    return bool(_choices(option)) and len(option.make_metavar(ctx)) > _WIDTH // 2


def _defined(rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    for term, text in rows:
        yield from (".TP", _bold(term), *_prose(text))


def _prose(text: str) -> list[str]:
    """Format click's paragraphs; those that begin with a backspace keep their lines."""
    lines: list[str] = []
    for paragraph in text.strip().split("\n\n"):
        lines += [".PP"] if lines else []
        if paragraph.lstrip().startswith("\b"):
            left = textwrap.dedent(paragraph.partition("\b\n")[2])
            lines += [".nf", *map(_text, left.splitlines()), ".fi"]
        else:
            lines += _marked(" ".join(paragraph.split()))
    return lines


def _marked(text: str) -> list[str]:
    """Format a paragraph, with text between backquotes in bold."""
    pieces = _CODE.split(text)
    escaped = "".join(_bold(p) if number % 2 else _escaped(p) for number, p in enumerate(pieces))
    lines = textwrap.wrap(escaped, _WIDTH, break_long_words=False, break_on_hyphens=False)
    return [_safe(line) for line in lines]


def _bold(text: str) -> str:
    return rf"\fB{_escaped(text)}\fR"


def _italic(text: str) -> str:
    return rf"\fI{_escaped(text)}\fR"


def _text(text: str) -> str:
    return _safe(_escaped(text))


def _escaped(text: str) -> str:
    return "".join(_SIGNS.get(c) or (c if c.isascii() else rf"\[u{ord(c):04X}]") for c in text)


def _safe(line: str) -> str:
    """Return a line, escaped if roff would take it for a request."""
    return rf"\&{line}" if line.startswith((".", "'")) else line
