"""Journals of uploads: `hashscan serve` appends refusals and counts, which become cases and statistics.

A journal is a file of JSON lines that its server has allocated in advance, so that a full disk does not keep
a refusal from being recorded. It ends at the first NUL byte. The ledger knows up to which byte each journal
is read, so each line counts once, whoever reads it; a line that was cut off by a crash was never answered.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field

from hashscan.cases.ledger import Ledger
from hashscan.cases.tracker import REFUSED, CaseLocation, CaseTracker, Sighting, Witness
from hashscan.errors import OutputError
from hashscan.model import TEST_CATEGORY
from hashscan.state.findings.coverage import only_test
from hashscan.state_dir import StateDir

JOURNAL_SUFFIX = ".jsonl"
_TESTS_KEPT = 1000
"""References of refusals by test entries that are remembered."""
EVENTS_MAX = 100
"""Refusals of one case that have an event of their own; all are counted."""
PERIOD = 900
"""Seconds of a period of counts: the offsets of all time zones are multiples of it."""
UNCHECKED, ASKED = "unchecked", "asked"
"""Used instead of a verdict, and instead of an outcome; see the ledger's `checks`."""


class Refusal(Struct, frozen=True, tag="refused", tag_field="type"):
    """One refused upload."""

    reference: str
    at: int
    """Seconds since 1970."""
    door: str
    address: str
    owner: str
    """The owner that the door's settings trust; empty if none is known."""
    name: str
    """The name that the client gave it, escaped."""
    verdict: str
    because: str
    size: int
    digests: dict[str, str]
    """Hexadecimal digests by algorithm."""
    matches: list[dict[str, Any]]
    """As in reports."""
    kept: str = ""
    """Name of the file with the encrypted content."""


class CheckCount(Struct, frozen=True):
    """The number of checks with one outcome, and the bytes of their uploads."""

    door: str
    verdict: str
    outcome: str
    number: int
    bytes: int


class Checks(Struct, frozen=True, tag="checks", tag_field="type"):
    """The checks since the journal's last line of this type."""

    at: int
    """Seconds since 1970, a multiple of `PERIOD`."""
    counts: list[CheckCount] = field(default_factory=list)


_decode = msgspec.json.Decoder(Refusal | Checks).decode
encode_line = msgspec.json.Encoder().encode
"""Return a line of a journal, without its newline."""


def follow_uploads(ledger: Ledger, state: StateDir) -> int:
    """Add the new lines of all journals to the ledger, and return the number of new cases.

    Raises:
        OutputError: a journal can't be read, or has a damaged line; the others are added all the same.
        LedgerError: the ledger can't be written.
    """
    try:
        journals = sorted(path for path in state.uploads.iterdir() if path.suffix == JOURNAL_SUFFIX)
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise OutputError(f"can't read {state.uploads}: {error.strerror}") from error
    new, trouble = 0, None
    for path in journals:
        try:
            new += follow_journal(ledger, path)
        except FileNotFoundError:
            continue  # Its server has read it in whole, and removed it.
        except OSError as error:
            trouble = OutputError(f"can't read the journal {path}: {error.strerror}")
        except ValueError as error:
            trouble = OutputError(
                f"the journal {path} is damaged: {error}", advice="Its other lines are used."
            )
    if trouble is not None:
        raise trouble
    return new


def follow_journal(ledger: Ledger, path: Path) -> int:
    """Add the new lines of one journal to the ledger, and return the number of new cases. A damaged line is
    left out, and raises ValueError when the others are added."""
    if not journal_lines(path, journal_position(ledger, path)):
        return 0
    damaged = None
    with ledger.transaction() as database:
        since = journal_position(ledger, path)
        lines = journal_lines(path, since)
        tracker = CaseTracker(database)
        for line in lines.splitlines():
            try:
                record = _decode(line)
            except msgspec.MsgspecError as error:
                damaged = ValueError(str(error))
                continue
            if isinstance(record, Refusal):
                _take_refusal(database, tracker, record)
            else:
                _take_checks(database, record)
        position = (_source(path), since + len(lines))
        database.execute("INSERT OR REPLACE INTO followed VALUES (?, ?, '')", position)
    if damaged is not None:
        raise damaged
    return tracker.begun


def journal_position(ledger: Ledger, path: Path) -> int:
    """Return the byte up to which the ledger has read a journal."""
    row = ledger.one("SELECT number FROM followed WHERE source=?", _source(path))
    return 0 if row is None else int(row[0])


def journal_lines(path: Path, since: int) -> bytes:
    """Return the complete lines of a journal from a byte on."""
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
        file.seek(since)
        data = file.read()
    written = data[:end] if (end := data.find(b"\0")) >= 0 else data
    return written[: written.rfind(b"\n") + 1]


def _source(path: Path) -> str:
    return f"uploads {path.stem}"


def _take_refusal(database: sqlite3.Connection, tracker: CaseTracker, refusal: Refusal) -> None:
    """Create the case of a refused upload, or count another refusal of the same content."""
    if only_test(refusal.matches):
        _take_test(database, refusal.reference)
        return
    row = database.execute("SELECT id FROM refusals WHERE reference=?", (refusal.reference,)).fetchone()
    if row is None:
        number = tracker.begin_case(
            CaseLocation(None), refusal.verdict, refusal.at, REFUSED, _client(refusal)
        ).id
        database.execute(
            "INSERT INTO refusals VALUES (?, ?, ?, ?, ?, ?, 1, ?)",
            (
                refusal.reference, number, refusal.door, refusal.address, refusal.name,
                msgspec.json.encode(refusal.digests).decode(), refusal.kept,
            ),
        )  # fmt: skip
        sha256 = refusal.digests.get("sha256")
        database.execute(
            "UPDATE cases SET removed=?, how=?, customer=?, sha256=?, size=? WHERE id=?",
            (
                refusal.at, REFUSED, refusal.owner, None if sha256 is None else bytes.fromhex(sha256),
                refusal.size, number,
            ),
        )  # fmt: skip
    else:
        (number,) = row
        database.execute(
            "UPDATE refusals SET number=number+1, kept=iif(kept='', ?, kept) WHERE reference=?",
            (refusal.kept, refusal.reference),
        )
        (events,) = database.execute(
            "SELECT count(*) FROM events WHERE id=? AND kind=?", (number, REFUSED)
        ).fetchone()
        if events < EVENTS_MAX:
            tracker.add_event(number, refusal.at, REFUSED, _client(refusal))
        before = tracker.case(number).verdict
        if before != refusal.verdict:
            tracker.add_event(number, refusal.at, "verdict", f"{before}, now {refusal.verdict}")
    matches = [match for match in refusal.matches if match["category"] != TEST_CATEGORY]
    categories = " ".join(sorted({match["category"] for match in matches}))
    database.execute(
        "UPDATE cases SET verdict=?, because=?, categories=? WHERE id=?",
        (refusal.verdict, refusal.because, categories, number),
    )
    tracker.see(number, Sighting(Witness.UPLOAD, refusal.at))
    tracker.set_matches(number, matches)


def _take_test(database: sqlite3.Connection, reference: str) -> None:
    """Remember the last references of refusals by test entries, which make no case."""
    database.execute("INSERT OR REPLACE INTO test_refusals (reference) VALUES (?)", (reference,))
    database.execute(
        "DELETE FROM test_refusals WHERE number <= (SELECT max(number) FROM test_refusals) - ?",
        (_TESTS_KEPT,),
    )


def _client(refusal: Refusal) -> str:
    return f"{refusal.door} {refusal.address}"


def _take_checks(database: sqlite3.Connection, checks: Checks) -> None:
    database.executemany(
        "INSERT INTO checks VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
        "number=number+excluded.number, bytes=bytes+excluded.bytes",
        [(checks.at, c.door, c.verdict, c.outcome, c.number, c.bytes) for c in checks.counts],
    )
