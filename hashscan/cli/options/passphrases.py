"""Passphrases of a list publisher's keys: from a file, from the environment or from a prompt."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hashscan.cli.options.base import FILE, add_options
from hashscan.errors import UsageError

if TYPE_CHECKING:
    from hashscan.lists.publishing.keys import Passphrases

PASSPHRASE_VARIABLE = "HASHSCAN_PASSPHRASE"  # noqa: S105 - the name of a variable
ROOT_PASSPHRASE_VARIABLE = "HASHSCAN_ROOT_PASSPHRASE"  # noqa: S105 - the name of a variable


passphrase_options = add_options(
    click.option(
        "--passphrase-file",
        type=FILE,
        help=f"File whose first line is the keys' passphrase. Else {PASSPHRASE_VARIABLE}, else a prompt.",
    ),
    click.option(
        "--no-passphrase",
        is_flag=True,
        help="The keys are not encrypted; every user who can read them can sign.",
    ),
)


root_passphrase_option = click.option(
    "--root-passphrase-file",
    multiple=True,
    type=FILE,
    help="File whose first line is a passphrase of root keys; repeatable. "
    f"Else {ROOT_PASSPHRASE_VARIABLE}, else the other keys' passphrase, or a prompt.",
)


def online_passphrase(file: Path | None, none: bool, *, new: bool = False) -> bytes | None:
    """Return the passphrase of the online keys from the given source; None for no passphrase."""
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

    `asked` is True if the other passphrase was asked for at a prompt.
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
        question = "Passphrase of the root's keys (Enter takes the same)"
        return _typed(question, confirmed=True, default="") or None
    return None


def root_passphrases(files: Iterable[Path], online: Path | None) -> Passphrases:
    """Return the passphrases to try on the root keys, also that of the other keys (`online`).

    On a terminal, missing ones are asked for.
    """
    from hashscan.lists.publishing.keys import Passphrases

    known = _given(files, ROOT_PASSPHRASE_VARIABLE)
    known += _given([online] if online else [], PASSPHRASE_VARIABLE)

    def ask(key: Path) -> bytes:
        return _typed(f"Passphrase of the root key {key}", confirmed=False)

    return Passphrases(tuple(known), ask if sys.stdin.isatty() else None)


def _given(files: Iterable[Path], variable: str) -> list[bytes]:
    """Return the passphrases in the files, or the one of the variable if there are no files."""
    value = os.environ.get(variable)
    return [_first_line(file) for file in files] or ([os.fsencode(value)] if value else [])


def _typed(question: str, *, confirmed: bool, default: str | None = None) -> bytes:
    typed: str = click.prompt(
        question,
        hide_input=True,
        confirmation_prompt=confirmed,
        err=True,
        default=default,
        show_default=False,
    )
    return typed.encode()


def _first_line(file: Path) -> bytes:
    """Return the first line of a passphrase file; `UsageError` if it is empty or can't be read."""
    try:
        text = file.read_bytes().split(b"\n")[0].rstrip(b"\r")
    except OSError as error:
        raise UsageError(
            f"can't read the passphrase file {file}: {error.strerror}", advice="Name an existing file."
        ) from error
    if not text:
        raise UsageError(f"the first line of {file} is empty", advice="Write the passphrase into it.")
    return text
