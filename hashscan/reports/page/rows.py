"""Make the rows of the findings table from records, and keep the most urgent ones in temporary files."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import astuple, dataclass
from itertools import chain, islice

from hashscan.locking import ClosedOnExit
from hashscan.model import ALGORITHMS, DOUBT_TEXTS, Doubt, Verdict
from hashscan.reports.common import deciding_match
from hashscan.reports.page.frame import format_bytes, number
from hashscan.reports.records import Record, path_text
from hashscan.sources.filesystem.walk_stack import temporary_file_errors

KINDS = {
    "match": "match",
    "held": "held",
    "review": "review",
    "standing": "earlier finding",
    "silent-change": "changed in silence",
    "unreadable": "unreadable",
    "undecoded": "undecoded",
    "folder": "folder not entered",
    "skipped": "skipped",
}
"""Kinds of rows, the most urgent first, and their labels."""

_MATCHES_SHOWN = 8
_NS = 1_000_000_000
_SIMPLE = (
    ("detail", "Detail"),
    ("version", "Version"),
    ("etag", "ETag"),
    ("first", "Found first"),
    ("last", "Found last"),
)


@dataclass(frozen=True, slots=True)
class Row:
    """The row of one file, object or folder."""

    kind: str
    name: str
    """Path or digest; bytes that are not UTF-8 are lone surrogates, as by `os.fsdecode`."""
    customer: str
    category: str
    """Category of the deciding match; the list and the entry are also that match's."""
    list_name: str
    entry: str
    why: str
    changed: int | None
    """Modification time; seconds since 1970."""
    uid: int | None
    details: tuple[tuple[str, str], ...]
    """Values without a column, each with its label."""

    def line(self) -> bytes:
        """Return the row as a JSON array in ASCII that can't contain markup."""
        text = json.dumps(astuple(self), ensure_ascii=True, separators=(",", ":"))
        return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026").encode("ascii")


def row_of(record: Record, customer: str, url_of: Callable[[Record], str]) -> Row | None:
    """Return the row of a record; None for a record that has no row."""
    kind = record.get("verdict", "") if record["type"] == "finding" else record["type"]
    if kind not in KINDS:
        return None
    closest = deciding_match(record)
    url = url_of(record)
    mtime = record.get("mtime_ns")
    return Row(
        kind=kind,
        name=path_text(record),
        customer=customer,
        category=closest.get("category", ""),
        list_name=closest.get("list", ""),
        entry=closest.get("entry", ""),
        why=_why(record, closest),
        changed=None if mtime is None else mtime // _NS,
        uid=record.get("uid"),
        details=tuple(pair for pair in (*_details(record, closest), ("Address", url)) if pair[1]),
    )


def distance_text(match: Record) -> str:
    algorithm, distance = match.get("algorithm", ""), match.get("distance")
    if not algorithm:
        return ""
    threshold = match.get("threshold") or 0
    if algorithm == "vpdq":
        text = f"{algorithm} {100 - int(distance or 0)} % of the listed frames"
    else:
        unit = ALGORITHMS[algorithm].unit if algorithm in ALGORITHMS else "bits"
        text = f"{algorithm} equal" if threshold == 0 else f"{algorithm} {distance} of {threshold} {unit}"
    variant = match.get("variant", "")
    return text if variant in {"", "as stored"} else f"{text}, {variant}"


def _why(record: Record, closest: Record) -> str:
    if closest:
        return distance_text(closest)
    return str(record.get("reason", "") or record.get("because", ""))


def _details(record: Record, closest: Record) -> Iterator[tuple[str, str]]:
    yield "Because", record.get("because", "")
    yield "Member", closest.get("member", "")
    others = [match for match in record.get("matches", ()) if match is not closest]
    for match in others[:_MATCHES_SHOWN]:
        yield "Also", _match_text(match)
    if len(others) > _MATCHES_SHOWN:
        yield "Also", f"{len(others) - _MATCHES_SHOWN} more matches, named in the record"
    action: str = record.get("action", "")
    yield "To do", _TO_DO.get(action, action)
    yield "Quarantine", " ".join(_quarantine(record.get("quarantine", {})))
    if record["type"] == "standing":
        yield "Was", record.get("was", "")
    for key, label in _SIMPLE:
        yield label, record.get(key, "")
    size = record.get("size")
    yield "Size", "" if size is None else f"{format_bytes(size)} ({number(size)} bytes)"
    picture = record.get("picture", {})
    if picture:
        yield "Picture", f"{picture['format']}, {picture['width']} by {picture['height']} pixels"
    links = record.get("links") or 1
    if links > 1:
        yield "Links", f"has {links} names, of which this is one"
    for algorithm, digest in record.get("digests", {}).items():
        yield algorithm, str(digest)


_TO_DO = {
    "report": "report it; it is where it was",
    "review": "have a person review the case, not the picture",
    "held": "nothing by itself; find out why it is held",
    "quarantine": "quarantine",
}


def _match_text(match: Record) -> str:
    text = f"{distance_text(match)}: entry {match['entry']} ({match['category']}) of list {match['list']}"
    if member := match.get("member", ""):
        text += f", in the member {member}"
    excepted = match.get("excepted", {})
    if excepted:
        text += f"; excepted until {excepted['until']}: {excepted['reason']}"
    doubt = DOUBT_TEXTS[Doubt(match["doubt"])] if "doubt" in match else ""
    return "; ".join(filter(None, (text, doubt, match.get("withheld", ""))))


def _quarantine(moved: Record) -> Iterator[str]:
    if not moved:
        return
    outcome = moved.get("outcome", "")
    yield "moved" if outcome == "done" else f"not moved: {outcome}"
    if place := path_text(moved["place"]) if "place" in moved else "":
        yield f"to {place}"
    if item := moved.get("item", ""):
        yield f"as item {item}"
    if detail := moved.get("detail", ""):
        yield f"({detail})"


RANKS: tuple[frozenset[str], ...] = (
    frozenset({Verdict.MATCH.value}),
    frozenset({"held", "review", "standing", "silent-change"}),
    frozenset({"unreadable", "undecoded", "folder"}),
    frozenset({"skipped"}),
)
"""Kinds of rows by rank; if space is short, rows of a lower rank are left out."""


ROWS = 50_000
"""Maximum rows in one page; browsers sort and filter this number without delay."""
_BYTES = 48 << 20
"""Maximum bytes of all rows in one page, since names may be long."""
_CONTENT = "rows of a page"
_IN_MEMORY = 1 << 20
"""Bytes of one rank in memory; beyond that an unnamed temporary file is used."""


class _RankRows:
    def __init__(self, plain_rows: int, stack: ExitStack) -> None:
        self.rows = 0
        self.first: list[Row] = []
        self._plain_rows = plain_rows
        self._bytes = 0
        self.lines = tempfile.SpooledTemporaryFile(_IN_MEMORY, prefix="hashscan-")  # noqa: SIM115
        stack.callback(self.lines.close)

    def take(self, row: Row) -> None:
        if self.rows == ROWS or self._bytes >= _BYTES:
            return
        line = row.line()
        self._bytes += len(line) + 1
        self.rows += 1
        self.lines.write(line + b"\n")
        if len(self.first) < self._plain_rows:
            self.first.append(row)


class KeptRows(ClosedOnExit):
    """Rows in temporary files; use it as a context manager.

    Raises, in all methods:
        OutputError: a temporary file can't be written or read.
    """

    def __init__(self, plain_rows: int) -> None:
        """Create an empty collection; `first` returns at most `plain_rows` rows."""
        self._stack = ExitStack()
        self._ranks = [_RankRows(plain_rows, self._stack) for _ in RANKS]
        self._plain_rows = plain_rows
        self.offered = 0
        """Number of rows that were offered."""

    def take(self, row: Row) -> None:
        self.offered += 1
        rank = next(number for number, kinds in enumerate(RANKS) if row.kind in kinds)
        with temporary_file_errors(_CONTENT):
            self._ranks[rank].take(row)

    def first(self) -> list[Row]:
        return list(islice(chain.from_iterable(rank.first for rank in self._ranks), self._plain_rows))

    def lines(self) -> Iterator[str]:
        """Yield a JSON array without line breaks for each row that fits."""
        left, room = ROWS, _BYTES
        for rank in self._ranks:
            with temporary_file_errors(_CONTENT):
                rank.lines.seek(0)
                for line in rank.lines:
                    room -= len(line)
                    if not left or room < 0:
                        return
                    left -= 1
                    yield line.decode("ascii").rstrip("\n")

    @property
    def kept(self) -> int:
        return sum(1 for _ in self.lines())

    def close(self) -> None:
        """Close the temporary files, which deletes them."""
        self._stack.close()
