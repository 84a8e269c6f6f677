"""Options --format and --output, and the choice of a format by the suffix of the output file.

Commands that print results have both by `format_option`; their functions write to standard output, and get
the format only. Commands that write documents have both by `output_format_option` and `output_option`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from io import TextIOWrapper
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import click
from click.core import ParameterSource

from hashscan.atomic_files import PRIVATE_FILE, output_errors, replace_stream, replacing
from hashscan.errors import OutputError, UsageError
from hashscan.schema import encode_json
from hashscan.text import printable

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

RESULT_FILE = "result_file"
"""Name of the parameter --output of commands that print results."""

_SUFFIXES = {
    ".ndjson": ("ndjson", "jsonl", "json"),
    ".jsonl": ("jsonl", "ndjson", "json"),
    ".htm": ("html",),
    ".xml": ("junit",),
    ".md": ("markdown",),
    ".txt": ("text", "table"),
    ".sarif.json": ("sarif",),
    ".xarf.jsonl": ("xarf",),
    ".ncmec.tar": ("ncmec",),
}
"""Suffixes that differ from the name of their format, each with its possible formats; the first one that
a command has is used.
"""


def infer_format(path: Path | None, formats: Iterable[str]) -> str | None:
    """Return the format of the longest known suffix of a file name; None if no suffix is known."""
    if path is None:
        return None
    choices = set(formats)
    name = path.name.lower()
    suffixes = {**{f".{choice}": (choice,) for choice in choices}, **_SUFFIXES}
    for suffix in sorted(suffixes, key=len, reverse=True):
        if name.endswith(suffix):
            found = next((choice for choice in suffixes[suffix] if choice in choices), None)
            if found is not None:
                return found
    return None


def choose_format(
    format_name: str | None, output: Path | None, formats: Iterable[str], default: str | None
) -> str:
    """Return the format that --format names, else that of the suffix of --output, else the default."""
    choices = list(formats)
    chosen = format_name or infer_format(output, choices) or default
    if chosen is None:
        raise UsageError(
            "the format is not known: --format is missing, and --output has no suffix of a known format",
            advice=f"Add --format; formats: {', '.join(choices)}.",
        )
    return chosen


def format_option(*formats: str, help: str) -> Callable[[F], F]:  # noqa: A002
    """Return a decorator that adds --format, whose default is the first format, and --output."""

    def add(command: F) -> F:
        command = click.option(
            "--output",
            RESULT_FILE,
            type=click.Path(path_type=Path, allow_dash=True, dir_okay=False),
            callback=dash_to_none,
            default=Path("-"),
            show_default=True,
            metavar="FILE",
            help="File to write, readable by you alone; - is standard output.",
        )(command)
        return click.option(
            "--format",
            "format_name",
            type=click.Choice(formats),
            default=formats[0],
            show_default=f"the suffix of --output, else {formats[0]}",
            help=help,
        )(command)

    return add


@contextmanager
def written_results(ctx: click.Context) -> Iterator[None]:
    """Take --output out of the parameters of a command, choose the format, and redirect standard output.

    The file grows beside its name as results come, and gets it at the end, unless the command fails.
    """
    path: Path | None = ctx.params.pop(RESULT_FILE, None)
    if path is None:
        yield
        return
    if ctx.get_parameter_source("format_name") is ParameterSource.DEFAULT:
        option = next(option for option in ctx.command.params if option.name == "format_name")
        assert isinstance(option.type, click.Choice)
        ctx.params["format_name"] = infer_format(path, option.type.choices) or ctx.params["format_name"]
    from hashscan.reports.report_file import require_destination

    require_destination(path)
    failure: BaseException | None = None
    try:
        with replacing(path) as stream:
            results = _ResultStream(stream, path)
            try:
                with redirect_stdout(results):
                    yield
            except BaseException as error:
                failure = error
                raise
            finally:
                # Or its end would close the stream.
                results.detach()
    except OSError as error:
        if failure is not None:
            # What was buffered could not be written either; the first error names the cause.
            raise failure from None
        raise OutputError(f"can't write {path}: {error.strerror}") from error


class _ResultStream(TextIOWrapper):
    """Standard output that is a file: flushed in blocks, and its errors name it.

    Raises:
        OutputError: it can't be written.
    """

    def __init__(self, stream: BinaryIO, path: Path) -> None:
        super().__init__(stream, "utf-8", "backslashreplace", "\n", write_through=True)
        self.path = path

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError as error:
            raise OutputError(f"can't write {self.path}: {error.strerror}") from error

    def flush(self) -> None:
        """Do nothing: results are flushed by the block, and at the end."""


def output_format_option(
    formats: Iterable[str],
    default: str | None,
    help: str,  # noqa: A002
) -> Callable[[F], F]:
    """Return a decorator that adds --format to a command that has --output; see `choose_format`."""
    otherwise = "" if default is None else f", else {default}"
    return click.option(
        "--format",
        "format_name",
        type=click.Choice(list(formats)),
        help=f"{help} Default: the suffix of --output{otherwise}.",
    )


def output_option(readers: str = "is readable by you alone") -> Callable[[F], F]:
    """Return a decorator that adds --output; the command gets None for standard output, the default."""
    return click.option(
        "--output",
        type=click.Path(path_type=Path, allow_dash=True, dir_okay=False),
        callback=dash_to_none,
        default=Path("-"),
        show_default=True,
        metavar="FILE",
        help=f"File to write; - is standard output. A file {readers}.",
    )


def dash_to_none(ctx: click.Context, param: click.Parameter, value: Path) -> Path | None:
    """Return the path of a file; None for `-`, which is standard output."""
    return None if str(value) == "-" else value


def write_output(output: Path | None, pieces: Iterable[bytes], mode: int = PRIVATE_FILE) -> None:
    """Write data to a file, which is replaced at the end, or to standard output for None."""
    if output is None:
        with stdout_errors():
            sys.stdout.buffer.writelines(pieces)
            sys.stdout.buffer.flush()
    else:
        with output_errors(f"can't write {output}"):
            replace_stream(output, pieces, mode)


@contextmanager
def stdout_errors() -> Iterator[None]:
    """Explain errors of standard output; if its reader has ended, the command ends without a message."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        where = sys.stdout.path if isinstance(sys.stdout, _ResultStream) else "to standard output"
        raise OutputError(f"can't write {where}: {error.strerror}") from error


def write_stdout(line: str) -> None:
    with stdout_errors():
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def print_result(text: str) -> None:
    """Write a line of text to standard output, escaped."""
    write_stdout(printable(text))


def write_json_line(record: object) -> None:
    """Write a record, a struct or a mapping, as a line of JSON to standard output."""
    write_stdout(encode_json(record).decode("ascii"))


def print_records(
    format_name: str, records: Iterable[T], columns: Sequence[str], row: Callable[[T], Sequence[str]]
) -> None:
    """Write each record as a line of JSON, or print a table with a row for each."""
    if format_name == "json":
        for record in records:
            write_json_line(record)
    else:
        from hashscan.cli.output.terminal import print_table

        print_table(columns, map(row, records))
