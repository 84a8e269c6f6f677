"""Keeps what the last comparison with the lists found, for as long as neither side changes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hashscan.lists.durable import output_errors, replace_file
from hashscan.lists.layout import ListFolder
from hashscan.quarantine.log_checkpoint import NOTHING, standing_of
from hashscan.quarantine.store import folder_of

_FILE = "compared.json"


def mark_of(state: Path, name: str) -> str | None:
    """Tells the version that is in use from any other; None where there is none."""
    with output_errors(f"the list {name!r} can't be read"):
        active = ListFolder(state / "lists" / name).active()
    return None if active is None else active.name


def remember(state: Path, marks: Mapping[str, str | None], withdrawn: tuple[str, ...]) -> None:
    """Keep what was found beside the log, with what it holds for; the log itself is what counts."""
    folder = folder_of(state)
    with output_errors("the quarantine can't be written"):
        size = (folder / "log.jsonl").stat().st_size
        document = {"log": size, "lists": marks, "withdrawn": withdrawn}
        replace_file(folder / _FILE, json.dumps(document).encode())


def known(state: Path) -> tuple[str, ...] | None:
    """What was found last; None where the log or a list has changed since.

    Raises:
        OutputError: that can't be told.
    """
    folder = folder_of(state)
    with output_errors("the quarantine can't be read"):
        try:
            size = (folder / "log.jsonl").stat().st_size
        except FileNotFoundError:
            # Whoever opens it will find that it was lost, if there was one.
            return () if (standing_of(state) or NOTHING) == NOTHING else None
        document = _read(folder)
    if document.get("log") != size:
        return None
    if any(mark_of(state, name) != mark for name, mark in document["lists"].items()):
        return None
    return tuple(document["withdrawn"])


def last_known(state: Path) -> tuple[str, ...]:
    """What was found last, whatever has changed since."""
    try:
        return tuple(_read(folder_of(state)).get("withdrawn", ()))
    except OSError:
        return ()


def _read(folder: Path) -> dict[str, Any]:
    """What was remembered; empty where there is none that can be understood, since all can be found anew."""
    try:
        document = json.loads((folder / _FILE).read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    sound = (
        isinstance(document, dict)
        and isinstance(document.get("lists"), dict)
        and isinstance(document.get("withdrawn"), list)
        and all(isinstance(name, str) for name in document["withdrawn"])
    )
    return document if sound else {}
