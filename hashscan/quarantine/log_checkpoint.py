"""Keeps in the state how far its quarantine's log goes, where a cut of the log's own folder doesn't reach."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hashscan.errors import OutputError, UsageError
from hashscan.quarantine import system
from hashscan.quarantine.log import EMPTY, Head, parse_head

_NAME = "quarantine-head"
_ASIDE = b".tmp-quarantine-head"
_MOST = 1000
"""Bytes."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a quarantine stands."""

    head: Head
    """Of its log."""
    items: int
    """Things that it keeps."""

    def fields(self) -> dict[str, object]:
        """As reports have it; JSON values by key."""
        return {"head": str(self.head), "items": self.items}

    def words(self) -> str:
        """As people read it, without a digest or path of what is kept."""
        return f"quarantine: {self.items} kept; head of the log: {self.head}"


NOTHING = Standing(EMPTY, 0)


def standing_of(state: Path) -> Standing | None:
    """How the quarantine of a state folder stood when its log was written last; None where it has none.

    Raises:
        OutputError: what is kept can't be read, or is not what was written.
    """
    path = state / _NAME
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            said = json.loads(file.read(_MOST))
        items = said["items"]
        if not isinstance(items, int):
            raise TypeError
        return Standing(parse_head(said["head"]), items)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OutputError(f"can't read {path}: {error.strerror}") from error
    except (ValueError, TypeError, KeyError, UsageError) as error:
        raise OutputError(f"{path} is not what was written there", advice=_REMEDY) from error


def standing_fields(state: Path | None) -> dict[str, object]:
    """What a report says of the quarantine beside it; nothing where there is none."""
    try:
        standing = None if state is None else standing_of(state)
    except OutputError as error:
        return {"quarantine": {"trouble": str(error)}}
    return {} if standing is None else {"quarantine": standing.fields()}


def known_heads(state: Path, folder: Path) -> Mapping[str, Head]:
    """The head that the log must have passed, by where it is kept.

    Args:
        state: the state folder.
        folder: where the log lies.

    Raises:
        OutputError: it can't be read, or is not there although there is a log.
    """
    standing = standing_of(state)
    if standing is not None:
        return {str(state / _NAME): standing.head}
    if (folder / "log.jsonl").exists():
        raise OutputError(f"{state / _NAME} is gone, which says how far the log goes", advice=_REMEDY)
    return {}


def keep_standing(state: Path, standing: Standing) -> None:
    """Write down how a quarantine stands; for the holder of its lock.

    Raises:
        OSError: it can't be written.
    """
    folder = os.open(state, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(FileNotFoundError):
            system.unlink(folder, _ASIDE)
        descriptor = system.create(folder, _ASIDE, 0o600)
        try:
            system.write(descriptor, json.dumps(standing.fields()).encode() + b"\n")
            system.sync(descriptor)
        finally:
            os.close(descriptor)
        system.replace(folder, _ASIDE, _NAME.encode())
        # Later an older head may be there after a power cut, which is true too.
        if standing.head == EMPTY:
            system.sync(folder)
    finally:
        os.close(folder)


_REMEDY = (
    "Verify the log with a head from a report or the system's log: `hashscan quarantine verify --head HEAD`. "
    'Then write it there: {"head": "HEAD", "items": 0}.'
)
