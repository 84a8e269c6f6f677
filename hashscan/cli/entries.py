"""Files of list entries named on the command line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from hashscan.errors import UsageError
from hashscan.model import Entry
from hashscan.registry import LIST_FORMATS

F = TypeVar("F", bound=Callable[..., Any])


def format_option(command: F) -> F:
    """The option --format of commands that read a file of entries."""
    return click.option(
        "--format",
        "form",
        type=click.Choice(list(LIST_FORMATS)),
        default="csv",
        show_default=True,
        help="How the file is written.",
    )(command)


@contextmanager
def entries_of(file: Path, form: str) -> Iterator[tuple[Iterator[Entry], str]]:
    """The entries of a file, read as they are asked for, and what to call the file in an error.

    Raises:
        UsageError: the file can't be opened.
    """
    reader = LIST_FORMATS[form]()
    if str(file) == "-":
        yield reader.read(sys.stdin.buffer, "standard input"), "standard input"
        return
    try:
        stream = file.open("rb")
    except OSError as error:
        raise UsageError(f"can't read {file}: {error.strerror}", advice="Name an existing file.") from error
    with stream:
        yield reader.read(stream, str(file)), str(file)
