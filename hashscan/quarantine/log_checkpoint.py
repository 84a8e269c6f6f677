"""Keep a checkpoint of the quarantine log in the state folder, outside the log's folder, to detect cuts."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hashscan.atomic_files import output_errors
from hashscan.errors import OutputError, UsageError
from hashscan.hash_chain import EMPTY, LogHead, parse_head
from hashscan.quarantine import system
from hashscan.sources.filesystem.safe_open import closing_descriptor
from hashscan.state_dir import StateDir

_ASIDE = b".tmp-quarantine-head"
_MOST = 1000
"""Maximum size in bytes."""


@dataclass(frozen=True, slots=True)
class LogCheckpoint:
    """A checkpoint of a quarantine log."""

    head: LogHead
    items: int

    def fields(self) -> dict[str, object]:
        """Return the checkpoint as in reports; JSON values by key."""
        return {"head": str(self.head), "items": self.items}

    def message(self) -> str:
        """Return the checkpoint as text, without a digest or path of what is kept."""
        return f"quarantine: {self.items} kept; head of the log: {self.head}"


EMPTY_CHECKPOINT = LogCheckpoint(EMPTY, 0)


def read_checkpoint(state: StateDir) -> LogCheckpoint | None:
    """Return the checkpoint of the last write to a quarantine log; None if there is none.

    Raises:
        OutputError: the checkpoint can't be read, or is malformed.
    """
    path = state.quarantine_head
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            document = json.loads(file.read(_MOST))
        items = document["items"]
        if not isinstance(items, int):
            raise TypeError
        return LogCheckpoint(parse_head(document["head"]), items)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OutputError(f"can't read {path}: {error.strerror}") from error
    except (ValueError, TypeError, KeyError, UsageError) as error:
        raise OutputError(f"{path} is malformed", advice=_REMEDY) from error


def checkpoint_fields(state: StateDir | None) -> dict[str, object]:
    """Return the checkpoint fields for a report; empty if there is no checkpoint."""
    try:
        checkpoint = None if state is None else read_checkpoint(state)
    except OutputError as error:
        return {"quarantine": {"trouble": str(error)}}
    return {} if checkpoint is None else {"quarantine": checkpoint.fields()}


def known_heads(state: StateDir, folder: Path) -> Mapping[str, LogHead]:
    """Return the head that the log in a folder must contain, by the place where it is kept."""
    checkpoint = read_checkpoint(state)
    if checkpoint is not None:
        return {str(state.quarantine_head): checkpoint.head}
    if (folder / "log.jsonl").exists():
        raise OutputError(f"{state.quarantine_head} is gone, which says how far the log goes", advice=_REMEDY)
    return {}


def write_checkpoint(state: StateDir, checkpoint: LogCheckpoint) -> None:
    """Write the checkpoint; only for the holder of the quarantine's lock."""
    with (
        output_errors(f"can't write into {state}"),
        closing_descriptor(os.open(state, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as folder,
    ):
        content = json.dumps(checkpoint.fields()).encode() + b"\n"
        system.replace_content(folder, _ASIDE, os.fsencode(state.quarantine_head.name), content)
        # A later write is not synced: an older head, which a power cut may leave, is valid too.
        if checkpoint.head == EMPTY:
            system.sync(folder)


_REMEDY = (
    "Verify the log with a head from a report or the system's log: `hashscan quarantine verify --head HEAD`. "
    'Then write it there: {"head": "HEAD", "items": 0}.'
)
