"""What the log says of each thing that was, or is, in quarantine."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from hashscan.quarantine.log import Line
from hashscan.sources.evidence import KeptFile


class State(StrEnum):
    """Where a thing is; the words stand in the log as the type of the line that says so."""

    MOVING = "moving"
    MOVED = "moved"
    DISPLACED = "displaced"
    """It came along in a file's place, and its own place was taken when it was to go back."""
    LEFT = "left"
    """It was not moved, or was put back at once."""
    RESTORING = "restoring"
    STAYS = "stays"
    """It was to be restored and could not be."""
    RESTORED = "restored"
    RELEASING = "releasing"
    RELEASED = "released"


KEPT = frozenset({State.MOVED, State.STAYS, State.DISPLACED})
_STATES = frozenset(State)
UNFINISHED = frozenset({State.MOVING, State.RESTORING, State.RELEASING})

WITHDRAWN = "withdrawn"
"""Type of the line that says that every entry that accused an item was withdrawn by its list's owner."""
ACCUSED = "accused"
"""Of the line that says that an item is accused again, or by fewer entries than before."""


class NoteState(StrEnum):
    """Whether there is a text in the place of a thing; the words stand in the log as `State`'s do."""

    NOTING = "noting"
    NOTED = "noted"
    NO_NOTE = "no-note"


_NOTE_STATES = frozenset(NoteState)


@dataclass(slots=True)
class Note:
    """Such a text."""

    state: NoteState
    inode: int
    sha256: str
    """Of the text, in hex."""


@dataclass(slots=True)
class Item:
    """One such thing."""

    id: str
    state: State
    path: bytes
    """Where it was found; absolute, or the URL of an object."""
    place: bytes
    """The folder, or URL, under which it is kept by its id."""
    record: Line
    """Of it as it was found, with its digests and what speaks against it."""
    latest: Line
    """What was said of it last."""
    folder: Mapping[str, int] | None = None
    """Times of the folder it was in, before and after it was taken out; nanoseconds."""
    copy: Mapping[str, str] | None = None
    """Etag and version of what is kept, where that is an object."""
    sealed: Mapping[str, int] | None = None
    """Inode and ctime of the file that is kept, as it was sealed; nanoseconds."""
    of_another: bool = False
    """True where it is what came along in a file's place."""
    note: Note | None = None
    """That was left, or was to be left, in its place."""
    withdrawals: tuple[Mapping[str, Any], ...] = ()
    """By list: the version that has some of its accusing entries no more, and which."""
    withdrawn: bool = False
    """Whether these are all that accused it."""

    @property
    def of_object(self) -> bool:
        """Whether it was found in a bucket."""
        return "object" in self.record

    @property
    def version(self) -> str:
        """Of what was found, where it was one of an object's; else empty."""
        return str(self.record["object"]["version"]) if self.of_object else ""

    @property
    def in_bucket(self) -> bool:
        """Whether it is kept in one."""
        return not self.place.startswith(b"/")

    @property
    def owners(self) -> tuple[str, ...]:
        """Whose it was, by all names: the user's and number, or the bucket's URL; the usual one first."""
        if self.of_object:
            scheme, _, rest = self.path.partition(b"://")
            return (f"{scheme.decode()}://{rest.partition(b'/')[0].decode()}",)
        uid = str(self.record["file"]["uid"])
        user = self.record["file"]["user"]
        return (str(user), uid) if user else (uid,)

    @property
    def matches(self) -> list[Mapping[str, Any]]:
        """The entries that accused it, as far as the report that named them is sound."""
        return [match for match in listed(self.record["accusation"].get("matches")) if _is_match(match)]

    @property
    def why_back(self) -> dict[str, Any]:
        """What the log says of putting it back where nothing accuses it any more."""
        return {"withdrawals": self.withdrawals} if self.withdrawn else {}

    @property
    def kept_file(self) -> KeptFile:
        """The file that is kept, as scans know it again."""
        sealed = self.sealed or {}
        # What came along in a file's place was never hashed.
        sha256 = "" if self.of_another else self.sha256
        size = self.record.get("file", {}).get("size")
        return KeptFile(sha256, size, sealed.get("inode"), sealed.get("ctime_ns"))

    @property
    def sha256(self) -> str:
        """Of its content, in hex."""
        return str(self.record["digests"]["sha256"])


def items_of(lines: Iterable[Line]) -> dict[str, Item]:
    """Each item by its id, in the order in which they came."""
    items: dict[str, Item] = {}
    for line in lines:
        take_in(items, line)
    return items


def take_in(items: dict[str, Item], line: Line) -> None:
    """Change items by what a further line says."""
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
    elif line["type"] in {WITHDRAWN, ACCUSED}:
        items[name].withdrawals = tuple(line["withdrawals"])
        items[name].withdrawn = line["type"] == WITHDRAWN


def listed(value: Any) -> list[Any]:
    """A list out of a report, which somebody else may have written; an empty one where it is none."""
    return value if isinstance(value, list) else []


def _is_match(match: Any) -> bool:
    return (
        isinstance(match, dict)
        and all(isinstance(match.get(key), str) for key in ("list", "entry", "algorithm", "category"))
        and all(isinstance(match.get(key), int) for key in ("distance", "threshold"))
    )


def path_fields(path: bytes) -> dict[str, str]:
    """A path as JSON can carry it: text, beside the bytes in base64 where they are no UTF-8."""
    try:
        return {"path": path.decode("utf-8")}
    except UnicodeDecodeError:
        return {"path": path.decode("utf-8", errors="replace"), "path_b64": base64.b64encode(path).decode()}


def path_of(fields: Mapping[str, Any]) -> bytes:
    """The path that these fields carry."""
    if "path_b64" in fields:
        return base64.b64decode(fields["path_b64"])
    return str(fields["path"]).encode("utf-8")
