"""Build the items of a quarantine (state, path, matches, note) from the lines of its log."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType

from hashscan.hash_chain import Line
from hashscan.schema import Time
from hashscan.sources.filesystem.quarantined_files import QuarantinedFile
from hashscan.sources.objects.changeable_store import ObjectDescription


class State(StrEnum):
    """The state of an item; its value is the type of the log line that sets it."""

    MOVING = "moving"
    MOVED = "moved"
    DISPLACED = "displaced"
    """It was moved by mistake in a file's place, and could not go back because its name was taken."""
    LEFT = "left"
    """It was not moved, or was put back at once."""
    RESTORING = "restoring"
    STAYS = "stays"
    """It was to be restored or destroyed and could not be."""
    RESTORED = "restored"
    RELEASING = "releasing"
    RELEASED = "released"


KEPT = frozenset({State.MOVED, State.STAYS, State.DISPLACED})
_STATES = frozenset(State)
UNFINISHED = frozenset({State.MOVING, State.RESTORING, State.RELEASING})

WITHDRAWN = "withdrawn"
"""Type of the line that says that all entries that matched an item were withdrawn by their lists' owners."""
MATCHED_AGAIN = "accused"
"""Type of the line that says that entries match an item again, or that some of them were withdrawn."""


class NoteState(StrEnum):
    """The state of the note in the place of an item; its value is the type of a log line, as for `State`."""

    NOTING = "noting"
    NOTED = "noted"
    NO_NOTE = "no-note"


_NOTE_STATES = frozenset(NoteState)


@dataclass(slots=True)
class Note:
    """A note in the place of an item."""

    state: NoteState
    inode: int
    sha256: str
    """sha256 of the text, in hex."""


@dataclass(slots=True)
class Item:
    """An item that is, or was, in quarantine."""

    id: str
    state: State
    path: bytes
    """Absolute path at which it was found, or the URL of an object."""
    place: bytes
    """The folder, or URL, under which it is kept by its id."""
    record: Line
    """The first log line: the facts of the file, its digests and the matches that justify the move."""
    latest: Line
    """The last log line that set its state."""
    folder: Mapping[str, int] | None = None
    """Times of its original folder before and after it was moved; nanoseconds."""
    copy: Mapping[str, str] | None = None
    """Etag and version of the copy, if it is kept as an object."""
    sealed: Mapping[str, int] | None = None
    """Inode and ctime (nanoseconds) of the kept file, after it was sealed."""
    of_another: bool = False
    """True if it is not the requested file, but one that was moved by mistake in its place."""
    note: Note | None = None
    """The note that was left, or was to be left, in its place."""
    withdrawals: tuple[Mapping[str, Any], ...] = ()
    """By list: the version in which some of its matched entries are gone, and which entries."""
    withdrawn: bool = False
    """True if all of its matched entries are gone."""

    @property
    def is_object(self) -> bool:
        """True if it was found in a bucket."""
        return "object" in self.record

    @property
    def version(self) -> str:
        """Version of the object that was found, else empty."""
        return str(self.record["object"]["version"]) if self.is_object else ""

    @property
    def in_bucket(self) -> bool:
        """True if it is kept in a bucket."""
        return not self.place.startswith(b"/")

    @property
    def owners(self) -> tuple[str, ...]:
        """Its owner under all names, the usual one first: user name and uid, or the URL of the bucket."""
        if self.is_object:
            scheme, _, rest = self.path.partition(b"://")
            return (f"{scheme.decode()}://{rest.partition(b'/')[0].decode()}",)
        uid = str(self.record["file"]["uid"])
        user = self.record["file"]["user"]
        return (str(user), uid) if user else (uid,)

    @property
    def matches(self) -> list[Mapping[str, Any]]:
        """The matches that justified the move, without malformed ones in the report."""
        return [
            match for match in list_or_empty(self.record["accusation"].get("matches")) if _is_match(match)
        ]

    @property
    def restore_reason_fields(self) -> dict[str, Any]:
        """Fields for the log line of a restore: the withdrawals, if no entry supports the item any more."""
        return {"withdrawals": self.withdrawals} if self.withdrawn else {}

    @property
    def kept_file(self) -> QuarantinedFile:
        """The kept file in the form by which scans recognize it."""
        sealed = self.sealed or {}
        # A file that was moved by mistake was never hashed.
        sha256 = "" if self.of_another else self.sha256
        size = self.record.get("file", {}).get("size")
        return QuarantinedFile(sha256, size, sealed.get("inode"), sealed.get("ctime_ns"))

    @property
    def sha256(self) -> str:
        """sha256 of its content, in hex."""
        return str(self.record["digests"]["sha256"])


class Operator(Struct):
    """The user of a process, the user behind sudo, and the number of the user who logged in."""

    uid: int
    user: str | UnsetType = UNSET
    sudo: str | UnsetType = UNSET
    login: int | UnsetType = UNSET


class Place(Struct):
    """A path or URL; with its bytes in base64 if they are not UTF-8."""

    path: str
    path_b64: str | UnsetType = UNSET


class Withdrawal(Struct):
    """The entries of a list that matched an item and are gone, and the version in which they are."""

    list: str
    version: int
    entries: tuple[str, ...]


class ListedItem(Place, kw_only=True):
    """An item: its record in the log, the last line that set its state, and what became of its entries."""

    type: Literal["moving"]
    item: str
    time: Time
    host: str
    version: str
    operator: Operator
    way: Literal["rename", "copy", "object"]
    place: Place
    file: dict[str, Any] | UnsetType = UNSET
    endpoint: str | UnsetType | None = UNSET
    object: ObjectDescription | UnsetType = UNSET
    digests: dict[str, str]
    accusation: dict[str, Any]
    retain_min: Time
    destroy_by: Time
    state: State
    latest: dict[str, Any]
    withdrawn: bool
    withdrawals: Sequence[Withdrawal]


def items_of(lines: Iterable[Line]) -> dict[str, Item]:
    """Return the items by id, in the order in which they were added."""
    items: dict[str, Item] = {}
    for line in lines:
        apply_line(items, line)
    return items


def apply_line(items: dict[str, Item], line: Line) -> None:
    """Update the items by one log line."""
    if "item" not in line:
        return
    name = line["item"]
    if line["type"] == State.MOVING:
        items[name] = Item(name, State.MOVING, path_of(line), path_of(line["place"]), line, line)
    elif line["type"] in _STATES:
        item = items[name]
        item.state = State(line["type"])
        item.latest = line
        item.folder = line.get("folder", item.folder)
        item.copy = line.get("copy") or item.copy
        item.sealed = line.get("sealed", item.sealed)
        if item.state is State.DISPLACED:
            item.of_another = True
            item.place = path_of(line["place"])
    elif line["type"] == NoteState.NOTING:
        items[name].note = Note(NoteState.NOTING, line["inode"], line["sha256"])
    elif line["type"] in _NOTE_STATES and (note := items[name].note) is not None:
        note.state = NoteState(line["type"])
    elif line["type"] in {WITHDRAWN, MATCHED_AGAIN}:
        items[name].withdrawals = tuple(line["withdrawals"])
        items[name].withdrawn = line["type"] == WITHDRAWN


def list_or_empty(value: Any) -> list[Any]:
    """Return the value if it is a list, else an empty list; another program may have written the report."""
    return value if isinstance(value, list) else []


def _is_match(match: Any) -> bool:
    return (
        isinstance(match, dict)
        and all(isinstance(match.get(key), str) for key in ("list", "entry", "algorithm", "category"))
        and all(isinstance(match.get(key), int) for key in ("distance", "threshold"))
    )


def path_of(fields: Mapping[str, Any]) -> bytes:
    """Return the path of such JSON fields."""
    if "path_b64" in fields:
        return base64.b64decode(fields["path_b64"])
    return str(fields["path"]).encode("utf-8")
