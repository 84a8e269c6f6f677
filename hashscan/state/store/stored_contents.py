"""Load the contents of a state row by row, over columns that are open for writing or reading."""

from __future__ import annotations

import sqlite3
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hashscan.hashing.format_signatures import FileFormat
from hashscan.hashing.formats import FORMATS
from hashscan.hashing.member_records import OpenedContainer
from hashscan.state.store.members import unpack_members
from hashscan.state.store.packing import Packed, unpack
from hashscan.state.store.profile import Profile, from_text

COLUMN_DIGESTS = ("sha256", "md5", "sha1")
ABOUT = np.dtype(
    [
        ("profile", "<u2"),
        ("flags", "u1"),
        ("kind", "i1"),
        ("since", "<u4"),
        ("further", "<u8"),
        ("crc", "<u4"),
    ]
)
FIELDS = ("profile", "flags", "kind", "since", "further")
ABOUT_ROW = struct.Struct("<HBbIQI")
DTYPES: dict[str, np.dtype[Any]] = {
    "sha256": np.dtype((np.void, 32)),
    "md5": np.dtype((np.void, 16)),
    "sha1": np.dtype((np.void, 20)),
    "about": ABOUT,
    "pdq": np.dtype((np.void, 32)),
    "pictures": np.dtype("<u4"),
    "further": np.dtype("u1"),
}
FURTHER = struct.Struct("<IIIII")
"""Row in `pdq`, number of the heads, and three lengths: of the part before the rest (the first digest in the
lowest eight bits, and above them the heads, where they are stored here), of the rest, and of other digests.
"""
NONE = (1 << 32) - 1
NOTHING = (1 << 64) - 1
"""Value of the field `further` for a content that has no record there."""

_FOLDER_KEY = "columns"


class Column(Protocol):
    """A column that can be read, open for writing or not."""

    @property
    def rows(self) -> int:
        """The number of rows."""

    def read(self, start: int, count: int, /) -> NDArray[Any]:
        """Return up to `count` rows; fewer at the end of the column."""


@dataclass(frozen=True, slots=True)
class Content:
    """One content."""

    row: int
    exact: dict[str, bytes]
    kind: FileFormat | None
    packed: Packed | None
    profile: Profile
    flags: int
    since: int
    """Time of the first read, in seconds since 1970."""

    @property
    def reply(self) -> bytes:
        """The reply of its decoder; empty where it had none."""
        return b"" if self.packed is None else unpack(self.packed, self.profile.picture_names)


def columns_folder(database: sqlite3.Connection, folder: Path) -> Path:
    row = database.execute("SELECT value FROM meta WHERE key=?", (_FOLDER_KEY,)).fetchone()
    if row is not None and not isinstance(row[0], str):
        raise ValueError("the database names no folder of columns")
    return folder if row is None else folder / row[0]


def use_columns_in(database: sqlite3.Connection, name: str) -> None:
    """Store in the open transaction that the columns are in another folder beside the database."""
    database.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (_FOLDER_KEY, name))


class StoredContents:
    """All contents of a state, over open columns."""

    def __init__(self, database: sqlite3.Connection, columns: Mapping[str, Column]) -> None:
        """Use columns together with the database that stores their numbers of valid rows."""
        self._database = database
        self.columns: Mapping[str, Any] = columns
        self.profiles = {i: from_text(t) for i, t in database.execute("SELECT id, text FROM profiles")}
        """The profiles by which contents were digested, by their numbers in `about`."""

    @property
    def rows(self) -> int:
        """The number of contents."""
        return int(self.columns["about"].rows)

    def members_record(self, row: int) -> bytes | None:
        """Return what is in a container; None if it is none, or was not opened."""
        found = self._database.execute("SELECT members FROM members WHERE content=?", (row,)).fetchone()
        if found is not None and not isinstance(found[0], bytes):
            raise ValueError(f"content {row} has members of the wrong type")
        return None if found is None else found[0]

    def members(self, content: Content) -> OpenedContainer | None:
        """Return what is in a container; None if it is none, or was not opened."""
        record = self.members_record(content.row)
        return None if record is None else unpack_members(record, content.profile.picture_names)

    def opened_rows(self, start: int = 0) -> list[int]:
        """Return the containers whose members are stored, from a row on."""
        query = "SELECT content FROM members WHERE content>=? ORDER BY content"
        return [row for (row,) in self._database.execute(query, (start,))]

    def load(self, row: int) -> Content:
        """Return one content."""
        if not 0 <= row < min(self.columns[name].rows for name in ("about", *COLUMN_DIGESTS)):
            raise ValueError(f"there is no content {row}")
        about = self.columns["about"].read(row, 1)[0]
        fields = fields_of(about)
        exact = {name: bytes(self.columns[name].read(row, 1)[0]) for name in COLUMN_DIGESTS}
        if checksum_of(fields, exact) != about["crc"]:
            raise ValueError(f"content {row} has another checksum")
        number, flags, kind, since, at = fields
        if number not in self.profiles or kind >= len(FORMATS):
            raise ValueError(f"content {row} was digested in a way that isn't known")
        packed = None
        if at != NOTHING:
            packed, others = self._further(at)
            exact |= others
        return Content(
            row, exact, FORMATS[kind] if kind >= 0 else None, packed, self.profiles[number], flags, since
        )

    def _further(self, at: int) -> tuple[Packed | None, dict[str, bytes]]:
        """Return a reply, if there is one, and other digests."""
        (_, known, before, rest, _), body, elsewhere = read_further(self.columns, at)
        first, beside = before & 0xFF, before >> 8
        value = elsewhere or body[:first]
        heads = body[first : first + beside] if known == NONE else self.heads_of(known)
        packed = Packed(value, heads, body[first + beside : first + beside + rest]) if rest else None
        return packed, dict(_others(body[first + beside + rest : -4]))

    @property
    def all_heads(self) -> list[int]:
        """The numbers of the heads that are shared between pictures."""
        return [number for (number,) in self._database.execute("SELECT id FROM heads")]

    def heads_of(self, number: int) -> bytes:
        """Return the heads of runs that are stored once for many pictures."""
        row = self._database.execute("SELECT heads FROM heads WHERE id=?", (number,)).fetchone()
        if row is None or not isinstance(row[0], bytes):
            raise ValueError("the heads of a kept reply are gone")
        return bytes(row[0])


def fields_of(about: np.void) -> tuple[int, ...]:
    """Return the fields of a row of `about`, without its checksum."""
    return tuple(int(about[name]) for name in FIELDS)


def read_further(columns: Mapping[str, Column], at: int) -> tuple[tuple[int, ...], bytes, bytes]:
    """Read a record of `further` by its offset: its `FURTHER`, the rest of it with its checksum, and its
    first digest if that is stored in `pdq`."""
    head = columns["further"].read(at, FURTHER.size).tobytes()
    if len(head) < FURTHER.size:
        raise ValueError("what is kept of a picture isn't there")
    header = picture, _, before, rest, others = FURTHER.unpack(head)
    length = (before & 0xFF) + (before >> 8) + rest + others
    body = columns["further"].read(at + FURTHER.size, length + 4).tobytes()
    elsewhere = b"" if picture == NONE else b"".join(map(bytes, columns["pdq"].read(picture, 1)))
    crc = zlib.crc32(elsewhere, zlib.crc32(body[:-4]))
    if len(body) != length + 4 or crc != int.from_bytes(body[-4:], "little"):
        raise ValueError("what is kept of a picture has another checksum")
    return header, body, elsewhere


def prefix_of(sha256: bytes) -> int:
    """Return the key by which the database finds a content."""
    return int.from_bytes(sha256[:8], "big", signed=True)


def checksum_of(fields: tuple[int, ...], exact: Mapping[str, bytes]) -> int:
    """Return the checksum over the preceding fields of `about`, and the digests that have columns."""
    digests = b"".join(exact[name] for name in COLUMN_DIGESTS)
    return zlib.crc32(digests, zlib.crc32(repr(fields).encode("ascii")))


def _others(data: bytes) -> Iterator[tuple[str, bytes]]:
    at = 0
    while at < len(data):
        middle = at + 1 + data[at]
        end = middle + 1 + data[middle]
        yield data[at + 1 : middle].decode("ascii"), data[middle + 1 : end]
        at = end
