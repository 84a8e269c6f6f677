"""Passphrases of a list publisher's keys: from a file, from the environment or from a prompt."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from hashscan.errors import UsageError

if TYPE_CHECKING:
    from hashscan.lists.publishing.keys import Passphrases

F = TypeVar("F", bound=Callable[..., Any])

PASSPHRASE_VARIABLE = "HASHSCAN_PASSPHRASE"  # noqa: S105 - the name of a variable
ROOT_PASSPHRASE_VARIABLE = "HASHSCAN_ROOT_PASSPHRASE"  # noqa: S105 - the name of a variable


def passphrase_options(command: F) -> F:
    """Add the options that say where the passphrase of the online keys comes from."""
    command = click.option(
        "--no-passphrase",
        is_flag=True,
        help="The keys are not encrypted; every user who can read them can sign.",
    )(command)
    return click.option(
        "--passphrase-file",
        type=click.Path(path_type=Path, dir_okay=False),
        help=f"File whose first line is the keys' passphrase. Else {PASSPHRASE_VARIABLE}, else a prompt.",
    )(command)


def root_passphrase_option(command: F) -> F:
    """Add the option that says where the passphrases of the root keys come from."""
    return click.option(
        "--root-passphrase-file",
        multiple=True,
        type=click.Path(path_type=Path, dir_okay=False),
        help="File whose first line is a passphrase of root keys; repeatable. "
        f"Else {ROOT_PASSPHRASE_VARIABLE}, else the other keys' passphrase, or a prompt.",
    )(command)


def online_passphrase(file: Path | None, none: bool, *, new: bool = False) -> bytes | None:
    """Return the passphrase of the online keys from the given source; None for no passphrase.

    Raises:
        UsageError: no passphrase is given, and there is no terminal to ask on.
    """
    if none:
        return None
    for given in _given([file] if file else [], PASSPHRASE_VARIABLE):
        return given
    if not sys.stdin.isatty():
        raise UsageError(
            "the keys' passphrase is not given",
            advice=f"Name --passphrase-file, set {PASSPHRASE_VARIABLE}, or use --no-passphrase.",
        )
    return _typed("Passphrase of the keys", confirmed=new)


def root_passphrase(files: Iterable[Path], *, asked: bool) -> bytes | None:
    """Return the passphrase of new root keys; None to use that of the other keys.

    Args:
        files: at most one file.
        asked: whether the other passphrase was asked for at a prompt.

    Raises:
        UsageError: a file can't be read, or there are several.
    """
    given = _given(files, ROOT_PASSPHRASE_VARIABLE)
    if len(given) > 1:
        raise UsageError(
            "new root keys get one passphrase",
            advice="Name one --root-passphrase-file; holders can change their keys' passphrases later.",
        )
    if given:
        return given[0]
    if asked and not os.environ.get(PASSPHRASE_VARIABLE) and sys.stdin.isatty():
        words = "Passphrase of the root's keys (Enter takes the same)"
        return _typed(words, confirmed=True, default="") or None
    return None


def root_passphrases(files: Iterable[Path], online: Path | None) -> Passphrases:
    """Return the passphrases to try on the root keys; on a terminal, missing ones are asked for.

    Args:
        files: files with passphrases of root keys.
        online: file with the passphrase of the other keys, which is tried too.

    Raises:
        UsageError: a file can't be read.
    """
    from hashscan.lists.publishing.keys import Passphrases

    known = _given(files, ROOT_PASSPHRASE_VARIABLE)
    known += _given([online] if online else [], PASSPHRASE_VARIABLE)
    return Passphrases(tuple(known), _ask if sys.stdin.isatty() else None)


def _ask(key: Path) -> bytes:
    return _typed(f"Passphrase of the root key {key}", confirmed=False)


def _given(files: Iterable[Path], variable: str) -> list[bytes]:
    """Return the passphrases in the files, or the one of the variable if there are no files."""
    value = os.environ.get(variable)
    return [_first_line(file) for file in files] or ([os.fsencode(value)] if value else [])


def _typed(words: str, *, confirmed: bool, default: str | None = None) -> bytes:
    typed: str = click.prompt(
        words,
        hide_input=True,
        confirmation_prompt=confirmed,
        err=True,
        default=default,
        show_default=False,
    )
    return typed.encode()


def _first_line(file: Path) -> bytes:
    """Return the first line of a passphrase file.

    Raises:
        UsageError: the file can't be read, or its first line is empty.
    """
    try:
        text = file.read_bytes().split(b"\n")[0].rstrip(b"\r")
    except OSError as error:
        raise UsageError(
            f"can't read the passphrase file {file}: {error.strerror}", advice="Name an existing file."
        ) from error
    if not text:
        raise UsageError(f"the first line of {file} is empty", advice="Write the passphrase into it.")
    return text
